"""Requests and responses between the ASGI server and the API's handlers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import orjson
import yaml

from meshbdd.lab.api.errors import ApiError, Object, not_acceptable

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

PLAIN = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class User:
    """Who asks; ``reads_only`` users get, list and watch, nothing else."""

    name: str
    groups: tuple[str, ...] = ()
    reads_only: bool = False

    @property
    def anonymous(self) -> bool:
        """Nobody showed a token."""
        return self.name == "system:anonymous"


@dataclass(slots=True)
class Request:
    """One HTTP request, its body read."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes
    user: User
    receive: Receive

    def one(self, name: str) -> str | None:
        """The first value of a query parameter, or ``None``."""
        values = self.query.get(name)
        return values[0] if values else None

    def flag(self, name: str) -> bool:
        """Whether a boolean query parameter is on."""
        return (self.one(name) or "false").lower() not in {"false", "0"}

    @property
    def content_type(self) -> str:
        """The media type of the body without parameters; ``""`` when the client says none."""
        return self.headers.get("content-type", "").partition(";")[0].strip()

    @property
    def pretty(self) -> bool:
        """Whether a person reads the answer: ``?pretty=true``, curl, a browser."""
        told = self.one("pretty")
        if told is not None:
            return told.lower() not in {"false", "0"}
        return self.headers.get("user-agent", "").startswith(("curl", "Wget", "Mozilla/5.0"))

    @property
    def manager(self) -> str:
        """The field manager: as told, else the product in the User-Agent."""
        return self.one("fieldManager") or self.headers.get("user-agent", "").split("/")[0][:128] or "unknown"


@dataclass(slots=True)
class Response:
    """One answer; the body is bytes or a stream of them."""

    status: int
    body: bytes | AsyncIterator[bytes]
    content_type: str = "application/json"
    headers: list[tuple[str, str]] = field(default_factory=list)


def read_query(raw: bytes) -> dict[str, list[str]]:
    """The query parameters; empty values kept."""
    return parse_qs(raw.decode("latin-1"), keep_blank_values=True)


@dataclass(frozen=True, slots=True)
class MediaType:
    """An entry of an Accept header."""

    name: str
    params: dict[str, str]


def read_accept(text: str) -> list[MediaType]:
    """The entries of an Accept header, best first."""
    found: list[tuple[float, MediaType]] = []
    for part in (text or "*/*").split(","):
        name, *rest = part.strip().split(";")
        params = dict(p.strip().partition("=")[::2] for p in rest)
        try:
            quality = float(params.pop("q", "1"))
        except ValueError:
            quality = 1.0
        found.append((quality, MediaType(name.strip(), params)))
    return [entry for _, entry in sorted(found, key=lambda pair: -pair[0])]


@dataclass(frozen=True, slots=True)
class Form:
    """The form that an answer takes: JSON or YAML, the object itself, a Table or its metadata alone."""

    media: str = "application/json"
    shape: str = ""
    version: str = ""


_ALIASES = {"*/*": "application/json", "application/*": "application/json", "text/yaml": "application/yaml"}
_SHAPES = {("Table", "v1"), ("Table", "v1beta1"), ("PartialObjectMetadata", "v1"), ("PartialObjectMetadataList", "v1")}


def choose_form(accept: str) -> Form:
    """The first form of the Accept header that the server can give.

    Raises:
        ApiError: 406.
    """
    for entry in read_accept(accept):
        media = _ALIASES.get(entry.name, entry.name)
        if media not in {"application/json", "application/yaml"}:
            continue
        shape, version = entry.params.get("as", ""), entry.params.get("v", "")
        if not shape:
            return Form(media)
        if entry.params.get("g") == "meta.k8s.io" and (shape, version) in _SHAPES:
            return Form(media, shape, version)
    raise not_acceptable()


class _Dumper(yaml.SafeDumper):
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        super().increase_indent(flow, True)


def compact(obj: Any) -> bytes:
    """The object as one line of JSON."""
    return orjson.dumps(obj, option=orjson.OPT_APPEND_NEWLINE)


def encode(obj: Any, request: Request, media: str = "application/json") -> bytes:
    """The object as text in that media type."""
    if media == "application/yaml":
        return yaml.dump(obj, Dumper=_Dumper, default_flow_style=False, width=80, allow_unicode=True).encode()
    if request.pretty:
        return json.dumps(obj, indent=2, ensure_ascii=False).encode()
    return compact(obj)


def answer(obj: Object, request: Request, status: int = 200, media: str = "application/json") -> Response:
    """A response with one object."""
    return Response(status, encode(obj, request, media), media)


def refusal(error: ApiError, request: Request) -> Response:
    """The response for an error."""
    headers = [("retry-after", str(error.retry_after))] if error.retry_after else []
    return Response(error.code, encode(error.status(), request), headers=headers)


def page_not_found() -> Response:
    """Go's own 404, which clients get for paths that no group serves."""
    return Response(404, b"404 page not found\n", PLAIN, [("x-content-type-options", "nosniff")])


async def send_response(response: Response, send: Send, *, head: bool = False) -> None:
    """Write the response; a stream in chunks, each at once."""
    headers = [("cache-control", "no-cache, private"), ("content-type", response.content_type), *response.headers]
    named = {name for name, _ in response.headers}
    if "cache-control" in named:
        headers = headers[1:]
    whole = isinstance(response.body, bytes)
    if isinstance(response.body, bytes) and "content-length" not in named:
        headers.append(("content-length", str(len(response.body))))
    raw = [(name.encode("latin-1"), value.encode("utf-8")) for name, value in headers]
    await send({"type": "http.response.start", "status": response.status, "headers": raw})
    if isinstance(response.body, bytes):
        await send({"type": "http.response.body", "body": b"" if head else response.body})
        return
    assert not whole  # noqa: S101
    async for chunk in response.body:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
