"""A load that runs in the background."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from meshbdd.load.engine import Engine
from meshbdd.load.ids import RequestIds
from meshbdd.load.places import resolve
from meshbdd.load.plan import Plan
from meshbdd.load.record import Record
from meshbdd.load.result import Result
from meshbdd.load.sample import Sample
from meshbdd.load.schedule import arrivals
from meshbdd.units import Duration

_LOOK_SECONDS = 0.005
"""How often a running load is asked for new samples."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a load has come.

    Attributes:
        seconds: Since its begin.
        sent: Requests started.
        finished: Requests with an outcome.
        failed: Of these, those that did not succeed.
    """

    seconds: float
    sent: int
    finished: int
    failed: int


class Load:
    """A load that runs; ``Load.start(plan)`` begins it.

    It ends as its plan says, or when it is stopped; as a context manager, at the end of the block at the latest.
    """

    def __init__(self, plan: Plan) -> None:
        seed = plan.seed if plan.seed is not None else random.SystemRandom().getrandbits(32)
        self.plan = plan
        self._ids = RequestIds(plan.message, plan.seed)
        schedule = arrivals(plan.pace, seed) if plan.pace else None
        self._engine = Engine(plan, self._ids, resolve(plan), schedule, Record(plan.keep))
        self._over = threading.Event()
        self._failure: BaseException | None = None
        # Its own thread, for a signal's exception must not be raised inside a callback of libcurl: it would be lost.
        self._thread = threading.Thread(target=self._run, name="meshbdd-load", daemon=True)

    @classmethod
    def start(cls, plan: Plan) -> Load:
        """Begin a load."""
        load = cls(plan)
        load._thread.start()
        return load

    def _run(self) -> None:
        try:
            self._engine.run()
        except BaseException as failure:  # noqa: BLE001 - raised again where the load is waited for
            self._failure = failure
        finally:
            self._over.set()

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._over.is_set()

    def progress(self) -> Progress:
        """How far it has come."""
        engine = self._engine
        return Progress(self._seconds(), engine.sent, engine.record.finished, engine.record.failed)

    def _seconds(self) -> float:
        engine = self._engine
        return ((engine.ended or time.perf_counter_ns()) - engine.began) / 1e9 if engine.began else 0.0

    def result(self) -> Result:
        """What has finished so far."""
        engine = self._engine
        return Result(
            self.plan,
            engine.record,
            self._ids,
            engine.began_unix,
            self._seconds(),
            engine.sent,
            engine.unsent,
            self.over,
            engine.overdue,
            engine.missed,
            engine.crowded,
            tuple(engine.lapses),
        )

    def samples(self) -> Iterator[Sample]:
        """Its samples in the order of their starts, each as soon as it and all before it have finished."""
        next_number = 0
        while True:
            over = self.over
            result = self.result()
            for row in result.rows(next_number):
                if row.number != next_number and not over:
                    break  # one that started earlier is still under way
                next_number = row.number + 1
                yield result.sample(row)
            if over:
                return
            self._over.wait(_LOOK_SECONDS)

    def stop(self, *, at_once: bool = False) -> Result:
        """Want no more, and wait for what is under way or was due.

        Args:
            at_once: Do not wait; what is under way has no outcome then, and is told by ``Result.stopped``, and what was
                due and not started by ``Result.overdue``.
        """
        self._engine.stop(at_once=at_once)
        return self.wait()

    def wait(self, within: Duration | None = None) -> Result:
        """Wait for its end.

        Args:
            within: How long; what has finished by then is given. ``None``: as long as it takes.
        """
        self._over.wait(within.seconds if within else None)
        if self._failure is not None:
            raise self._failure
        return self.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._engine.stop(at_once=True)
        self._over.wait()
