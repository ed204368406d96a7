"""Timeouts, retries, failure accrual and splits: intents → stages.

What calls to a Service meet stands in the Service's annotations; a route that has some of its own goes by those alone, so
those are set as well. https://linkerd.io/2/reference/timeouts/, …/retries/, …/circuit-breaking/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from meshbdd.cluster import Edit
from meshbdd.cluster.kinds import kind_of
from meshbdd.errors import NotPossible
from meshbdd.intents import CircuitBreaker, Retry, ServiceRef, Split, Timeout
from meshbdd.mesh.base import Stage
from meshbdd.mesh.catalog import Catalog
from meshbdd.mesh.linkerd.annotations import ACCRUAL, refuse_unreadable
from meshbdd.mesh.linkerd.callers import grpc_routes_for_others, refuse_shared
from meshbdd.mesh.linkerd.markers import (
    BreakerHeld,
    EndpointsHeld,
    RouteMarked,
    RoutesSay,
    as_proxies_name,
    retries_of,
    timeout_of,
)
from meshbdd.mesh.linkerd.objects import (
    OPAQUE_PORTS,
    creation,
    fitting,
    http_ports,
    refuse_profile,
)
from meshbdd.mesh.linkerd.own_words import RETRY, TIMEOUT, with_words_of_their_own
from meshbdd.mesh.linkerd.routes import RULES, routes_stage
from meshbdd.mesh.linkerd.rules import Rules, marked, split_rules
from meshbdd.mesh.linkerd.scopes import Place
from meshbdd.mesh.linkerd.time_limits import refuse_earlier
from meshbdd.mesh.splits import see_pods_in, weights_of
from meshbdd.sidecars import FAULT_LABEL
from meshbdd.units import Duration

_RETRIED_GRPC = "cancelled,deadline-exceeded,internal,resource-exhausted,unavailable"
_LONGEST_PENALTY = 60.0
"""Seconds; Linkerd's own ``max-penalty``."""

Annotations = Mapping[str, str | None]


def _words(duration: Duration) -> str:
    """A duration as Linkerd takes it: one whole number and its unit. A fraction would silently count as not said."""
    return f"{round(duration.seconds * 1000)}ms"


def _annotate(obj: Mapping[str, Any], values: Annotations) -> Iterator[Edit]:
    """Set annotations of an object, each by an edit of its own, and leave the others to whoever owns them.

    Raises:
        BadInput: Linkerd would leave them out, because of others that are there.
    """
    meta = obj["metadata"]
    said = {name: value for name, value in values.items() if value is not None}
    refuse_unreadable(
        said, {name: text for name, text in (meta.get("annotations") or {}).items() if name not in values}
    )
    for name, value in values.items():
        path = ("metadata", "annotations", name)
        yield Edit(kind_of(obj), meta["name"], meta["namespace"], path, partial(_constant, value))


def _constant(value: str | None, _now: Any) -> str | None:
    return value


def _numbers(catalog: Catalog, service: ServiceRef) -> tuple[int, ...]:
    return tuple(int(port["port"]) for port in http_ports(catalog.service(service)))


def timeout_stages(catalog: Catalog, intent: Timeout, _tag: str) -> tuple[Stage, ...]:
    """``timeout.linkerd.io/request``; it spans all tries.

    Raises:
        BadInput: it would have no effect, or calls would time out earlier.
    """
    refuse_profile(catalog, intent.service)
    values = {f"{TIMEOUT}request": _words(intent.after)}
    service = catalog.service(intent.service)
    edits = list(_annotate(service, values))
    refuse_earlier(catalog, intent)
    for route in with_words_of_their_own(catalog, intent.service, TIMEOUT):
        refuse_shared(route, intent.service, str(intent))
        edits += _annotate(route, values)
    ports = _numbers(catalog, intent.service)
    marker = RoutesSay("timeout", intent.service, ports, round(intent.after.seconds, 3), timeout_of)
    return (Stage.of(*edits, markers=(marker,)),)


