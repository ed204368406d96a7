"""The sidecars' access logs: one JSON line for each request, with Envoy's response flags."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any

from meshbdd.cluster import Cluster
from meshbdd.cluster.at_once import at_once
from meshbdd.cluster.client import ApiFailure
from meshbdd.sidecars import (
    FAULT_CONTAINER,
    FAULT_LABEL,
    INBOUND,
    ISTIO,
    PROBE_AGENT,
    Sidecars,
    callee,
    led_to,
    port_of,
    sent_for,
)
from meshbdd.telemetry.forwarded import Owner, with_callers

INJECTED = {"FI", "DI"}
"""Response flags of an injected abort and an injected delay: Envoy's access log documentation, %RESPONSE_FLAGS%."""
DENIED = "rbac_access_denied"
"""What the response code details of a request begin with that Envoy's RBAC filter denied."""
OUT_OF_TIME = "max_duration_timeout"
"""The response code details of a request that Envoy ended at its stream's longest duration."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One request as one sidecar saw it.

    Attributes:
        pod: The sidecar's pod.
        outbound: Whether it came from this pod's own application, to leave the pod.
        service: Full name of the service it went to; empty where the sidecar does not know, as where it answered by itself.
        route: Name of the route that it took.
        status: HTTP status, 0 where there was no answer.
        flags: Envoy's response flags.
        request_id: The request's id.
        started: Unix time at which its first byte came; milliseconds are exact. 0 where the log does not tell.
        seconds: From its first byte to the last byte of the answer.
        upstream: ``address:port`` that it was sent to; empty where it was sent nowhere.
        downstream: ``address:port`` that it came from.
        path: Its path, as the caller wrote it.
        traceparent: Its W3C trace context; ``None`` where the log's format has no such field (Istio's default has not).
        details: Why it was answered so, ``%RESPONSE_CODE_DETAILS%``; empty where the log does not tell.
        protocol: ``HTTP/1.1`` or ``HTTP/2``; empty where the log does not tell.
        method: Its method; empty where the log does not tell.
        grpc: Its gRPC status, by number; ``None`` where it has none, or the log does not tell.
        untold: Whether it may be a gRPC call whose status the log does not tell (Istio's default format has no such field).
        probe: Whether meshbdd sent it to look at something, so that no claim counts it.
        port: The port of the service that was called; of what came in, the application's own. Empty where nobody knows.
        authority: Whom it asked, as the caller wrote it.
        forwarded: Its ``X-Forwarded-For``; a proxy takes ``downstream`` from it.
        copied: Whether it is known to be a mirrored copy.
        namespace: The pod's; empty where nobody knows. In another one a pod may have the same name.
        backend: Full name of the service whose endpoints it was for, where that is one: a rule may lead calls to another
            service than ``service``, which was called. Of what came in, the service by whose cluster its caller's proxy sent it;
            empty where no mutual TLS tells that.
    """

    pod: str
    outbound: bool
    service: str
    route: str
    status: int
    flags: frozenset[str]
    request_id: str
    started: float = 0.0
    seconds: float = 0.0
    upstream: str = ""
    downstream: str = ""
    path: str = ""
    traceparent: str | None = None
    probe: bool = False
    details: str = ""
    protocol: str = ""
    method: str = ""
    grpc: int | None = None
    untold: bool = False
    port: str = ""
    authority: str = ""
    forwarded: str = ""
    copied: bool = False
    namespace: str = ""
    backend: str = ""

    @property
    def out_of_time(self) -> bool:
        """Whether the server's proxy ended it when the time was over that its caller had told with it (``grpc-timeout``)."""
        return not self.outbound and self.details == OUT_OF_TIME

    @property
    def owner(self) -> Owner:
        """The pod and its namespace."""
        return self.pod, self.namespace

    @property
    def came_from(self) -> str:
        """The address that it came from, without the port."""
        return self.downstream.rpartition(":")[0]

    @property
    def injected(self) -> bool:
        """Whether a fault was injected into it here."""
        return bool(self.flags & INJECTED)

    @property
    def denied(self) -> bool:
        """Whether an authorization policy denied it here."""
        return self.details.startswith(DENIED)


