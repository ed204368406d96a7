"""A load in numbers: counts, latencies in an HdrHistogram, lag behind the schedule, a time series."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from hdrh.histogram import HdrHistogram

from meshbdd.load.answer import STOPPED, Outcome
from meshbdd.load.lapses import Own, excused, least_for
from meshbdd.load.result import Result

QUANTILES = (50.0, 90.0, 95.0, 99.0, 99.9)
SLOT_MS = 100
"""Length of a slot of the time series."""

_LONGEST_US, _DIGITS = 2 * 3_600_000_000, 3
_BITS = 11
"""Leading bits of a value that a histogram of three digits keeps."""
_EXACT_US = 1 << _BITS


@dataclass(frozen=True, slots=True)
class Slot:
    """What ended in a tenth of a second.

    Attributes:
        requests: How many requests.
        failed: Of these, those that did not succeed.
        longest_ms: The longest latency among them.
    """

    requests: int
    failed: int
    longest_ms: float


@dataclass(frozen=True, slots=True)
class Summary:
    """A load in numbers.

    Latency is from the start of a request, in an open loop from its scheduled time, to the last byte of its answer. A
    request that got no answer, or that was due and not even sent, is slower than any limit.

    Attributes:
        seconds: How long the load took.
        requests: Requests with an outcome.
        succeeded: Of these, those that succeeded.
        stopped: Requests that were under way when the load was stopped at once.
        unsent: Requests that were due, but could not be started within their timeout.
        overdue: Requests that were due, and not started when the load was stopped at once; they have not failed.
        missed: Requests that were due, and not started because this machine was late; they have not failed either.
        size: Bytes of all bodies.
        outcomes: Outcome → requests.
        latency: Microseconds of the requests that got an answer.
        lag: Microseconds by which requests started later than their schedule said; zeros in a closed loop.
        last_due: When the last request that was started should have been, in microseconds since the load began.
        last_start: When it was.
        series: A slot for each tenth of a second, by the end of the requests.
    """

    seconds: float
    requests: int
    succeeded: int
    stopped: int
    unsent: int
    overdue: int
    missed: int
    size: int
    outcomes: Mapping[Outcome, int]
    latency: HdrHistogram
    lag: HdrHistogram
    last_due: int
    last_start: int
    series: tuple[Slot, ...]

    @property
    def requests_per_second(self) -> float:
        """Requests with an outcome, by the second."""
        return self.requests / self.seconds if self.seconds else 0.0

    @property
    def successes_per_second(self) -> float:
        """Requests that succeeded, by the second."""
        return self.succeeded / self.seconds if self.seconds else 0.0

    @property
    def failed(self) -> int:
        """Requests that did not succeed, the unsent ones among them."""
        return self.requests - self.succeeded + self.unsent

    @property
    def answered(self) -> int:
        """Requests that got an answer."""
        return int(self.latency.get_total_count())

    @property
    def wanted(self) -> int:
        """Requests that were due and of which something can be said, if only that they had to wait."""
        return self.requests + self.unsent + self.overdue + self.missed

    def latency_ms(self, percent: float) -> float:
        """A quantile of the latency by the nearest rank, in milliseconds; infinite where that request had no answer.

        Raises:
            ValueError: there was no request.
        """
        total = self.wanted
        if total == 0:
            raise ValueError("no request, no latency")
        rank = max(1, math.ceil(total * percent / 100 - 1e-9))
        if rank > self.answered:
            return math.inf
        return float(self.latency.get_value_at_percentile(100 * rank / self.answered)) / 1000


def summarise(result: Result, *, at_best: bool = False) -> Summary:
    """The numbers of a result: of all of it, or of what has finished so far.

    Args:
        result: It.
        at_best: As they would be at best if this machine had never been late: what it missed succeeds at once, and so does
            what may have failed because of it; what it may have slowed down is quicker by as much.
    """
    known: dict[int, Outcome] = {}
    outcomes, latencies, lags = Counter[int](), Counter[int](), Counter[int]()
    slots: dict[int, list[int]] = {}
    bytes_ = last_due = last_start = forgiven = 0
    answered: dict[int, bool] = {}
    good: dict[int, bool] = {}
    least: dict[int, float] = {}
    paced = result.plan.pace is not None
    own = Own(result.lapses if at_best else ())
    for _, start, lag, _, end, size, number in result.record.columns():
        if number not in known:
            outcome = known[number] = result.record.outcomes[number - 1]
            answered[number], good[number] = outcome.status is not None, outcome.succeeded
            least[number] = least_for(paced=paced, answered=answered[number]) * 1e6
        last_start, last_due = max(last_start, start), max(last_due, start - lag)
        if known[number].error == STOPPED:
            continue
        latency = lag + end
        if own and (late := own.during(start - lag, start + end)):
            if not good[number] and excused(late, latency, least[number]):
                forgiven += 1
                continue
            latency = max(latency - late, 0)
        outcomes[number] += 1
        if answered[number]:
            latencies[latency if latency < _EXACT_US else _rounded(latency)] += 1
        lags[lag if lag < _EXACT_US else _rounded(lag)] += 1
        bytes_ += size
        slot = slots.setdefault((start + end) // (SLOT_MS * 1000), [0, 0, 0])
        slot[0] += 1
        slot[1] += not good[number]
        slot[2] = max(slot[2], latency)
    if at_best:
        forgiven += result.missed
        latencies[0] += forgiven
    counts = Counter[Outcome]()
    for number, count in outcomes.items():
        counts[known[number]] += count
    series = [slots.get(place, [0, 0, 0]) for place in range(max(slots, default=-1) + 1)]
    return Summary(
        seconds=max(result.seconds - own.whole / 1e6, 1e-6) if own else result.seconds,
        requests=outcomes.total() + forgiven,
        succeeded=sum(count for outcome, count in counts.items() if outcome.succeeded) + forgiven,
        stopped=result.stopped,
        unsent=result.unsent,
        overdue=result.overdue,
        missed=0 if at_best else result.missed,
        size=bytes_,
        outcomes=counts,
        latency=_histogram(latencies),
        lag=_histogram(lags),
        last_due=last_due,
        last_start=last_start,
        series=tuple(Slot(requests, failed, longest / 1000) for requests, failed, longest in series),
    )


def _rounded(microseconds: int) -> int:
    """The same for all that the histogram takes for the same: it keeps the eleven leading bits of a number. So there are
    thousands of counts for a long load, and not millions.
    """
    unit = microseconds.bit_length() - _BITS
    return microseconds >> unit << unit


def _histogram(counts: Mapping[int, int]) -> HdrHistogram:
    """Counted first and recorded by the value: a request at a time would take ten times as long."""
    made = HdrHistogram(1, _LONGEST_US, _DIGITS)
    for value, count in counts.items():
        if count:
            made.record_value(min(max(value, 0), _LONGEST_US), count)
    return made
