"""A worker process of a load: it runs one engine, writes rows into shared memory, and tells the rest through a pipe."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

from meshbdd.load.answer import Outcome
from meshbdd.load.engine import Engine
from meshbdd.load.ids import RequestIds
from meshbdd.load.lapses import Lapse
from meshbdd.load.plan import Plan
from meshbdd.load.record import BLOCK, Record
from meshbdd.load.schedule import arrivals
from meshbdd.load.shared import SharedMemory

_TELL_SECONDS = 0.2
"""How often a worker tells how far it is: often enough for a progress line, too seldom to be felt."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a worker is to do.

    Attributes:
        plan: Its part of the load; of an open loop the whole.
        ids: Ids of its requests.
        places: Where its host is, as ``resolve`` gives it.
        seed: For Poisson arrivals.
        first: Number of the first arrival that is this worker's.
        step: How many workers there are.
    """

    plan: Plan
    ids: RequestIds
    places: Sequence[str]
    seed: int
    first: int
    step: int


@dataclass(frozen=True, slots=True)
class Go:
    """Begin; ``began`` is the load's zero, ``time.perf_counter_ns``."""

    began: int


@dataclass(frozen=True, slots=True)
class Stop:
    """As ``Engine.stop``."""

    at_once: bool


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker waits for ``Go``."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How far the worker has come; the last time, with the answers that it kept, why requests failed, and its lapses."""

    sent: int
    finished: int
    failed: int
    stopped: int
    unsent: int
    overdue: int
    missed: int
    crowded: bool
    over: bool
    answers: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    lapses: Sequence[Lapse] = ()


@dataclass(frozen=True, slots=True)
class Failed:
    """The worker could not do its part."""

    error: str


class _Told:
    """The worker's end of the pipe; two threads speak into it."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()

    def tell(self, what: Ready | Counts | Failed | Outcome) -> None:
        """Say something; a reader that is gone is no longer interested."""
        with self._lock:
            try:
                self._pipe.send(what)
            except OSError:
                return


def _counts(engine: Engine, *, over: bool) -> Counts:
    record = engine.record
    kept = (record.answers(), record.reasons, engine.lapses) if over else ()
    counts = engine.sent, record.finished, record.failed, record.stopped, engine.unsent, engine.overdue, engine.missed
    return Counts(*counts, engine.crowded, over, *kept)


def _listen(pipe: Connection, engine: Engine, told: _Told, over: threading.Event) -> None:
    """Do as the pipe says, and tell the counts meanwhile; when the other end is gone, stop."""
    while not over.is_set():
        try:
            if pipe.poll(_TELL_SECONDS):
                order = pipe.recv()
                engine.stop(at_once=isinstance(order, Stop) and order.at_once)
        except (EOFError, OSError):
            engine.stop(at_once=True)
            return
        told.tell(_counts(engine, over=False))


def _next(pipe: Connection) -> object:
    """What the other end says next; ``None`` where it is gone."""
    try:
        return pipe.recv()
    except (EOFError, OSError):
        return None


def work(pipe: Connection, memory: SharedMemory) -> None:
    """Carry out the order that the pipe gives; nothing, where the other end is gone before it begins."""
    told, order = _Told(pipe), _next(pipe)
    if not isinstance(order, Order):
        return
    plan = order.plan
    schedule = arrivals(plan.pace, order.seed, order.first, order.step) if plan.pace else None
    engine = Engine(plan, order.ids, order.places, schedule, Record(plan.keep, memory, told.tell))
    told.tell(Ready())
    gc.collect()
    gc.freeze()
    gc.disable()  # nothing that a request leaves behind is a cycle, and a collection would be a pause
    go = _next(pipe)
    if not isinstance(go, Go):
        return
    over = threading.Event()
    threading.Thread(target=_listen, args=(pipe, engine, told, over), daemon=True).start()
    try:
        engine.run(go.began)
    except Exception as error:  # noqa: BLE001 - told to the process that waits, which raises it
        told.tell(Failed(repr(error)))
    over.set()
    told.tell(_counts(engine, over=True))


def main() -> None:
    """The process that ``Workers`` starts; its arguments are the numbers of two descriptors: pipe and memory."""
    work(Connection(int(sys.argv[1])), SharedMemory(BLOCK, int(sys.argv[2])))