def read_entries(pod: str, text: bytes, addresses: Collection[str] = (), namespace: str = "") -> Iterator[Entry]:
    """The entries of a log; lines that are no JSON (Envoy's own words) are passed over.

    Args:
        pod: Whose it is.
        text: Its lines.
        addresses: The pod's: what came in came to one of these.
        namespace: The pod's.
    """
    for line in text.splitlines():
        if not line.startswith(b"{"):
            continue
        try:
            data = json.loads(line)
        except ValueError:
            continue
        cluster = str(data.get("upstream_cluster") or "")
        service = callee(cluster)
        flags = str(data.get("response_flags") or "-")
        outbound = bool(service) or _left(data, cluster, addresses)
        yield Entry(
            pod=pod,
            outbound=outbound,
            service=service,
            route=str(data.get("route_name") or ""),
            status=int(data.get("response_code") or 0),
            flags=frozenset(flags.split(",")) - {"-"},
            request_id=str(data.get("request_id") or ""),
            started=_unix(data.get("start_time")),
            seconds=float(data.get("duration") or 0) / 1000,
            upstream=str(data.get("upstream_host") or ""),
            downstream=str(data.get("downstream_remote_address") or ""),
            path=str(data.get("path") or ""),
            traceparent=str(data["traceparent"] or "") if "traceparent" in data else None,
            probe=data.get("user_agent") == PROBE_AGENT,
            details=str(data.get("response_code_details") or ""),
            protocol=str(data.get("protocol") or ""),
            method=str(data.get("method") or ""),
            grpc=_number(data.get(_GRPC)),
            untold=_GRPC not in data and _may_be_grpc(data),
            port=port_of(cluster),
            authority=str(data.get("authority") or ""),
            forwarded=str(data.get("x_forwarded_for") or ""),
            namespace=namespace,
            backend=led_to(cluster) if outbound else sent_for(str(data.get("requested_server_name") or "")),
        )


def _left(data: Mapping[str, Any], cluster: str, addresses: Collection[str]) -> bool:
    """Whether a request that went to no service was to leave the pod: answered by a route, or sent to no host of the mesh.

    A proxy that answers by itself names no cluster. What comes in comes to the pod's own address, as %DOWNSTREAM_LOCAL_ADDRESS%
    tells; what goes out came to another one: that which was called, or the outbound listener's.
    """
    local = str(data.get("downstream_local_address") or "").rpartition(":")[0].strip("[]")
    return bool(local and addresses) and not cluster.startswith(INBOUND) and local not in addresses


_GRPC = "grpc_status"
"""The field that an operator adds to the format: ``%GRPC_STATUS_NUMBER%``, which is empty where a request is no gRPC."""
_GRPC_PATH = re.compile(r"/[A-Za-z_]\w*(\.[A-Za-z_]\w*)+/[A-Za-z_]\w*")
"""``/package.Service/Method``: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#requests"""


def _number(found: object) -> int | None:
    return int(str(found)) if str(found).isdigit() else None


def _may_be_grpc(data: Mapping[str, Any]) -> bool:
    """Whether an answered request looks like one of gRPC, by what Istio's default format tells."""
    posted = data.get("method") == "POST" and data.get("protocol") == "HTTP/2"
    return posted and data.get("response_code") == HTTPStatus.OK and bool(_GRPC_PATH.fullmatch(str(data.get("path"))))


def _unix(text: object) -> float:
    """Envoy's ``%START_TIME%`` (ISO 8601, milliseconds) as Unix time."""
    try:
        return dt.datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return 0.0


_TAILS = (64, 1024, 16384, None)
"""How many lines of a log are asked for, until the last entry read before is among them."""
_NEWEST = 4
"""Lines that are asked for first where the last entry is looked for; the last one may be half written."""


