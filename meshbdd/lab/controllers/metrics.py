"""The page of each meshed pod with its metrics: Envoy's counters under the mesh's own names, at the mesh's own port."""

from __future__ import annotations

import asyncio
import contextlib

from meshbdd.lab.addresses import ADMIN_PORT, private_side
from meshbdd.lab.compile import Compiled
from meshbdd.lab.controllers.mesh_kind import MeshKind
from meshbdd.lab.sidecar.bootstrap import SidecarIdentity
from meshbdd.lab.sidecar.ledger import Ledger

COUNTERS = "/stats/prometheus"
"""The page of Envoy's admin interface with its counters and histograms."""


async def fetch(host: str, port: int, path: str) -> str:
    """GET one page of a sidecar's admin interface.

    Raises:
        OSError: the sidecar does not answer.
    """
    reader, writer = await asyncio.open_connection(host, port)
    try:
        # Envoy's admin interface answers HTTP/1.0 with 426.
        writer.write(f"GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        if b"transfer-encoding: chunked" not in head.lower():
            return (await reader.read()).decode(errors="replace")
        parts = []
        while size := int((await reader.readline()).split(b";")[0], 16):
            parts.append(await reader.readexactly(size))
            await reader.readexactly(2)
        return b"".join(parts).decode(errors="replace")
    except (asyncio.IncompleteReadError, ValueError) as error:
        raise ConnectionResetError(str(error)) from error
    finally:
        writer.close()


class MetricsPage:
    """Serves one pod's metrics.

    Args:
        identity: The pod's sidecar.
        mesh: Under whose names.
    """

    def __init__(self, identity: SidecarIdentity, mesh: MeshKind) -> None:
        self._identity = identity
        self._mesh = mesh
        self.compiled: Compiled | None = None
        self._ledger = Ledger()
        self._server: asyncio.Server | None = None
        self._answering: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()

    async def start(self) -> None:
        """Listen at the pod's address."""
        self._server = await asyncio.start_server(self._accept, self._identity.ip, self._mesh.metrics_port)

    def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()

    async def page(self) -> str:
        """The metrics now.

        Raises:
            OSError: the sidecar does not answer.
        """
        pages = {path: await self._admin(path) for path in self._mesh.metric_pages}
        pages[COUNTERS] = self._ledger.kept(pages[COUNTERS])
        return self._mesh.metrics(pages, self._identity, self.compiled)

    async def _admin(self, path: str) -> str:
        return await fetch(private_side(self._identity.ip), ADMIN_PORT, path)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # asyncio itself keeps no hold of the task.
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with (
            contextlib.closing(writer),
            contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError),
        ):
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ", 2)[1].partition(b"?")[0]
            if path in {b"/stats/prometheus", b"/metrics"}:
                async with self._turn:
                    if reader.at_eof():  # gave up waiting: pages for nobody would keep a busy lab from all else
                        return
                    status, body = "200 OK", (await self.page()).encode()
            elif path in {b"/ready", b"/live"}:
                ready = "LIVE" in await self._admin("/ready")
                status, body = ("200 OK", b"ready\n") if ready else ("503 Service Unavailable", b"not ready\n")
            else:
                status, body = "404 Not Found", b"see /metrics\n"
            writer.write(
                f"HTTP/1.1 {status}\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {len(body)}\r\n"
                "connection: close\r\n\r\n".encode()
                + body
            )
            await writer.drain()
