"""Claims about latency quantiles: the p99 is below a limit exactly where 99 % of requests take less.

On an explicit count the empirical quantile decides, by the nearest rank; the bounds that order statistics give without
any assumption on the distribution are printed. On ``enough`` the bounds decide: the sequential test of that share.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from meshbdd.claims.sequential import Band
from meshbdd.claims.share import LESS_BUSY, Explain, ShareClaim, Tally, unexplained
from meshbdd.claims.shares import design_of, fewest_hits
from meshbdd.claims.statistics import at_least_probability, at_most_probability, least
from meshbdd.claims.verdict import Outcome, Verdict, finite
from meshbdd.load.lapses import LATE_NS
from meshbdd.load.sample import Sample
from meshbdd.units import Duration, counted

QUANTILES = (50.0, 90.0, 95.0, 99.0, 99.9)
"""The quantiles that a tester may ask for, in percent."""


@dataclass(frozen=True, slots=True)
class Quantile:
    """An empirical quantile with its bounds, in seconds; infinite where that request had no answer.

    Attributes:
        value: The nearest rank's.
        low: Lower bound of the true quantile; 0 where so few requests give none.
        high: Upper bound; infinite where so few requests give none.
    """

    value: float
    low: float
    high: float


def latency(sample: Sample) -> float:
    """Seconds until the whole answer; a request without one is slower than any limit."""
    return math.inf if sample.status is None else sample.seconds


def latency_served(sample: Sample) -> float:
    """Seconds until the whole answer; a request that failed, however soon, is slower than any limit."""
    return sample.seconds if sample.succeeded else math.inf


def quantile(latencies: Sequence[float], percent: float, confidence: float = 0.95) -> Quantile:
    """An empirical quantile and its distribution-free bounds.

    The number of latencies below the true quantile is binomial, so two ranks enclose it with a known probability
    (H. A. David and H. N. Nagaraja, Order Statistics, 2003, section 7.1).

    Args:
        latencies: In any order.
        percent: Which quantile, 99 for p99.
        confidence: That of the two bounds together.

    Raises:
        ValueError: there are no latencies.
    """
    if not latencies:
        raise ValueError("a quantile needs at least one latency")
    ranked, n = sorted(latencies), len(latencies)
    share, tail = percent / 100, (1 - confidence) / 2
    low = least(n + 1, lambda k: at_most_probability(k, n, share) > tail)
    high = least(n + 1, lambda k: at_least_probability(k, n, share) <= tail)
    return Quantile(
        ranked[max(fewest_hits(n, share), 1) - 1],
        ranked[low - 1] if low >= 1 else 0.0,
        ranked[high - 1] if high <= n else math.inf,
    )


@dataclass(frozen=True, slots=True)
class LatencyClaim(ShareClaim):
    """A claim about a latency quantile, which this machine's own lateness must not make false.

    Where requests start as a schedule says, latency counts from the scheduled time. A request that started late had to
    wait for a free connection, which is the service's doing and counts, or for this machine: a sample says so of all but
    the few milliseconds that an engine needs to come round. Where the claim is false by these, nobody can tell.

    Attributes:
        without_lag: The same claim about latencies without what this machine may have added to any.
    """

    without_lag: ShareClaim | None = None

    def judge(self, samples: Sequence[Sample], explain: Explain = unexplained) -> Verdict:
        """Judge an explicit count: its empirical quantile decides."""
        verdict = ShareClaim.judge(self, samples, explain)
        if verdict.outcome is not Outcome.FAILED or self.without_lag is None:
            return verdict
        if self.without_lag.judge(samples).outcome is Outcome.FAILED:
            return verdict
        late = max(lag(sample) for sample in samples)
        return Verdict.cannot_tell(
            f"{verdict.sentence}; requests started up to {shown(late)} late, and without that it would hold",
            LESS_BUSY,
            **verdict.numbers,
        )


def lag(sample: Sample) -> float:
    """Seconds by which this machine may have started a request late although it was in time, as it sees it."""
    late = max(0.0, sample.started - sample.scheduled) if sample.scheduled is not None else 0.0
    return min(late, LATE_NS / 1e9)


def latency_below(percent: float, limit: Duration, measure: Callable[[Sample], float] = latency) -> LatencyClaim:
    """A quantile of the latencies is below ``limit``.

    Args:
        percent: Which quantile.
        limit: The limit.
        measure: ``latency``, or ``latency_served`` where a failure that comes soon is no answer.
    """
    whole = _below(percent, limit, measure)
    without_lag = _below(percent, limit, lambda sample: measure(sample) - lag(sample))
    same = {field.name: getattr(whole, field.name) for field in fields(whole)}
    return LatencyClaim(**same, without_lag=without_lag)


def _below(percent: float, limit: Duration, measure: Callable[[Sample], float]) -> ShareClaim:
    share = percent / 100

    def found(tally: Tally) -> Quantile:
        return quantile([measure(sample) for sample in tally.samples], percent)

    def seen(tally: Tally, _explain: Explain) -> str:
        it = found(tally)
        most = "no upper bound" if math.isinf(it.high) else shown(it.high)
        text = (
            f"it was {shown(it.value)} (95% bounds {shown(it.low)} to {most}); "
            f"{tally.fewest} of {counted(tally.total, 'request')} took less than {limit}"
        )
        unanswered = sum(sample.status is None for sample in tally.samples)
        failures = [sample for sample in tally.samples if not sample.succeeded and sample.status is not None]
        if unanswered:
            text += f", {unanswered} had no answer and {'counts' if unanswered == 1 else 'count'} as slower"
        if failures:
            slower = " and count as slower" if all(math.isinf(measure(sample)) for sample in failures) else ""
            text += f", {len(failures)} {'was' if len(failures) == 1 else 'were'} answered with a failure{slower}"
        return text

    def figures(tally: Tally) -> dict[str, Any]:
        it = found(tally)
        seconds = {"value": finite(it.value), "bounds_95": [finite(it.low), finite(it.high)]}
        return {"kind": "latency", "quantile": percent, "limit_seconds": limit.seconds, **seconds}

    return ShareClaim(
        f"the p{percent:g} latency is below {limit}",
        lambda sample: measure(sample) < limit.seconds,
        lambda total: (max(fewest_hits(total, share), 1), total),
        Band(share, 1.0, design_of(share)),
        seen,
        "a system of which five times fewer requests are slower than allowed",
        figures,
    )


def shown(seconds: float) -> str:
    """A latency as a tester reads it."""
    if math.isinf(seconds):
        return "no answer in time"
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.3f} s"
