"""Timeouts, retries, breakers, limits, splits and mirrors: intents → stages."""

from __future__ import annotations

from functools import partial
from typing import Any

from meshbdd.intents import CircuitBreaker, Limit, Mirror, Retry, ServiceRef, Split, Timeout
from meshbdd.mesh.base import Stage, Where
from meshbdd.mesh.catalog import Catalog
from meshbdd.mesh.istio.destination_rules import add_subsets, rules_stage, set_breaker, set_limit, subset_labels
from meshbdd.mesh.istio.hosts import service_host
from meshbdd.mesh.istio.routes import Route, Shape, shaped_routes
from meshbdd.mesh.istio.virtual_services import routes_stage
from meshbdd.mesh.splits import weights_of

RETRY_ON = (
    "connect-failure,refused-stream,reset,5xx,cancelled,deadline-exceeded,internal,resource-exhausted,unavailable"
)
"""Envoy's conditions for HTTP and for gRPC: https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/router_filter"""


def _routes(catalog: Catalog, intent: Timeout | Retry | Split | Mirror, tag: str, shape: Shape) -> Stage:
    tagged = partial(shaped_routes, service=intent.service, shape=shape, tag=tag)
    return routes_stage(catalog, intent.service, tag, tagged, str(intent), Where())


def timeout_stages(catalog: Catalog, intent: Timeout, tag: str) -> tuple[Stage, ...]:
    """``timeout`` on every route to the service; it spans all tries."""

    def shape(route: Route) -> None:
        route["timeout"] = str(intent.after)

    return (_routes(catalog, intent, tag, shape),)


def retry_stages(catalog: Catalog, intent: Retry, tag: str) -> tuple[Stage, ...]:
    """``retries`` on every route to the service; a time limit per try that stands there is kept."""

    def shape(route: Route) -> None:
        kept = {k: v for k, v in (route.get("retries") or {}).items() if k == "perTryTimeout"}
        route["retries"] = {**kept, "attempts": intent.count, "retryOn": RETRY_ON}

    return (_routes(catalog, intent, tag, shape),)


def breaker_stages(catalog: Catalog, intent: CircuitBreaker, marker: str) -> tuple[Stage, ...]:
    """``outlierDetection`` in the governing DestinationRules."""
    return (rules_stage(catalog, intent.service, marker, set_breaker(intent)),)


def limit_stages(catalog: Catalog, intent: Limit, marker: str) -> tuple[Stage, ...]:
    """``connectionPool`` in the governing DestinationRules."""
    return (rules_stage(catalog, intent.service, marker, set_limit(intent)),)


def split_stages(catalog: Catalog, intent: Split, tag: str, marker: str) -> tuple[Stage, ...]:
    """Subsets first and then the weights: a route to a subset that a proxy does not know yet answers 503.

    Raises:
        BadInput: the shares do not sum to 100 %, a subset stands twice, or has no pod.
    """
    weights = weights_of(intent)

    def shape(route: Route) -> None:
        first = _own_destination(route, intent.service)
        route["route"] = [
            {"destination": {**first, "subset": name}, "weight": weight} for name, weight in weights.items()
        ]

    return (*_subsets(catalog, intent.service, list(weights), marker), _routes(catalog, intent, tag, shape))


def mirror_stages(catalog: Catalog, intent: Mirror, tag: str, marker: str) -> tuple[Stage, ...]:
    """A mirror on every route to the service, besides those that stand there.

    Raises:
        BadInput: no such subset, or it has no pod.
    """

    def shape(route: Route) -> None:
        first = _own_destination(route, intent.service)
        copy_to = {"destination": {**first, "subset": intent.subset}, "percentage": {"value": 100}}
        single, share = (
            route.pop("mirror", None),
            route.pop("mirrorPercentage", None),
        )  # Istio takes one form or the other
        theirs = [{"destination": single, **({"percentage": share} if share else {})}] if single else []
        route["mirrors"] = [*theirs, *(route.get("mirrors") or []), copy_to]

    return (*_subsets(catalog, intent.service, [intent.subset], marker), _routes(catalog, intent, tag, shape))


def _own_destination(route: Route, service: ServiceRef) -> dict[str, Any]:
    """Host and port of the service as the route has them."""
    for entry in route.get("route") or []:
        port = entry["destination"].get("port")
        if port:
            return {"host": service_host(service), "port": dict(port)}
    return {"host": service_host(service)}


def _subsets(catalog: Catalog, service: ServiceRef, names: list[str], marker: str) -> tuple[Stage, ...]:
    wanted = {name: subset_labels(catalog, service, name) for name in names}
    return (rules_stage(catalog, service, marker, add_subsets(wanted)),)
