"""``pods/portforward`` as kubectl asks for it: SPDY inside of WebSocket messages.

For each connection that kubectl takes it opens two streams, which carry one request id: first ``error``, on which it
waits for a sentence or for the end, then ``data``.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from meshbdd.lab.api import spdy
from meshbdd.lab.api.backend import PodBackend
from meshbdd.lab.api.errors import ApiError
from meshbdd.lab.api.http import Receive, Send
from meshbdd.lab.api.rest import Target

PROTOCOL = "SPDY/3.1+portforward.k8s.io"
_CHUNK = 65536
_MOST_WAITING = 4096
"""Pieces that may wait for a pod to take them, of 32 KiB at most as kubectl cuts them."""


class WebSocket(WebSocketsSansIOProtocol):
    """uvicorn's, without the check of websockets that a subprotocol's name is a token: kubectl's has a slash."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.conn.process_subprotocol = lambda headers: None  # type: ignore[method-assign] # noqa: ARG005 - the application chooses


class _Forward:
    """A data stream, and the connection to the pod that it leads to.

    What the client sends waits in a queue of its own: a pod that takes nothing must not keep the other streams waiting.
    """

    def __init__(self, tunnel: Tunnel, stream: int, error: int | None, port: str) -> None:
        self._tunnel = tunnel
        self._stream, self._error, self._port = stream, error, port
        self._sent = asyncio.Queue[bytes](_MOST_WAITING)
        self._over = False
        self._task = asyncio.create_task(self._carry())

    async def _carry(self) -> None:
        told = ""
        try:
            reader, writer = await self._tunnel.connect(self._port)
            up = asyncio.create_task(self._upload(writer))
            try:
                while said := await reader.read(_CHUNK):
                    await self._tunnel.send(spdy.data(self._stream, said))
            finally:
                up.cancel()
                writer.close()
        except (OSError, ValueError, ApiError) as error:
            told = f"failed to forward to port {self._port}: {error}"
        await self._end(told)

    async def _upload(self, writer: asyncio.StreamWriter) -> None:
        """Pass on what the client sends; the pod may answer after its last word."""
        with contextlib.suppress(OSError):  # the other direction tells of it
            while said := await self._sent.get():
                writer.write(said)
                await writer.drain()
            writer.write_eof()

    async def _end(self, told: str) -> None:
        """Tell the client what went wrong, if anything did, and that no more will come."""
        self._over = True
        if self._error is not None:
            await self._tunnel.send(spdy.data(self._error, told.encode(), finished=True))
        await self._tunnel.send(spdy.data(self._stream, b"", finished=True))

    async def take(self, said: bytes, *, finished: bool) -> None:
        """What the client sends, an empty word last; it may not have heard of the end yet."""
        if self._over:
            return
        try:
            for word in [*([said] if said else ()), *([b""] if finished else ())]:
                self._sent.put_nowait(word)
        except asyncio.QueueFull:
            self.close()
            await self._end(f"port {self._port} does not take what is sent to it")

    def close(self) -> None:
        """End it at once."""
        self._task.cancel()


class Tunnel:
    """One kubectl with its connections.

    Args:
        backend: What knows the pods.
        target: The pod.
        send: Sends a WebSocket message.
    """

    def __init__(self, backend: PodBackend, target: Target, send: Send) -> None:
        self._backend, self._target, self._send = backend, target, send
        self._session = spdy.Session()
        self._errors: dict[str, int] = {}
        self._forwards: dict[int, _Forward] = {}

    async def connect(self, port: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the pod.

        Raises:
            ValueError: no port.
            OSError: nothing listens there.
            ApiError: the pod is gone.
        """
        if not port.isdigit() or not 0 < int(port) < 65536:
            raise ValueError(f"'{port}' is no port")
        return await self._backend.connect(self._target.namespace or "", self._target.name or "", int(port))

    async def send(self, said: bytes) -> None:
        """Send frames to the client."""
        await self._send({"type": "websocket.send", "bytes": said})

    async def run(self, receive: Receive) -> None:
        """Carry bytes until the client leaves, or says something that is no SPDY."""
        try:
            while (message := await receive())["type"] != "websocket.disconnect":
                for event in self._session.feed(message.get("bytes") or b""):
                    await self._take(event)
        except ValueError as error:
            await self._send({"type": "websocket.close", "code": 1002, "reason": str(error)[:100]})
        finally:
            for forward in self._forwards.values():
                forward.close()

    async def _take(self, event: spdy.Event) -> None:
        match event:
            case spdy.Ping(number):
                await self.send(spdy.pong(number))
            case spdy.Opened(stream, headers):
                await self.send(self._session.accept(stream))
                self._open(stream, headers.get("streamtype", ""), headers.get("requestid", ""), headers.get("port", ""))
            case spdy.Data(stream, said, finished) if stream in self._forwards:
                await self._forwards[stream].take(said, finished=finished)
            case spdy.Reset(stream) if stream in self._forwards:
                self._forwards.pop(stream).close()

    def _open(self, stream: int, kind: str, request: str, port: str) -> None:
        if kind == "error":
            self._errors[request] = stream
        elif kind == "data":
            self._forwards[stream] = _Forward(self, stream, self._errors.pop(request, None), port)
        else:
            raise ValueError(f"a stream of type '{kind}'")
