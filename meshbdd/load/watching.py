"""Waiting for a load where somebody can see it: a bar on a terminal, a line now and then elsewhere.

It goes to the real standard error: behave replaces ``sys.stderr`` while a step runs and shows nothing of it before its
end, and a file or a CI log must not be filled with a bar's control characters.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

from meshbdd.load.load import Progress
from meshbdd.load.plan import Plan
from meshbdd.load.result import Result
from meshbdd.units import Duration

BAR_AFTER = 1.0
"""Seconds before a load is worth a bar."""

HEARTBEAT = 15.0
"""Seconds between two lines where there is no terminal: CI systems kill what is silent for minutes, and keep all lines."""

_LOOK = Duration(0.25)
_BAR_WIDTH = 20


class Running(Protocol):
    """A load that runs: ``Load`` or ``Workers``."""

    @property
    def plan(self) -> Plan:
        """What was wanted."""
        ...

    def progress(self) -> Progress:
        """How far it has come."""
        ...

    def wait(self, within: Duration | None = None) -> Result:
        """Wait for its end, or for so long."""
        ...


def watch(
    load: Running,
    what: str,
    stream: TextIO | None = None,
    look: Callable[[Progress], None] | None = None,
) -> Result:
    """Wait for a load's end and show how far it is.

    Args:
        load: The load.
        what: What it sends, for the one who waits.
        stream: Where to show it; ``None``: the real standard error.
        look: Told how far it is, several times a second once it takes long; it may stop the load.
    """
    stream = stream or sys.__stderr__
    if stream is None:  # a process without any
        return load.wait()
    result = load.wait(Duration(BAR_AFTER))
    if result.over:
        return result
    with _bar(load.plan, what, stream) if stream.isatty() else _lines(what, stream) as show:
        while True:
            show(load.progress())
            if look is not None:
                look(load.progress())
            result = load.wait(_LOOK)
            if result.over:
                return result


def _told(progress: Progress) -> str:
    rate = progress.finished / progress.seconds if progress.seconds else 0.0
    failed = f", {progress.failed} failed" if progress.failed else ""
    return f"{progress.finished} requests in {progress.seconds:.0f} s ({rate:.0f}/s){failed}"


@contextmanager
def _lines(what: str, stream: TextIO) -> Iterator[Callable[[Progress], None]]:
    due = HEARTBEAT

    def show(progress: Progress) -> None:
        nonlocal due
        if progress.seconds >= due:
            due += HEARTBEAT
            stream.write(f"meshbdd: {what}: {_told(progress)}\n")
            stream.flush()

    yield show


@contextmanager
def _bar(plan: Plan, what: str, stream: TextIO) -> Iterator[Callable[[Progress], None]]:
    """A bar that leaves nothing behind; drawn by who waits, for a thread of its own would take turns with the engine."""
    from rich.console import Console  # noqa: PLC0415 - only where somebody looks
    from rich.progress import BarColumn, TextColumn  # noqa: PLC0415
    from rich.progress import Progress as Bar  # noqa: PLC0415
    from rich.table import Column  # noqa: PLC0415

    bar = Bar(
        TextColumn("{task.description}"),
        BarColumn(_BAR_WIDTH),
        TextColumn("{task.fields[what]}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
        expand=True,
        console=Console(file=stream),
        transient=True,
        auto_refresh=False,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    with bar:
        task = bar.add_task("", what=what, total=1.0 if plan.count or plan.duration else None)

        def show(progress: Progress) -> None:
            bar.update(task, completed=_share(plan, progress), description=_told(progress), refresh=True)

        yield show


def _share(plan: Plan, progress: Progress) -> float:
    by_count = progress.finished / plan.count if plan.count else 0.0
    by_time = progress.seconds / plan.duration.seconds if plan.duration else 0.0
    return min(1.0, max(by_count, by_time))
