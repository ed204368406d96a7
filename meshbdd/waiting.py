"""Waiting for a condition: always with a deadline, and with the last thing seen in the message.

There is no fixed sleep in meshbdd; the pauses between two looks here grow from ``first_pause`` to ``longest_pause``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from meshbdd.errors import EnvironmentBroken, MeshbddError
from meshbdd.units import Duration

T = TypeVar("T")


_PATIENT = ContextVar("patient", default=True)


@contextmanager
def _being(variable: ContextVar[T], value: T) -> Iterator[None]:
    before = variable.set(value)
    try:
        yield
    finally:
        variable.reset(before)


@contextmanager
def asked_once() -> Iterator[None]:
    """Within: each condition is looked at once. For a rehearsal, in which nothing comes by being waited for."""
    with _being(_PATIENT, False):
        yield


_MOMENT: ContextVar[dict[Any, Any] | None] = ContextVar("moment", default=None)


@contextmanager
def one_moment() -> Iterator[None]:
    """Within: what is asked twice is asked once, so that all that is worked out from it is of one moment.

    It is for planning and reckoning alone. What is waited for within is looked at anew each time.
    """
    known = _MOMENT.get()
    with _being(_MOMENT, {} if known is None else known):
        yield


def of_this_moment() -> dict[Any, Any] | None:
    """What was asked in this moment, to be looked up and added to; ``None`` where time goes on."""
    return _MOMENT.get()


class NotYet(Exception):
    """Raised by a probe: the condition does not hold yet; its text is the last thing seen."""


def _pauses(first: float, longest: float) -> Iterator[float]:
    pause = first
    while True:
        yield pause
        pause = min(pause * 1.5, longest)


def _too_late(
    what: str, within: Duration, last: str, code: str, failure: type[MeshbddError], help_: str | None
) -> MeshbddError:
    return failure(code, f"{what} did not happen within {within}; last seen: {last}.", help=help_)


def eventually(
    probe: Callable[[], T],
    *,
    what: str,
    within: Duration,
    code: str = "MB0201",
    failure: type[MeshbddError] = EnvironmentBroken,
    help: str | None = None,  # noqa: A002 - the word that the output uses
    first_pause: float = 0.002,
    longest_pause: float = 0.1,
) -> T:
    """Call ``probe`` until it returns; its ``NotYet`` means "ask again".

    Args:
        probe: Returns the answer, or raises ``NotYet`` with what it saw instead.
        what: The condition as the subject of a sentence, for the message.
        within: The deadline, from now; the probe is asked at least once.
        code: Code of the error when the deadline passes.
        failure: Class of that error.
        help: One action for that error.
        first_pause: Seconds between the first two looks.
        longest_pause: Seconds between two looks later on.

    Raises:
        MeshbddError: ``failure``, when the deadline passes.
    """
    deadline = time.monotonic() + (within.seconds if _PATIENT.get() else 0.0)
    for pause in _pauses(first_pause, longest_pause):
        try:
            with _being(_MOMENT, None):
                return probe()
        except NotYet as seen:
            if time.monotonic() >= deadline:
                raise _too_late(what, within, str(seen), code, failure, help) from None
        time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
    raise AssertionError("the pauses never end")


async def eventually_async(
    probe: Callable[[], Awaitable[T]],
    *,
    what: str,
    within: Duration,
    code: str = "MB0201",
    failure: type[MeshbddError] = EnvironmentBroken,
    help: str | None = None,  # noqa: A002 - the word that the output uses
    first_pause: float = 0.002,
    longest_pause: float = 0.1,
) -> T:
    """As ``eventually``, for a coroutine function as probe."""
    deadline = time.monotonic() + within.seconds
    for pause in _pauses(first_pause, longest_pause):
        try:
            return await probe()
        except NotYet as seen:
            if time.monotonic() >= deadline:
                raise _too_late(what, within, str(seen), code, failure, help) from None
        await asyncio.sleep(min(pause, max(0.0, deadline - time.monotonic())))
    raise AssertionError("the pauses never end")
