"""What a port-forward of kubectl must not be able to do: a client that kubectl itself would never be."""

from __future__ import annotations

import asyncio
import struct
import zlib
from types import SimpleNamespace
from typing import Any

from meshbdd.lab.api.spdy import DICTIONARY, data
from meshbdd.lab.api.tunnel import Tunnel

TARGET: Any = SimpleNamespace(namespace="default", name="p")


def opening(*streams: dict[str, str]) -> bytes:
    """Frames that open streams 1, 3, 5 …"""
    deflate, told = zlib.compressobj(zdict=DICTIONARY), b""
    for place, headers in enumerate(streams):
        block = struct.pack(">I", len(headers))
        for text in (text for pair in headers.items() for text in pair):
            block += struct.pack(">I", len(text)) + text.encode()
        payload = struct.pack(">IIH", 2 * place + 1, 0, 0) + deflate.compress(block) + deflate.flush(zlib.Z_SYNC_FLUSH)
        told += struct.pack(">HHI", 0x8003, 1, len(payload)) + payload
    return told


class Talk:
    """A client that says what it has to, and waits for a word before it leaves."""

    def __init__(self, *said: bytes, until: bytes = b"") -> None:
        self._said = list(said)
        self._until = until
        self._heard = asyncio.Event()
        self.sent: list[dict[str, Any]] = []

    async def receive(self) -> dict[str, Any]:
        if self._said:
            return {"type": "websocket.receive", "bytes": self._said.pop(0)}
        if self._until:
            await asyncio.wait_for(self._heard.wait(), 10)
        return {"type": "websocket.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.append(message)
        if self._until in message.get("bytes", b""):
            self._heard.set()


class DeafPod:
    """A pod that accepts a connection and reads nothing of it."""

    async def connect(
        self, _namespace: str, _pod: str, _port: int
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self.server = await asyncio.start_server(lambda _reader, _writer: asyncio.sleep(60), "127.0.0.1", 0, limit=1)
        return await asyncio.open_connection(*self.server.sockets[0].getsockname())


def carry(pod: Any, talk: Talk) -> list[dict[str, Any]]:
    asyncio.run(Tunnel(pod, TARGET, talk.send).run(talk.receive))
    return talk.sent


def test_what_is_no_spdy_ends_the_tunnel() -> None:
    ((ended),) = carry(None, Talk(b"\x80\x02\x00\x01\x00\x00\x00\x00"))
    assert ended == {"type": "websocket.close", "code": 1002, "reason": "version 2 of SPDY, and not 3"}
    *_, ended = carry(None, Talk(opening({"streamtype": "stdin"})))
    assert ended["reason"] == "a stream of type 'stdin'"


def test_a_port_that_is_none_is_said_on_the_error_stream() -> None:
    streams = [{"streamtype": kind, "port": "-1", "requestid": "0"} for kind in ("error", "data")]
    told = carry(None, Talk(opening(*streams), until=b"is no port"))
    assert data(1, b"failed to forward to port -1: '-1' is no port", finished=True) in [one["bytes"] for one in told]


def test_a_pod_that_takes_nothing_does_not_fill_the_memory() -> None:
    streams = [{"streamtype": kind, "port": "80", "requestid": "0"} for kind in ("error", "data")]
    pieces = [data(3, b"x" * 16_384)] * 10_000
    told = carry(DeafPod(), Talk(opening(*streams), *pieces, until=b"does not take what is sent"))
    said = [one["bytes"] for one in told]
    assert data(1, b"port 80 does not take what is sent to it", finished=True) in said
    assert said.count(data(3, b"", finished=True)) == 1
