"""The folder of results: taken over, never mixed with another run's, and written so that a killed run leaves it readable."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import attr

from meshbdd.errors import BadInput, EnvironmentBroken

MARKER = ".meshbdd-results"
"""Says that a folder of results is meshbdd's; locked by the processes that write it."""

_RESULTS = ("*-result.json", "*-container.json", "*-globals.json", "*-attachment", "*-attachment.*", "*.tmp")
_SIDE_FILES = ("environment.properties", "executor.json", "categories.json")
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

    def take(self) -> None:
        """Make the folder ready for this run: what an earlier run of meshbdd left in it is removed.

        A folder that another running process of meshbdd writes is shared with it; so do the shards of one run.

        Raises:
            BadInput: there is something else, or it cannot be written.
        """
        if self.path.exists() and not self.path.is_dir():
            raise BadInput("MB0801", f"{self.path} is there and is no folder.", help="name another folder for results")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._refuse_what_is_not_ours()
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
        found = [entry for entry in self.path.iterdir() if entry.name not in {*_SIDE_FILES, "history"}]
        if found and not (self.path / MARKER).exists():
            raise BadInput(
                "MB0803",
                f"{self.path} holds files that meshbdd did not write, {found[0].name} for instance;"
                " results of two runs must not mix.",
                help="empty it or name another folder",
            )

    def _clear(self) -> None:
        for pattern in (*_RESULTS, *_SIDE_FILES):
            for file in self.path.glob(pattern):
                file.unlink()
        shutil.rmtree(self.path / EXTRA, ignore_errors=True)

    def write(self, name: str, body: bytes | str) -> None:
        """Write a file whole or not at all; a failure is kept for ``problem``, so that no verdict is lost by it."""
        file = self.path / name
        try:
            file.parent.mkdir(exist_ok=True)
            half = file.with_name(f"{file.name}.tmp")
            half.write_bytes(body.encode("utf-8", "replace") if isinstance(body, str) else body)
            half.replace(file)
        except OSError as error:
            self._lose(name, error)

    def copy(self, source: str, name: str) -> None:
        """Write a copy of a file."""
        try:
            shutil.copyfile(source, self.path / name)
        except OSError as error:
            self._lose(name, error)

    def write_item(self, name: str, item: Any) -> None:
        """Write something of Allure's model as JSON; empty fields are left out, as its readers expect."""
        data = attr.asdict(item, filter=lambda _, value: value or value is False)
        self.write(name, json.dumps(data, ensure_ascii=False, default=str))

    def _lose(self, name: str, error: OSError) -> None:
        self.lost.append(name)
        self._why = error.strerror or str(error)
        with contextlib.suppress(OSError):
            (self.path / f"{name}.tmp").unlink()

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
