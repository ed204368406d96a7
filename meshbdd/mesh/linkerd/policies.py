"""Timeouts, retries, failure accrual and splits: intents → stages.

What calls to a Service meet stands in the Service's annotations; a route that has some of its own goes by those alone, so
those are set as well. https://linkerd.io/2/reference/timeouts/, …/retries/, …/circuit-breaking/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from meshbdd.cluster import Edit
from meshbdd.cluster.kinds import kind_of
from meshbdd.errors import BadInput, NotPossible
from meshbdd.intents import CircuitBreaker, Retry, ServiceRef, Split, Timeout
from meshbdd.mesh.base import Stage
from meshbdd.mesh.catalog import Catalog, selected
from meshbdd.mesh.linkerd.annotations import ACCRUAL, refuse_unreadable, seconds_of
from meshbdd.mesh.linkerd.callers import grpc_routes_for_others, lack_a_route, refuse_shared
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
    attached,
    creation,
    fitting,
    http_ports,
    named,
    refuse_profile,
    routes_of,
)
from meshbdd.mesh.linkerd.routes import RULES, routes_stage
from meshbdd.mesh.linkerd.rules import Rules, marked, split_rules
from meshbdd.mesh.linkerd.scopes import Place
from meshbdd.mesh.splits import weights_of
from meshbdd.sidecars import FAULT_LABEL
from meshbdd.units import Duration

TIMEOUT = "timeout.linkerd.io/"
_RESPONSE = f"{TIMEOUT}response"
RETRY = "retry.linkerd.io/"
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


def has_words_of_its_own(route: Mapping[str, Any], prefix: str) -> bool:
    """Whether a route has annotations of a kind, or a time limit in a rule: those of its Service do not reach it then."""
    said = any(name.startswith(prefix) for name in route["metadata"].get("annotations") or {})
    return said or (prefix == TIMEOUT and any(rule.get("timeouts") for rule in route["spec"].get("rules") or []))


def _with_words_of_their_own(catalog: Catalog, service: ServiceRef, prefix: str) -> Iterator[Mapping[str, Any]]:
    """The routes of a service that the Service's annotations of a kind do not reach."""
    routes = routes_of(catalog)
    seen: set[tuple[str, str, str]] = set()
    for port in http_ports(catalog.service(service)):
        for route in attached(routes, service, int(port["port"])):
            key = named(route)
            if key not in seen and has_words_of_its_own(route, prefix):
                seen.add(key)
                yield route


def _reaches_some(catalog: Catalog, service: ServiceRef, own: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the Service's own annotations of a kind reach any call; own: the routes that go by theirs alone."""
    routes, others = routes_of(catalog), {named(route) for route in own}
    there = [attached(routes, service, int(port["port"])) for port in http_ports(catalog.service(service))]
    return any(any(named(route) not in others for route in at) or lack_a_route(catalog, at, service) for at in there)


def _refuse_earlier(obj: Mapping[str, Any], intent: Timeout) -> None:
    """See that no other time limit ends calls before the one that is asked for does.

    Raises:
        BadInput: one does.
    """
    said = (obj["metadata"].get("annotations") or {}).get(_RESPONSE)
    if said is not None and seconds_of(said) < intent.after.seconds:
        raise BadInput(
            "MB0467",
            f"«{intent}» would not come true: {_RESPONSE} of {obj['kind']} {obj['metadata']['name']} is {said}, and the shorter "
            "of the two counts.",
            help="ask for less than that, or take the annotation away before",
        )


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
    own = list(_with_words_of_their_own(catalog, intent.service, TIMEOUT))
    if _reaches_some(catalog, intent.service, own):
        _refuse_earlier(service, intent)
    for route in own:
        refuse_shared(route, intent.service, str(intent))
        _refuse_earlier(route, intent)
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
    for route in _with_words_of_their_own(catalog, intent.service, RETRY):
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
    if not any(selected({"version": name}, pod["metadata"].get("labels") or {}) for pod in pods):
        versions = sorted({str((pod["metadata"].get("labels") or {}).get("version") or "") for pod in pods} - {""})
        raise BadInput(
            "MB0424",
            f'{service} has no subset "{name}" with a pod: none has the label version={name}.',
            help=f"name one of: {', '.join(versions) or 'none'}",
        )
    opaque = {key: text for key, text in (whole["metadata"].get("annotations") or {}).items() if key == OPAQUE_PORTS}
    kept = ("name", "port", "targetPort", "appProtocol", "protocol")
    ports = [{key: port[key] for key in kept if key in port} for port in whole["spec"].get("ports") or []]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": ref.name, "namespace": ref.namespace, **({"annotations": opaque} if opaque else {})},
        "spec": {"selector": {**whole["spec"]["selector"], "version": name}, "ports": ports},
    }
