"""Which VirtualService governs a service for its callers, and where in it a fault belongs. Pure functions on dicts."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from meshbdd.cluster.record import ROUTE_PREFIX
from meshbdd.errors import BadInput
from meshbdd.intents import Fault, Scope, ServiceRef

Object = Mapping[str, Any]


def full_name(host: str, namespace: str) -> str:
    """A host as a VirtualService of ``namespace`` means it: https://istio.io/latest/docs/reference/config/networking/virtual-service/"""
    return host if "." in host or host == "*" else f"{host}.{namespace}.svc.cluster.local"


def service_host(service: ServiceRef) -> str:
    """The full name of a service."""
    return f"{service.name}.{service.namespace}.svc.cluster.local"


def governing(service: ServiceRef, objects: Iterable[Object]) -> Object | None:
    """The VirtualService that sidecars use for a service: the oldest public one whose hosts cover it.

    A second one for the same host is ignored by Istio, which is why a fault goes into this one.
    """
    host = service_host(service)
    found = []
    for obj in objects:
        spec, meta = obj["spec"], obj["metadata"]
        if "mesh" not in (spec.get("gateways") or ["mesh"]):
            continue
        names = [full_name(name, meta["namespace"]) for name in spec.get("hosts") or []]
        if any(name == host or (name.startswith("*") and host.endswith(name[1:])) for name in names):
            found.append(obj)

    def rank(obj: Object) -> tuple[bool, str, str, str]:
        meta = obj["metadata"]
        exact = host in [full_name(name, meta["namespace"]) for name in obj["spec"].get("hosts") or []]
        return not exact, str(meta.get("creationTimestamp", "")), meta["name"], meta["namespace"]

    return min(found, key=rank, default=None)


def fault_block(fault: Fault) -> dict[str, Any]:
    """Istio's ``fault`` for an intent."""
    share = {"value": fault.share.value}
    if fault.delay is not None:
        return {"delay": {"fixedDelay": str(fault.delay), "percentage": share}}
    if fault.grpc_status is not None:
        return {"abort": {"grpcStatus": fault.grpc_status, "percentage": share}}
    return {"abort": {"httpStatus": fault.status, "percentage": share}}


def _scope_match(scope: Scope, caller_labels: Mapping[str, str] | None) -> dict[str, Any]:
    match: dict[str, Any] = {}
    if scope.method:
        match["method"] = {"exact": scope.method}
    if scope.path:
        match["uri"] = {"exact": scope.path}
    if scope.headers:
        match["headers"] = {name.lower(): {"exact": value} for name, value in scope.headers.items()}
    if caller_labels:
        match["sourceLabels"] = dict(caller_labels)
    return match


def _both(theirs: Object, ours: Mapping[str, Any]) -> dict[str, Any] | None:
    """A match for what both take; ``None`` where nothing can be taken by both.

    Raises:
        BadInput: the two cannot be said in one match.
    """
    made: dict[str, Any] = copy.deepcopy(dict(theirs))
    for name in ("method", "uri"):
        if name not in ours:
            continue
        kept = made.get(name)
        if kept is not None and not _takes(kept, ours[name]["exact"]):
            return None
        made[name] = ours[name]
    for entry, value in (ours.get("headers") or {}).items():
        kept = (made.get("headers") or {}).get(entry)
        if kept and not _takes(kept, value["exact"]):
            return None
        made.setdefault("headers", {})[entry] = value
    for entry, value in (ours.get("sourceLabels") or {}).items():
        if (made.get("sourceLabels") or {}).get(entry, value) != value:
            return None
        made.setdefault("sourceLabels", {})[entry] = value
    return made


def _takes(match: Mapping[str, Any], value: str) -> bool:
    if "exact" in match:
        return bool(match["exact"] == value)
    if "prefix" in match:
        return value.startswith(match["prefix"])
    if "regex" in match:
        raise BadInput(
            "MB0401",
            f"The virtual service matches by the regular expression {match['regex']!r}, which cannot be joined with '{value}'.",
            help="leave that option out of the fault's table",
        )
    return True


def tagged_routes(
    routes: Iterable[Object], fault: Fault, caller_labels: Mapping[str, str] | None, tag: str
) -> list[dict[str, Any]]:
    """A faulted copy of each route that the fault can hit, narrowed to its scope.

    Raises:
        BadInput: a route has a fault of its own, or delegates.
    """
    ours = _scope_match(fault.scope, caller_labels)
    made: list[dict[str, Any]] = []
    for route in routes:
        if route.get("redirect") or route.get("directResponse"):
            continue  # no call of these reaches the service
        if route.get("delegate"):
            raise BadInput(
                "MB0402",
                f"The virtual service of {fault.service} delegates its routes.",
                help="put the fault into the delegate",
            )
        if route.get("fault") and not str(route.get("name", "")).startswith(ROUTE_PREFIX):
            name = route.get("name") or "without a name"
            raise BadInput(
                "MB0403",
                f"The virtual service of {fault.service} already has a fault of its own on its route {name}; it would hide this one.",
                help="remove that fault first",
            )
        matches = [m for block in route.get("match") or [{}] if (m := _both(block, ours)) is not None]
        if not matches:
            continue
        copied = copy.deepcopy(dict(route))
        copied["name"] = f"{tag}{len(made)}"
        copied["fault"] = {**(copied.get("fault") or {}), **fault_block(fault)}
        if any(matches):
            copied["match"] = matches
        else:
            copied.pop("match", None)
        made.append(copied)
    return made
