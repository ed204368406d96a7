"""The ADS server: a gRPC service on a Unix socket that only this user can open (it hands out private keys)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
from envoy.service.discovery.v3 import ads_pb2_grpc

from meshbdd.lab.xds.resources import Snapshot
from meshbdd.lab.xds.stream import Rejection, Stream


class AdsServer(ads_pb2_grpc.AggregatedDiscoveryServiceServicer):  # type: ignore[misc] # generated, untyped
    """Delivers snapshots to Envoys by their node id.

    Args:
        rejected: Called with node id, type URL and Envoy's own sentence for every NACK.
        connected: Called with a node id when its Envoy has opened its stream.
    """

    def __init__(self, rejected: Rejection, connected: Callable[[str], None] = lambda _node: None) -> None:
        self._rejected = rejected
        self._connected = connected
        self._server: Any = None
        self._streams: dict[str, Stream] = {}
        self._snapshots: dict[str, Snapshot] = {}

    async def start(self, socket: Path) -> None:
        """Listen on the Unix socket ``socket``."""
        self._server = grpc.aio.server(options=[("grpc.max_send_message_length", -1)])
        ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server(self, self._server)
        self._server.add_insecure_port(f"unix:{socket}")
        await self._server.start()

    async def stop(self) -> None:
        """Close all streams."""
        if self._server is not None:
            await self._server.stop(grace=0)

    def set(self, node: str, snapshot: Snapshot) -> None:
        """Make ``snapshot`` what the Envoy of ``node`` should have, now and when it connects again."""
        self._snapshots[node] = snapshot
        stream = self._streams.get(node)
        if stream is not None:
            stream.set(snapshot)

    def forget(self, node: str) -> None:
        """Drop a sidecar that is gone."""
        self._snapshots.pop(node, None)

    def pending(self) -> list[str]:
        """Node ids of connected sidecars that do not have their wanted snapshot yet."""
        return [node for node, stream in self._streams.items() if not stream.synced.is_set()]

    async def DeltaAggregatedResources(self, requests: AsyncIterator[Any], _context: Any) -> AsyncIterator[Any]:  # noqa: N802 - gRPC's name
        """Serve one Envoy for as long as its stream is open."""
        first = await anext(aiter(requests))
        stream = Stream(first.node.id, self._rejected)
        self._streams[stream.node] = stream
        if stream.node in self._snapshots:
            stream.set(self._snapshots[stream.node])
        stream.receive(first)
        self._connected(stream.node)

        async def read() -> None:
            async for request in requests:
                stream.receive(request)

        tasks = [asyncio.ensure_future(read()), asyncio.ensure_future(stream.run())]
        try:
            while not tasks[0].done():
                response = await _next_or_end(stream.responses, tasks[0])
                if response is not None:
                    yield response
        finally:
            for task in tasks:
                task.cancel()
            if self._streams.get(stream.node) is stream:
                del self._streams[stream.node]


async def _next_or_end(queue: asyncio.Queue[Any], end: asyncio.Future[Any]) -> Any | None:
    getting = asyncio.ensure_future(queue.get())
    await asyncio.wait([getting, end], return_when=asyncio.FIRST_COMPLETED)
    if getting.done():
        return getting.result()
    getting.cancel()
    return None
