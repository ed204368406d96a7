"""A tiny process beside the lab that ends the lab's children should the lab die without a word (kill -9, OOM).

It is run by its path, imports nothing of meshbdd, and reads lines from the lab: ``+ PID START`` for a child that leads
a process group, ``- PID`` for one that has ended, ``quit`` for an orderly end. The end of its input without ``quit``
means that the lab has died: then every group still on the list is killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys


def start_time(pid: int) -> str | None:
    """Start of a running process in clock ticks since boot (``/proc/PID/stat``), which makes its id unique.

    ``None`` where there is no such process, or only a zombie.
    """
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - keep it import-free
            fields = file.read().rpartition(")")[2].split()
        return None if fields[0] == "Z" else fields[19]
    except (OSError, IndexError):
        return None


def main() -> None:
    """Follow the lab's list until the lab says quit or is gone."""
    children: dict[int, str] = {}
    for line in sys.stdin:
        match line.split():
            case ["+", pid, started]:
                children[int(pid)] = started
            case ["-", pid]:
                children.pop(int(pid), None)
            case ["quit"]:
                return
    for pid, started in children.items():
        # A leader that is gone may have left its group behind; only a reused id would show another start.
        if start_time(pid) in {started, None}:
            with contextlib.suppress(OSError):
                os.killpg(pid, signal.SIGKILL)


if __name__ == "__main__":
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    main()
