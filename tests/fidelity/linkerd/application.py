"""The application of the recorded experiments: it does what each path tells it, over HTTP/1.1 and HTTP/2.

``/s/503`` answers so; ``/d/300/…`` waits first; ``/rst`` resets the connection, ``/rstonce/KEY`` the first time only;
``/body/2000`` sends half of the body, then the rest after a pause; ``/grpc/14`` and ``/grpct/14`` answer with that gRPC
status in the headers or in trailers; ``/seq/KEY/500,200`` answers one after the other; ``/ip/ADDRESS/…`` and
``/ipd/ADDRESS/50/…`` mean the endpoint that plays that address of the recording (``ALIAS``) alone.

Every request's header ``x-run`` names the experiment; what reached it is read at a port of its own.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import os
import socket
import struct
from typing import Any

import h2.config
import h2.connection
import h2.events

CONTROL_PORT, HOLE_PORT = 8079, 9080
ALIAS = os.environ.get("ALIAS", "")
_received: dict[str, list[dict[str, Any]]] = collections.defaultdict(list)
_counts: collections.Counter[str] = collections.Counter()


class Answer:
    def __init__(
        self, status: int, *, grpc: str = "", trailers: bool = False, pause: float = 0, late: float = 0
    ) -> None:
        self.status, self.grpc, self.trailers, self.pause, self.late = status, grpc, trailers, pause, late
        self.reset = status == 0


def _answer(path: str, run: str) -> Answer:
    parts = path.partition("?")[0].strip("/").split("/")
    pause, status = 0.0, "200"
    while parts and parts[0]:
        word = parts.pop(0)
        if word == "d":
            pause += int(parts.pop(0)) / 1000
        elif word == "ip":
            if parts.pop(0) != ALIAS:
                return Answer(200, pause=pause)
        elif word == "ipd":
            mine, more = parts.pop(0) == ALIAS, int(parts.pop(0)) / 1000
            pause += more if mine else 0
        elif word == "s":
            status = parts.pop(0)
        elif word == "rst":
            status = "0"
        elif word == "rstonce":
            _counts[run + path] += 1
            status = "0" if _counts[run + path] == 1 else "200"
        elif word == "seq":
            parts.pop(0)
            script = parts.pop(0).split(",")
            _counts[run + path] += 1
            status = script[min(_counts[run + path], len(script)) - 1]
        elif word == "body":
            return Answer(200, pause=pause, late=int(parts.pop(0)) / 1000)
        elif word in {"grpc", "grpct"}:
            return Answer(200, grpc=parts.pop(0), trailers=word == "grpct", pause=pause)
    return Answer(int(status), pause=pause)


def _note(version: str, method: str, path: str, headers: dict[str, str], length: int) -> Answer:
    run = headers.get("x-run", "")
    _received[run].append({"version": version, "method": method, "path": path, "headers": headers, "body": length})
    return _answer(path, run)


def _break(writer: asyncio.StreamWriter) -> None:
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _http1(first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        head = first + await reader.readuntil(b"\r\n\r\n")
        first = b""
        line, *rest = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        method, path, _ = line.split(" ", 2)
        headers: dict[str, str] = {}
        for name, _, value in (entry.partition(":") for entry in rest):
            low = name.lower()
            headers[low] = f"{headers[low]}, {value.strip()}" if low in headers else value.strip()
        length = int(headers.get("content-length", 0))
        await reader.readexactly(length)
        if headers.get("transfer-encoding") == "chunked":
            while size := int((await reader.readline()).split(b";")[0], 16):
                length += size
                await reader.readexactly(size + 2)
            await reader.readline()
        answer = _note("HTTP/1.1", method, path, headers, length)
        await asyncio.sleep(answer.pause)
        if answer.reset:
            _break(writer)
            return
        grpc = f"content-type: application/grpc\r\ngrpc-status: {answer.grpc}\r\n" if answer.grpc else ""
        body = b"first" + b"second" if answer.late else b""
        writer.write(f"HTTP/1.1 {answer.status} X\r\n{grpc}content-length: {len(body)}\r\n\r\n".encode() + body[:5])
        if answer.late:
            await writer.drain()
            await asyncio.sleep(answer.late)
            writer.write(body[5:])
        await writer.drain()


class _Http2:
    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.state = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self.writer = writer
        self.streams: dict[int, tuple[dict[str, str], int]] = {}
        self.tasks: set[asyncio.Task[None]] = set()

    def flush(self) -> None:
        self.writer.write(self.state.data_to_send())

    def on(self, event: Any) -> None:
        if isinstance(event, h2.events.RequestReceived):
            headers: dict[str, str] = {}
            for name, value in event.headers:
                headers[name] = f"{headers[name]}, {value}" if name in headers else value
            self.streams[event.stream_id] = (headers, 0)
        elif isinstance(event, h2.events.DataReceived):
            headers, length = self.streams[event.stream_id]
            self.streams[event.stream_id] = (headers, length + len(event.data))
            self.state.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            headers, length = self.streams[event.stream_id]
            task = asyncio.ensure_future(self.reply(event.stream_id, headers, length))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def reply(self, stream: int, headers: dict[str, str], length: int) -> None:
        plain = {name: value for name, value in headers.items() if not name.startswith(":")}
        answer = _note("HTTP/2.0", headers[":method"], headers[":path"], plain, length)
        await asyncio.sleep(answer.pause)
        if answer.reset:
            _break(self.writer)
            return
        with contextlib.suppress(h2.exceptions.H2Error):
            made = [(":status", str(answer.status))]
            if answer.grpc:
                made.append(("content-type", "application/grpc"))
                if not answer.trailers:
                    made.append(("grpc-status", answer.grpc))
            self.state.send_headers(stream, made, end_stream=not answer.trailers)
            if answer.trailers:
                self.state.send_headers(stream, [("grpc-status", answer.grpc)], end_stream=True)
            self.flush()


async def _http2(first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    connection = _Http2(writer)
    connection.state.initiate_connection()
    data = first
    while data:
        for event in connection.state.receive_data(data):
            connection.on(event)
        connection.flush()
        data = await reader.read(65536)


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        first = await reader.readexactly(4)
        await (_http2 if first == b"PRI " else _http1)(first, reader, writer)
    except (OSError, asyncio.IncompleteReadError, h2.exceptions.H2Error):
        pass
    finally:
        writer.close()


async def _control(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """``GET /<run>`` answers with what reached the application under that run."""
    head = await reader.readuntil(b"\r\n\r\n")
    body = json.dumps(_received.get(head.split(b" ")[1][1:].decode(), [])).encode()
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body) + body)
    await writer.drain()
    writer.close()


def _hole(host: str) -> list[socket.socket]:
    """A port that does not answer to connect: its queue of connections is full."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, HOLE_PORT))
    listener.listen(0)
    held = [listener]
    for _ in range(4):
        caller = socket.socket()
        caller.setblocking(False)
        caller.connect_ex((host, HOLE_PORT))
        held.append(caller)
    return held


async def _main() -> None:
    host = os.environ["HOST"]
    held = _hole(host) if os.environ.get("HOLE") else []
    await asyncio.start_server(_control, host, CONTROL_PORT)
    ports = [int(port) for port in os.environ["PORTS"].split(",")]
    servers = [await asyncio.start_server(_serve, host, port) for port in ports]
    await asyncio.gather(*(server.serve_forever() for server in servers))
    del held


if __name__ == "__main__":
    asyncio.run(_main())
