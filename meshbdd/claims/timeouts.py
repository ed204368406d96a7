"""The oracle of timeouts: how long one service waits for another before it gives up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from meshbdd.claims.calls import NO_STRANGERS, Call, Strangers, by_request, no_request, of_any_request, told_seconds
from meshbdd.claims.verdict import Outcome, Verdict
from meshbdd.units import Duration, counted

_TOGETHER = 0.05
"""Seconds within which a call ends because the tester's own client left: a chain of disconnects takes no longer."""


def gives_up_within(
    caller: str,
    callee: str,
    limit: Duration,
    calls: Sequence[Call],
    client_left: Mapping[str, float] | None = None,
    still_open: float | None = None,
    strangers: Strangers = NO_STRANGERS,
    *,
    loading: bool = False,
) -> Verdict:
    """A service that gets no answer gives up in time.

    What counts is all the time that a caller spends on a callee for one request: retries and pauses included. It shows
    only where somebody had to give up: a callee that answered in time shows nothing.

    Args:
        caller: Who waits.
        callee: Who is waited for.
        limit: How long at most.
        calls: The calls as the caller's proxies saw them.
        client_left: Request id → Unix time at which the tester's own client went away, which ends calls too.
        still_open: For how many seconds the caller has been waiting for a call that has not ended.
        strangers: Calls that belong to no request that the caller is through with.
        loading: Whether a load goes on, so that this call may be another one at every moment.
    """
    claim = f"{caller} gives up on {callee} within {limit}"
    requests = by_request(calls)
    spent = {id_: max(c.ended for c in made) - made[0].started for id_, made in requests.items()}
    left = client_left or {}
    gave_up = [
        id_
        for id_, made in requests.items()
        if made[-1].not_waited_for and made[-1].ended < left.get(id_, float("inf")) - _TOGETHER
    ]
    longest = max(spent.values(), default=0.0)
    numbers = {
        "requests": len(requests),
        "gave_up": len(gave_up),
        "longest_seconds": round(longest, 3),
        "over_limit": sum(seconds > limit.seconds for seconds in spent.values()),
        "still_open_seconds": still_open,
        "limit_seconds": limit.seconds,
    }
    if longest > limit.seconds:
        told = f"it spent {told_seconds(longest)} on one request; {numbers['over_limit']} of {len(requests)} took longer than {limit}"
        return Verdict(Outcome.FAILED, f"{claim}: {told}", numbers)
    if still_open is not None and loading:
        why = f"calls were under way all the {told_seconds(still_open)} that they were watched, and nobody knows since when"
        return Verdict.cannot_tell(f"{claim}: {why}", "let the load stop before the claim", **numbers)
    if still_open is not None and still_open > limit.seconds:
        return Verdict(
            Outcome.FAILED, f"{claim}: it has been waiting for {told_seconds(still_open)} and waits still", numbers
        )
    if not requests:
        why, action = no_request(calls, strangers.number, caller, callee)
        return Verdict.cannot_tell(f"{claim}: {why}", action, **numbers)
    if not gave_up:
        return Verdict.cannot_tell(
            f"{claim}: nobody had to give up; the longest of {counted(len(requests), 'request')} spent {told_seconds(longest)} on it",
            f"slow {callee} by more than {limit}",
            **numbers,
        )
    if strangers.unknown:
        why, action = of_any_request(strangers.unknown, caller)
        return Verdict.cannot_tell(f"{claim}: {why}", action, **numbers)
    told = f"it did on {len(gave_up)} of {counted(len(requests), 'request')}, after {told_seconds(max(spent[i] for i in gave_up))} at most"
    return Verdict(Outcome.PASSED, f"{claim}: {told}", numbers)
