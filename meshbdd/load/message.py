"""A request in the form of an HTTP message: request line, headers, blank line, body."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from urllib.parse import urlsplit

from meshbdd.errors import BadInput, Place
from meshbdd.methods import instead_of
from meshbdd.sidecars import PROBE_AGENT

_LINE = re.compile(r"([A-Za-z-]+)\s+(\S+)(?:\s+HTTP/[\d.]+)?")
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):\s*(.*)")
_UNSPEAKABLE = re.compile(r"[^\t -~]")
"""What libcurl and proxies do not take in a value of a header, whatever RFC 9110 (5.5) says of bytes above ASCII."""
_PORTS = {"http": 80, "https": 443}
_UUID = "${uuid}"
_TRACE = "${trace}"
_VARIABLE = re.compile(r"\$\{([^}]*)\}")

GRPC_PREFIX = 5
"""Bytes before a message of gRPC: whether it is compressed, and its length;
https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md."""


@dataclass(frozen=True, slots=True)
class Message:
    """A request; ``${uuid}`` in it stands for a fresh id in every copy that is sent."""

    name: str
    method: str
    url: str
    headers: Mapping[str, str]
    body: str | None

    def fresh(self, made: str | None = None) -> tuple[str, dict[str, str], bytes | None]:
        """Url, headers and body of one copy.

        Args:
            made: What ``${uuid}`` stands for in it; ``None``: a random one.
        """
        made = made or str(uuid.uuid4())

        def fill(text: str) -> str:
            return text.replace(_UUID, made).replace(_TRACE, made.replace("-", ""))

        body = fill(self.body).encode() if self.body is not None else None
        return fill(self.url), {name: fill(value) for name, value in self.headers.items()}, body

    def traced(self) -> Message:
        """The same, with a W3C trace context whose trace id is the request's id without its hyphens."""
        own = {"x-request-id": _UUID, "traceparent": f"00-{_TRACE}-0000000000000001-01"}
        return replace(self, headers={**{n: v for n, v in self.headers.items() if n.lower() not in own}, **own})

    @property
    def varies(self) -> bool:
        """Whether one copy differs from another."""
        return any(_UUID in text for text in (self.url, self.body or "", *self.headers.values()))

    @property
    def own_id(self) -> str | None:
        """The ``x-request-id`` that the tester gave it."""
        return next((value for name, value in self.headers.items() if name.lower() == "x-request-id"), None)

    @property
    def grpc(self) -> bool:
        """Whether it is a gRPC call."""
        return self.header("content-type").startswith("application/grpc")

    def header(self, name: str) -> str:
        """The value of a header, by its name in lower case; empty where it has none."""
        return next((value for known, value in self.headers.items() if known.lower() == name), "")

    @property
    def length(self) -> int:
        """How many bytes of a body every copy is sent with."""
        _, _, body = self.fresh()
        return len(body or b"") + (GRPC_PREFIX if self.grpc else 0)

    @property
    def fixed_id(self) -> bool:
        """Whether every copy has the same ``x-request-id``."""
        return self.own_id is not None and _UUID not in self.own_id

    @property
    def host(self) -> str:
        """The host that is asked."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """The port that is asked."""
        parts = urlsplit(self.url)
        return parts.port or _PORTS[parts.scheme]


def read_message(
    name: str,
    text: str,
    place: Place | None = None,
    *,
    offset: int = 2,
    schemes: tuple[str, ...] = ("http",),
) -> Message:
    """Read a request.

    Args:
        name: What the tester calls it.
        text: The message.
        place: Where it stands, for errors.
        offset: Lines from that place to the message's first line; of a step, its own and the opening quotes.
        schemes: The schemes that its URL may have. Inside the mesh it is http: the mesh does the encryption.

    Raises:
        BadInput: naming the line that is none.
    """
    lines = text.rstrip("\n").splitlines()
    begin = next((index for index, line in enumerate(lines) if line.strip()), 0)

    def wrong(index: int, sentence: str, action: str) -> BadInput:
        at = Place(place.path, place.line + offset + index) if place and place.line else place
        return BadInput("MB0501", f'The request "{name}": {sentence}', place=at, help=action)

    first = _LINE.fullmatch(lines[begin].strip()) if lines else None
    if first is None:
        shown = lines[begin].strip() if lines else ""
        raise wrong(
            begin, f"'{shown}' is no request line.", "begin with METHOD URL, like POST http://order-service/checkout"
        )
    if instead := instead_of(first[1]):
        raise wrong(begin, f"'{first[1]}' is no HTTP method.", instead)
    _check_url(first[2], schemes, partial(wrong, begin))
    blank = next((index for index in range(begin + 1, len(lines)) if not lines[index].strip()), len(lines))
    headers = _headers(lines[:blank], begin + 1, wrong)
    body = "\n".join(lines[blank + 1 :])
    for index, line in enumerate(lines):
        if unknown := [variable for variable in _VARIABLE.findall(line) if variable != "uuid"]:
            raise wrong(index, f"'${{{unknown[0]}}}' is no variable.", "only ${uuid} is known")
    if "content-type" not in {h.lower() for h in headers} and body.lstrip()[:1] in {"{", "["}:
        headers["content-type"] = "application/json"
    message = Message(name, first[1], first[2], headers, body or None)
    said = message.header("content-length")
    if "content-length" in {h.lower() for h in headers} and said != str(message.length):
        index = next(i for i in range(begin + 1, blank) if lines[i].strip().lower().startswith("content-length:"))
        sentence = f"its Content-Length is '{said}', and its body has {message.length} bytes."
        raise wrong(index, sentence, "leave the header out: it is set by itself")
    return message


def _headers(lines: Sequence[str], begin: int, wrong: Callable[[int, str, str], BadInput]) -> dict[str, str]:
    """The headers of a request, which stand in its lines from one on.

    Raises:
        BadInput: a line that is none, that no request can carry, that stands twice, or whose request would not count.
    """
    headers: dict[str, str] = {}
    for index, line in enumerate(lines[begin:], begin):
        header = _HEADER.fullmatch(line.strip())
        if header is None:
            raise wrong(index, f"'{line.strip()}' is no header.", "write Name: value, and a blank line before the body")
        if found := _UNSPEAKABLE.search(header[2]):
            sentence = f"the header '{header[1]}' has {found[0]!r}, which no request can carry there."
            raise wrong(index, sentence, "write it in ASCII, for example percent-encoded")
        if header[1].lower() in {known.lower() for known in headers}:
            raise wrong(index, f"the header '{header[1]}' stands twice.", "keep one, or join the values by a comma")
        if header[1].lower() == "user-agent" and header[2] == PROBE_AGENT:
            sentence = f"the User-Agent '{PROBE_AGENT}' is that of meshbdd's own probes, which no claim counts."
            raise wrong(index, sentence, "write another one, or leave it out")
        headers[header[1]] = header[2]
    return headers


def _check_url(url: str, schemes: tuple[str, ...], wrong: Callable[[str, str], BadInput]) -> None:
    """Refuse what is no address.

    Raises:
        BadInput: a scheme that is not spoken here, no host, or a port that is none.
    """
    try:
        parts = urlsplit(url)
        known = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, or brackets without an address in them
        known = False
    if known and url.isascii() and url.isprintable():
        return
    if "https" in schemes:
        raise wrong(f"'{url}' is no address.", "write http://HOST/PATH or https://HOST/PATH")
    raise wrong(
        f"'{url}' is no address inside the mesh.", "write http://SERVICE/PATH; the mesh itself does the encryption"
    )
