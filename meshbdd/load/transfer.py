"""A libcurl handle made ready for a plan; it is used again for one request after the other."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import certifi
import pycurl

from meshbdd.load.driving import Driver
from meshbdd.load.ids import RequestIds
from meshbdd.load.plan import Plan
from meshbdd.load.vantage import Entry

LARGEST_BODY = 64 * 1024 * 1024
"""An answer that goes on beyond this has no end that a load test could wait for."""

_KEPT_BODY = 1024 * 1024


class Transfer:
    """One request at a time.

    Attributes:
        curl: The handle.
        active: Whether a request is under way.
        number: The request under way, in the order of starts.
        began: When it started, ``time.perf_counter_ns``.
        due: When it should have.
        lines: The head of its answer, as libcurl gives it.
        chunks: The body of its answer, at most 1 MiB and a chunk of it.
    """

    __slots__ = (
        "_attempts",
        "_driver",
        "_fill",
        "_follow",
        "_kept",
        "active",
        "began",
        "chunks",
        "curl",
        "due",
        "lines",
        "number",
    )

    def __init__(self, plan: Plan, ids: RequestIds, driver: Driver, places: Sequence[str]) -> None:
        self.curl = pycurl.Curl()
        self.number = self.began = self.due = 0
        self.active = False
        self.lines: list[bytes] = []
        self.chunks: list[bytes] = []
        self._kept = self._attempts = 0
        self._follow = plan.follow
        self._driver = driver
        self.curl.setopt(pycurl.SOCKOPTFUNCTION, driver.opened)
        self.curl.setopt(pycurl.RESOLVE, list(places))
        self._fill = _prepare(self.curl, plan, ids)
        self.curl.setopt(pycurl.WRITEFUNCTION, self._write)
        self.curl.setopt(pycurl.HEADERFUNCTION, self.lines.append)
        if not plan.fresh:
            self.curl.setopt(pycurl.PREREQFUNCTION, self._before_request)

    def begin(self, number: int, now: int, due: int) -> None:
        """Make it ready for the next request."""
        self.number, self.began, self.due = number, now, due
        self.lines.clear()
        self.chunks.clear()
        self._kept = self._attempts = 0
        self.active = True
        self._fill(number)

    def _write(self, data: bytes) -> None:
        if self._kept < _KEPT_BODY:
            self._kept += len(data)
            self.chunks.append(data)

    def _before_request(self, *_connection: object) -> Any:
        """Called right before a request is written to a connection.

        When a connection that was kept open is reset before the first byte of an answer, libcurl sends the request
        again, silently, on a new one. The server would see two requests where the record has one, and a reset would
        look like a success. So the second attempt is refused, and the request counts as reset.
        """
        self._attempts += 1
        if self._attempts == 1:
            return pycurl.PREREQFUNC_OK
        if not (self._follow and self.lines):
            return pycurl.PREREQFUNC_ABORT
        self.lines.clear()  # of the answer that redirected here
        self._driver.other_sockets()  # it may have to look a name up
        return pycurl.PREREQFUNC_OK


def _prepare(curl: pycurl.Curl, plan: Plan, ids: RequestIds) -> Callable[[int], None]:
    """Set what is the same for every request; returns what sets the rest."""
    curl.setopt(pycurl.NOSIGNAL, 1)
    curl.setopt(pycurl.TIMEOUT_MS, max(1, round(plan.timeout.milliseconds)))
    curl.setopt(pycurl.CONNECTTIMEOUT_MS, max(1, round(plan.timeout.milliseconds)))
    curl.setopt(pycurl.MAXFILESIZE_LARGE, LARGEST_BODY)
    curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
    if plan.fresh:
        curl.setopt(pycurl.FRESH_CONNECT, 1)
        curl.setopt(pycurl.FORBID_REUSE, 1)
    if plan.follow:
        curl.setopt(pycurl.FOLLOWLOCATION, 1)
        curl.setopt(pycurl.MAXREDIRS, plan.follow)
        curl.setopt(pycurl.REDIR_PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
    _enter(curl, plan)
    _speak(curl, plan)
    return _fill(curl, plan, ids)


def _enter(curl: pycurl.Curl, plan: Plan) -> None:
    proxied = plan.vantage is not None and plan.vantage.entry is Entry.PROXY
    # The machine's own proxies have no part in a test: an empty name switches off what the environment says.
    curl.setopt(pycurl.PROXY, f"http://{plan.vantage.address}" if plan.vantage and proxied else "")
    curl.setopt(pycurl.NOPROXY, "" if proxied else "*")
    if plan.vantage is not None and not proxied:
        curl.setopt(pycurl.CONNECT_TO, [f"::{plan.vantage.address}"])


def _speak(curl: pycurl.Curl, plan: Plan) -> None:
    if plan.http2 if plan.http2 is not None else plan.grpc:
        plain = plan.message.url.startswith("http:")
        curl.setopt(
            pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE if plain else pycurl.CURL_HTTP_VERSION_2TLS
        )
    else:
        curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
    if plan.insecure:
        curl.setopt(pycurl.SSL_VERIFYPEER, 0)
        curl.setopt(pycurl.SSL_VERIFYHOST, 0)
    elif plan.message.url.startswith("https:"):
        # libcurl's wheel knows where Red Hat keeps its authorities, and nothing of other systems.
        curl.setopt(pycurl.CAINFO, os.environ.get("SSL_CERT_FILE") or certifi.where())


def _fill(curl: pycurl.Curl, plan: Plan, ids: RequestIds) -> Callable[[int], None]:
    """Set method, url, headers and body; returns what sets those that differ from request to request.

    The id rides on libcurl's user agent, which it writes into the head as it stands: a list of headers, made anew for
    each request, would cost as much as the rest of what is done here for one.
    """
    message, setopt, user_agent, of = plan.message, curl.setopt, pycurl.USERAGENT, ids.of
    url, headers, body = message.fresh(ids.variable(0))
    body = _framed(body) if plan.grpc else body
    setopt(pycurl.URL, url)
    setopt(pycurl.HTTPHEADER, _header_lines(headers, plan.grpc))
    _method(curl, message.method, body)
    own = next((value for name, value in message.headers.items() if name.lower() == "user-agent"), "meshbdd")
    ending = "\r\nx-request-id: "

    def identity(number: int) -> None:
        setopt(user_agent, own + ending + of(number))

    def everything(number: int) -> None:
        url, headers, body = message.fresh(ids.variable(number))
        setopt(pycurl.URL, url)
        if body is not None:
            setopt(pycurl.POSTFIELDS, _framed(body) if plan.grpc else body)
        setopt(pycurl.HTTPHEADER, _header_lines(headers, plan.grpc))
        setopt(user_agent, own.replace("${uuid}", ids.variable(number)) + ending + of(number))

    return everything if message.varies else identity


def _framed(message: bytes | None) -> bytes:
    """A message as gRPC sends it; one that is left out is empty."""
    return struct.pack(">BI", 0, len(message or b"")) + (message or b"")


def _method(curl: pycurl.Curl, method: str, body: bytes | None) -> None:
    if body is not None or method in {"POST", "PUT", "PATCH"}:
        curl.setopt(pycurl.POSTFIELDS, body or b"")
    if method == "HEAD":
        curl.setopt(pycurl.NOBODY, 1)
    elif method != "GET" or body is not None:
        curl.setopt(pycurl.CUSTOMREQUEST, method)


def _header_lines(headers: Mapping[str, str], grpc: bool) -> list[str]:
    """Header lines for libcurl, and what keeps it from adding its own."""
    known = {name.lower() for name in headers}
    lines = [
        f"{name}: {value}" if value else f"{name};"
        for name, value in headers.items()
        if name.lower() not in {"user-agent", "x-request-id"}
    ]
    if grpc and "te" not in known:
        lines.append("te: trailers")
    return lines + [f"{name}:" for name in ("expect", "content-type") if name not in known]
