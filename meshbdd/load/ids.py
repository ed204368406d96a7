"""Request ids: as unique as random ones, made from the request's number when they are needed, so none is stored."""

from __future__ import annotations

import random
import secrets

from meshbdd.load.message import Message

_ODD = 2654435761
"""2^32 divided by the golden ratio. Times an odd number modulo 2^32 no two numbers meet, and the results spread evenly:
proxies decide by the first eight digits which requests they trace."""

KIN = "-[0-9a-f]{4}-4[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}"
"""What the ids of one load share, as a regular expression."""


class RequestIds:
    """The ids of one load, in the form of version 4 UUIDs.

    Args:
        message: The request; an ``x-request-id`` that the tester gave it stays.
        seed: Loads of one seed have the same ids; ``None``: ids that no other load has.
    """

    def __init__(self, message: Message, seed: int | None = None) -> None:
        bits = secrets.randbits if seed is None else random.Random(seed).getrandbits  # noqa: S311 - no secret
        self._own = message.own_id
        self._offset = bits(32)
        self._ends = tuple(f"-{bits(16):04x}-4{bits(12):03x}-8{bits(12):03x}-{bits(48):012x}" for _ in range(2))
        self._end = self._ends[0]

    @property
    def kin(self) -> frozenset[str]:
        """What all of them share, and those of no other load; not in an id that the tester wrote without ``${uuid}``."""
        return frozenset({self._end if self._own is None else self._ends[1]})

    def of(self, number: int) -> str:
        """The ``x-request-id`` of a request."""
        if self._own is not None:
            return self._own.replace("${uuid}", self.variable(number))
        return f"{(number * _ODD + self._offset) & 0xFFFFFFFF:08x}{self._end}"

    def variable(self, number: int) -> str:
        """What ``${uuid}`` stands for in a request; another id than its ``x-request-id``."""
        return f"{(number * _ODD + self._offset) & 0xFFFFFFFF:08x}{self._ends[1]}"
