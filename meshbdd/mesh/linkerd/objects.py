"""What the resources of a Linkerd cluster say of a Service's ports, and how objects of the run's own are made."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from meshbdd.cluster import Edit
from meshbdd.cluster.kinds import kind_of
from meshbdd.cluster.record import read_path
from meshbdd.errors import BadInput
from meshbdd.intents import ServiceRef
from meshbdd.mesh.catalog import Catalog

Object = Mapping[str, Any]

GATEWAY, POLICY = "gateway.networking.k8s.io", "policy.linkerd.io"
ROUTE_KINDS = ("GRPCRoute", "HTTPRoute", f"HTTPRoute.{POLICY}")
"""GRPCRoutes beat HTTPRoutes on one port, whichever is older: linkerd2 policy-controller/k8s/status/src/index.rs.

Those of Linkerd's own group and the Gateway API's stand in one list: …/grpc/src/outbound.rs, ``timestamp_then_name``."""

OPAQUE_PORTS = "config.linkerd.io/opaque-ports"
_OPAQUE = "25,587,3306,4444,5432,6379,9300,11211"
"""linkerd2 charts/linkerd-control-plane/values.yaml, ``proxy.opaquePorts``."""
_LAST_PORT = 65_535
_HTTP = {"http", "kubernetes.io/h2c"}
"""``appProtocol``, however it is spelt; any other word makes the port a stream of bytes: linkerd2 …/core/src/outbound.rs."""
_FILTERS = {"RequestHeaderModifier", "ResponseHeaderModifier", "RequestRedirect"}
"""Filters of routes that Linkerd knows: linkerd2 …/outbound/index/http.rs, ``convert_gateway_filter``."""

_PATHS: Mapping[str, tuple[str, ...]] = {
    "ServiceAccount": ("automountServiceAccountToken",),
    "Service": ("spec", "selector"),
    "Deployment": ("spec", "selector"),
}
"""What stands for an object of these kinds in its undo record: the API server completes the rest of their specs."""


_LONGEST_NAME = 63
"""Of a Service: a DNS label (RFC 1035, 2.3.4)."""


def fitting(name: str) -> str:
    """A name for an object of the run's own beside a service; one that would be too long ends in what tells it from others."""
    if len(name) <= _LONGEST_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[: _LONGEST_NAME - len(digest) - 1].rstrip('-.')}-{digest}"


def creation(obj: dict[str, Any]) -> Edit:
    """The edit that makes an object of the run's own, or brings what is there to the same words."""
    meta, kind = obj["metadata"], kind_of(obj)
    path = _PATHS.get(kind, ("spec",))
    wanted = read_path(obj, path)
    return Edit(kind, meta["name"], meta["namespace"], path, lambda _now: copy.deepcopy(wanted), obj)


def http_ports(service: Object) -> tuple[Mapping[str, Any], ...]:
    """The ports of a Service that carry HTTP.

    Raises:
        BadInput: there is none; or the Service has no address by which Linkerd would know it.
    """
    meta, spec = service["metadata"], service["spec"]
    name = f"{meta['name']}.{meta['namespace']}"
    if spec.get("clusterIP") == "None":
        raise BadInput(
            "MB0440",
            f'Service "{name}" is headless; Linkerd\'s policies are for the address of a Service, so nothing would come of this.',
            help="give it a cluster IP",
        )
    opaque = port_list((meta.get("annotations") or {}).get(OPAQUE_PORTS, _OPAQUE))
    ports = tuple(port for port in spec.get("ports") or [] if _carries_http(port, opaque))
    if not ports:
        said = _said_opaque(service)
        raise BadInput(
            "MB0441",
            f'No port of Service "{name}" carries HTTP, as far as Linkerd is told{f" ({OPAQUE_PORTS} covers {said})" if said else ""}, '
            "so a rule for HTTP would have no effect.",
            help=f"take {said} out of that annotation of the Service"
            if said
            else "set appProtocol of the port to http",
        )
    return ports


def _said_opaque(service: Object) -> str:
    """The ports of a Service that are opaque by its own annotation, in words; empty where there is none."""
    opaque = port_list((service["metadata"].get("annotations") or {}).get(OPAQUE_PORTS, ""))
    open_ = (port for port in service["spec"].get("ports") or [] if not port.get("appProtocol"))
    found = [str(port["port"]) for port in open_ if any(int(port["port"]) in numbers for numbers in opaque)]
    return f"port{'s' if found[1:] else ''} {' and '.join(found)}" if found else ""


def is_opaque(pod: Mapping[str, Any], port: int) -> bool:
    """Whether a pod's proxy passes the bytes of a port on as they come, unless a Server says otherwise."""
    opaque = port_list((pod["metadata"].get("annotations") or {}).get(OPAQUE_PORTS, _OPAQUE))
    return any(port in numbers for numbers in opaque)