def retry_stages(catalog: Catalog, intent: Retry, tag: str) -> tuple[Stage, ...]:
    """``retry.linkerd.io``; a time limit for each try that stands there is kept.

    A gRPC status is looked at only where a GRPCRoute says that it is gRPC, so ports without a route get one.

    Raises:
        BadInput: it would have no effect.
    """
    refuse_profile(catalog, intent.service)
    limit = {f"{RETRY}limit": str(intent.count) if intent.count else None}
    http = {f"{RETRY}http": "5xx" if intent.count else None}
    grpc = {f"{RETRY}grpc": _RETRIED_GRPC if intent.count else None}
    edits: list[Edit] = []
    markers: list[Any] = []
    for number, new in grpc_routes_for_others(catalog, intent.service, str(intent)):
        new["spec"]["rules"] = [marked(rule, tag) for rule in new["spec"]["rules"]]
        edits.append(_route_creation(new))
        markers.append(RouteMarked(tag, intent.service, number, route=as_proxies_name(new)))
    edits += _annotate(catalog.service(intent.service), {**http, **grpc, **limit})
    for route in with_words_of_their_own(catalog, intent.service, RETRY):
        refuse_shared(route, intent.service, str(intent))
        edits += _annotate(route, {**(grpc if route["kind"] == "GRPCRoute" else http), **limit})
    markers.append(RoutesSay("retries", intent.service, _numbers(catalog, intent.service), intent.count, retries_of))
    return (Stage.of(*edits, markers=markers),)


def _route_creation(route: dict[str, Any]) -> Edit:
    meta, rules = route["metadata"], route["spec"]["rules"]
    return Edit(route["kind"], meta["name"], meta["namespace"], RULES, lambda now: now or rules, route)


def breaker_stages(catalog: Catalog, intent: CircuitBreaker, _tag: str) -> tuple[Stage, ...]:
    """Failure accrual, which counts for a Service as it is called, whatever backend answers.

    Raises:
        BadInput: it would have no effect.
    """
    refuse_profile(catalog, intent.service)
    http_ports(catalog.service(intent.service))
    longest = Duration(max(_LONGEST_PENALTY, intent.open_for.seconds))
    values = {
        ACCRUAL: "consecutive",
        f"{ACCRUAL}-consecutive-max-failures": str(intent.errors),
        f"{ACCRUAL}-consecutive-min-penalty": _words(intent.open_for),
        f"{ACCRUAL}-consecutive-max-penalty": _words(longest),
        f"{ACCRUAL}-consecutive-jitter-ratio": "0.0",
    }
    marker = BreakerHeld(intent.service, intent.errors, round(intent.open_for.seconds, 3))
    return (Stage.of(*_annotate(catalog.service(intent.service), values), markers=(marker,)),)


def split_stages(catalog: Catalog, intent: Split, tag: str) -> tuple[Stage, ...]:
    """A Service for each subset, then the weights: a route to a Service that is not there answers 500.

    Raises:
        BadInput: the shares do not sum to 100 %, a subset stands twice, or has no pod; or it would have no effect.
        NotPossible: the scenario's fault backend is in the place of the service's endpoints.
    """
    weights = weights_of(intent)
    if FAULT_LABEL in catalog.labels_of(intent.service):
        raise NotPossible(
            "MB0461",
            f"«{intent}» is not possible on Linkerd where a circuit breaker of {intent.service} is to see a fault: the calls would "
            "go to the subsets, past the endpoint that fails.",
            help="have the breaker and the split in different scenarios",
        )
    refs = {
        name: ServiceRef(fitting(f"meshbdd-{intent.service.name}-{name}"), intent.service.namespace) for name in weights
    }
    services = [creation(_subset(catalog, intent.service, name, ref)) for name, ref in refs.items()]

    def made(rules: Rules, place: Place) -> Rules:
        return split_rules(rules, intent.service, {refs[name]: weights[name] for name in weights}, place, tag)

    first = Stage.of(*services, markers=[EndpointsHeld(ref) for ref in refs.values()])
    return first, routes_stage(catalog, intent.service, tag, made, str(intent))


def _subset(catalog: Catalog, service: ServiceRef, name: str, ref: ServiceRef) -> dict[str, Any]:
    """The Service of a subset: the pods with this word as their label ``version``."""
    whole = catalog.service(service)
    pods = catalog.pods(catalog.labels_of(service), service.namespace)
    see_pods_in(service, name, {"version": name}, pods)
    opaque = {key: text for key, text in (whole["metadata"].get("annotations") or {}).items() if key == OPAQUE_PORTS}
    kept = ("name", "port", "targetPort", "appProtocol", "protocol")
    ports = [{key: port[key] for key in kept if key in port} for port in whole["spec"].get("ports") or []]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": ref.name, "namespace": ref.namespace, **({"annotations": opaque} if opaque else {})},
        "spec": {"selector": {**whole["spec"]["selector"], "version": name}, "ports": ports},
    }
