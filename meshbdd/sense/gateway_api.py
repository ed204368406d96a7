"""HTTPRoutes and GRPCRoutes of the Gateway API on a mesh: parents and backends that do not exist."""

from __future__ import annotations

import re
from collections.abc import Iterator

from meshbdd.sense import catalog
from meshbdd.sense.finding import Finding
from meshbdd.sense.inventory import Inventory, ports_of, service_host
from meshbdd.sense.reading import Object, mapping, mappings, namespace_of, text, told, whole


def check(world: Inventory) -> Iterator[Finding]:
    """References of all routes to Services."""
    by_name = {(text(s, "metadata", "name"), namespace_of(s)): s for s in world.of("Service")}
    for kind in ("HTTPRoute", "GRPCRoute"):
        for route in world.of(kind):
            own = namespace_of(route)
            parents = [p for p in mappings(route, "spec", "parentRefs") if text(p, "kind") == "Service"]
            places = [("its parent", p, text(p, "namespace") or own) for p in parents]
            homes = list(dict.fromkeys(home for _, _, home in places)) if _is_linkerds(world, route) else [own]
            for number, rule in enumerate(mappings(route, "spec", "rules"), 1):
                backends = [b for b in mappings(rule, "backendRefs") if text(b, "kind") in {"", "Service"}]
                for backend in backends:
                    said = text(backend, "namespace")
                    places += [(f"a backend of rule {number}", backend, home) for home in ([said] if said else homes)]
            for where, ref, home in places:
                service = by_name.get((text(ref, "name"), home))
                if service is None:
                    near = world.nearest(text(ref, "name"), home)
                    yield catalog.UNKNOWN_HOST.on(
                        route,
                        f'{where} is Service "{text(ref, "name")}" in namespace "{home}", which does not exist.',
                        f'did you mean "{near.partition(".")[0]}"?' if near else "correct its name and namespace",
                    )
                    continue
                port = whole(ref, "port")
                if port is not None and port not in ports_of(service):
                    has = told([str(p) for p in ports_of(service)]) or "none"
                    yield catalog.UNKNOWN_PORT.on(
                        route, f"{where} is port {port} of {service_host(service)}, which has {has}."
                    )


_INSTEAD = {"backendRequest": "timeout.linkerd.io/response", "retry": "retry.linkerd.io/http"}
"""Fields of rules that Linkerd does not read, and what it reads: linkerd2 …/outbound/index/http.rs, ``convert_gateway_rule``."""


def unread(world: Inventory) -> Iterator[Finding]:
    """Retries and timeouts of backends in routes for Linkerd, which silently have no effect."""
    for route in world.of("HTTPRoute"):
        if not _is_linkerds(world, route):
            continue
        for number, rule in enumerate(mappings(route, "spec", "rules"), 1):
            timeouts = mapping(rule, "timeouts")
            for field, path, where in (
                ("backendRequest", "timeouts.backendRequest", timeouts),
                ("retry", "retry", rule),
            ):
                if field in where:
                    yield catalog.NOT_READ.on(
                        route,
                        f"Linkerd does not read {path} of rule {number}, so it has no effect.",
                        f"write the annotation {_INSTEAD[field]} into metadata",
                    )
            limit = text(timeouts, "request")
            if limit and _is_of_gateways(route) and not _READ.fullmatch(limit):
                yield catalog.NOT_A_TIMEOUT.on(
                    route,
                    f'Linkerd cannot read "{limit}" in timeouts.request of rule {number}, so its requests have no timeout.',
                )


_READ = re.compile(r"\+?[0-9]+(ms|s|m|h|d)|0")
"""A duration that Linkerd reads in a route of the Gateway API; in one of policy.linkerd.io it reads ``1m30s`` as well.

linkerd2 policy-controller/k8s/index/src/outbound/index.rs, ``parse_duration``, whose errors the first of the two drops.
"""


def limits(world: Inventory) -> Iterator[Finding]:
    """Limits of retries for which nothing says what is retried: Linkerd then retries nothing.

    A time for each try is such a word too: tries that take longer are made again. A route's annotations replace its
    Service's, all of them (linkerd2 …/outbound/index/http.rs, ``parse_http_retry``, and grpc.rs beside it).
    """
    for kind, conditions in _CONDITIONS.items():
        for obj in world.of(kind):
            said = mapping(obj, "metadata", "annotations")
            if f"{_RETRY}limit" in said and not any(f"{_RETRY}{word}" in said for word in (*conditions, "timeout")):
                condition = f"{_RETRY}{conditions[0]}"
                yield catalog.LIMIT_ALONE.on(
                    obj,
                    f"{_RETRY}limit stands without {' or '.join(_RETRY + word for word in conditions)}: nothing is retried.",
                    f"write beside it {condition}: {_FOR_INSTANCE[conditions[0]]}",
                )


_RETRY = "retry.linkerd.io/"
_CONDITIONS = {"Service": ("http", "grpc"), "HTTPRoute": ("http",), "GRPCRoute": ("grpc",)}
"""Kinds with annotations for retries → what of them says which answers are retried."""
_FOR_INSTANCE = {"http": "5xx", "grpc": "unavailable"}


def _is_of_gateways(route: Object) -> bool:
    return text(route, "apiVersion").startswith("gateway.networking.k8s.io/")


def _is_linkerds(world: Inventory, route: Object) -> bool:
    """Whether Linkerd reads a route: it takes a backend without a namespace to be in that of the Service that is called.

    linkerd2 policy-controller/k8s/index/src/outbound/index/http.rs, ``convert_backend``.
    """
    return world.mesh == "linkerd" or text(route, "apiVersion").startswith("policy.linkerd.io/")
