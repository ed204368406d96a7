"""What becomes of a VirtualService's routes: tagged copies before the tester's own. Pure functions on dicts."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from meshbdd.cluster.record import ROUTE_PREFIX, route_name
from meshbdd.errors import BadInput
from meshbdd.intents import Fault, Scope, ServiceRef
from meshbdd.mesh.base import Where

Object = Mapping[str, Any]
Route = dict[str, Any]
Shape = Callable[[Route], None]
"""Changes a copy of a route, in place."""


def fault_block(fault: Fault) -> dict[str, Any]:
    """Istio's ``fault`` for an intent."""
    share = {"value": fault.share.value}
    if fault.delay is not None:
        return {"delay": {"fixedDelay": str(fault.delay), "percentage": share}}
    if fault.grpc_status is not None:
        return {"abort": {"grpcStatus": fault.grpc_status, "percentage": share}}
    return {"abort": {"httpStatus": fault.status, "percentage": share}}


def _scope_match(scope: Scope, caller: Where) -> dict[str, Any]:
    match: dict[str, Any] = {}
    if scope.method:
        match["method"] = {"exact": scope.method}
    if scope.path:
        match["uri"] = {"exact": scope.path}
    if scope.headers:
        match["headers"] = {name.lower(): {"exact": value} for name, value in scope.headers.items()}
    if caller.labels:
        match["sourceLabels"] = dict(caller.labels)
    if caller.namespace:
        match["sourceNamespace"] = caller.namespace
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
    namespace = ours.get("sourceNamespace")
    if namespace and made.setdefault("sourceNamespace", namespace) != namespace:
        return None
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


def _answers(route: Object) -> bool:
    """Whether a route answers calls itself, so that they come to no service."""
    return bool(route.get("redirect") or route.get("directResponse"))


_INTO_DELEGATE = "write the rule into the delegate with the step «the manifest … is applied»"


def _led(routes: Iterable[Object], service: ServiceRef, otherwise: str = _INTO_DELEGATE) -> Iterable[Object]:
    """The routes of calls to a service, those among them that answer, too.

    Raises:
        BadInput: one leaves that to another VirtualService.
    """
    for route in routes:
        if route.get("delegate"):
            raise BadInput("MB0402", f"The virtual service of {service} delegates its routes.", help=otherwise)
        yield route


def _without_last_answers(routes: list[Route]) -> list[Route]:
    """Copies of routes that answer stand only where another follows, which would take their calls otherwise."""
    while routes and _answers(routes[-1]):
        routes = routes[:-1]
    return routes


def _copy(route: Object, tag: str, number: int) -> Route:
    """A copy under our name; a copy of a copy keeps the other's name as well, by which both are seen."""
    below = route_name(route)
    made = copy.deepcopy(dict(route))
    made["name"] = f"{tag}{number}" + (f".{below}" if below.startswith(ROUTE_PREFIX) else "")
    return made


def _room(route: Object, fault: Fault) -> bool:
    """Whether a route has room for a fault: it can have one delay and one abort."""
    return not (route.get("fault") or {}).keys() & fault_block(fault).keys()


def _met(route: Object, ours: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The matches of a route, each narrowed to a scope; none where the two exclude each other.

    Raises:
        BadInput: the two cannot be said in one match.
    """
    return [m for block in route.get("match") or [{}] if (m := _both(block, ours)) is not None]


def is_beside_another(routes: Iterable[Object], fault: Fault, caller: Where, own: str) -> bool:
    """Whether a fault would have to replace one of its kind on one of these routes, which its own run has put there.

    Another run's routes are none of its business: the object that has them is refused when it is to be written.

    Args:
        routes: The routes.
        fault: The fault.
        caller: Who is to meet it.
        own: What the names of the run's own routes begin with.

    Raises:
        BadInput: as ``faulted_routes``.
    """
    ours = _scope_match(fault.scope, caller)
    return any(
        route_name(route).startswith(own) and not _room(route, fault) and _met(route, ours)
        for route in _led(routes, fault.service)
    )


def faulted_routes(routes: Iterable[Object], fault: Fault, caller: Where, tag: str) -> list[Route]:
    """A faulted copy of each route that the fault can hit, narrowed to its scope; of one that answers itself a mere copy.

    Raises:
        BadInput: a route has a fault of its own, or one of the run's that this one would replace, or delegates.
    """
    ours, own = _scope_match(fault.scope, caller), tag.rsplit("-", 2)[0] + "-"
    made: list[Route] = []
    for route in _led(routes, fault.service, "write | inject at | server |, or leave that option out"):
        if route.get("fault") and not _answers(route) and not route_name(route).startswith(ROUTE_PREFIX):
            name = route.get("name") or "without a name"
            raise BadInput(
                "MB0403",
                f"The virtual service of {fault.service} already has a fault of its own on its route {name}; it would hide this one.",
                help="remove that fault first",
            )
        matches = _met(route, ours)
        if not matches:
            continue
        if route_name(route).startswith(own) and not _room(route, fault):
            kind = "delay" if fault.delay is not None else "failure"
            raise BadInput(
                "MB0470",
                f"«{fault}» cannot be injected at the caller beside the other {kind} that is in force there for some of the same "
                "calls: a route of Istio's has room for one, so that one would be lost.",
                help="write | inject at | server |, leave that option out, or let the first one recover",
            )
        copied = _copy(route, tag, len(made))
        if not _answers(route):
            copied["fault"] = {**(copied.get("fault") or {}), **fault_block(fault)}
        if any(matches):
            copied["match"] = matches
        else:
            copied.pop("match", None)
        made.append(copied)
    return _without_last_answers(made)


def shaped_routes(routes: Iterable[Object], service: ServiceRef, shape: Shape, tag: str) -> list[Route]:
    """A changed copy of each route by which calls come to a service; of one that answers itself a mere copy.

    Raises:
        BadInput: a route delegates.
    """
    made: list[Route] = []
    for route in _led(routes, service):
        copied = _copy(route, tag, len(made))
        if not _answers(route):
            shape(copied)
        made.append(copied)
    return _without_last_answers(made)


def sources(routes: Iterable[Object]) -> tuple[Where, ...]:
    """Which proxies are sent at least one of these routes: by the sources that their matches name."""
    found: list[Where] = []
    for route in routes:
        for block in route.get("match") or [{}]:
            if "mesh" not in (block.get("gateways") or ["mesh"]):
                continue
            labels, namespace = block.get("sourceLabels"), block.get("sourceNamespace")
            if not labels and not namespace:
                return (Where(),)
            where = Where(namespace or None, dict(labels) if labels else None)
            if where not in found:
                found.append(where)
    return tuple(found)
