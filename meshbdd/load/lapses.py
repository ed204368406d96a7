"""Times in which this machine itself was late, so that no service is blamed for them.

A request that is due waits either for a free connection, while the engine's loop comes round in time: that is the
service's doing. Or it waits for the loop: the process was stopped, had no processor, or has more to do than one core
can. That is a **lapse**. Afterwards everything that became due meanwhile is sent at once, and whatever that burst leads
to is the lapse's doing too, until the schedule is caught up with and the burst is over.

In a closed loop no burst follows: a user has one request under way at most, whatever the loop missed. What a lapse does
there is that answers are seen late, or that nobody is there to see them before their time is up.
"""

from __future__ import annotations

import contextlib
import os
import time
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

LATE_NS = 10_000_000
"""How late the loop may come round before it is a lapse. Latencies are off by less than that in any case."""

LONGEST_WAIT = 0.02
"""Seconds for which the loop lets itself be put to sleep: a sleep that is longer was not wanted."""

STANDSTILL = 0.1
"""Seconds of lateness from which on not only this process may have stood still, but the service or its sidecar as well."""

_SLICE_NS = 20_000_000
_BUSY = 0.8
"""Share of a slice of time from which on the loop, with requests waiting for it, is what is too slow."""

_MOST = 1000
_RUN_DELAY = "/proc/thread-self/schedstat"
"""CPU time and time spent ready to run but without a processor, in nanoseconds; Linux, Documentation/scheduler/sched-stats.rst."""


@dataclass(frozen=True, slots=True)
class Lapse:
    """Times in microseconds since the load began.

    Attributes:
        begin: When the loop was last known to be in time.
        end: When the schedule was caught up with, and what was sent to that end was over.
        own: How much of it the loop did not come round: no request was made later or slower by more than that.
    """

    begin: int
    end: int
    own: int


class Lapses:
    """Finds them while a loop turns; all times are ``time.perf_counter_ns``.

    Args:
        began: When the load begins.
    """

    def __init__(self, began: int) -> None:
        self.found: list[Lapse] = []
        self._began = self._turn = self._slice = began
        self._idle = self._slice_idle = 0
        self._stats: int | None = None
        with contextlib.suppress(OSError):  # another system than Linux: stops are seen, a missing processor is not
            self._stats = os.open(_RUN_DELAY, os.O_RDONLY)
        self._ran = self._running()
        self._open = self._own = self._level = self._caught_up = self._before = 0

    def close(self, now: int) -> None:
        """The load is over."""
        if self._open:
            self._end(now)
        if self._stats is not None:
            os.close(self._stats)
            self._stats = None

    @property
    def lasting(self) -> bool:
        """Whether what happens now may be a lapse's doing."""
        return self._open > 0

    def own_since(self, when: int) -> int:
        """Nanoseconds for which what has been waiting since then may have waited for this machine at most."""
        own, micros = self._own if self._open else 0, (when - self._began) // 1000
        for lapse in reversed(self.found):
            if lapse.end <= micros:
                break
            own += lapse.own * 1000
        return own

    def slept(self, nanoseconds: int, wanted: float) -> None:
        """The loop had nothing to do.

        Args:
            nanoseconds: How long it slept.
            wanted: For how many seconds at most it was to sleep.
        """
        self._idle += min(nanoseconds, round(wanted * 1e9))

    def turned(self, now: int, late: int, under_way: int) -> None:
        """The loop comes round.

        Args:
            now: When.
            late: For how long the request that is due next has been waiting; not above 0: it is not due yet, or is never
                kept waiting.
            under_way: How many requests have no answer yet.
        """
        own = now - self._turn - self._idle
        if own > LATE_NS:
            self._lapse(self._turn, own)
            self._cut(now)
        else:
            self._slice_idle += self._idle
            if now - self._slice >= _SLICE_NS:
                self._judge_slice(now, late)
        self._turn, self._idle, self._before = now, 0, under_way
        if self._open:
            self._see_end(now, late, under_way)

    def _judge_slice(self, now: int, late: int) -> None:
        """Short turns may be too slow in sum."""
        wall = now - self._slice
        if late > LATE_NS:
            own = max(self._running() - self._ran, wall - self._slice_idle)
            if own > _BUSY * wall:
                self._lapse(self._slice, min(own, wall))
        self._cut(now)

    def _cut(self, now: int) -> None:
        self._slice, self._slice_idle, self._ran = now, 0, self._running()

    def _running(self) -> int:
        """Nanoseconds for which this thread has run, or would have if it had had a processor."""
        if self._stats is None:
            return time.thread_time_ns()
        ran, waited, _ = os.pread(self._stats, 64, 0).split()
        return int(ran) + int(waited)

    def _lapse(self, begin: int, own: int) -> None:
        if not self._open:
            self._open, self._own, self._level = begin, 0, self._before
        self._own += own
        self._caught_up = 0

    def _see_end(self, now: int, late: int, under_way: int) -> None:
        """It is over when the schedule is caught up with and its burst is answered, at the latest as long after that as it
        was itself; or when requests are late by far more than it can have made them.
        """
        if late > 2 * self._own + LATE_NS:
            self._end(now)
        elif late <= LATE_NS:
            self._caught_up = self._caught_up or now
            if under_way <= self._level or now - self._caught_up > self._own:
                self._end(now)

    def _end(self, now: int) -> None:
        begin, end, own = ((value + 999) // 1000 for value in (self._open - self._began, now - self._began, self._own))
        if len(self.found) >= _MOST:
            last = self.found.pop()
            begin, own = last.begin, own + last.own
        self.found.append(Lapse(begin, end, own))
        self._open = 0


class Own:
    """How much of a request's time may be this machine's doing.

    Args:
        lapses: Those of a load, of all its processes.
    """

    def __init__(self, lapses: Sequence[Lapse]) -> None:
        self._lapses: list[Lapse] = []
        for lapse in sorted(lapses, key=lambda lapse: lapse.begin):
            last = self._lapses[-1] if self._lapses else None
            if last is not None and lapse.begin < last.end:  # of another process
                self._lapses[-1] = Lapse(last.begin, max(last.end, lapse.end), last.own + lapse.own)
            else:
                self._lapses.append(lapse)
        self._ends = [lapse.end for lapse in self._lapses]
        self.whole = sum(lapse.own for lapse in self._lapses)
        """All of it, in microseconds."""

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self._lapses)

    def during(self, due: int, end: int) -> int:
        """Microseconds by which a request may have been made later and slower at most; never more than it took.

        Args:
            due: When it should have started, in microseconds since the load began.
            end: When it ended.
        """
        own, place = 0, bisect_right(self._ends, due)
        while place < len(self._lapses) and self._lapses[place].begin < end:
            own += self._lapses[place].own
            place += 1
        return min(own, end - due)


def excused(own: float, latency: float, least: float = 0.0) -> bool:
    """Whether a failure after ``latency`` may be due to a machine that was late by ``own``: at least half of that time.

    Args:
        own: In the unit of ``latency``.
        latency: From when the request was due to its end.
        least: How late a machine is at least that such a failure comes of: ``least_for`` says it of a request.
    """
    return own > 0 and own >= least and own * 2 >= latency


def least_for(*, paced: bool, answered: bool) -> float:
    """Seconds for which a machine was late at least that a failure may come of.

    An answer that a user of a closed loop got says what the service had to say, however late it was read: only where the
    whole machine stood still may that have been another one. In an open loop a burst may have brought it about.
    """
    return STANDSTILL if answered and not paced else 0.0
