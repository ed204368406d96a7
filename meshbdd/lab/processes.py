"""Starting and ending the lab's children: each leads a process group of its own, and the reaper knows of each."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from meshbdd.lab import reaper


class Child:
    """A running process group that the lab started.

    Attributes:
        pid: Process id of the leader, which is also the group's id.
        ended: Set when the leader has ended.
    """

    def __init__(self, process: subprocess.Popen[bytes], table: ProcessTable) -> None:
        self._process = process
        self._table = table
        self.pid = process.pid
        self.ended = asyncio.Event()
        self._pidfd = os.pidfd_open(process.pid)
        asyncio.get_running_loop().add_reader(self._pidfd, self._on_end)

    def _on_end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._process.wait()
        self._kill(signal.SIGKILL)  # whatever the leader left behind in its group
        self._table.forget(self.pid)
        self.ended.set()

    @property
    def exit_code(self) -> int:
        """The leader's exit code as a shell has it: 128 + n for signal n."""
        code = self._process.returncode
        return 128 - code if code is not None and code < 0 else int(code or 0)

    def _kill(self, number: signal.Signals) -> None:
        with contextlib.suppress(OSError):
            os.killpg(self.pid, number)

    async def stop(self, grace: float) -> None:
        """Ask with SIGTERM, and after ``grace`` seconds end it."""
        if self.ended.is_set():
            return
        if grace > 0:
            self._kill(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.ended.wait(), grace)
        if not self.ended.is_set():
            self._kill(signal.SIGKILL)
            await self.ended.wait()


class ProcessTable:
    """All children of the lab, and the reaper that outlives it."""

    def __init__(self) -> None:
        self._children: dict[int, Child] = {}
        self._reaper = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(reaper.__file__))],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _tell(self, line: str) -> None:
        pipe = self._reaper.stdin
        if pipe is not None:
            with contextlib.suppress(OSError, ValueError):
                pipe.write(line.encode() + b"\n")
                pipe.flush()

    def start(self, argv: Sequence[str], *, environment: Mapping[str, str], cwd: Path, output: IO[bytes]) -> Child:
        """Start ``argv`` in a process group of its own; stdout and stderr go to ``output``.

        Raises:
            OSError: the command cannot be started.
        """
        process = subprocess.Popen(
            list(argv),
            env=dict(environment),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._tell(f"+ {process.pid} {reaper.start_time(process.pid) or 0}")
        child = Child(process, self)
        self._children[process.pid] = child
        return child

    def forget(self, pid: int) -> None:
        """Drop a child that has ended."""
        self._children.pop(pid, None)
        self._tell(f"- {pid}")

    async def stop(self) -> None:
        """End every child at once, then the reaper."""
        await asyncio.gather(*(child.stop(0) for child in list(self._children.values())))
        self._tell("quit")
        if self._reaper.stdin is not None:
            with contextlib.suppress(OSError):
                self._reaper.stdin.close()
        await asyncio.to_thread(self._reaper.wait)
