"""``pods/portforward`` over WebSocket: the protocol of the Python client (``v4.channel.k8s.io``); kubectl's is next door.

Each port has two channels, data and error; each starts with a message that repeats the port as two bytes, little
endian.
"""

from __future__ import annotations

import asyncio
import struct

from meshbdd.lab.api import tunnel
from meshbdd.lab.api.backend import PodBackend
from meshbdd.lab.api.errors import bad_request
from meshbdd.lab.api.http import Receive, Request, Scope, Send
from meshbdd.lab.api.rest import Target

PROTOCOLS = ("v4.channel.k8s.io", "portforward.k8s.io")


def _ports(request: Request) -> list[int]:
    told = [port for text in request.query.get("ports", []) for port in text.split(",")]
    if not told or not all(port.isdigit() and 0 < int(port) < 65536 for port in told):
        raise bad_request('query parameter "ports" is required and holds port numbers')
    return [int(port) for port in told]


class _Forward:
    """One port: what the client sends on its channel goes to the pod, what the pod says comes back."""

    def __init__(self, channel: int, port: int, send: Send) -> None:
        self.channel = channel
        self.port = port
        self._send = send
        self._writer: asyncio.StreamWriter | None = None
        self._task: asyncio.Task[None] | None = None

    async def say(self, channel: int, data: bytes) -> None:
        """A message on one of the two channels."""
        await self._send({"type": "websocket.send", "bytes": bytes([channel]) + data})

    async def open(self, backend: PodBackend, namespace: str, pod: str) -> None:
        """Announce both channels and connect."""
        announced = struct.pack("<H", self.port)
        await self.say(self.channel, announced)
        await self.say(self.channel + 1, announced)
        try:
            reader, self._writer = await backend.connect(namespace, pod, self.port)
        except OSError as error:
            await self.say(self.channel + 1, f"failed to connect to port {self.port} of pod {pod}: {error}".encode())
            return
        self._task = asyncio.create_task(self._pump(reader))

    async def _pump(self, reader: asyncio.StreamReader) -> None:
        try:
            while data := await reader.read(65536):
                await self.say(self.channel, data)
        except OSError as error:
            await self.say(self.channel + 1, str(error).encode())

    @property
    def task(self) -> asyncio.Task[None] | None:
        """Ends when the pod closes its side."""
        return self._task

    async def take(self, data: bytes) -> None:
        """Pass data on to the pod."""
        if self._writer and not self._writer.is_closing():
            self._writer.write(data)
            await self._writer.drain()

    def close(self) -> None:
        """Close the connection to the pod."""
        if self._task:
            self._task.cancel()
        if self._writer:
            self._writer.close()


async def serve_portforward(
    backend: PodBackend, request: Request, target: Target, scope: Scope, receive: Receive, send: Send
) -> None:
    """Carry bytes between the WebSocket and the pod's ports until either side ends.

    Raises:
        ApiError: 400, before the WebSocket is accepted.
    """
    offered = scope.get("subprotocols") or []
    if tunnel.PROTOCOL in offered:
        await send({"type": "websocket.accept", "subprotocol": tunnel.PROTOCOL})
        return await tunnel.Tunnel(backend, target, send).run(receive)
    ports = _ports(request)
    protocol = next((name for name in offered if name in PROTOCOLS), None)
    if offered and protocol is None:
        raise bad_request(
            f"unable to upgrade: unsupported protocols {offered}, this server speaks {[*PROTOCOLS, tunnel.PROTOCOL]}"
        )
    await send({"type": "websocket.accept", "subprotocol": protocol})
    forwards = [_Forward(2 * index, port, send) for index, port in enumerate(ports)]
    try:
        for forward in forwards:
            await forward.open(backend, target.namespace or "", target.name or "")
        await _carry(forwards, receive, send)
    finally:
        for forward in forwards:
            forward.close()


async def _carry(forwards: list[_Forward], receive: Receive, send: Send) -> None:
    pumps = {forward.task for forward in forwards if forward.task}
    client = asyncio.create_task(_from_client(forwards, receive))
    while pumps and not client.done():
        done, _ = await asyncio.wait({client, *pumps}, return_when=asyncio.FIRST_COMPLETED)
        pumps -= done
    if not client.done():
        client.cancel()
        await send({"type": "websocket.close", "code": 1000})


async def _from_client(forwards: list[_Forward], receive: Receive) -> None:
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        data = message.get("bytes") or (message.get("text") or "").encode("latin-1")
        if data and data[0] % 2 == 0 and data[0] // 2 < len(forwards):
            try:
                await forwards[data[0] // 2].take(data[1:])
            except OSError:
                return
