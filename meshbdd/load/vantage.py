"""Where requests come from, and how they enter."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Entry(Enum):
    """How a request enters its vantage point.

    Through a proxy option HTTP/2 would silently become HTTP/1.1, so a sidecar is entered as its application's own
    connections are: the connection goes to the sidecar's outbound side, the request names the service.
    """

    SIDECAR = "sidecar"
    """Connect to the address of the vantage point instead of the host of the request (libcurl's CONNECT_TO)."""
    PROXY = "proxy"
    """Speak to the vantage point as to an HTTP proxy, which opens the connection."""


@dataclass(frozen=True, slots=True)
class Vantage:
    """Where requests come from.

    Attributes:
        name: What the report calls it.
        address: ``host:port`` of the way in: the client pod's sidecar, or the plain path of its unmeshed twin.
        entry: How to enter there.
    """

    name: str
    address: str
    entry: Entry = Entry.SIDECAR