class AccessLogs:
    """What every sidecar, and every fault backend, logged since a point in time; only what is new is read.

    Args:
        cluster: The API that gives the logs.
        sidecars: Whose they are.
    """

    def __init__(self, cluster: Cluster, sidecars: Sidecars = ISTIO) -> None:
        self._cluster = cluster
        self._sidecars = sidecars
        self._last: dict[tuple[str, str], bytes] = {}
        self._entries: list[Entry] = []
        self._injections: list[Entry] = []
        self._addresses: dict[Owner, str] = {}
        """Pod and its namespace → its IP address, also of pods that are gone."""

    def _logs(self) -> Iterator[tuple[Mapping[str, Any], str, set[str]]]:
        """The pods that run, each with the container that logs requests and with its addresses."""
        for pod in self._cluster.list("Pod", labels=self._sidecars.label):
            status = pod.get("status") or {}
            if status.get("phase") == "Running":
                owner = str(pod["metadata"]["name"]), str(pod["metadata"].get("namespace") or "")
                self._addresses[owner] = str(status.get("podIP") or "")
                addresses = {str(item["ip"]) for item in status.get("podIPs") or []} | {str(status.get("podIP") or "")}
                yield pod["metadata"], self._sidecars.container, addresses - {""}
                if FAULT_LABEL in (pod["metadata"].get("labels") or {}):
                    yield pod["metadata"], FAULT_CONTAINER, set()

    def _log(self, meta: Mapping[str, Any], container: str, tail: int | None) -> bytes:
        """Whole lines of a log. A pod that goes away meanwhile has no log any more, and is nobody's caller."""
        try:
            text = self._cluster.log(meta["name"], meta["namespace"], container, tail=tail)
        except ApiFailure as failure:
            if failure.status != HTTPStatus.NOT_FOUND:
                raise
            return b""
        return text[: text.rfind(b"\n") + 1]

    def _new(self, meta: Mapping[str, Any], container: str) -> tuple[bytes, bytes]:
        """What stands after the last entry read before, and the last entry now.

        It is everything where that entry is gone (the log was rotated).
        """
        last = self._last.get((meta["uid"], container), b"")
        text = b""
        for tail in _TAILS:
            text = self._log(meta, container, tail)
            at = text.rfind(last) if last else -1
            if at >= 0:
                text = text[at + len(last) :]
                break
            if tail is None or text.count(b"\n") < tail - 1:  # the last line may be half written, and counts
                break
        return text, _last_entry(text) or last

    def mark(self) -> None:
        """Begin here: what stands in the logs now is of no interest."""
        self._entries, self._injections = [], []
        logs = list(self._logs())
        newest = at_once(partial(self._newest, meta, container) for meta, container, _ in logs)
        self._last.update({(meta["uid"], name): last for (meta, name, _), last in zip(logs, newest, strict=True)})

    def _newest(self, meta: Mapping[str, Any], container: str) -> bytes:
        """The last entry of a log; nothing where it has none."""
        for tail in (_NEWEST, *_TAILS):
            text = self._log(meta, container, tail)
            found = _last_entry(text)
            if found or tail is None or text.count(b"\n") < tail - 1:
                return found
        return b""

    def since_mark(self) -> list[Entry]:
        """Everything that the sidecars logged since ``mark``, in each one's own order.

        Where a header hides who made a call, the caller's log tells it, if that is there by now.
        """
        logs = list(self._logs())
        texts = at_once(partial(self._new, meta, container) for meta, container, _ in logs)
        for (meta, container, addresses), (text, last) in zip(logs, texts, strict=True):  # all of them, or none
            self._last[meta["uid"], container] = last
            found = read_entries(meta["name"], text, addresses, str(meta.get("namespace") or ""))
            (self._injections if container == FAULT_CONTAINER else self._entries).extend(found)
        return with_callers(self._entries, self._addresses)

    @property
    def injections(self) -> list[Entry]:
        """What the fault backends had logged since ``mark`` when ``since_mark`` was last asked.

        The route of such an entry is named by the changes that sent the call there.
        """
        return list(self._injections)


def _last_entry(text: bytes) -> bytes:
    """The last line that is an entry, with its end: each is the only one of its kind, where Envoy's own words come again."""
    return next((line for line in reversed(text.splitlines(keepends=True)) if line.startswith(b"{")), b"")
