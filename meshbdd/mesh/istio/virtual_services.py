"""Writing tagged routes into the VirtualServices that govern a service, and how proxies show that they hold them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from meshbdd.cluster import Edit
from meshbdd.cluster.record import ROUTES
from meshbdd.errors import BadInput
from meshbdd.intents import Fault, ServiceRef
from meshbdd.mesh.base import Marker, Stage, Where
from meshbdd.mesh.catalog import Catalog
from meshbdd.mesh.istio.hosts import Ruling, http_route_before, rulings, service_host
from meshbdd.mesh.istio.own_calls import Narrow, own_calls
from meshbdd.mesh.istio.routes import Route, is_beside_another, sources
from meshbdd.mesh.markers import RouteHeld

NETWORKING = "networking.istio.io/v1"

Tagged = Callable[[list[Route]], list[Route]]
"""The routes that are there → the tagged copies that go before them."""


Instead = Callable[[Mapping[str, Any]], str]
"""An HTTPRoute that stands in the place of tagged routes → what to do."""


def _write_it_there(_route: Mapping[str, Any]) -> str:
    return "write it into the HTTPRoute"


def routes_stage(
    catalog: Catalog,
    service: ServiceRef,
    tag: str,
    tagged: Tagged,
    what: str,
    caller: Where,
    instead: Instead = _write_it_there,
) -> Stage:
    """Put tagged routes before those that govern a service, for each namespace whose callers have others.

    Args:
        catalog: Reads the cluster.
        service: The service that is called.
        tag: Prefix of the new routes' names.
        tagged: Makes them; where the routes that are there are for other hosts, too, of those routes for the service's calls alone.
        what: What they do, for messages.
        caller: The only callers that they are for.
        instead: What to do where an HTTPRoute stands in their place.

    Raises:
        BadInput: the routes that are there leave no room for them, or an HTTPRoute stands in their place.
    """
    http_routes, services = catalog.readable("HTTPRoute"), partial(catalog.readable, "Service")
    callers = _callers(catalog, caller)
    edits: list[Edit] = []
    markers: list[Marker] = []
    for ruling in _rulings(catalog, service, callers):
        _refuse_ignored(service, ruling, ruling.namespaces or callers, http_routes, what, instead)
        own = own_calls(service, ruling.obj, services)
        edit = _insert(service, ruling.obj, own, tagged, what) if ruling.obj is not None else _create(service, tagged)
        edits.append(edit)
        base = ruling.obj["spec"].get("http") or [] if ruling.obj is not None else [_plain(service)]
        markers += _markers(tagged(own(base)), tag, (service_host(service),), ruling)
    return Stage(tuple(edits), (tag,) * len(edits), tuple(markers))


def _refuse_ignored(
    service: ServiceRef,
    ruling: Ruling,
    callers: Iterable[str],
    http_routes: Iterable[Mapping[str, Any]],
    what: str,
    instead: Instead,
) -> None:
    for namespace in callers or (service.namespace,):
        other = http_route_before(service, ruling.obj, http_routes, namespace)
        if other is not None:
            name, home = other["metadata"]["name"], other["metadata"]["namespace"]
            whose = "" if home == service.namespace else f" from namespace {home}"
            raise BadInput(
                "MB0472",
                f"«{what}» would have no effect: HTTPRoute {name} routes the calls to {service}{whose}, beside which Istio ignores a "
                "VirtualService.",
                help=instead(other),
            )


def _rulings(catalog: Catalog, service: ServiceRef, callers: Sequence[str]) -> tuple[Ruling, ...]:
    return rulings(service, catalog.all("VirtualService"), callers)


def _callers(catalog: Catalog, caller: Where) -> Sequence[str]:
    """The namespaces of the callers that are meant."""
    return (caller.namespace,) if caller.namespace else catalog.calling_namespaces()


def has_room(catalog: Catalog, fault: Fault, caller: Where, own: str) -> bool:
    """Whether the routes that govern a service can carry a fault beside those that the run has put there.

    Args:
        catalog: What the cluster holds.
        fault: The fault.
        caller: Who is to meet it.
        own: What the names of the run's own routes begin with.

    Raises:
        BadInput: they delegate, or match by what cannot be joined with the fault's scope.
    """
    governed = (
        ruling.obj for ruling in _rulings(catalog, fault.service, _callers(catalog, caller)) if ruling.obj is not None
    )
    services = partial(catalog.readable, "Service")
    routes = (own_calls(fault.service, obj, services)(obj["spec"].get("http") or []) for obj in governed)
    return not any(is_beside_another(found, fault, caller, own) for found in routes)


def _plain(service: ServiceRef) -> Route:
    return {"route": [{"destination": {"host": service_host(service)}}]}


def _insert(service: ServiceRef, ruling: Mapping[str, Any], own: Narrow, tagged: Tagged, what: str) -> Edit:
    meta = ruling["metadata"]

    def make(routes: Any) -> Any:
        current = routes or []
        found = own(current)
        if current and not found:
            raise BadInput(
                "MB0407",
                f"No route of VirtualService {meta['name']} can carry {what}: by their matches of the authority all are for calls to "
                f"other hosts than {service}.",
                help=f"write a route there that takes calls to {service}",
            )
        made = tagged(found)
        if not made:
            raise BadInput(
                "MB0407",
                f"No route of VirtualService {meta['name']} can carry {what}: its matches and the step's options exclude each other.",
                help="correct the options in the step's table",
            )
        return [*made, *current]

    make(ruling["spec"].get("http"))  # understood before anything is written
    return Edit("VirtualService", meta["name"], meta["namespace"], ROUTES, make)


def _create(service: ServiceRef, tagged: Tagged) -> Edit:
    name = f"meshbdd-{service.name}"

    def make(routes: Any) -> Any:
        current = routes or [_plain(service)]
        return [*tagged(current), *current]

    new = {
        "apiVersion": NETWORKING,
        "kind": "VirtualService",
        "metadata": {"name": name, "namespace": service.namespace},
        "spec": {"hosts": [service_host(service)], "http": make(None)},
    }
    return Edit("VirtualService", name, service.namespace, ROUTES, make, new)


def _markers(made: Iterable[Route], tag: str, hosts: tuple[str, ...], ruling: Ruling) -> list[Marker]:
    return [
        RouteHeld(tag, hosts, where)
        for source in sources(made)
        for where in ([replace(source, namespace=n) for n in ruling.namespaces] if ruling.namespaces else [source])
        if source.namespace in (None, where.namespace)
    ]
