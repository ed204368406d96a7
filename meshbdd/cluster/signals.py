"""Ending in order: SIGTERM and SIGHUP end a run as Ctrl-C does, and nothing interrupts an undo.

behave runs no hook on SIGTERM and SIGHUP; CI systems cancel with exactly those.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType

_NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signals:
    """The handler of a run's signals.

    Args:
        remaining: Tells what is still to be undone, for the second signal.
    """

    def __init__(self, remaining: Callable[[], list[str]]) -> None:
        self._remaining = remaining
        self._shielded = 0
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, object] = {}

    def install(self) -> None:
        """Take the signals over."""
        for number in _NUMBERS:
            self._before[number] = signal.signal(number, self._handle)

    def restore(self) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type] # what signal.signal returned
        self._before.clear()

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        first = self.received is None
        self.received = signal.Signals(number)
        if self._shielded or not first:
            left = self._remaining()
            told = f"still to be undone: {', '.join(left)}" if left else "nothing is left to be undone"
            sys.__stderr__.write(f"meshbdd: {self.received.name} noted; {told}\n") if sys.__stderr__ else None
            return
        raise KeyboardInterrupt

    @contextlib.contextmanager
    def shielded(self) -> Iterator[None]:
        """While this lasts, signals are noted and change nothing."""
        self._shielded += 1
        try:
            yield
        finally:
            self._shielded -= 1
