"""The host of a request, before it is sent.

A name that the cluster does not have is answered by a proxy with a 503, which would look like a defect of a service.
"""

from __future__ import annotations

import difflib
import json
from fnmatch import fnmatchcase
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from meshbdd.cluster import Cluster
from meshbdd.cluster.client import ApiFailure
from meshbdd.errors import BadInput
from meshbdd.intents import ServiceRef
from meshbdd.load import Message

_SUFFIXES = (".svc.cluster.local", ".svc")
_SERVICE_ENTRIES = "/apis/networking.istio.io/v1/serviceentries"
_UNTOLD = {HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND}
"""Answers to a question that this cluster, or these rights, leave open."""


def check_host(cluster: Cluster, message: Message, namespace: str) -> None:
    """See that the cluster knows the host; one with a dot that is no Service's name is somebody else's to know.

    Args:
        cluster: Where the request is sent.
        message: It.
        namespace: That of the pod which sends it: a short name is looked up there.

    Raises:
        BadInput: nothing there has that name; the nearest one is offered.
    """
    host = message.host
    if "${" in host or ":" in host or any(name.lower() == "host" for name in message.headers):
        return
    try:
        ref = _service(cluster, host, namespace)
        if ref is None or cluster.find("Service", ref.name, ref.namespace) is not None:
            return
        if _named_elsewhere(cluster, {host, ref.name, f"{ref}", f"{ref}.svc", f"{ref}.svc.cluster.local"}):
            return
        names = sorted(service["metadata"]["name"] for service in cluster.list("Service", ref.namespace))
    except ApiFailure as failure:
        if failure.status not in _UNTOLD:
            raise
        return
    known = f"ask one of: {', '.join(names)}" if names else "deploy the service, or correct the host"
    near = difflib.get_close_matches(ref.name, names, 1)
    raise BadInput(
        "MB0525",
        f'The request "{message.name}" asks the host "{host}", but there is no Service "{ref.name}" in namespace '
        f'"{ref.namespace}".',
        help=f'did you mean "{near[0]}"?' if near else known,
    )


def endpoints(cluster: Cluster, message: Message, namespace: str) -> list[str]:
    """``address:port`` of what is ready behind the Service that a request names: what cluster DNS and kube-proxy lead to.

    Args:
        cluster: Where the request is sent.
        message: It.
        namespace: That of the pod which sends it.
    """
    parts = urlsplit(message.url)
    ref = _service(cluster, message.host, namespace)
    service = cluster.find("Service", ref.name, ref.namespace) if ref else None
    if ref is None or service is None:
        return []
    number = parts.port or {"http": 80, "https": 443}[parts.scheme]
    named = {port.get("name", "") for port in service["spec"].get("ports") or [] if port["port"] == number}
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


def _service(cluster: Cluster, host: str, namespace: str) -> ServiceRef | None:
    """The Service that a host must be; ``None`` where it may be anything."""
    for suffix in _SUFFIXES:
        if host.endswith(suffix):
            return ServiceRef.parse(host.removesuffix(suffix), namespace)
    ref = ServiceRef.parse(host, namespace)
    if "." in host and ("." in ref.namespace or cluster.find("Namespace", ref.namespace) is None):
        return None
    return ref


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
