"""The oracle of bulkheads: while one service is slow, requests that do not need it take no longer than before.

Requests are drawn as they are needed: the p90 of now must lie below the p90 of before, plus what it may grow by. One that
fails is slower than any limit: where a bulkhead is missing, callers often answer at once that they have no room.
"""

from __future__ import annotations

from collections.abc import Sequence

from meshbdd.claims.calls import Call, told_seconds
from meshbdd.claims.quantiles import LatencyClaim, latency_below, latency_served, quantile
from meshbdd.claims.verdict import Outcome, Verdict
from meshbdd.load.sample import Sample
from meshbdd.units import Duration, counted

PERCENT = 90.0
"""The quantile that must stay: requests that wait for a slow service's connections or workers are seldom the half."""

_SHARE, _LEAST, _MOST = 0.1, 0.05, 0.5


def allowed_growth(slowness: float) -> Duration:
    """By how much the quantile may grow: a tenth of what a call to the slow service takes, from 50 ms to 500 ms.

    A request that waits for the slow service grows by all of it, so a tenth tells the two apart on a busy machine too.
    """
    return Duration(min(max(slowness * _SHARE, _LEAST), _MOST))


def middle(calls: Sequence[Call]) -> float:
    """How long the calls take, in the middle; 0 where there are none."""
    return sorted(call.seconds for call in calls)[len(calls) // 2] if calls else 0.0


def still_as_quick(before: Sequence[Sample], growth: Duration) -> LatencyClaim:
    """The claim about the requests of now.

    Raises:
        ValueError: there were none before, or they failed.
    """
    return latency_below(PERCENT, Duration(round(usual(before) + growth.seconds, 3)), latency_served)


def usual(before: Sequence[Sample]) -> float:
    """The p90 of the requests before, in seconds; infinite where more than a tenth of them failed."""
    return quantile([latency_served(sample) for sample in before], PERCENT).value


def not_slowed(
    service: str, name: str, before: Sequence[Sample], now: Verdict, growth: Duration, slow: Sequence[Call]
) -> Verdict:
    """Requests take no longer while a service is slow.

    Args:
        service: The slow service.
        name: What the tester calls the requests.
        before: The same requests before the scenario's first change.
        now: What became of ``still_as_quick``.
        growth: By how much their p90 may have grown.
        slow: Calls to the slow service that were under way meanwhile.
    """
    claim = f'a slow {service} does not slow "{name}"'
    took, slowness = usual(before), middle(slow)
    numbers = {**now.numbers, "usual_seconds": took, "slow_calls": len(slow), "slow_seconds": slowness}
    told = f"{now.sentence}; before it was {told_seconds(took)} over {counted(len(before), 'request')}"
    if not slow:
        return Verdict.cannot_tell(
            f"{claim}: nobody called {service} meanwhile ({told})",
            f"keep requests that need {service} being sent",
            **numbers,
        )
    if slowness < 2 * growth.seconds:
        return Verdict.cannot_tell(
            f"{claim}: {service} was not slow, its calls took {told_seconds(slowness)} in the middle ({told})",
            f"slow {service} by more than {Duration(2 * growth.seconds)}",
            **numbers,
        )
    met = f"{counted(len(slow), 'call')} to {service} took {told_seconds(slowness)} in the middle"
    if now.outcome is Outcome.INCONCLUSIVE:
        return Verdict.cannot_tell(f"{claim}: {told}; {met}", now.help, **numbers)
    return Verdict(now.outcome, f"{claim}: {told}; {met}", numbers, now.notes)
