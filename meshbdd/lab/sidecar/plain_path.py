"""The way out of a pod without a sidecar: a stand-in for kube-proxy.

It takes a request to a Service, picks a ready endpoint, opens the TCP connection itself and passes bytes on. No policy,
no retry, no identity; and a connection that the other side resets is reset here too, where a proxy would answer 503.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import struct
from collections.abc import Callable
from urllib.parse import urlsplit

Resolve = Callable[[str, int], list[tuple[str, int]]]
"""Host and port as the client names them → addresses to connect to; empty: no endpoint, or no such Service."""

_HEAD_LIMIT = 64 * 1024


class PlainPath:
    """A forwarder for one pod.

    Args:
        source: The pod's address, which its connections leave from.
        resolve: Looks a host and port up.
    """

    def __init__(self, source: str, resolve: Resolve) -> None:
        self._source = source
        self._resolve = resolve
        self._server: asyncio.Server | None = None
        self._turn = itertools.count()

    async def start(self, host: str, port: int) -> None:
        """Listen for the pod's requests at ``host:port``."""
        self._server = await asyncio.start_server(self._serve, host, port, limit=_HEAD_LIMIT)

    async def stop(self) -> None:
        """Stop listening; connections end with their clients."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            method, target, version = head.partition(b"\r\n")[0].decode("latin-1").split(" ", 2)
            tunnel = method == "CONNECT"
            host, port = _authority(target, tunnel)
            upstream = await self._connect(host, port)
        except (ValueError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            _reset(writer)
            return
        if tunnel:
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            upstream[1].write(_origin_form(head, method, target, version))
        await _splice((reader, writer), upstream)

    async def _connect(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        places = self._resolve(host, port)
        if not places:
            raise ConnectionRefusedError(f"{host}:{port} has no endpoint")
        address, number = places[next(self._turn) % len(places)]
        return await asyncio.open_connection(address, number, local_addr=(self._source, 0))


def _authority(target: str, tunnel: bool) -> tuple[str, int]:
    parts = urlsplit(f"//{target}" if tunnel else target)
    if not parts.hostname:
        raise ValueError(target)
    return parts.hostname, parts.port or 80


def _origin_form(head: bytes, method: str, target: str, version: str) -> bytes:
    """The request as the server itself would get it; one for each connection, since the next may go elsewhere."""
    parts = urlsplit(target)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = head.decode("latin-1").split("\r\n")[1:-2]
    kept = [line for line in lines if line.partition(":")[0].lower() not in {"connection", "proxy-connection"}]
    return "\r\n".join([f"{method} {path} {version}", *kept, "connection: close", "", ""]).encode("latin-1")


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST instead of FIN, so that the client sees what a client without a proxy would see."""
    raw = writer.get_extra_info("socket")
    if raw is not None:
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


async def _splice(
    client: tuple[asyncio.StreamReader, asyncio.StreamWriter], server: tuple[asyncio.StreamReader, asyncio.StreamWriter]
) -> None:
    up = asyncio.ensure_future(_pump(client[0], server[1]))
    down = asyncio.ensure_future(_pump(server[0], client[1]))
    try:
        await down
    except OSError:
        _reset(client[1])
    finally:
        up.cancel()
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await up
        for writer in (server[1], client[1]):
            with contextlib.suppress(OSError):
                writer.close()
