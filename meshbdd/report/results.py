"""The folder of results: taken over, never mixed with another run's, and written so that a killed run leaves it readable."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from io import TextIOWrapper
from pathlib import Path, PurePath
from typing import Any
from uuid import uuid4

import attr

from meshbdd.errors import BadInput, EnvironmentBroken

MARKER = ".meshbdd-results"
"""Lists what meshbdd wrote into a folder of results, a name a line; locked by the processes that write there."""

_HEADING = "What meshbdd wrote here; the next run removes it, and nothing else."
_RUN = "; this run is "
"""In that heading, before what tells the run that wrote it from others."""
_HALF = re.compile(r"(-\d+)?\.tmp$")
"""The ending of a file that is being written."""
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
            there = {entry.name for entry in _files(self.path)} if self.path.exists() else set()
            if there and MARKER not in there:
                raise self._not_ours(there)
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / MARKER).open("a")
            self._share(self._lock, there)
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

    def _share(self, lock: TextIOWrapper, there: Iterable[str]) -> None:
        """Become the run that this folder is of, or a shard of it.

        A lock for one that becomes a lock for many is nobody's for a moment (flock(2)), in which another run may take
        the folder over: the heading tells which did so last.
        """
        mine = ""
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._refuse_strangers(there)
            mine = f"{_HEADING}{_RUN}{uuid4()}"
            self._clear(mine)
        except BlockingIOError:  # somebody writes here, in this run's name or in a shard's
            pass
        fcntl.flock(lock, fcntl.LOCK_SH)
        if not mine:
            self._refuse_strangers(there)
        if not mine or (self.path / MARKER).read_text("utf-8").partition("\n")[0] != mine:
            self.shard = f"-{os.getpid()}"

    def _refuse_strangers(self, there: Iterable[str]) -> None:
        """Refuse files that are not listed; they were looked at before the list, which names a file before it is there."""
        names = self._written()
        found = {name for name in there if not _is_of(name, names)}
        if found:
            self.release()
            raise self._not_ours(found)

    def _not_ours(self, found: Iterable[str]) -> BadInput:
        return BadInput(
            "MB0803",
            f"{self.path} holds files that meshbdd did not write, {min(found)} for instance;"
            " results of two runs must not mix.",
            help="empty it or name another folder",
        )

    def _written(self) -> set[str]:
        """The names of what runs of ours wrote, or were about to write."""
        names = (self.path / MARKER).read_text("utf-8").splitlines()
        if not names:
            names = [file.name for file in _files(self.path) if _UNLISTED.fullmatch(file.name)]
        return {MARKER, *names}

    def _clear(self, heading: str) -> None:
        names = self._written()
        for file in _files(self.path):
            if _is_of(file.name, names) and file.name != MARKER:
                file.unlink()
        if "executor.json" in names:
            (self.path / "executor.json").unlink(missing_ok=True)
        (self.path / MARKER).write_text(f"{heading}\n", "utf-8")
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
        half = file.with_name(self._half(file.name))
        try:
            self._list(name)
            file.parent.mkdir(exist_ok=True)
            write(half)
            half.replace(file)
        except OSError as error:
            self._lose(name, error)

    def _half(self, name: str) -> str:
        """Where a file is written before it takes its place: shards write some files of one name at one time."""
        return f"{name}{self.shard}.tmp"

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
        self.remove(self._half(name))

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


def _is_of(name: str, names: set[str]) -> bool:
    return name in names or _HALF.sub("", name) in names


def _files(folder: Path) -> Iterator[Path]:
    """Everything in a folder of results, and in the subfolder of our own, but what CI systems lay there."""
    for entry in folder.iterdir():
        if entry.name == EXTRA and entry.is_dir():
            yield from entry.iterdir()
        elif entry.name not in _KEPT:
            yield entry
