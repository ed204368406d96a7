"""What became of a request: the answer's head and body read, or the way it failed in a word."""

from __future__ import annotations

import errno
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pycurl

STOPPED = "stopped"
"""The word for a request that was under way when the load was stopped: it has no outcome, and no claim counts it."""

NO_PORT = "no port"
"""The word for a request for which this machine had no port left: it says nothing of the service."""

FLAGS_HEADERS = ("x-envoy-response-flags", "x-response-flags")
"""Names under which meshes are told to send Envoy's response flags; Envoy itself sends none."""

_HTTP2_STREAM, _PROXY = 92, 97
"""CURLE_HTTP2_STREAM and CURLE_PROXY; https://curl.se/libcurl/c/libcurl-errors.html. pycurl has no names for them."""

_NOT_CONNECTED = {0: "refused", errno.ECONNREFUSED: "refused", errno.EADDRNOTAVAIL: NO_PORT}

_WORDS = {
    pycurl.E_COULDNT_RESOLVE_HOST: "unresolved",
    pycurl.E_COULDNT_RESOLVE_PROXY: "unresolved",
    pycurl.E_OPERATION_TIMEDOUT: "timeout",
    pycurl.E_GOT_NOTHING: "reset",
    pycurl.E_SEND_ERROR: "reset",
    pycurl.E_RECV_ERROR: "reset",
    pycurl.E_HTTP2: "reset",
    _HTTP2_STREAM: "reset",
    pycurl.E_ABORTED_BY_CALLBACK: "reset",  # see Transfer: the second attempt on a connection that was reset
    pycurl.E_PARTIAL_FILE: "cut",
    pycurl.E_FILESIZE_EXCEEDED: "too large",
    pycurl.E_TOO_MANY_REDIRECTS: "redirects",
    pycurl.E_SSL_CONNECT_ERROR: "tls",
    pycurl.E_PEER_FAILED_VERIFICATION: "tls",
    pycurl.E_SSL_CERTPROBLEM: "tls",
    pycurl.E_SSL_CIPHER: "tls",
    pycurl.E_SSL_ISSUER_ERROR: "tls",
    _PROXY: "refused",
}


def failure_word(code: int, os_errno: int) -> str:
    """The word for an error of libcurl: ``refused``, ``reset``, ``timeout``, ``cut`` …; ``malformed`` for no HTTP, and
    ``no port`` where this machine has used up its ports.

    Args:
        code: libcurl's number of the error.
        os_errno: The system's number of the error that caused it; 0 where there was none.
    """
    if code == pycurl.E_COULDNT_CONNECT:
        return _NOT_CONNECTED.get(os_errno, "unreachable")
    return _WORDS.get(code, "malformed")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What many requests have in common.

    Attributes:
        status: HTTP status; ``None`` where no whole answer came.
        error: The way it failed, in a word; ``None`` where an answer came.
        grpc: gRPC status of the answer; ``None`` where there is none.
        flags: Envoy's response flags, where the answer carries them in a header.
        headers: The headers that the plan wants kept, names in lower case.
        fields: Path and JSON text of the fields that the plan wants kept; ``None`` where the body does not have it.
        complete: Whether ``headers`` and ``fields`` could be kept; they could not once too many different ones came.
    """

    status: int | None
    error: str | None = None
    grpc: str | None = None
    flags: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    fields: tuple[tuple[str, str | None], ...] = ()
    complete: bool = True

    @property
    def succeeded(self) -> bool:
        """A complete answer, status < 400, and gRPC status 0 where there is one."""
        return self.status is not None and self.status < 400 and self.grpc in {None, "0"}

    @property
    def told(self) -> str:
        """The outcome in a word or two."""
        if self.status is None:
            return str(self.error)
        return str(self.status) if self.grpc in {None, "0"} else f"{self.status} with gRPC status {self.grpc}"


def read_head(head: bytes) -> tuple[int, dict[str, str]]:
    """Status and headers of the last answer in ``head``, trailers among them; interim answers are passed over.

    Args:
        head: Status lines, header lines and blank lines as they came.
    """
    status, headers, ended = 0, dict[str, str](), False
    for line in head.decode("latin-1").split("\r\n"):
        if line.startswith("HTTP/") and (ended or not status):
            status, headers, ended = int(line.split(" ", 2)[1]), {}, False
        elif not line:
            ended = True
        else:
            name, _, value = line.partition(":")
            name, value = name.strip().lower(), value.strip()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return status, headers


def body_length(head: bytes) -> int | None:
    """Bytes of the body of a whole answer, where the head says it.

    Args:
        head: The answer's head as it came, to another request than HEAD.
    """
    _, headers = read_head(head)
    length = headers.get("content-length", "")
    return int(length) if length.isdigit() and "content-encoding" not in headers else None


def read_field(body: bytes, path: str) -> Any:
    """The value at a dotted path of a JSON body.

    Raises:
        LookupError: the body is no JSON, or has nothing there.
    """
    try:
        node: Any = json.loads(body)
    except ValueError:
        raise LookupError(f"the body is no JSON: {body[:200].decode(errors='replace')!r}") from None
    for part in path.split("."):
        if isinstance(node, list) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        elif isinstance(node, dict) and part in node:
            node = node[part]
        else:
            raise LookupError(f"the body has no field '{path}': {body[:200].decode(errors='replace')}")
    return node


def read_answer(head: bytes, body: bytes, headers: Sequence[str] = (), fields: Sequence[str] = ()) -> Outcome:
    """The outcome of a request that was answered.

    Args:
        head: The answer's head as it came.
        body: The answer's body.
        headers: Names of headers to keep, in lower case.
        fields: Dotted paths of JSON fields to keep.
    """
    status, known = read_head(head)
    flags = next((known[name] for name in FLAGS_HEADERS if name in known), "")
    kept = tuple((name, known[name]) for name in headers if name in known)
    return Outcome(status, None, known.get("grpc-status"), flags, kept, tuple(_fields(body, fields)))


def _fields(body: bytes, paths: Sequence[str]) -> list[tuple[str, str | None]]:
    found: list[tuple[str, str | None]] = []
    for path in paths:
        try:
            found.append((path, json.dumps(read_field(body, path))))
        except LookupError:
            found.append((path, None))
    return found
