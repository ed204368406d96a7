"""The record of a load: a row of 24 bytes for each request, what the outcomes were, and some answers in full."""

from __future__ import annotations

import itertools
import struct
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from meshbdd.load.answer import Outcome
from meshbdd.load.shared import SharedMemory

ROW = struct.Struct("=IHIIIIH")
"""Start (µs since the load began; low 32 bits, then 16 more), lag behind its schedule, first byte and end (µs since its
start), bytes of the body, number of the outcome. Zeros: not finished, or not even sent. 16 + 32 bits last for 8 years."""

ROWS = 4096
"""Rows of a block. Blocks are made as they are needed and never move, so memory grows evenly and readers need no lock."""

BLOCK = ROWS * ROW.size
"""Bytes of a block: 24 pages of 4 KiB."""

MOST = 0xFFFFFFFF
"""The largest value of a column; longer spans and bodies are recorded as this."""

_MOST_OUTCOMES = 20_000
_OVERHEAD = 300
"""Bytes that Python needs for an answer kept, besides its text."""
_LAST = 100


@dataclass(frozen=True, slots=True)
class Row:
    """One request, times in microseconds.

    Attributes:
        number: Its place in the order of starts.
        start: Its start, since the load began.
        lag: By how much it started later than its schedule said; 0 in a closed loop.
        first_byte: From its start to the first byte of the answer; 0 where none came.
        end: From its start to the last byte, or to the failure.
        size: Bytes of the body.
        outcome: Number of its outcome.
    """

    number: int
    start: int
    lag: int
    first_byte: int
    end: int
    size: int
    outcome: int


class Record:
    """Rows by the number of the request, in the order of starts; written by one thread, read by any.

    Args:
        keep: How many bytes of answers to keep in full: the first ones, and as much again of failed ones. Besides, the
            last hundred are always kept.
        memory: Where the rows are, for another process to read; ``None``: here.
        new_outcome: Told each new outcome before a row names it.
    """

    def __init__(
        self,
        keep: int,
        memory: SharedMemory | None = None,
        new_outcome: Callable[[Outcome], None] | None = None,
    ) -> None:
        self._blocks: list[bytearray | memoryview] = []
        self._memory = memory
        self._new_outcome = new_outcome
        self.outcomes: list[Outcome] = []
        """Outcome number n is ``outcomes[n - 1]``."""
        self.reasons: dict[str, str] = {}
        """The word for a failure → what libcurl said of the first one."""
        self._numbers: dict[Outcome, int] = {}
        self._answers: dict[int, tuple[bytes, bytes]] = {}
        self._last: deque[tuple[int, bytes, bytes]] = deque(maxlen=_LAST)
        self._room = self._room_for_failed = keep
        self.finished = 0
        self.failed = 0
        self.stopped = 0

    def outcome_number(self, outcome: Outcome) -> int:
        """The number of an outcome, a new one for a new outcome.

        Once there are too many, those of values that the plan wants kept lose their values and say so.
        """
        number = self._numbers.get(outcome)
        if number is None:
            if len(self.outcomes) >= _MOST_OUTCOMES and outcome.complete and (outcome.headers or outcome.fields):
                return self.outcome_number(
                    Outcome(outcome.status, outcome.error, outcome.grpc, outcome.flags, complete=False)
                )
            if self._new_outcome is not None:
                self._new_outcome(outcome)
            self.outcomes.append(outcome)
            number = self._numbers[outcome] = len(self.outcomes)
        return number

    def write(self, number: int, start: int, lag: int, first_byte: int, end: int, size: int, outcome: int) -> None:
        """Write down what became of a request; the columns of ``Row``."""
        block, place = self._block(number), number % ROWS * ROW.size
        try:
            ROW.pack_into(block, place, start & MOST, start >> 32, lag, first_byte, end, size, outcome)
        except struct.error:
            lag, first_byte, end, size = (min(max(value, 0), MOST) for value in (lag, first_byte, end, size))
            ROW.pack_into(block, place, start & MOST, start >> 32, lag, first_byte, end, size, outcome)

    def _block(self, number: int) -> bytearray | memoryview:
        """The block that a row belongs to, made when it is first asked for."""
        index = number // ROWS
        while len(self._blocks) <= index:
            self._blocks.append(bytearray(BLOCK) if self._memory is None else self._memory.add())
        return self._blocks[index]

    def keep(self, number: int, head: bytes, body: bytes, *, good: bool) -> None:
        """Keep an answer in full, if there is room."""
        cost = len(head) + len(body) + _OVERHEAD
        if self._room >= cost:
            self._room -= cost
            self._answers[number] = (head, body)
        elif not good and self._room_for_failed >= cost:
            self._room_for_failed -= cost
            self._answers[number] = (head, body)
        else:
            self._last.append((number, head, body))

    def answer(self, number: int) -> tuple[bytes, bytes] | None:
        """Head and body of an answer, as they came, if they were kept."""
        if number in self._answers:
            return self._answers[number]
        return next(((head, body) for kept, head, body in self._last.copy() if kept == number), None)

    def answers(self) -> dict[int, tuple[bytes, bytes]]:
        """All answers that were kept, by the number of the request."""
        return {**self._answers, **{number: (head, body) for number, head, body in self._last}}

    def columns(self, first: int = 0) -> Iterator[tuple[int, ...]]:
        """What ``rows`` gives, as plain tuples: quick, for counting over all of a long load."""
        return unpack(self._blocks, first)

    def rows(self, first: int = 0) -> Iterator[Row]:
        """The requests from number ``first`` on that are finished, in the order of their starts."""
        return itertools.starmap(Row, self.columns(first))


def unpack(blocks: Sequence[bytearray | memoryview], first: int) -> Iterator[tuple[int, ...]]:
    """Rows of blocks that are finished: number, start, lag, first byte, end, size and number of the outcome."""
    for index in range(first // ROWS, len(blocks)):
        for number, values in enumerate(ROW.iter_unpack(blocks[index]), index * ROWS):
            if values[6] and number >= first:
                low, high, lag, first_byte, end, size, outcome = values
                yield number, low | high << 32, lag, first_byte, end, size, outcome