def _carries_http(port: Mapping[str, Any], opaque: Iterable[range]) -> bool:
    """A port's ``appProtocol`` beats the list of opaque ports."""
    said = port.get("appProtocol")
    if said:
        return str(said).lower() in _HTTP
    return not any(int(port["port"]) in numbers for numbers in opaque)


def port_list(text: str) -> list[range]:
    """Ports and ranges of them; of a list in which one is wrong Linkerd takes none: linkerd2 …/k8s/index/src/ports.rs."""
    found = []
    for word in filter(None, (word.strip() for word in text.split(","))):
        first, _, last = (part.strip() for part in word.partition("-"))
        last = last if "-" in word else first
        if not (first.isdecimal() and last.isdecimal() and 0 < int(first) <= int(last) <= _LAST_PORT):
            return []
        found.append(range(int(first), int(last) + 1))
    return found


def is_grpc(port: Mapping[str, Any]) -> bool:
    """Whether a port is declared to speak gRPC. Linkerd does not read names; whoever calls it ``grpc…`` means it."""
    return str(port.get("name") or "").partition("-")[0] == "grpc"


def parents(route: Object) -> Iterator[Mapping[str, Any]]:
    """The Services that a route is attached to, each with its namespace."""
    for ref in (route.get("spec") or {}).get("parentRefs") or []:
        if ref.get("kind") == "Service" and ref.get("group", GATEWAY) in {"", "core"}:
            yield {**ref, "namespace": ref.get("namespace") or route["metadata"]["namespace"]}


def attached(routes: Iterable[Object], service: ServiceRef, port: int) -> list[Object]:
    """The routes at a port of a Service: of the kinds that are there the one that counts, the oldest route first."""
    found = [
        route
        for route in routes
        if any(
            (ref["name"], ref["namespace"]) == (service.name, service.namespace) and ref.get("port") in {None, port}
            for ref in parents(route)
        )
    ]
    kind = min((route["kind"] for route in found), key=ROUTE_KINDS.index, default=None)
    return sorted((route for route in found if route["kind"] == kind), key=_age)


def compete(route: Object, other: Object, service: ServiceRef) -> bool:
    """Whether some caller goes by both of two routes of a service.

    One in the service's namespace is for all callers, one elsewhere for the callers there.
    """
    homes = {route["metadata"]["namespace"], other["metadata"]["namespace"]}
    return len(homes) == 1 or service.namespace in homes


def routes_of(catalog: Catalog, namespace: str | None = None) -> list[Object]:
    """All routes of the kinds by which Linkerd routes HTTP, in one namespace or in all."""
    return [route for kind in ROUTE_KINDS for route in catalog.all(kind, namespace)]


def named(route: Object) -> tuple[str, str, str]:
    """What tells a route from all others: its kind, namespace and name."""
    return kind_of(route), route["metadata"]["namespace"], route["metadata"]["name"]


def _age(route: Object) -> tuple[str, str]:
    return str(route["metadata"].get("creationTimestamp", "")), route["metadata"]["name"]


def refuse_left_out(route: Object) -> None:
    """See that Linkerd takes a route: with a filter that it does not know it leaves out the whole, whose status says Accepted.

    Raises:
        BadInput: it has one.
    """
    for rule in (route.get("spec") or {}).get("rules") or []:
        unknown = next((f.get("type") for f in rule.get("filters") or [] if f.get("type") not in _FILTERS), None)
        if unknown is not None:
            meta = route["metadata"]
            raise BadInput(
                "MB0465",
                f"{route['kind']} {meta['name']} in namespace {meta['namespace']} has the filter {unknown}, and for that Linkerd "
                "leaves the whole route out, though its status is Accepted.",
                help="take the filter out of the route",
            )


def refuse_profile(catalog: Catalog, service: ServiceRef) -> None:
    """See that no ServiceProfile governs a service: routes and annotations have no effect beside one.

    One in the service's namespace is for all callers, one elsewhere for those in its own namespace.

    Raises:
        BadInput: one does.
    """
    for profile in catalog.all("ServiceProfile"):
        spec, meta = profile.get("spec") or {}, profile["metadata"]
        if meta["name"] != service.host or not (spec.get("routes") or spec.get("dstOverrides")):
            continue
        everybody = meta["namespace"] == service.namespace
        if everybody or meta["namespace"] in catalog.calling_namespaces():
            whose = "" if everybody else " from there"
            raise BadInput(
                "MB0442",
                f"ServiceProfile {meta['name']} in namespace {meta['namespace']} governs calls to {service}{whose}; beside it "
                "Linkerd ignores routes, and the Service's retries, timeouts and failure accrual.",
                help="take its routes and dstOverrides away, or the whole profile",
            )
