"""A load carried out by processes of its own, as many as cores are wanted; to its user it is a load like any other."""

from __future__ import annotations

import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from typing import Self

from meshbdd.errors import EnvironmentBroken
from meshbdd.load.answer import Outcome
from meshbdd.load.descriptors import allow_descriptors
from meshbdd.load.ids import RequestIds
from meshbdd.load.load import Progress
from meshbdd.load.merging import MergedIds, MergedRecord, Part
from meshbdd.load.places import resolve
from meshbdd.load.plan import Plan
from meshbdd.load.record import BLOCK
from meshbdd.load.result import Result
from meshbdd.load.shared import SharedMemory
from meshbdd.load.worker import Counts, Failed, Go, Order, Ready, Stop
from meshbdd.units import Duration

_READY_SECONDS = 30.0
_MAIN = "from meshbdd.load.worker import main; main()"


class _Worker:
    """One process, and what it has told."""

    def __init__(self, order: Order) -> None:
        ours, theirs = socket.socketpair()
        memory = SharedMemory(BLOCK)
        self.part = Part(memory)
        self.ready = self.over = False
        self.failure: str | None = None
        with theirs:
            # A session of its own: Ctrl-C is for the process that started it, which then says how to stop.
            self.process = subprocess.Popen(
                [sys.executable, "-c", _MAIN, str(theirs.fileno()), str(memory.descriptor)],
                pass_fds=(theirs.fileno(), memory.descriptor),
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        self.pipe = Connection(ours.detach())
        self.pipe.send(order)

    def hear(self) -> None:
        """Take in what it says next."""
        try:
            told = self.pipe.recv()
        except (EOFError, OSError):
            if not self.over:
                self.part.recount()
                self.failure = self.failure or f"it ended with exit code {self.process.wait()}"
            self.over = self.ready = True
            return
        if isinstance(told, Outcome):
            self.part.outcomes.append(told)
        elif isinstance(told, Counts):
            part = self.part
            part.sent, part.finished, part.failed = told.sent, told.finished, told.failed
            part.stopped, part.unsent, part.overdue = told.stopped, told.unsent, told.overdue
            part.missed, part.crowded = told.missed, told.crowded
            if told.over:
                part.answers, part.reasons, part.lapses, self.over = told.answers, told.reasons, told.lapses, True
        elif isinstance(told, Failed):
            self.failure = told.error
        elif isinstance(told, Ready):
            self.ready = True

    def say(self, what: Go | Stop) -> None:
        """Tell it something; one that has ended needs no telling."""
        try:
            self.pipe.send(what)
        except OSError:
            return


class Workers:
    """A load that runs in processes of its own; ``Workers.start(plan, number)`` begins it.

    As a context manager, it ends at the end of the block at the latest.
    """

    def __init__(self, plan: Plan, number: int) -> None:
        seed = plan.seed if plan.seed is not None else random.SystemRandom().getrandbits(32)
        orders = split(plan, number, seed)
        self.plan = plan
        self._ids = MergedIds([order.ids for order in orders])
        self._workers = [_Worker(order) for order in orders]
        self._record = MergedRecord([worker.part for worker in self._workers])
        self._over = threading.Event()
        self._ready = threading.Event()
        self._began = self._ended = 0
        self._began_unix = 0.0
        self._thread = threading.Thread(target=self._listen, name="meshbdd-load-workers", daemon=True)

    @classmethod
    def start(cls, plan: Plan, number: int = 1) -> Workers:
        """Begin a load.

        Args:
            plan: What to send; the users, or the arrivals of its schedule, are dealt out.
            number: How many processes, at most one for each user.

        Raises:
            BadInput: its host is not known.
            EnvironmentBroken: the processes do not start.
        """
        load = cls(plan, number)
        load._thread.start()
        try:
            load._ready.wait(_READY_SECONDS)
            load._check()
            load._began, load._began_unix = time.perf_counter_ns(), time.time()
            load._say(Go(load._began))
        except KeyboardInterrupt:
            load.close()
            raise
        return load

    def _listen(self) -> None:
        speaking = {worker.pipe: worker for worker in self._workers}
        while speaking:
            for pipe in wait(list(speaking)):
                worker = speaking[pipe]  # type: ignore[index] # what was given comes back
                worker.hear()
                if worker.over:
                    del speaking[worker.pipe]
            if all(worker.ready or worker.failure for worker in self._workers):
                self._ready.set()
        self._ended = time.perf_counter_ns()
        self._over.set()

    def _say(self, what: Go | Stop) -> None:
        for worker in self._workers:
            worker.say(what)

    def _check(self) -> None:
        """Raise what a worker could not do."""
        failure = next((worker.failure for worker in self._workers if worker.failure), None)
        if failure is None and self._ready.is_set():
            return
        self.close()
        raise EnvironmentBroken(
            "MB0516",
            f"A worker process of the load could not do its part: {failure or 'it does not answer'}.",
            help="see what it wrote above; what was sent until then is in the result",
        )

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._over.is_set()

    def progress(self) -> Progress:
        """How far it has come; a fifth of a second old at most."""
        record = self._record
        sent = sum(worker.part.sent for worker in self._workers)
        return Progress(self._seconds(), sent, record.finished, record.failed)

    def _seconds(self) -> float:
        return ((self._ended or time.perf_counter_ns()) - self._began) / 1e9 if self._began else 0.0

    def result(self) -> Result:
        """What has finished so far."""
        parts = [worker.part for worker in self._workers]
        return Result(
            self.plan,
            self._record,
            self._ids,
            self._began_unix,
            self._seconds(),
            sent=sum(part.sent for part in parts),
            unsent=sum(part.unsent for part in parts),
            over=self.over,
            overdue=sum(part.overdue for part in parts),
            missed=sum(part.missed for part in parts),
            crowded=any(part.crowded for part in parts),
            lapses=[lapse for part in parts for lapse in part.lapses],
        )

    def stop(self, *, at_once: bool = False) -> Result:
        """As ``Load.stop``."""
        self._say(Stop(at_once))
        return self.wait()

    def wait(self, within: Duration | None = None) -> Result:
        """As ``Load.wait``.

        Raises:
            EnvironmentBroken: a worker did not do its part; ``result`` has what was written down until then.
        """
        self._over.wait(within.seconds if within else None)
        if self.over:
            self._check()
        return self.result()

    def close(self) -> None:
        """End it, and its processes."""
        self._say(Stop(at_once=True))
        for worker in self._workers:
            if not worker.ready:
                worker.process.kill()
        for worker in self._workers:
            try:
                worker.process.wait(_READY_SECONDS)
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
        self._thread.join(_READY_SECONDS)
        for worker in self._workers:
            worker.pipe.close()
            worker.part.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def split(plan: Plan, number: int, seed: int) -> Sequence[Order]:
    """Deal a load out to processes; together they send exactly what one would.

    Raises:
        BadInput: its host is not known.
        EnvironmentBroken: this machine cannot have so many connections.
    """
    if plan.pace is None:
        number = min(number, plan.users, plan.count or plan.users)
    elif plan.count is not None:
        number = min(number, plan.count)

    places = resolve(plan)
    allow_descriptors(plan.connections if plan.pace else plan.users)  # the processes inherit what is allowed here

    def share(whole: int, place: int) -> int:
        return (whole - place + number - 1) // number

    return [
        Order(
            replace(
                plan,
                users=share(plan.users, place) if plan.pace is None else plan.users,
                count=None if plan.count is None else share(plan.count, place),
                connections=max(1, share(plan.connections, place)),
                keep=plan.keep // number,
            ),
            RequestIds(plan.message, None if plan.seed is None else plan.seed * number + place),
            places,
            seed,
            place,
            number,
        )
        for place in range(number)
    ]
