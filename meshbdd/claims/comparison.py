"""Claims that compare requests before with requests after: by how much a latency quantile or a share has changed.

Both are judged by bounds that hold whatever the distribution: passed where the change is below the limit with confidence
1 - BETA, failed where it is not with confidence 1 - ALPHA, else inconclusive.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from meshbdd.claims.quantiles import latency, quantile, shown
from meshbdd.claims.sequential import ALPHA, BETA
from meshbdd.claims.statistics import clopper_pearson
from meshbdd.claims.verdict import Outcome, Verdict, finite
from meshbdd.load.sample import Sample
from meshbdd.units import Duration, Percent

_MORE = "send more requests before and after the change"
_CLEAR = "claim a limit that the difference keeps clear of"
"""What helps where a claim sends, or starts, all that it judges by itself."""


def adds_less_than(
    claim: str, before: Sequence[Sample], after: Sequence[Sample], limit: Duration, percent: float = 50.0
) -> Verdict:
    """A latency quantile grows by less than ``limit``.

    Args:
        claim: The claim as the tester wrote it.
        before: Requests without what may slow them.
        after: Requests with it.
        limit: By how much the quantile may grow.
        percent: Which quantile, 50 for the median.
    """
    return grows_less_than(
        claim, [latency(s) for s in before], [latency(s) for s in after], limit, percent, what="requests"
    )


def grows_less_than(
    claim: str, before: Sequence[float], after: Sequence[float], limit: Duration, percent: float = 50.0, *, what: str
) -> Verdict:
    """A quantile of durations grows by less than ``limit``.

    Args:
        claim: The claim as the tester wrote it.
        before: Seconds without what may slow them; infinite where something never ended.
        after: Seconds with it.
        limit: By how much the quantile may grow.
        percent: Which quantile, 50 for the median.
        what: What took so long, in the plural.
    """
    if not before or not after:
        return Verdict.nothing_to_judge(claim)
    was, now = quantile(before, percent).value, quantile(after, percent).value
    least, _ = _shift(before, after, percent, error=ALPHA)
    _, most = _shift(before, after, percent, error=BETA)
    numbers = {
        "before": {what: len(before), "seconds": finite(was)},
        "after": {what: len(after), "seconds": finite(now)},
        "grows_at_least": finite(least),
        "grows_at_most": finite(most),
        "limit_seconds": limit.seconds,
        "quantile": percent,
    }
    seen = (
        f"{claim}: the p{percent:g} was {shown(was)} over {len(before)} {what} and is {shown(now)} over {len(after)}, "
        f"that is {_signed(least)} to {_signed(most)}"
    )
    if math.isinf(was):
        return Verdict.cannot_tell(
            f"{seen}; it had no answer before", "see why requests fail before the change", **numbers
        )
    if most < limit.seconds:
        return Verdict(Outcome.PASSED, seen, numbers)
    if least >= limit.seconds:
        return Verdict(Outcome.FAILED, seen, numbers)
    return Verdict.cannot_tell(f"{seen}; that is no proof of either", _CLEAR, **numbers)


def _shift(before: Sequence[float], after: Sequence[float], percent: float, *, error: float) -> tuple[float, float]:
    """By how much a quantile grew: at least and at most, each but for a probability of ``error``.

    The two bounds of one interval miss with ``error`` together where each of its sides misses with half of that, so
    the interval of confidence 1 - ``error`` gives each of the two quantiles the side that is needed.
    """
    was, now = (quantile(latencies, percent, confidence=1 - error) for latencies in (before, after))
    least = now.low - was.high if math.isfinite(was.high) else -math.inf
    most = now.high - was.low
    return least, most


def _signed(seconds: float) -> str:
    if math.isinf(seconds):
        return "no bound"
    return f"{'+' if seconds >= 0 else '−'}{shown(abs(seconds))}"


def loses_less_than(claim: str, before: Sequence[Sample], after: Sequence[Sample], limit: Percent) -> Verdict:
    """The share of requests that succeed falls by less than ``limit`` points."""
    if not before or not after:
        return Verdict.nothing_to_judge(claim)
    (good, of), (still, now_of) = ((sum(s.succeeded for s in part), len(part)) for part in (before, after))

    def fall(error: float) -> tuple[float, float]:
        was, now = clopper_pearson(good, of, 1 - error), clopper_pearson(still, now_of, 1 - error)
        return was[0] - now[1], was[1] - now[0]

    least, most = fall(ALPHA)[0], fall(BETA)[1]
    numbers = {"before": [good, of], "after": [still, now_of], "falls_at_least": least, "falls_at_most": most}
    seen = (
        f"{claim}: {good} of {of} succeeded before and {still} of {now_of} after, a fall of {least:.1%} to {most:.1%}"
    )
    if most < limit.fraction:
        return Verdict(Outcome.PASSED, seen, numbers)
    if least >= limit.fraction:
        return Verdict(Outcome.FAILED, seen, numbers)
    return Verdict.cannot_tell(f"{seen}; that is no proof of either", _MORE, **numbers)
