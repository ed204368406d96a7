"""A small HTTP/1.1 server and client on asyncio: quick to start, keep-alive on both sides, nothing more."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

_LIMIT = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """A request as a handler sees it; header names are lower-case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            ValueError: it is none.
        """
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Response:
    """An answer."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, status: int, content: Any) -> Response:
        """An answer with JSON."""
        return cls(status, json.dumps(content).encode(), {"content-type": "application/json"})


Handler = Callable[[Request], Awaitable[Response]]
_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


async def _read_head(reader: asyncio.StreamReader) -> tuple[list[str], dict[str, str]]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {}
    for line in head[1:-2]:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return head[0].split(" ", 2), headers


async def _read_body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() == "chunked":
        parts = []
        while size := int((await reader.readline()).split(b";")[0], 16):
            parts.append(await reader.readexactly(size))
            await reader.readexactly(2)
        await reader.readline()
        return b"".join(parts)
    return await reader.readexactly(int(headers.get("content-length") or 0))


async def serve(handler: Handler, host: str, port: int) -> asyncio.Server:
    """Serve requests, one after the other on each connection."""

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            while True:
                (method, target, version), headers = await _read_head(reader)
                body = await _read_body(reader, headers)
                response = await handler(Request(method, urlsplit(target).path, headers, body))
                lines = [f"HTTP/1.1 {response.status} {_REASONS.get(response.status, 'Status')}"]
                lines += [f"{name}: {value}" for name, value in response.headers.items()]
                lines += [f"content-length: {len(response.body)}", "", ""]
                writer.write("\r\n".join(lines).encode("latin-1") + response.body)
                await writer.drain()
                if version == "HTTP/1.0" or headers.get("connection", "").lower() == "close":
                    break
        writer.close()

    return await asyncio.start_server(connection, host, port, limit=_LIMIT, backlog=512)


class Client:
    """Calls other services through the proxy of the environment, on connections that are kept open."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        environment = os.environ if environment is None else environment
        proxy = environment.get("http_proxy") or environment.get("HTTP_PROXY")
        parts = urlsplit(proxy) if proxy else None
        self._proxy = (parts.hostname or "", parts.port or 80) if parts else None
        no_proxy = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
        self._direct = {name.strip() for name in no_proxy.split(",") if name.strip()}
        self._idle: dict[tuple[str, int], list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]] = {}

    async def post(self, url: str, content: Any, headers: Mapping[str, str], seconds: float) -> Response:
        """POST JSON and wait for the whole answer.

        Raises:
            TimeoutError: no whole answer within ``seconds``.
            OSError: no connection, or one that broke.
        """
        async with asyncio.timeout(seconds):
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port or 80
            direct = self._proxy is None or host in self._direct
            place = (host, port) if direct or self._proxy is None else self._proxy
            body = json.dumps(content).encode()
            lines = [f"POST {parts.path if direct else url} HTTP/1.1", f"host: {parts.netloc}"]
            lines += [f"{name}: {value}" for name, value in headers.items()]
            lines += ["content-type: application/json", f"content-length: {len(body)}", "", ""]
            return await self._exchange(place, "\r\n".join(lines).encode("latin-1") + body)

    async def _exchange(self, place: tuple[str, int], request: bytes) -> Response:
        idle = self._idle.setdefault(place, [])
        while idle:
            reader, writer = idle.pop()
            if reader.at_eof() or writer.is_closing():
                writer.close()
                continue
            break
        else:
            reader, writer = await asyncio.open_connection(*place, limit=_LIMIT)
        try:
            writer.write(request)
            (_, status, *_), headers = await _read_head(reader)
            body = await _read_body(reader, headers)
        except (asyncio.IncompleteReadError, ValueError) as error:
            writer.close()
            raise ConnectionResetError(str(error)) from error
        except BaseException:
            writer.close()
            raise
        if headers.get("connection", "").lower() == "close":
            writer.close()
        else:
            idle.append((reader, writer))
        return Response(int(status), body, headers)
