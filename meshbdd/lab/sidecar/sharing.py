"""Work that is done once for what many sidecars share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

S = TypeVar("S")
T = TypeVar("T")


class Once:
    """The outcomes of pure functions, by the identity of their argument.

    Arguments and outcomes are kept as long as this object lives, which is for one push.
    """

    def __init__(self) -> None:
        self._made: dict[tuple[str, int], tuple[Any, Any]] = {}

    def __call__(self, function: Callable[[S], T], source: S) -> T:
        """``function(source)``, made once; nobody may change the outcome."""
        key = (function.__qualname__, id(source))
        if key not in self._made:
            # Keeping the source keeps its id from being given to another object.
            self._made[key] = (source, function(source))
        outcome: T = self._made[key][1]
        return outcome
