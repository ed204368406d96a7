"""Runs of several batches at a time, each on a lab of its own: most of a run is waiting for what takes its time."""

from __future__ import annotations

import contextlib
import os
import queue
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from tests.defects.catalogue import MESH
from tests.defects.defect import Defect
from tests.defects.project import LATE, Place, Project
from tests.defects.seeding import seeded
from tests.tools import LabUnderTest

LABS = int(os.environ.get("LABS", "3"))
"""How many; a run of one and its lab take about half of a core, so that two cores are not full."""

Batch = tuple[Defect, ...]
Choose = Callable[[list[Place], Batch], list[Place]]


def name_of(batch: Batch) -> str:
    """A name for a batch."""
    return "+".join(defect.name.replace(" ", "-") for defect in batch)


@dataclass(frozen=True, slots=True)
class Told:
    """What the scenarios of a batch say.

    Attributes:
        statuses: Scenario → what became of it.
        asked_twice: Those that said at first that this machine was late, which is no word about the defect.
    """

    statuses: Mapping[str, str]
    asked_twice: frozenset[str]


class Runs:
    """What the scenarios of each batch say, told when it is asked for.

    Args:
        pool: Has as many threads as there are labs.
        idle: The labs on which nothing runs.
        projects: A new project for each run.
        choose: Which scenarios run with a batch.
    """

    def __init__(
        self,
        pool: ThreadPoolExecutor,
        idle: queue.SimpleQueue[LabUnderTest],
        projects: Callable[[], Project],
        choose: Choose,
    ) -> None:
        self._pool = pool
        self._idle = idle
        self._projects = projects
        self._choose = choose
        self._told: dict[str, Future[Told]] = {}

    def begin(self, batches: Sequence[Batch]) -> None:
        """Run the batches in this order, from now on."""
        self._told |= {name_of(batch): self._pool.submit(self._run, batch) for batch in batches}

    def of(self, batch: Batch) -> Told:
        """What its scenarios said; raises what ended its run."""
        return self._told[name_of(batch)].result()

    def _run(self, batch: Batch) -> Told:
        project = self._projects()
        lab = self._idle.get()
        try:
            with contextlib.ExitStack() as stack:
                for defect in batch:
                    stack.enter_context(seeded(lab, project, defect))
                # Where they stand with the defects in their files.
                chosen = self._choose(project.scenarios(), batch)
                said = project.run(lab, chosen)
                late = [place for place in chosen if said.get(place.name) == LATE]
                again = project.run(lab, late) if late else {}
                return Told({**said, **again}, frozenset(again))
        finally:
            self._idle.put(lab)


@contextlib.contextmanager
def runs(projects: Callable[[], Project], choose: Choose) -> Iterator[Runs]:
    """The labs, and runs on them."""
    idle: queue.SimpleQueue[LabUnderTest] = queue.SimpleQueue()
    with contextlib.ExitStack() as stack:
        for number in range(1, LABS + 1):
            lab = LabUnderTest.up(f"defects-{number}", mesh=MESH)
            stack.callback(lab.down)
            idle.put(lab)
        pool = ThreadPoolExecutor(LABS, thread_name_prefix="defects")
        stack.callback(pool.shutdown, wait=True, cancel_futures=True)
        yield Runs(pool, idle, projects, choose)
