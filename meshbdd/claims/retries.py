"""The oracle of bounded retries: how often one service calls another for one request, and how long it pauses between."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

from meshbdd.claims.calls import (
    CONNECT_FAILURE,
    NO_STRANGERS,
    Call,
    Strangers,
    by_request,
    no_request,
    of_any_request,
    told_seconds,
    untold_statuses,
)
from meshbdd.claims.verdict import Outcome, Verdict
from meshbdd.grpc_statuses import GRPC_CODES, RETRIED
from meshbdd.units import Duration, counted

_RETRIED_GRPC = "one of the gRPC statuses " + ", ".join(sorted(n for n, code in GRPC_CODES.items() if code in RETRIED))
"""What a server answers a gRPC call with that is to be tried again."""
LOG_RESOLUTION = 0.002
"""Seconds by which a pause between two log entries may be too short: starts and durations are whole milliseconds."""


def called_at_most(
    caller: str,
    callee: str,
    limit: int,
    sent: Sequence[Call],
    arrived: Sequence[Call] | None,
    apart: Duration | None = None,
    strangers: Strangers = NO_STRANGERS,
) -> Verdict:
    """One service calls another at most so many times for one request.

    A bound on retries shows where a caller stops although its last call failed too; where each request was answered in
    the end nobody came to the end of his tries, and nothing is shown. Nor is it where the caller's own proxy injected the
    fault: its fault filter answers before the router, which alone retries. An error that is no server's (a 4xx, a gRPC status)
    shows something where the limit is one and a fault at the callee made it: that is the failure on which nobody shall try again.

    Args:
        caller: Who calls.
        callee: Who is called.
        limit: How often at most.
        sent: The calls as the caller's proxies saw them: one for each that the application made.
        arrived: The calls as the callee's proxies saw them: one for each try, the proxy's own retries included;
            ``None`` where the callee has no proxy.
        apart: The least pause between two tries, where the tester asks for one.
        strangers: Calls that belong to no request that the caller is through with.
    """
    claim = f"{caller} calls {callee} at most {counted(limit, 'time')} per request"
    requests, seen = by_request(sent), by_request(arrived or ())
    if not requests:
        why, action = no_request(sent, strangers.number, caller, callee)
        return Verdict.cannot_tell(f"{claim}: {why}", action)
    tries = {id_: _tries(calls, seen.get(id_, [])) for id_, calls in requests.items()}
    worst = max(tries, key=lambda id_: tries[id_])
    pauses = [pause for id_, calls in requests.items() for pause in _pauses(calls, seen.get(id_, []))]
    exhausted = [id_ for id_, calls in requests.items() if calls[-1].failed]
    if limit == 1:
        exhausted += [id_ for id_, calls in requests.items() if _was_refused(calls[-1], seen.get(id_, []))]
    numbers = {
        "requests": len(requests),
        "tries": dict(sorted(Counter(tries.values()).items())),
        "ended_in_failure": len(exhausted),
        "pauses_seconds": _spread(pauses),
        "worst_request": worst,
    }
    told = f"{tries[worst]} at most, over {counted(len(requests), 'request')} of which {len(exhausted)} ended in a failing call"
    if tries[worst] > limit:
        return Verdict(Outcome.FAILED, f"{claim}: {tries[worst]} times for request {worst} ({told})", numbers)
    if apart is not None and pauses and min(pauses) + LOG_RESOLUTION < apart.seconds:
        return Verdict(
            Outcome.FAILED,
            f"{claim}, {apart} apart: two tries were only {told_seconds(min(pauses))} apart ({told})",
            numbers,
        )
    unsure = _unsure(caller, callee, requests, exhausted, known=arrived is not None, unknown=strangers.unknown)
    if unsure is not None:
        why, action = unsure
        return Verdict.cannot_tell(f"{claim}: {why} ({told})", action, **numbers)
    if apart is not None and not pauses:
        return Verdict.cannot_tell(
            f"{claim}, {apart} apart: nobody tried twice ({told})",
            f"let {callee} fail, so that its callers try again",
            **numbers,
        )
    return Verdict(Outcome.PASSED, f"{claim}: {told}", numbers)


def called_at_least(
    caller: str,
    callee: str,
    least: int,
    sent: Sequence[Call],
    arrived: Sequence[Call] | None,
    strangers: Strangers = NO_STRANGERS,
) -> Verdict:
    """One service calls another at least so many times for each request whose last call failed: it gives up no sooner.

    Arguments as of ``called_at_most``.
    """
    claim = f"{caller} calls {callee} at least {counted(least, 'time')} per request"
    requests, seen = by_request(sent), by_request(arrived or ())
    if not requests:
        why, action = no_request(sent, strangers.number, caller, callee)
        return Verdict.cannot_tell(f"{claim}: {why}", action)
    exhausted = [id_ for id_, calls in requests.items() if calls[-1].failed]
    tries = {id_: _tries(requests[id_], seen.get(id_, [])) for id_ in exhausted}
    numbers = {"requests": len(requests), "tries": dict(sorted(Counter(tries.values()).items()))}
    fewest = min(tries, key=lambda id_: tries[id_], default="")
    told = f"over {counted(len(requests), 'request')} of which {len(exhausted)} ended in a failing call"
    if tries and tries[fewest] >= least:
        return Verdict(Outcome.PASSED, f"{claim}: {tries[fewest]} at least, {told}", numbers)
    unsure = _unsure(caller, callee, requests, exhausted, known=arrived is not None, unknown=strangers.unknown)
    if unsure is not None:
        why, action = unsure
        return Verdict.cannot_tell(f"{claim}: {why} ({told})", action, **numbers)
    times = "once" if tries[fewest] == 1 else f"{tries[fewest]} times"
    return Verdict(
        Outcome.FAILED, f"{claim}: only {times} for request {fewest} ({told})", {**numbers, "worst_request": fewest}
    )


def _was_refused(last: Call, arrived: Sequence[Call]) -> bool:
    """Whether a call ended in an error that is no server's, and that a fault at the callee made."""
    return not last.failed and last.code >= 400 and any(call.faulted for call in arrived)


