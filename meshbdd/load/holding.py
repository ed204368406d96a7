"""Whether the rate that was asked for was held, and whose doing it is where it was not."""

from __future__ import annotations

from dataclasses import dataclass

from meshbdd.load.lapses import Own, excused
from meshbdd.load.result import Result
from meshbdd.load.schedule import seconds_until
from meshbdd.load.summary import Summary

_BEHIND_SHARE, _BEHIND_SECONDS = 0.05, 0.1
"""A load that takes longer than its schedule by more than both has not held its rate; less is a last request's chance."""


@dataclass(frozen=True, slots=True)
class Holding:
    """How an open loop kept to its schedule.

    Attributes:
        wanted: Requests by the second as the plan says; while a rate rises, on the average.
        reached: Requests started by the second, over the whole time of the schedule and what it took longer.
        lag_p99: Seconds by which requests started late, at the 99th percentile; ``None`` where none was started.
        never: Requests that were due and never started, whosever doing it is.
        connections: How many requests could be under way, where at some time all were, and the service was too slow.
            ``None``: it never came to that.
        by_this_machine: Whether the rate was not held because this machine was late.
        held: Whether the rate was held.
    """

    wanted: float
    reached: float
    lag_p99: float | None
    never: int
    connections: int | None
    by_this_machine: bool
    held: bool

    @property
    def told(self) -> str:
        """The rate that was reached, in a sentence without its full stop."""
        late = "" if self.lag_p99 is None else f", late by {self.lag_p99 * 1000:.1f} ms at the p99"
        never = f", and {self.never} requests were never started" if self.never else ""
        figures = f"{self.reached:.1f}/s were started{late}{never}"
        if self.held:
            return f"the rate was held: {figures}"
        why = "this machine was too busy" if self.by_this_machine else "the load was stopped"
        if self.connections:
            waited = f"all {self.connections} connections waited for answers"
            why = f"{why} and {waited}" if self.by_this_machine else waited
        return f"the rate was not held, for {why}: {self.wanted:.1f}/s were due and {figures}"


def holding(result: Result, summary: Summary) -> Holding | None:
    """How a load kept to its schedule; ``None`` where it had none, or nothing was due.

    Args:
        result: The load.
        summary: Its numbers.
    """
    pace, never = result.plan.pace, result.unsent + result.overdue + result.missed
    due = result.sent + never
    if pace is None or not due:
        return None
    behind = summary.last_start - summary.last_due
    late = behind > max(summary.last_due * _BEHIND_SHARE, _BEHIND_SECONDS * 1e6)
    own = excused(Own(result.lapses).during(summary.last_due, summary.last_start), behind)
    planned = seconds_until(pace)(due)
    return Holding(
        wanted=due / planned,
        reached=result.sent / max(planned, summary.last_start / 1e6),
        lag_p99=summary.lag.get_value_at_percentile(99) / 1e6 if summary.lag.get_total_count() else None,
        never=never,
        connections=result.plan.connections if result.crowded else None,
        by_this_machine=result.missed > 0 or (late and (own or not result.crowded)),
        held=not never and not late,
    )
