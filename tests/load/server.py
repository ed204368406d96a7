"""A server that misbehaves on demand, and knows what it saw: the other side of the record."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator

_ANSWER = b"HTTP/1.1 %s\r\ncontent-length: %d\r\n%s\r\n%s"


class Server:
    """HTTP/1.1 on loopback, in a thread of its own.

    The last part of the path says what happens: ``ok``, ``status/503``, ``reset`` (before the first byte), ``cut`` (in
    the middle of the answer), ``hang`` (no answer), ``slowly`` (after 50 ms), ``close`` (answers, and closes the connection), ``endless``, ``trickle`` (as well, slowly),
    ``loop`` (redirects to itself), ``on`` (redirects to ``ok``), ``garbage``, ``echo`` (the request as it came), ``mix``
    (every 50th is reset, every 1,000th hangs, every 70th is a 503).
    """

    def __init__(self, bound: socket.socket | None = None) -> None:
        """Args: ``bound``: a socket that has its address already; else it gets a free one."""
        self._bound = bound
        self.seen: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self.ids: list[str] = []
        self.connections = 0
        self.at: list[float] = []
        self._stalled_until = 0.0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.port = 0

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/{path}"

    def stall(self, seconds: float) -> None:
        """Answer nothing for so long, as a server does in a long garbage collection."""
        self._loop.call_soon_threadsafe(time.sleep, seconds)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        where = {"host": "127.0.0.1", "port": 0} if self._bound is None else {"sock": self._bound}
        made = self._loop.create_server(lambda: _Connection(self), **where, backlog=4096)  # type: ignore[call-overload]
        server = self._loop.run_until_complete(made)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()

    def start(self) -> None:
        self._thread.start()
        self._ready.wait(5)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    server = Server()
    server.start()
    try:
        yield server
    finally:
        server.stop()


class _Connection(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self, server: Server) -> None:
        self._server = server
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._server.connections += 1

    def data_received(self, data: bytes) -> None:
        self._data += data
        while b"\r\n\r\n" in self._data:
            head, _, rest = self._data.partition(b"\r\n\r\n")
            length = 0
            for line in head.split(b"\r\n")[1:]:
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
                elif name.lower() == b"x-request-id":
                    self._server.ids.append(value.strip().decode())
            if len(rest) < length:
                return
            self._data = rest[length:]
            self._serve(head, rest[:length])

    def _serve(self, head: bytes, body: bytes) -> None:
        server = self._server
        path = head.split(b" ", 2)[1].decode().lstrip("/").partition("?")[0]
        server.seen[path] += 1
        server.at.append(time.time())
        what = path
        if path == "mix":
            number = server.seen[path]
            what = (
                "hang"
                if number % 1000 == 0
                else "reset"
                if number % 50 == 0
                else "status/503"
                if number % 70 == 0
                else "ok"
            )
        server.done[what] += 1
        self._answer(what, head, body)

    def _answer(self, what: str, head: bytes, body: bytes) -> None:
        write = self.transport.write
        if what == "ok":
            write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        elif what == "slowly":
            asyncio.get_running_loop().call_later(0.05, self._answer, "ok", head, body)
        elif not what:
            write(_ANSWER % (b"404 X", 0, b"", b""))
        elif what.startswith("status/"):
            write(_ANSWER % (what[7:].encode() + b" X", 0, b"", b""))
        elif what == "reset":
            self._reset()
        elif what == "cut":
            write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
            self.transport.close()
        elif what == "close":
            write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok")
            self.transport.close()
        elif what == "endless":
            write(b"HTTP/1.1 200 OK\r\n\r\n")
            self._go_on()
        elif what == "trickle":
            write(b"HTTP/1.1 200 OK\r\n\r\n")
            self._trickle()
        elif what in {"loop", "on"}:
            to = b"/loop" if what == "loop" else b"/ok"
            write(_ANSWER % (b"302 Found", 0, b"location: " + to + b"\r\n", b""))
        elif what == "garbage":
            write(b"220 this is another protocol\r\n")
        elif what == "echo":
            write(_ANSWER % (b"200 OK", len(head + body) + 2, b"", head + b"\r\n" + body))
        elif what.startswith("json/"):
            made = b'{"version": "%s", "n": [1, {"deep": "yes"}]}' % (
                b"canary" if self._server.seen[what] % 10 == 0 else b"stable"
            )
            write(_ANSWER % (b"200 OK", len(made), b"x-version: 7\r\nX-Envoy-Response-Flags: FI\r\n", made))

    def _trickle(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(b"x")
            asyncio.get_running_loop().call_later(0.02, self._trickle)

    def resume_writing(self) -> None:
        self._go_on()

    def _go_on(self) -> None:
        """Write until the other side is slower: then ``resume_writing`` is called when it has caught up."""
        while not self.transport.is_closing() and self.transport.get_write_buffer_size() < 1 << 18:
            self.transport.write(b"x" * 65536)

    def _reset(self) -> None:
        raw = self.transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()
