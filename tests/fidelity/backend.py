"""An application that does what each request tells it, and remembers every request that reached it.

It runs as a pod's command. Request header ``x-do`` holds what to do with the first, second, … attempt of one request id,
separated by commas, the last one for all further attempts; ``x-do-<version>`` is for the pods of one version alone.
An instruction is a status, ``reset``, ``close``, ``hang``, ``grpc14`` (an answer of headers alone with that status), or
one of them after a pause: ``503@300ms``. Without the header it answers 200.

What was received is read at a port of its own, which no Service leads to.
"""

from __future__ import annotations

import asyncio
import collections
import json
import os
import socket
import struct
from typing import Any

CONTROL_PORT = 8079
_KEPT = 50_000

VERSION, POD = os.environ.get("VERSION", ""), os.environ.get("POD", "")
_received: list[dict[str, Any]] = []
_attempts: collections.Counter[str] = collections.Counter()


def _instruction(headers: dict[str, str], attempt: int) -> tuple[str, float]:
    script = [part.strip() for part in headers.get(f"x-do-{VERSION}", headers.get("x-do", "200")).split(",")]
    what, _, pause = script[min(attempt, len(script)) - 1].partition("@")
    return what, float(pause.removesuffix("ms") or 0) / 1000


def _receive(head: bytes, port: int, peer: tuple[str, int]) -> dict[str, Any]:
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    method, path, _ = first.split(" ", 2)
    headers = [[name.lower(), value.strip()] for name, _, value in (line.partition(":") for line in lines)]
    request_id = dict(headers).get("x-request-id", "")
    _attempts[request_id] += 1
    record = {
        "id": request_id, "attempt": _attempts[request_id], "method": method, "path": path, "headers": headers,
        "version": VERSION, "pod": POD, "port": port, "peer": f"{peer[0]}:{peer[1]}",
    }  # fmt: skip
    if len(_received) < _KEPT:
        _received.append(record)
    return record


def _answer(what: str, record: dict[str, Any]) -> bytes:
    extra = f"x-version: {VERSION}\r\nx-pod: {POD}\r\nx-port: {record['port']}\r\n"
    if what.startswith("grpc"):
        lines = f"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: {what[4:]}\r\n{extra}"
        return f"{lines}content-length: 0\r\n\r\n".encode()
    body = b"" if record["method"] == "HEAD" else json.dumps({"path": record["path"], "pod": POD}).encode()
    head = f"HTTP/1.1 {what} X\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n{extra}\r\n"
    return head.encode() + body


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        record = _receive(head, port, writer.get_extra_info("peername"))
        headers = dict(record["headers"])
        await reader.readexactly(int(headers.get("content-length", 0)))
        what, pause = _instruction(headers, record["attempt"])
        await asyncio.sleep(pause)
        if what == "hang":
            await reader.read()  # until the caller has had enough
            return
        if what == "close":
            return
        if what == "reset":
            raw = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return
        writer.write(_answer(what, record))
        await writer.drain()


async def _application(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        await _serve(reader, writer, writer.get_extra_info("sockname")[1])
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def _control(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """``GET /<n>`` answers with all records from number n on."""
    head = await reader.readuntil(b"\r\n\r\n")
    body = json.dumps(_received[int(head.split(b" ")[1][1:]) :]).encode()
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body) + body)
    await writer.drain()
    writer.close()


async def _main() -> None:
    host = os.environ["HOST"]
    await asyncio.start_server(_control, host, CONTROL_PORT)
    servers = [await asyncio.start_server(_application, host, port) for port in (8080, 9090)]
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    asyncio.run(_main())
