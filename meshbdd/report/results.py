"""The folder of results: taken over, never mixed with another run's, and written so that a killed run leaves it readable."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from io import TextIOWrapper
from pathlib import Path, PurePath
from typing import Any

import attr

from meshbdd.errors import BadInput, EnvironmentBroken

MARKER = ".meshbdd-results"
"""Lists what meshbdd wrote into a folder of results, a name a line; locked by the processes that write there."""

_HEADING = "What meshbdd wrote here; the next run removes it, and nothing else."
_GONE = "no more: "
"""Before a name in that list: the run took the file away itself."""
_UNLISTED = re.compile(
    r"[0-9a-f-]{36}-(result|container|globals|attachment)(\.\w+)*|environment\.properties|categories\.json"
    r"|(run|junit)[\w-]*\.(json|xml)"
)
"""What is ours in a folder whose marker is empty: the first versions of meshbdd kept no list."""

_KEPT = frozenset({"history", "executor.json"})
"""What CI systems lay into a folder of results for Allure; never removed unless a run of ours wrote it."""
EXTRA = "meshbdd"
"""Subfolder of what is meshbdd's own; neither version of Allure looks into subfolders."""


class ResultsFolder:
    """A folder of Allure results.

    Args:
        path: Where it is, or will be.

    Attributes:
        lost: Files that could not be written since the run began.
        shard: Keeps the files of which each run has one apart; empty where no other process writes here.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.lost: list[str] = []
        self.shard = ""
        self._why = ""
        self._lock: TextIOWrapper | None = None
        self._listed: set[str] = set()

    def take(self) -> None:
        """Make the folder ready for this run: what an earlier run of meshbdd left in it is removed.

        A folder that another running process of meshbdd writes is shared with it; so do the shards of one run.

        Raises:
            BadInput: there is something else, or it cannot be written.
        """
        if self.path.exists() and not self.path.is_dir():
            raise BadInput("MB0801", f"{self.path} is there and is no folder.", help="name another folder for results")
        try:
            self._refuse_what_is_not_ours()
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / MARKER).open("a")
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._clear()
            except BlockingIOError:
                self.shard = f"-{os.getpid()}"  # somebody writes here, in this run's name or in a shard's
            fcntl.flock(self._lock, fcntl.LOCK_SH)
        except OSError as error:
            raise BadInput(
                "MB0802",
                f"The results folder {self.path} cannot be written: {error.strerror or error}.",
                help="name a folder that can be",
            ) from None

    def release(self) -> None:
        """Others may replace what is here from now on. A process that dies does the same."""
        if self._lock is not None:
            self._lock.close()

    def _refuse_what_is_not_ours(self) -> None:
        if not self.path.exists():
            return
        there = {entry.name for entry in _files(self.path)}  # before the list, which names a file before it is there
        found = there - self._written()
        if found:
            raise BadInput(
                "MB0803",
                f"{self.path} holds files that meshbdd did not write, {min(found)} for instance;"
                " results of two runs must not mix.",
                help="empty it or name another folder",
            )

    def _written(self) -> set[str]:
        """The names of what runs of ours wrote, and of what they were writing when they were killed."""
        try:
            with (self.path / MARKER).open(encoding="utf-8") as marker:
                if self._lock is None:
                    fcntl.flock(marker, fcntl.LOCK_SH)  # another run may be clearing the folder
                names = marker.read().splitlines()
        except FileNotFoundError:
            return set()
        if not names:
            names = [file.name for file in _files(self.path) if _UNLISTED.fullmatch(file.name)]
        return {MARKER, *names, *(f"{name}.tmp" for name in names)}

    def _clear(self) -> None:
        names = self._written()
        for file in _files(self.path):
            if file.name in names and file.name != MARKER:
                file.unlink()
        if "executor.json" in names:
            (self.path / "executor.json").unlink(missing_ok=True)
        (self.path / MARKER).write_text(f"{_HEADING}\n", "utf-8")
        self._listed.clear()

    def _list(self, name: str) -> None:
        """Remember that a file is ours, before it is there."""
        if name not in self._listed:
            with (self.path / MARKER).open("a", encoding="utf-8") as marker:
                marker.write(f"{PurePath(name).name}\n")
            self._listed.add(name)

    def write(self, name: str, body: bytes | str) -> None:
        """Write a file whole or not at all; a failure is kept for ``problem``, so that no verdict is lost by it."""
        self._put(
            name, lambda half: half.write_bytes(body.encode("utf-8", "replace") if isinstance(body, str) else body)
        )

    def copy(self, source: str, name: str) -> None:
        """Write a copy of a file."""
        self._put(name, lambda half: shutil.copyfile(source, half))

    def _put(self, name: str, write: Callable[[Path], object]) -> None:
        file = self.path / name
        half = file.with_name(f"{file.name}.tmp")
        try:
            self._list(name)
            file.parent.mkdir(exist_ok=True)
            write(half)
            half.replace(file)
        except OSError as error:
            self._lose(name, error)

    def remove(self, name: str) -> None:
        """Take a file away again."""
        with contextlib.suppress(OSError):
            (self.path / name).unlink(missing_ok=True)
            if name in self._listed:
                with (self.path / MARKER).open("a", encoding="utf-8") as marker:
                    marker.write(f"{_GONE}{PurePath(name).name}\n")
                self._listed.discard(name)

    def write_item(self, name: str, item: Any) -> None:
        """Write something of Allure's model as JSON; empty fields are left out, as its readers expect."""
        data = attr.asdict(item, filter=lambda _, value: value or value is False)
        self.write(name, json.dumps(data, ensure_ascii=False, default=str))

    def _lose(self, name: str, error: OSError) -> None:
        self.lost.append(name)
        self._why = error.strerror or str(error)
        self.remove(f"{name}.tmp")

    @property
    def shared(self) -> str:
        """What is to be told where another run writes here too, for two are never mixed silently; empty otherwise."""
        if not self.shard:
            return ""
        return (
            f"another run, which has not ended, writes its results to {self.path}; those of this run stand there with them"
            " (a folder of its own for each run keeps them apart)"
        )

    @property
    def problem(self) -> EnvironmentBroken | None:
        """What is to be told of files that could not be written."""
        if not self.lost:
            return None
        return EnvironmentBroken(
            "MB0804",
            f"{len(self.lost)} files of the results could not be written to {self.path} ({self._why}),"
            " so the report will be incomplete; the verdicts above hold.",
            help="make room and run again for a whole report",
        )


def listed(folder: Path) -> set[str]:
    """The names of what a run wrote into a folder, or was about to write, and did not take away again."""
    try:
        lines = (folder / MARKER).read_text("utf-8", "replace").splitlines()
    except OSError:
        return set()
    there: set[str] = set()
    for line in lines[1:]:
        if line.startswith(_GONE):
            there.discard(line.removeprefix(_GONE))
        else:
            there.add(line)
    return there


def _files(folder: Path) -> Iterator[Path]:
    """Everything in a folder of results, and in the subfolder of our own, but what CI systems lay there."""
    for entry in folder.iterdir():
        if entry.name == EXTRA and entry.is_dir():
            yield from entry.iterdir()
        elif entry.name not in _KEPT:
            yield entry
