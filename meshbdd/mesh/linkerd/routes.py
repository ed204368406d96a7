"""Writing marked rules into the routes at a Service's ports, and how proxies show that they hold them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from meshbdd.cluster import Edit
from meshbdd.cluster.kinds import kind_of
from meshbdd.errors import BadInput
from meshbdd.intents import ServiceRef
from meshbdd.mesh.base import Marker, Stage
from meshbdd.mesh.catalog import Catalog
from meshbdd.mesh.linkerd.callers import refuse_shared
from meshbdd.mesh.linkerd.markers import RouteMarked
from meshbdd.mesh.linkerd.objects import (
    attached,
    compete,
    http_ports,
    is_grpc,
    named,
    refuse_left_out,
    refuse_profile,
    routes_of,
)
from meshbdd.mesh.linkerd.rules import Rules, plain_rule, redirects
from meshbdd.mesh.linkerd.scopes import Place

RULES = ("spec", "rules")
_MOST_RULES = 16
"""https://gateway-api.sigs.k8s.io/reference/spec/#httproutespec; GRPCRoutes and Linkerd's own HTTPRoutes have the same."""
_VERSION = "gateway.networking.k8s.io/v1"

Marked = Callable[[Rules, Place], Rules]
"""The rules that are there, and where → the marked copies before them."""


def routes_stage(catalog: Catalog, service: ServiceRef, tag: str, made: Marked, what: str) -> Stage:
    """Put marked rules before those that govern a service, at each of its ports that carry HTTP.

    Every route there gets them: with two of one rank, clients in other namespaces may be governed by either.

    Args:
        catalog: Reads the cluster.
        service: The service that is called.
        tag: Stands in the new rules' header.
        made: Makes them.
        what: What they do, for messages.

    Raises:
        BadInput: the rules that are there leave no room for them, or are other Services' as well, or Linkerd would ignore them.
    """
    refuse_profile(catalog, service)
    routes = routes_of(catalog)
    edits: dict[str, Edit] = {}
    markers: list[Marker] = []
    for port in http_ports(catalog.service(service)):
        number = int(port["port"])
        there = attached(routes, service, number)
        for route in there:
            refuse_left_out(route)
        found: Sequence[Edit | None] = (
            _inserted(there, service, made, number, what) if there else [_create(service, port, made)]
        )
        changed = [edit for edit in found if edit is not None]
        for edit in changed:
            _refuse_to_differ(edit, edits.get(str(edit)), routes, service)
        edits |= {str(edit): edit for edit in changed}
        if changed:
            markers.append(RouteMarked(tag, service, number))
    if not edits:
        raise BadInput(
            "MB0446",
            f"No route of {service} can carry {what}: its rules redirect, or their matches and the step's options exclude each other.",
            help="correct the options in the step's table, or the route",
        )
    return Stage.of(*edits.values(), markers=markers)


def _refuse_to_differ(edit: Edit, other: Edit | None, routes: Iterable[Mapping[str, Any]], service: ServiceRef) -> None:
    """A route for all ports of a service has the same rules at each: a rule cannot tell ports apart.

    Args:
        edit: What one port wants of a route.
        other: What another one did; ``None`` where there is none.
        routes: All routes.
        service: The service.

    Raises:
        BadInput: they want different things, where a rule names no port of the service to go to.
    """
    if other is None:
        return
    rules = next(r["spec"].get("rules") for r in routes if named(r) == (edit.kind, edit.namespace, edit.name))
    if edit.make(rules) != other.make(rules):
        raise BadInput(
            "MB0458",
            f"{edit} is for all ports of {service} at once and names none of them to go to, so no rule in it could lead each to its "
            "own backend.",
            help="name a port in its parentRefs, and make one route for each port",
        )


def _inserted(
    there: Sequence[Mapping[str, Any]], service: ServiceRef, made: Marked, port: int, what: str
) -> list[Edit]:
    """The edits of the routes that are at a port, the oldest first; none where no copy would change anything."""
    places = [_place(route, there, service, port) for route in there]
    copies = [made(place.route["spec"].get("rules") or [], place) for place in places]
    if all(redirects(copied) for found in copies for copied in found):  # these are to stay before the others alone
        return []
    return [
        _insert(service, made, place, len(found), what) for place, found in zip(places, copies, strict=True) if found
    ]


def _place(route: Mapping[str, Any], there: Sequence[Mapping[str, Any]], service: ServiceRef, port: int) -> Place:
    """Where the rules of a route stand among those of all routes at a port."""
    own = there.index(route)
    older, younger = (
        [other for other in part if compete(route, other, service)] for part in (there[:own], there[own + 1 :])
    )
    return Place(port, route["kind"] == "GRPCRoute", route, older, younger, service.namespace)


def _insert(service: ServiceRef, made: Marked, place: Place, more: int, what: str) -> Edit:
    """The edit of a route that is there, which gets so many rules more.

    Raises:
        BadInput: a route cannot have as many rules, or is for more than the service.
    """
    refuse_shared(place.route, service, what)
    route, meta = place.route, place.route["metadata"]
    # In a route of the run's own nothing is left once the change goes that made it: then all calls go to the service.
    own = meta["name"] == _own_name(service, place.port)
    rest = [plain_rule(service, place.port, grpc=place.grpc)] if own else []

    def make(rules: Any) -> Any:
        current = rules or rest
        return [*made(current, place), *current]

    there = len(route["spec"].get("rules") or [])
    if more + there > _MOST_RULES:
        raise BadInput(
            "MB0466",
            f"{route['kind']} {meta['name']} in namespace {meta['namespace']} has {there} rules, and {what} needs {more} "
            f"more; a route has {_MOST_RULES} at the most.",
            help="join rules of it that do the same: a rule may have several matches",
        )
    return Edit(kind_of(route), meta["name"], meta["namespace"], RULES, make)


def _create(service: ServiceRef, port: Mapping[str, Any], made: Marked) -> Edit | None:
    place = Place(int(port["port"]), is_grpc(port))

    def make(rules: Any) -> Any:
        current = rules or [plain_rule(service, place.port, grpc=place.grpc)]
        return [*made(current, place), *current]

    wanted = make(None)
    if len(wanted) == 1:  # the plain rule alone
        return None
    kind = "GRPCRoute" if place.grpc else "HTTPRoute"
    new = new_route(service, place.port, kind, wanted)
    return Edit(kind, new["metadata"]["name"], service.namespace, RULES, make, new)


def _own_name(service: ServiceRef, port: int) -> str:
    return f"meshbdd-{service.name}-{port}"


def new_route(service: ServiceRef, port: int, kind: str, rules: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A route of the run's own at one port of a service, for callers in every namespace."""
    parent = {"group": "", "kind": "Service", "name": service.name, "namespace": service.namespace, "port": port}
    return {
        "apiVersion": _VERSION,
        "kind": kind,
        "metadata": {"name": _own_name(service, port), "namespace": service.namespace},
        "spec": {"parentRefs": [parent], "rules": list(rules)},
    }


def ports_without_route(catalog: Catalog, service: ServiceRef) -> Iterable[Mapping[str, Any]]:
    """The gRPC ports of a service at which no route stands.

    Raises:
        BadInput: one stands there that Linkerd leaves out, so that the port would not be taken for gRPC.
    """
    routes = routes_of(catalog)
    for port in http_ports(catalog.service(service)):
        there = attached(routes, service, int(port["port"])) if is_grpc(port) else []
        for route in there:
            refuse_left_out(route)
        if is_grpc(port) and not there:
            yield port
