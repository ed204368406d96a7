"""Sending the recorded requests: with libcurl, over HTTP/1.1 or HTTP/2, through the client's sidecar or past it."""

from __future__ import annotations

import io
import re
import threading
import time
import uuid
from dataclasses import dataclass, field, replace
from typing import Any

import pycurl

from tests.fidelity.linkerd.world import World, inbound_pod, inbound_ports, is_inbound, service_of

_REQUEST = re.compile(
    r"HTTP/(?P<version>1\.1|2) (?P<method>\w+) (?P<path>\S+)(?: body=(?P<body>\d+))?(?P<chunked> chunked)?(?: \{(?P<headers>.*)\})?"
)


@dataclass(frozen=True, slots=True)
class Seen:
    """What became of one request."""

    status: int
    headers: dict[str, str]
    trailers: dict[str, str]
    body: str
    error: str
    milliseconds: float
    records: tuple[dict[str, Any], ...] = ()

    @property
    def attempts(self) -> int:
        return len(self.records)


@dataclass(slots=True)
class _Call:
    blocks: list[dict[str, str]] = field(default_factory=list)
    current: dict[str, str] = field(default_factory=dict)
    ended: bool = False

    def on_header(self, line: bytes) -> None:
        text = line.decode("latin-1").strip()
        if text.startswith("HTTP/"):
            self.current = {}
        elif not text:
            self.blocks.append(self.current)
            self.current = {}
        else:
            name, _, value = text.partition(":")
            self.current[name.lower()] = value.strip()


def _call(world: World, experiment: dict[str, Any], request: str, run: str) -> Seen:
    """Send one request as it was recorded; what reached the application stands under ``run`` there."""
    match = _REQUEST.fullmatch(request)
    assert match is not None, request
    host = f"{service_of(experiment)}.shop.svc.cluster.local"
    headers = [f"x-run: {run}"]
    if match["headers"]:
        headers += match["headers"].split("; ")
    handle = pycurl.Curl()
    made, body = _Call(), io.BytesIO()
    port = 81 if experiment["id"] == "r-svcport" else 80
    if experiment["id"] == "e-deny":
        host = "203.0.113.7"
    handle.setopt(pycurl.URL, f"http://{host}:{port}{match['path']}")
    if is_inbound(experiment) and experiment["id"].endswith("/unmeshed"):
        address = world.address(inbound_pod(experiment))
        handle.setopt(pycurl.CONNECT_TO, [f"::{address}:{inbound_ports()[experiment['id']]}"])
        handle.setopt(pycurl.INTERFACE, f"host!{world.address('outside')}")
    else:
        handle.setopt(pycurl.CONNECT_TO, [f"::{world.way_out}"])
    http2 = match["version"] == "2"
    handle.setopt(
        pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE if http2 else pycurl.CURL_HTTP_VERSION_1_1
    )
    handle.setopt(pycurl.CUSTOMREQUEST, match["method"])
    if match["body"] is not None:
        content = io.BytesIO(b"x" * int(match["body"]))
        handle.setopt(pycurl.POST, 1)
        handle.setopt(pycurl.READFUNCTION, content.read)
        headers.append("expect:")
        if match["chunked"]:
            headers.append("transfer-encoding: chunked")
        else:
            handle.setopt(pycurl.POSTFIELDSIZE_LARGE, int(match["body"]))
    if "grpc" in match["path"]:
        headers += ["content-type: application/grpc", "te: trailers"]
    handle.setopt(pycurl.HTTPHEADER, headers)
    handle.setopt(pycurl.HEADERFUNCTION, made.on_header)
    handle.setopt(pycurl.WRITEDATA, body)
    handle.setopt(pycurl.TIMEOUT_MS, 15_000)
    handle.setopt(pycurl.NOSIGNAL, 1)
    began, error = time.perf_counter(), ""
    try:
        handle.perform()
    except pycurl.error as failure:
        error = str(failure.args[1]) or str(failure.args[0])
    milliseconds = (time.perf_counter() - began) * 1000
    status = int(handle.getinfo(pycurl.RESPONSE_CODE))
    handle.close()
    blocks = [*made.blocks, *([made.current] if made.current else [])]
    first = blocks[0] if blocks else {}
    trailers = blocks[1] if len(blocks) > 1 else {}
    return Seen(status, first, trailers, body.getvalue().decode(), error, milliseconds)


def calls(world: World, experiment: dict[str, Any], request: str, count: int, at_once: int) -> dict[str, Seen]:
    """Send a request so many times, some at the same time: what was seen, by the run that each was."""
    seen: dict[str, Seen] = {}
    left = iter([uuid.uuid4().hex for _ in range(count)])
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                run = next(left, None)
            if run is None:
                return
            seen[run] = _call(world, experiment, request, run)
            if at_once == 1:
                world.settle()

    threads = [threading.Thread(target=work) for _ in range(min(at_once, count))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seen


def with_records(world: World, seen: dict[str, Seen]) -> list[Seen]:
    """What was seen, each with what reached the applications of it."""
    return [replace(one, records=tuple(world.received(run))) for run, one in seen.items()]
