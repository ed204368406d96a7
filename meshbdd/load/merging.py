"""The records of several workers as one: request n of worker w of k is request n*k + w."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator, Sequence

from meshbdd.load.answer import STOPPED, Outcome
from meshbdd.load.ids import RequestIds
from meshbdd.load.lapses import Lapse
from meshbdd.load.record import Row, unpack
from meshbdd.load.shared import SharedMemory


class Part:
    """What one worker has written down, read from another process.

    Args:
        memory: Where its rows are.
    """

    def __init__(self, memory: SharedMemory) -> None:
        self._memory: SharedMemory | None = memory
        self._blocks: list[memoryview] = []
        self.outcomes: list[Outcome] = []
        self.answers: dict[int, tuple[bytes, bytes]] = {}
        self.reasons: dict[str, str] = {}
        self.sent = self.finished = self.failed = self.stopped = self.unsent = self.overdue = self.missed = 0
        self.crowded = False
        self.lapses: Sequence[Lapse] = ()

    def _open(self) -> None:
        if self._memory is not None:
            self._blocks += [self._memory.block(index) for index in range(len(self._blocks), len(self._memory))]

    def close(self) -> None:
        """No more rows will come; give the descriptor back."""
        self._open()
        if self._memory is not None:
            self._memory.close()
            self._memory = None

    def columns(self, first: int = 0) -> Iterator[tuple[int, ...]]:
        """As ``Record.columns``; a row whose outcome has not been told yet is left out for now."""
        self._open()
        known = len(self.outcomes)
        return (row for row in unpack(self._blocks, first) if row[6] <= known)

    def recount(self) -> None:
        """Count the rows themselves: the worker ended without having told its last counts."""
        good = [outcome.succeeded for outcome in self.outcomes]
        stopped = [outcome.error == STOPPED for outcome in self.outcomes]
        self.finished = self.failed = self.stopped = last = 0
        for number, *_, outcome in self.columns():
            last = number + 1
            self.stopped += stopped[outcome - 1]
            self.finished += not stopped[outcome - 1]
            self.failed += not good[outcome - 1] and not stopped[outcome - 1]
        self.sent = max(self.sent, last)
        self.stopped = self.sent - self.finished


class MergedRecord:
    """Several parts; to ``Result`` it is a record like any other."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = parts
        self.outcomes: list[Outcome] = []
        self._numbers: dict[Outcome, int] = {}

    @property
    def finished(self) -> int:
        """Requests with an outcome."""
        return sum(part.finished for part in self._parts)

    @property
    def failed(self) -> int:
        """Of these, those that did not succeed."""
        return sum(part.failed for part in self._parts)

    @property
    def stopped(self) -> int:
        """Requests that were under way when the load was stopped at once."""
        return sum(part.stopped for part in self._parts)

    @property
    def reasons(self) -> dict[str, str]:
        """As ``Record.reasons``."""
        return dict(itertools.chain.from_iterable(part.reasons.items() for part in self._parts))

    def _number(self, outcome: Outcome) -> int:
        if outcome not in self._numbers:
            self.outcomes.append(outcome)
            self._numbers[outcome] = len(self.outcomes)
        return self._numbers[outcome]

    def _part(self, place: int, first: int) -> Iterator[tuple[int, ...]]:
        step, part = len(self._parts), self._parts[place]
        numbers = [self._number(outcome) for outcome in part.outcomes]
        return (
            (number * step + place, *times, numbers[outcome - 1])
            for number, *times, outcome in part.columns(max(0, -(-(first - place) // step)))
        )

    def columns(self, first: int = 0) -> Iterator[tuple[int, ...]]:
        """As ``Record.columns``, but one worker's rows after the other's."""
        if len(self._parts) == 1:
            self.outcomes = self._parts[0].outcomes
            return self._parts[0].columns(first)
        return itertools.chain.from_iterable(self._part(place, first) for place in range(len(self._parts)))

    def rows(self, first: int = 0) -> Iterator[Row]:
        """As ``Record.rows``."""
        parts = [self._part(place, first) for place in range(len(self._parts))]
        return itertools.starmap(Row, heapq.merge(*parts))

    def answer(self, number: int) -> tuple[bytes, bytes] | None:
        """As ``Record.answer``; answers come with the end of the load."""
        place, step = number % len(self._parts), len(self._parts)
        return self._parts[place].answers.get(number // step)


class MergedIds:
    """The ids of several workers' requests."""

    def __init__(self, ids: Sequence[RequestIds]) -> None:
        self._ids = ids

    def of(self, number: int) -> str:
        """As ``RequestIds.of``."""
        return self._ids[number % len(self._ids)].of(number // len(self._ids))

    @property
    def kin(self) -> frozenset[str]:
        """As of ``RequestIds``, of every worker."""
        return frozenset().union(*(ids.kin for ids in self._ids))
