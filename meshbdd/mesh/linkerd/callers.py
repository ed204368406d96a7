"""For which callers a route of a Service is, and for which Services.

A route in the Service's namespace (a producer's) is for all callers, one in another namespace (a consumer's) for the callers
there alone, and these go by both. The calls of whoever goes by no route at all go to the Service; of those who go by one, no
call does that no rule takes: it is answered with 404. https://linkerd.io/2/reference/httproute/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from meshbdd.cluster.record import ROUTE_PREFIX
from meshbdd.errors import BadInput
from meshbdd.intents import ServiceRef
from meshbdd.mesh.base import Where
from meshbdd.mesh.catalog import Catalog
from meshbdd.mesh.linkerd.objects import GATEWAY, attached, http_ports, is_grpc, parents, refuse_left_out, routes_of
from meshbdd.mesh.linkerd.precedence import covers, match_of, matches_of
from meshbdd.mesh.linkerd.rules import plain_rule

Route = Mapping[str, Any]

_VERSION = f"{GATEWAY}/v1"


def refuse_shared(route: Route, service: ServiceRef, what: str) -> None:
    """See that what is written into a route reaches no calls but those to a service: its rules cannot tell its parents apart.

    Args:
        route: The route; parents that are other ports of the service may be there.
        service: The service.
        what: What would be written.

    Raises:
        BadInput: it has another parent.
    """
    own = {("Service", service.namespace, service.name)}
    services = {("Service", str(ref["namespace"]), str(ref["name"])) for ref in parents(route)}
    others = sorted((services | set(_elsewhere(route))) - own)
    if others:
        meta = route["metadata"]
        told = ", ".join(f"{kind} {name}.{home}" for kind, home, name in others)
        raise BadInput(
            "MB0485",
            f"«{what}» would have to go into {route['kind']} {meta['name']} in namespace {meta['namespace']}, which is for "
            f"{told} as well: calls there would meet it, too.",
            help=f"give each of its parents a route of its own, so that {service} has one for itself",
        )


def _elsewhere(route: Route) -> Iterable[tuple[str, str, str]]:
    """The parents of a route that are no Services."""
    home = route["metadata"]["namespace"]
    for ref in (route.get("spec") or {}).get("parentRefs") or []:
        if ref.get("kind") != "Service" or ref.get("group", GATEWAY) not in {"", "core"}:
            yield str(ref.get("kind") or "Gateway"), str(ref.get("namespace") or home), str(ref.get("name"))


def callers_of(route: Route, service: ServiceRef) -> Where:
    """The proxies that a route of a service is for."""
    home = route["metadata"]["namespace"]
    return Where() if home == service.namespace else Where(home)


def governing_alone(there: Sequence[Route], service: ServiceRef, namespace: str) -> list[Route]:
    """The routes of the callers in a namespace that those elsewhere do not go by; none where these also go by another."""
    if service.namespace in _homes(there):
        return []
    return [route for route in there if route["metadata"]["namespace"] == namespace]


def lack_a_route(catalog: Catalog, there: Sequence[Route], service: ServiceRef, namespace: str | None = None) -> bool:
    """Whether some callers go by none of the routes that are at a port of a service.

    Args:
        catalog: Reads the cluster.
        there: The routes.
        service: The service.
        namespace: Where the callers are; ``None``: anywhere.
    """
    homes = _homes(there)
    if not homes or service.namespace in homes:
        return not homes
    return not homes >= (set(catalog.calling_namespaces()) if namespace is None else {namespace})


def _homes(routes: Iterable[Route]) -> set[str]:
    return {route["metadata"]["namespace"] for route in routes}


def _refuse_filling(catalog: Catalog, there: Sequence[Route], service: ServiceRef, what: str) -> None:
    """See that a route for those who go by none takes nothing of the callers' who have one: it is for them as well.

    Args:
        catalog: Reads the cluster.
        there: The routes that are at a port of the service; none is for all callers.
        service: The service.
        what: For what the route would be made.

    Raises:
        BadInput: theirs leave calls alone that the new one would take.
    """
    for home in sorted(_homes(there).intersection(catalog.calling_namespaces())):
        theirs = [route for route in there if route["metadata"]["namespace"] == home]
        if not any(_takes_all(route) for route in theirs):
            route = theirs[0]
            raise BadInput(
                "MB0487",
                f"«{what}» is also for callers that go by no route of {service}, and one that is made for them would be for those "
                f"in namespace {home}, too: of their calls {route['kind']} {route['metadata']['name']} leaves some without a rule, "
                "which are answered with 404 now and would not be then.",
                help=f"write a route of {service} into namespace {service.namespace}, or a rule for all other calls into that one",
            )


def _takes_all(route: Route) -> bool:
    every = match_of({}, grpc=route["kind"] == "GRPCRoute")
    return any(covers(match, every) for rule in route["spec"].get("rules") or [{}] for match in matches_of(route, rule))


def own_name(service: ServiceRef, port: int) -> str:
    """What the name of a route of the run's own at a port of a service ends in."""
    return f"{ROUTE_PREFIX}{service.name}-{port}"


def is_of_a_step(name: str) -> bool:
    """Whether a route of this name is the run's own."""
    return ROUTE_PREFIX in name


def route_for_others(
    catalog: Catalog,
    there: Sequence[Route],
    service: ServiceRef,
    port: Mapping[str, Any],
    what: str,
    caller: str | None = None,
) -> dict[str, Any] | None:
    """The route that has to be made for callers who go by none; it does what the Service does without one.

    It is for callers in every namespace. Its kind is that of the others, of which it would else put some out of effect, and
    its name comes after theirs, which decides between routes that are made within one second.

    Args:
        catalog: Reads the cluster.
        there: The routes that are at the port of the service.
        service: The service.
        port: The port.
        what: For what it is made, for messages.
        caller: The namespace of the only callers that this is for.

    Raises:
        BadInput: it would take calls that those leave alone.
    """
    if not lack_a_route(catalog, there, service, caller):
        return None
    _refuse_filling(catalog, there, service, what)
    number = int(port["port"])
    grpc = there[0]["kind"] == "GRPCRoute" if there else is_grpc(port)
    name, last = own_name(service, number), max((route["metadata"]["name"] for route in there), default="")
    parent = {"group": "", "kind": "Service", "name": service.name, "namespace": service.namespace, "port": number}
    return {
        "apiVersion": _VERSION,
        "kind": "GRPCRoute" if grpc else "HTTPRoute",
        "metadata": {"name": name if name > last else f"{last}-{name}", "namespace": service.namespace},
        "spec": {"parentRefs": [parent], "rules": [plain_rule(service, number, grpc=grpc)]},
    }


def grpc_routes_for_others(catalog: Catalog, service: ServiceRef, what: str) -> Iterable[tuple[int, dict[str, Any]]]:
    """The gRPC ports of a service with the GRPCRoutes to be made for callers who go by no route.

    Raises:
        BadInput: a route stands there that Linkerd leaves out, so that the port would not be taken for gRPC, or one that would
            lose calls to another beside it.
    """
    routes = routes_of(catalog)
    for port in filter(is_grpc, http_ports(catalog.service(service))):
        number = int(port["port"])
        there = attached(routes, service, number)
        for route in there:
            refuse_left_out(route)
        if not there or there[0]["kind"] == "GRPCRoute":  # beside one Linkerd ignores HTTPRoutes
            new = route_for_others(catalog, there, service, port, what)
            if new is not None:
                yield number, new
