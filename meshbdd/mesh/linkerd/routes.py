"""Writing marked rules into the routes at a Service's ports, and how proxies show that they hold them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from meshbdd.cluster import Edit
from meshbdd.cluster.kinds import kind_of
from meshbdd.errors import BadInput
from meshbdd.intents import ServiceRef
from meshbdd.mesh.base import Stage
from meshbdd.mesh.catalog import Catalog
from meshbdd.mesh.linkerd.callers import (
    callers_of,
    governing_alone,
    own_name,
    refuse_shared,
    route_for_others,
)
from meshbdd.mesh.linkerd.markers import RouteMarked, as_proxies_name
from meshbdd.mesh.linkerd.objects import (
    attached,
    compete,
    http_ports,
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

Route = Mapping[str, Any]
Marked = Callable[[Rules, Place], Rules]
"""The rules that are there, and where → the marked copies before them."""


def routes_stage(
    catalog: Catalog, service: ServiceRef, tag: str, made: Marked, what: str, caller: str | None = None
) -> Stage:
    """Put marked rules before those that govern a service, at each of its ports that carry HTTP.

    Every route there gets them: with two of one rank, clients in other namespaces may be governed by either. Callers who go
    by none of them get one.

    Args:
        catalog: Reads the cluster.
        service: The service that is called.
        tag: Stands in the new rules' header.
        made: Makes them.
        what: What they do, for messages.
        caller: The namespace of the only callers that they are for.

    Raises:
        BadInput: the rules that are there leave no room for them, or are other Services' as well, or Linkerd would ignore them.
    """
    refuse_profile(catalog, service)
    routes = routes_of(catalog)
    edits: dict[str, Edit] = {}
    markers: list[RouteMarked] = []
    for port in http_ports(catalog.service(service)):
        number = int(port["port"])
        there = attached(routes, service, number)
        for route in there:
            refuse_left_out(route)
        if caller is not None:
            there = governing_alone(there, service, caller) or there
        new = route_for_others(catalog, there, service, port, what, caller)
        for route, edit in _changed(there, new, service, made, number, what):
            _refuse_to_differ(edit, edits.get(str(edit)), routes, service)
            edits[str(edit)] = edit
            markers.append(RouteMarked(tag, service, number, callers_of(route, service), as_proxies_name(route)))
    if not edits:
        raise BadInput(
            "MB0446",
            f"No route of {service} can carry {what}: its rules redirect, or their matches and the step's options exclude each other.",
            help="correct the options in the step's table, or the route",
        )
    return Stage.of(*edits.values(), markers=_held_by_somebody(catalog, markers))


def _held_by_somebody(catalog: Catalog, markers: Sequence[RouteMarked]) -> Sequence[RouteMarked]:
    """Without those for callers in namespaces where nobody is that could hold them, unless they are all."""
    if all(marker.where.namespace is None for marker in markers):
        return markers
    there = {None, *catalog.calling_namespaces()}
    return [marker for marker in markers if marker.where.namespace in there] or markers


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


def _changed(
    there: Sequence[Route], new: Route | None, service: ServiceRef, made: Marked, port: int, what: str
) -> list[tuple[Route, Edit]]:
    """The routes at a port that get copies, and how; none where no copy would change anything.

    Args:
        there: Those that are there, the oldest first.
        new: The one that is made beside them.
        service: The service.
        made: Makes the copies.
        port: The port.
        what: What they do, for messages.
    """
    in_order = [*there, *([new] if new else [])]
    places = [_place(route, in_order, service, port) for route in in_order]
    copies = [made(place.route["spec"].get("rules") or [], place) for place in places]
    if all(redirects(copied) for found in copies for copied in found):  # these are to stay before the others alone
        return []
    return [
        (
            place.route,
            _create(service, made, place) if place.route is new else _insert(service, made, place, len(found), what),
        )
        for place, found in zip(places, copies, strict=True)
        if found
    ]


def _place(route: Route, there: Sequence[Route], service: ServiceRef, port: int) -> Place:
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
    own = meta["name"].endswith(own_name(service, place.port))
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


def _create(service: ServiceRef, made: Marked, place: Place) -> Edit:
    def make(rules: Any) -> Any:
        current = rules or [plain_rule(service, place.port, grpc=place.grpc)]
        return [*made(current, place), *current]

    meta, spec = place.route["metadata"], place.route["spec"]
    new = {**place.route, "spec": {**spec, "rules": make(spec["rules"])}}
    return Edit(place.route["kind"], meta["name"], meta["namespace"], RULES, make, new)
