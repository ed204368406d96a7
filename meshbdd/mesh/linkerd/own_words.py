"""Routes that go by annotations of their own alone, and those that a Service's annotations reach."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from meshbdd.intents import ServiceRef
from meshbdd.mesh.catalog import Catalog
from meshbdd.mesh.linkerd.callers import lack_a_route
from meshbdd.mesh.linkerd.objects import attached, http_ports, named, routes_of

TIMEOUT = "timeout.linkerd.io/"
RETRY = "retry.linkerd.io/"


def has_words_of_its_own(route: Mapping[str, Any], prefix: str) -> bool:
    """Whether a route has annotations of a kind, or a time limit in a rule: those of its Service do not reach it then."""
    said = any(name.startswith(prefix) for name in route["metadata"].get("annotations") or {})
    return said or (prefix == TIMEOUT and any(rule.get("timeouts") for rule in route["spec"].get("rules") or []))


def with_words_of_their_own(catalog: Catalog, service: ServiceRef, prefix: str) -> Iterator[Mapping[str, Any]]:
    """The routes of a service that the Service's annotations of a kind do not reach."""
    routes = routes_of(catalog)
    seen: set[tuple[str, str, str]] = set()
    for port in http_ports(catalog.service(service)):
        for route in attached(routes, service, int(port["port"])):
            key = named(route)
            if key not in seen and has_words_of_its_own(route, prefix):
                seen.add(key)
                yield route


def reaches_some(catalog: Catalog, service: ServiceRef, own: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the Service's own annotations of a kind reach any call; own: the routes that go by theirs alone."""
    routes, others = routes_of(catalog), {named(route) for route in own}
    there = [attached(routes, service, int(port["port"])) for port in http_ports(catalog.service(service))]
    return any(any(named(route) not in others for route in at) or lack_a_route(catalog, at, service) for at in there)
