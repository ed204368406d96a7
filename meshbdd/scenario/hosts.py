"""The host of a request, before it is sent.

A name that the cluster does not have is answered by a proxy with a 503, which would look like a defect of a service.
"""

from __future__ import annotations

import difflib
import json
import socket
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from http import HTTPStatus
from typing import Any

from meshbdd.cluster import Cluster
from meshbdd.cluster.client import ApiFailure
from meshbdd.cluster.record import ROUTE_PREFIX
from meshbdd.errors import BadInput
from meshbdd.intents import ServiceRef
from meshbdd.load import Message
from meshbdd.mesh.catalog import Catalog, namesakes

_SUFFIXES = (".svc.cluster.local", ".svc")
_SERVICE_ENTRIES = "/apis/networking.istio.io/v1/serviceentries"
_UNTOLD = {HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND}
"""Answers to a question that this cluster, or these rights, leave open."""


def resolves(host: str) -> bool:
    """Whether this machine's name service knows a host."""
    try:
        return bool(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError):
        return False


def check_host(cluster: Cluster, message: Message, namespace: str, resolves: Callable[[str], bool] = resolves) -> None:
    """See that the cluster knows the host and its port, or, where its name has a dot, that somebody else does.

    Args:
        cluster: Where the request is sent.
        message: It.
        namespace: That of the pod which sends it: a short name is looked up there.
        resolves: Whether the name service outside of the cluster knows a host.

    Raises:
        BadInput: nothing has that name, and the nearest one is offered; or its Service has no such port.
    """
    host = message.host
    if "${" in host or ":" in host or any(name.lower() == "host" for name in message.headers):
        return
    ref, inside = service_named(host, namespace)
    try:
        service = cluster.find("Service", ref.name, ref.namespace)
        if service is not None:
            _check_port(message, ref, service)
            return
        if _named_elsewhere(cluster, {host, ref.name, f"{ref}", f"{ref}.svc", f"{ref}.svc.cluster.local"}):
            return
        if not inside and resolves(host):
            return
        known = cluster.find("Namespace", ref.namespace) is not None
        there = [str(s["metadata"]["name"]) for s in cluster.list("Service", ref.namespace)] if known else []
        elsewhere = namesakes(ref, Catalog(cluster).readable("Service"))
        names = sorted(name for name in there if not name.startswith(ROUTE_PREFIX))  # nobody asks what a run makes
    except ApiFailure as failure:
        if failure.status not in _UNTOLD:
            raise
        return
    raise _unknown(message, ref, names, elsewhere)


def _unknown(message: Message, ref: ServiceRef, names: Sequence[str], elsewhere: list[str]) -> BadInput:
    near = elsewhere or difflib.get_close_matches(ref.name, names, 1)
    known = f"ask one of: {', '.join(names)}" if names else "deploy the service, or correct the host"
    return BadInput(
        "MB0525",
        f'The request "{message.name}" asks the host "{message.host}", but there is no Service "{ref.name}" in '
        f'namespace "{ref.namespace}"{"" if names else ", and no such host elsewhere"}.',
        help=f'did you mean "{near[0]}"?' if near else known,
    )


def _check_port(message: Message, ref: ServiceRef, service: Mapping[str, Any]) -> None:
    """Refuse a port that a Service does not have: a proxy would answer as if the service did not exist.

    Raises:
        BadInput: naming those that it has.
    """
    ports = [port["port"] for port in (service.get("spec") or {}).get("ports") or []]
    if ports and message.port not in ports:
        raise BadInput(
            "MB0528",
            f'The request "{message.name}" asks port {message.port} of "{message.host}", but the Service "{ref.name}" '
            f'in namespace "{ref.namespace}" has none.',
            help=f"ask one of its ports: {', '.join(map(str, ports))}",
        )


def endpoints(cluster: Cluster, message: Message, namespace: str) -> list[str]:
    """``address:port`` of what is ready behind the Service that a request names: what cluster DNS and kube-proxy lead to.

    Args:
        cluster: Where the request is sent.
        message: It.
        namespace: That of the pod which sends it.
    """
    ref, _ = service_named(message.host, namespace)
    service = cluster.find("Service", ref.name, ref.namespace)
    if service is None:
        return []
    named = {port.get("name", "") for port in service["spec"].get("ports") or [] if port["port"] == message.port}
    slices = cluster.list("EndpointSlice", ref.namespace, f"kubernetes.io/service-name={ref.name}")
    return [
        f"{address}:{port['port']}"
        for found in slices
        for port in found.get("ports") or []
        if (port.get("name") or "") in named
        for endpoint in found.get("endpoints") or []
        if (endpoint.get("conditions") or {}).get("ready", True)
        for address in endpoint["addresses"]
    ]


def service_named(host: str, namespace: str) -> tuple[ServiceRef, bool]:
    """The Service that a host may be, and whether it can be nothing else."""
    for suffix in _SUFFIXES:
        if host.endswith(suffix):
            return ServiceRef.parse(host.removesuffix(suffix), namespace), True
    return ServiceRef.parse(host, namespace), "." not in host


def _named_elsewhere(cluster: Cluster, names: set[str]) -> bool:
    """Whether a route or a ServiceEntry of the mesh takes requests for one of these hosts."""
    found: list[dict[str, Any]] = []
    for entries in (
        lambda: cluster.list("VirtualService"),
        lambda: json.loads(cluster.request("GET", _SERVICE_ENTRIES)).get("items") or [],
    ):
        try:
            found += entries()
        except ApiFailure as failure:
            if failure.status not in _UNTOLD:
                raise
    hosts = [host for obj in found for host in (obj.get("spec") or {}).get("hosts") or [] if host != "*"]  # of gateways
    return any(fnmatchcase(name, host) for name in names for host in hosts)