def _tries(sent: Sequence[Call], arrived: Sequence[Call]) -> int:
    """Calls that the caller's proxy answered itself, and those that went out: as many as arrived, or were sent."""
    own = sum(not call.reached for call in sent)
    return own + max(len(sent) - own, len(arrived))


def _pauses(sent: Sequence[Call], arrived: Sequence[Call]) -> list[float]:
    """From the end of each try to the start of the next, by the finer of the two views."""
    tries = arrived if len(arrived) > len(sent) else sent
    return [max(0.0, after.started - before.ended) for before, after in pairwise(tries)]


def _spread(pauses: Sequence[float]) -> Mapping[str, float]:
    if not pauses:
        return {}
    ranked = sorted(pauses)
    return {"least": round(ranked[0], 3), "median": round(ranked[len(ranked) // 2], 3), "most": round(ranked[-1], 3)}


def _unsure(
    caller: str,
    callee: str,
    requests: Mapping[str, Sequence[Call]],
    exhausted: Sequence[str],
    *,
    known: bool,
    unknown: int,
) -> tuple[str, str] | None:
    """Why a bound that was kept is not shown, and what would help."""
    untold = untold_statuses(call for calls in requests.values() for call in calls)
    if untold is not None:
        return untold
    if not exhausted:
        if any(call.failed for calls in requests.values() for call in calls):
            why = "every request was answered in the end, so nobody came to the end of his tries"
        else:
            why = (
                "every call was answered, and none with a server's error; whether an answer (a 4xx, a gRPC status) was a reason "
                "to try again nobody knows"
            )
        speaks_grpc = any(call.grpc is not None for calls in requests.values() for call in calls)
        return why, f"let {callee} fail 100% with {_RETRIED_GRPC if speaks_grpc else 'a status of 500 or more'}"
    if faulted := sum(call.faulted for calls in requests.values() for call in calls):
        why = (
            f"{caller}'s own proxy injected a fault into {counted(faulted, 'call')}, before it could have made a retry"
        )
        return why, f"inject the fault at {callee}: a step does that with | inject at | server |"
    if not known and any(call.reached for calls in requests.values() for call in calls):
        return f"{callee} has no proxy that could count the tries of {caller}'s proxy", f"give {callee} a sidecar"
    if any(CONNECT_FAILURE in call.flags for calls in requests.values() for call in calls):
        return (
            "some connections failed, and tries that reach nobody stand in no log",
            f"let {callee} fail with a status",
        )
    return of_any_request(unknown, caller) if unknown else None
