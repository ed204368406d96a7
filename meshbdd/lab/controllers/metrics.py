"""The page at port 15020 of each meshed pod: Envoy's counters under Istio's names, as Istio's agent serves them."""

from __future__ import annotations

import asyncio
import contextlib

from meshbdd.lab.addresses import ADMIN_PORT, METRICS_PORT, private_side
from meshbdd.lab.certificates import spiffe_id
from meshbdd.lab.compile import Compiled
from meshbdd.lab.sidecar.bootstrap import SidecarIdentity
from meshbdd.lab.sidecar.exposition import Workload, istio_metrics


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


def inbound_services(compiled: Compiled | None) -> dict[str, str]:
    """Inbound cluster → the first Service it serves, from the cluster's metadata."""
    found = {}
    for name, cluster in (compiled.clusters if compiled else {}).items():
        services = cluster.get("metadata", {}).get("filter_metadata", {}).get("istio", {}).get("services")
        if name.startswith("inbound|") and services:
            found[name] = services[0]["host"]
    return found


class MetricsPage:
    """Serves one pod's metrics.

    Args:
        identity: The pod's sidecar.
    """

    def __init__(self, identity: SidecarIdentity) -> None:
        self._identity = identity
        self.compiled: Compiled | None = None
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen at the pod's address."""
        self._server = await asyncio.start_server(self._serve, self._identity.ip, METRICS_PORT)

    def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()

    async def page(self) -> str:
        """The metrics now.

        Raises:
            OSError: the sidecar does not answer.
        """
        own = self._identity
        raw = await fetch(private_side(own.ip), ADMIN_PORT, "/stats/prometheus")
        principal = spiffe_id(own.namespace, own.service_account)
        workload = Workload(own.workload, own.namespace, own.app, own.version, principal)
        return istio_metrics(raw, workload, inbound_services(self.compiled))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ", 2)[1].partition(b"?")[0]
            if path in {b"/stats/prometheus", b"/metrics"}:
                status, body = "200 OK", (await self.page()).encode()
            else:
                status, body = "404 Not Found", b"see /stats/prometheus\n"
            writer.write(
                f"HTTP/1.1 {status}\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {len(body)}\r\n"
                "connection: close\r\n\r\n".encode()
                + body
            )
            await writer.drain()
        writer.close()
