"""SPDY/3.1, as far as a port-forward of kubectl needs it: bytes into events, and answers into bytes.

The protocol: https://www.chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1/. Its flow control is left out, as it is
in kubectl's own half (moby/spdystream): no side waits for the other's windows.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_VERSION = 3
_CONTROL = 0x8000_0000
_SYN_STREAM, _SYN_REPLY, _RST_STREAM, _PING = 1, 2, 3, 6
_FINISHED = 0x01
_STREAM = 0x7FFF_FFFF
_LENGTH = 0xFF_FFFF

_NAMES = (
    *("options", "head", "post", "put", "delete", "trace", "accept", "accept-charset", "accept-encoding"),
    *("accept-language", "accept-ranges", "age", "allow", "authorization", "cache-control", "connection"),
    *("content-base", "content-encoding", "content-language", "content-length", "content-location", "content-md5"),
    *("content-range", "content-type", "date", "etag", "expect", "expires", "from", "host", "if-match"),
    *("if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "last-modified", "location"),
    *("max-forwards", "pragma", "proxy-authenticate", "proxy-authorization", "range", "referer", "retry-after"),
    *("server", "te", "trailer", "transfer-encoding", "upgrade", "user-agent", "vary", "via", "warning"),
    *("www-authenticate", "method", "get", "status", "200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie"),
    *("keep-alive", "origin"),
)
_REST = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
    "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,"
    "text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY = b"".join(struct.pack(">I", len(name)) + name.encode() for name in _NAMES) + _REST.encode()
"""What both sides compress headers with (draft 3, section 2.6.10.1)."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The client opens a stream.

    Attributes:
        stream: Its number.
        headers: By lower-case name.
    """

    stream: int
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Data:
    """The client sends bytes.

    Attributes:
        stream: On which stream.
        data: What.
        finished: Whether no more will come on it.
    """

    stream: int
    data: bytes
    finished: bool


@dataclass(frozen=True, slots=True)
class Reset:
    """The client gives a stream up."""

    stream: int


@dataclass(frozen=True, slots=True)
class Ping:
    """The client asks whether somebody is there; the answer is the same frame."""

    number: int


Event = Opened | Data | Reset | Ping


class Session:
    """One connection, from the server's side."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    def feed(self, data: bytes) -> Iterator[Event]:
        """What the client says, as far as whole frames have come.

        Raises:
            ValueError: that is no SPDY/3.1.
        """
        self._buffer += data
        while len(self._buffer) >= 8:
            head, rest = struct.unpack_from(">II", self._buffer)
            end = 8 + (rest & _LENGTH)
            if len(self._buffer) < end:
                return
            payload = bytes(self._buffer[8:end])
            del self._buffer[:end]
            try:
                event = self._event(head, rest >> 24, payload)
            except (struct.error, zlib.error) as error:
                raise ValueError(f"a frame that is none: {error}") from None
            if event is not None:
                yield event

    def _event(self, head: int, flags: int, payload: bytes) -> Event | None:
        if not head & _CONTROL:
            return Data(head, payload, bool(flags & _FINISHED))
        if head >> 16 & 0x7FFF != _VERSION:
            raise ValueError(f"version {head >> 16 & 0x7FFF} of SPDY, and not {_VERSION}")
        kind = head & 0xFFFF
        if kind not in {_SYN_STREAM, _RST_STREAM, _PING}:
            return None  # settings, windows and farewells change nothing here
        (number,) = struct.unpack_from(">I", payload)
        if kind == _PING:
            return Ping(number)
        stream = number & _STREAM
        return Reset(stream) if kind == _RST_STREAM else Opened(stream, self._headers(payload[10:]))

    def _headers(self, block: bytes) -> dict[str, str]:
        text, place, found = self._inflate.decompress(block), 4, list[str]()
        for _ in range(2 * struct.unpack_from(">I", text)[0]):
            (length,) = struct.unpack_from(">I", text, place)
            found.append(text[place + 4 : place + 4 + length].decode("utf-8", "replace"))
            place += 4 + length
        return {name.lower(): value for name, value in zip(found[::2], found[1::2], strict=True)}

    def accept(self, stream: int) -> bytes:
        """A stream is taken, with no headers to tell."""
        block = self._deflate.compress(struct.pack(">I", 0)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        return _control(_SYN_REPLY, struct.pack(">I", stream) + block)


def pong(number: int) -> bytes:
    """The answer to a ping."""
    return _control(_PING, struct.pack(">I", number))


def data(stream: int, said: bytes, *, finished: bool = False) -> bytes:
    """Bytes for the client, at most 16 MiB of them."""
    return struct.pack(">II", stream, (_FINISHED if finished else 0) << 24 | len(said)) + said


def _control(kind: int, payload: bytes) -> bytes:
    return struct.pack(">II", _CONTROL | _VERSION << 16 | kind, len(payload)) + payload
