"""What became of a load: all of it, or what has finished so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from meshbdd.load.answer import STOPPED, Outcome, read_head
from meshbdd.load.ids import RequestIds
from meshbdd.load.lapses import Lapse, Own
from meshbdd.load.merging import MergedIds, MergedRecord
from meshbdd.load.plan import Plan
from meshbdd.load.record import Record, Row
from meshbdd.load.sample import Sample

_IN_TIME = Own(())


@dataclass(frozen=True, slots=True)
class Result:
    """The requests of a load that have finished.

    Attributes:
        plan: What was wanted.
        record: What was written down.
        ids: The ids of its requests.
        began: Unix time of its begin.
        seconds: How long it took, or has taken so far.
        sent: Requests that were started.
        unsent: Requests that were due, but could not be started within their timeout.
        over: Whether the load has ended.
        overdue: Requests that were due, and not started when the load was stopped at once.
        missed: Requests that were due, and not started because this machine was late; they say nothing of the service.
        crowded: Whether a request that was due had to wait because all connections were under way, by no doing of this
            machine.
        lapses: When this machine was late; known once the load has ended.
    """

    plan: Plan
    record: Record | MergedRecord
    ids: RequestIds | MergedIds
    began: float
    seconds: float
    sent: int
    unsent: int
    over: bool
    overdue: int = 0
    missed: int = 0
    crowded: bool = False
    lapses: Sequence[Lapse] = ()

    def __len__(self) -> int:
        """How many requests have an outcome."""
        return self.record.finished

    @property
    def stopped(self) -> int:
        """Requests that were under way when the load was stopped at once: sent, with no outcome."""
        return self.record.stopped

    @property
    def requests_per_second(self) -> float:
        """Requests with an outcome, by the second."""
        return len(self) / self.seconds if self.seconds else 0.0

    def outcomes(self) -> Counter[Outcome]:
        """How many requests had which outcome."""
        numbers = Counter(row.outcome for row in self.rows())
        return Counter({self.record.outcomes[number - 1]: count for number, count in numbers.items()})

    def rows(self, first: int = 0) -> Iterator[Row]:
        """The record's rows of requests with an outcome, in the order of their starts."""
        outcomes = self.record.outcomes
        return (row for row in self.record.rows(first) if outcomes[row.outcome - 1].error != STOPPED)

    def samples(self, first: int = 0) -> Iterator[Sample]:
        """The requests with an outcome, in the order of their starts.

        Args:
            first: Number of the request to begin with.
        """
        own = Own(self.lapses)
        return (self.sample(row, own) for row in self.rows(first))

    def sample(self, row: Row, own: Own = _IN_TIME) -> Sample:
        """A row as claims see it.

        Args:
            row: It.
            own: When this machine was late.
        """
        outcome = self.record.outcomes[row.outcome - 1]
        answer = self.record.answer(row.number)
        headers = dict(outcome.headers)
        if outcome.grpc is not None:
            headers["grpc-status"] = outcome.grpc
        if answer is not None and outcome.status is not None:
            headers = read_head(answer[0])[1]
        started = self.began + row.start / 1e6
        return Sample(
            request_id=self.ids.of(row.number),
            started=started,
            seconds=(row.lag + row.end) / 1e6,
            status=outcome.status,
            error=outcome.error,
            headers=headers if outcome.status is not None else None,
            body=answer[1] if answer is not None and outcome.status is not None else b"",
            scheduled=started - row.lag / 1e6 if self.plan.pace is not None else None,
            first_byte=row.first_byte / 1e6 if row.first_byte else None,
            size=row.size,
            flags=outcome.flags,
            fields=dict(outcome.fields) if outcome.complete else None,
            kept=answer is not None or outcome.status is None,
            own=own.during(row.start - row.lag, row.start + row.end) / 1e6 if own else 0.0,
        )
