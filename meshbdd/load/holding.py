"""Whether the rate that was asked for was held, and whose doing it is where it was not."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from meshbdd.load.result import Result

_BEHIND_SHARE, _BEHIND_SECONDS = 0.05, 0.1
"""A load that takes longer than its schedule by more than both has not held its rate; less is a last request's chance."""


@dataclass(frozen=True, slots=True)
class Holding:
    """How an open loop kept to its schedule.

    Attributes:
        wanted: Requests due by the second, on the average over those that were started.
        reached: Requests started by the second.
        lag_p99: Seconds by which requests started late, at the 99th percentile.
        never: Requests that were due and never started.
        connections: How many requests could be under way, where at some time all were: the service was too slow. ``None``:
            it never came to that, so this machine was.
        held: Whether the rate was held.
    """

    wanted: float
    reached: float
    lag_p99: float
    never: int
    connections: int | None
    held: bool

    @property
    def by_this_machine(self) -> bool:
        """Whether the rate was not held, and that says nothing of the service."""
        return not self.held and self.connections is None

    @property
    def told(self) -> str:
        """The rate that was reached, in a sentence without its full stop."""
        never = f", and {self.never} requests could not be started at all" if self.never else ""
        figures = f"{self.reached:.1f}/s were started, late by {self.lag_p99 * 1000:.1f} ms at the p99{never}"
        if self.held:
            return f"the rate was held: {figures}"
        why = (
            f"all {self.connections} connections waited for answers"
            if self.connections
            else "this machine was too busy"
        )
        return f"the rate was not held, for {why}: {self.wanted:.1f}/s were due and {figures}"


def holding(result: Result) -> Holding | None:
    """How a load kept to its schedule; ``None`` where it had none, or nothing was due."""
    never = result.unsent + result.overdue
    if result.plan.pace is None or not result.sent + never:
        return None
    lags, last_start, last_due, count = Counter[int](), 0, 0, 0
    for _, start, lag, *_ in result.record.columns():
        lags[lag] += 1
        last_start, last_due, count = max(last_start, start), max(last_due, start - lag), count + 1
    behind = last_start - last_due
    held = not never and behind <= max(last_due * _BEHIND_SHARE, _BEHIND_SECONDS * 1e6)
    return Holding(
        wanted=_rate(count, last_due),
        reached=_rate(count, last_start),
        lag_p99=_p99(lags) / 1e6,
        never=never,
        connections=result.plan.connections if result.crowded else None,
        held=held,
    )


def _rate(count: int, microseconds: int) -> float:
    """The first request is due at once, so ``count`` requests have one distance less."""
    return (count - 1) / microseconds * 1e6 if count > 1 and microseconds > 0 else float(count)


def _p99(counts: Counter[int]) -> int:
    rank, seen = math.ceil(counts.total() * 0.99), 0
    for value in sorted(counts):
        seen += counts[value]
        if seen >= rank:
            return value
    return 0
