"""What the server needs to know of running pods, and the backend of a server without any."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from meshbdd.lab.api.errors import bad_request


@dataclass(frozen=True, slots=True)
class LogOptions:
    """What part of a container's log is wanted."""

    follow: bool = False
    tail_lines: int | None = None
    since_seconds: int | None = None
    timestamps: bool = False
    previous: bool = False


class PodBackend(Protocol):
    """The runtime behind ``pods/log``, ``pods/portforward`` and ``pods|services/proxy``."""

    def logs(self, namespace: str, pod: str, container: str, options: LogOptions) -> AsyncIterator[bytes]:
        """The log of a container, in chunks; ends at its end, or never with ``follow`` while the container runs.

        Raises:
            ApiError: 400 while there is no log to read.
        """
        ...

    async def connect(self, namespace: str, pod: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to a port of the pod.

        Raises:
            OSError: Nothing listens there.
        """
        ...


class NoPods:
    """The backend of a bare API server: pods are data, nothing runs."""

    async def logs(self, namespace: str, pod: str, container: str, options: LogOptions) -> AsyncIterator[bytes]:
        """No pod runs, so there is no log."""
        why = f'container "{container}" in pod "{pod}" of {namespace} is waiting to start: this server runs no pods'
        for refusal in (bad_request(why + (" (nor did any before)" if options.previous else "")),):
            raise refusal
        yield b""

    async def connect(self, namespace: str, pod: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Nothing listens."""
        raise ConnectionRefusedError(f"pod {pod}.{namespace} does not run on this server, so port {port} is closed")
