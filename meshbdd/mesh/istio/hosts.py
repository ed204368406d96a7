"""Hosts, and which resource governs one for which callers: pure functions on dicts.

Sources: https://istio.io/latest/docs/ops/best-practices/traffic-management/ for who sees what, and pilot's
``push_context.go`` (initVirtualServices, VirtualServicesForGateway, destinationRule) for the order in which it looks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from meshbdd.intents import ServiceRef

Object = Mapping[str, Any]
ROOT_NAMESPACE = "istio-system"


def full_name(host: str, namespace: str) -> str:
    """A host as a resource of ``namespace`` means it: https://istio.io/latest/docs/reference/config/networking/virtual-service/"""
    return host if "." in host or host == "*" else f"{host}.{namespace}.svc.cluster.local"


def service_host(service: ServiceRef) -> str:
    """The full name of a service."""
    return f"{service.name}.{service.namespace}.svc.cluster.local"


def authority_of(service: ServiceRef, *, headless: bool = False) -> str:
    """A regular expression, in the words that RE2 and Python share, of whom calls ask for that are made to a service by its name.

    A mirrored copy asks for the same with ``-shadow`` behind it (Envoy's source/common/http/async_client_impl.cc).

    Args:
        service: The service.
        headless: Whether its pods have names of their own below it.
    """
    name, namespace = re.escape(service.name), re.escape(service.namespace)
    long = rf"{name}\.{namespace}(\.svc(\.cluster\.local)?)?"
    return rf"(?i)({name}|{r'([^.:]+[.])?' if headless else ''}{long})\.?(-shadow)?(:[0-9]+)?"


def covers(name: str, host: str) -> bool:
    """Whether a host of a resource, in full, takes in a host."""
    return name == host or (name.startswith("*") and host.endswith(name[1:]))


def is_http_route(obj: Object) -> bool:
    """Whether a resource that routes calls is an HTTPRoute of the Gateway API."""
    return "parentRefs" in obj["spec"]


def same_rule(one: Object, other: Object) -> bool:
    """Whether two resources that route calls are one to Istio: of the HTTPRoutes of a namespace for one Service it makes one."""
    if is_http_route(one) or is_http_route(other):
        return (
            is_http_route(one) is is_http_route(other)
            and one["metadata"]["namespace"] == other["metadata"]["namespace"]
        )
    return all(one["metadata"][field] == other["metadata"][field] for field in ("namespace", "name"))


def _sees(obj: Object, host: str, namespace: str) -> bool:
    """Whether callers in a namespace may go by a resource for a host: by an HTTPRoute those of its own, and all where the Service lies."""
    if is_http_route(obj):
        home = obj["metadata"]["namespace"]
        return home == namespace or any(
            service_host(parent) == host and parent.namespace == home for parent in parents(obj)
        )
    return "mesh" in (obj["spec"].get("gateways") or ["mesh"]) and _visible(obj, namespace)


def _visible(obj: Object, namespace: str) -> bool:
    told = obj["spec"].get("exportTo") or ["*"]
    return "*" in told or namespace in told or ("." in told and obj["metadata"]["namespace"] == namespace)


def _is_private(obj: Object) -> bool:
    return (obj["spec"].get("exportTo") or ["*"]) in (["."], [obj["metadata"]["namespace"]])


def _age(obj: Object) -> tuple[str, str, str]:
    meta = obj["metadata"]
    return str(meta.get("creationTimestamp", "")), meta["name"], meta["namespace"]


def hosts_of(obj: Object) -> list[str]:
    """The hosts of a VirtualService, and patterns of hosts, or those of an HTTPRoute, in full."""
    if is_http_route(obj):
        return [service_host(parent) for parent in parents(obj)]
    return [full_name(name, obj["metadata"]["namespace"]) for name in obj["spec"].get("hosts") or []]


def governing(service: ServiceRef, objects: Iterable[Object], namespace: str | None = None) -> Object | None:
    """The VirtualService that sidecars of a namespace use for a service.

    An exact host comes before any pattern and a longer pattern before a shorter one, whoever sees it (``sidecar.go``,
    computeWildcardHostVirtualServiceIndex). Of several for the same one of their own namespace that is not public comes before
    one exported to it by name, and that one before the public; then the oldest. A second one for the same host is ignored by
    Istio, which is why everything goes into this one.

    Args:
        service: The service that is called.
        objects: All VirtualServices.
        namespace: The callers' namespace; the service's own where ``None``.
    """
    return routing(service_host(service), objects, namespace or service.namespace)


def routing(host: str, objects: Iterable[Object], namespace: str) -> Object | None:
    """What sidecars of a namespace use for a host, or a pattern of hosts, in full: see ``governing``.

    Of an HTTPRoute among the objects pilot makes a public VirtualService for the Service's own host, which comes before the other
    public ones where it lies in the callers' namespace.
    """
    there = [obj for obj in objects if has_host(obj, host)]
    # The VirtualService that pilot makes of an HTTPRoute is public: it takes the host from every pattern, also where it is not heeded.
    exact = any(is_http_route(obj) for obj in there)
    found = [obj for obj in there if _sees(obj, host, namespace) and (host in hosts_of(obj) or not exact)]

    def rank(obj: Object) -> tuple[Any, ...]:
        hosts = [name for name in hosts_of(obj) if covers(name, host)]
        own = obj["metadata"]["namespace"] == namespace
        public = "*" in (obj["spec"].get("exportTo") or ["*"])
        reach = 2 if public else 0 if own else 1
        return host not in hosts, -max(map(len, hosts)), reach, not (own and is_http_route(obj)), *_age(obj)

    return min(found, key=rank, default=None)


def has_host(obj: Object, host: str) -> bool:
    """Whether a VirtualService or an HTTPRoute is for a host, or a pattern of hosts, in full, whoever sees it."""
    return any(covers(name, host) for name in hosts_of(obj))


def concerns(obj: Object, service: ServiceRef) -> bool:
    """Whether a VirtualService, an HTTPRoute or a DestinationRule is for calls to a service, whoever sees it."""
    spec, host = obj["spec"], service_host(service)
    named = [*hosts_of(obj), *([ruled_host(obj)] if spec.get("host") else [])]
    return any(covers(name, host) for name in named)


def is_everybodys(obj: Object, service: ServiceRef) -> bool:
    """Whether a resource that concerns a service is the same for callers in every namespace: one of its own, exported to all."""
    told, some = obj["spec"].get("exportTo") or ["*"], obj["spec"].get("workloadSelector")
    return obj["metadata"]["namespace"] == service.namespace and "*" in told and not some


def parents(route: Object) -> tuple[ServiceRef, ...]:
    """The Services whose calls an HTTPRoute is for."""
    home = route["metadata"]["namespace"]
    refs = route["spec"].get("parentRefs") or []
    named = (p for p in refs if p.get("group") in {"", "core"} and p.get("kind") == "Service" and p.get("name"))
    return tuple(ServiceRef(str(parent["name"]), str(parent.get("namespace") or home)) for parent in named)


def http_route_before(
    service: ServiceRef, ruling: Object | None, http_routes: Iterable[Object], namespace: str | None = None
) -> Object | None:
    """The HTTPRoute that sidecars of a namespace use for a service in the place of a VirtualService: see ``routing``.

    Args:
        service: The service that is called.
        ruling: The VirtualService that would govern; ``None``: one that is still to be made.
        http_routes: All HTTPRoutes.
        namespace: The callers' namespace; the service's own where ``None``.
    """
    there = [*http_routes, *([ruling] if ruling is not None else [])]
    found = routing(service_host(service), there, namespace or service.namespace)
    return found if found is not None and is_http_route(found) else None


def governing_rule(service: ServiceRef, objects: Iterable[Object], namespace: str | None = None) -> Object | None:
    """The DestinationRule that gives sidecars of a namespace the traffic policy of a service.

    Looked for in the callers' namespace, then the service's, then the root namespace: the first that has one decides.
    There the most specific host wins, then the oldest. Of the root namespace's its own callers look for what is private there
    alone before they look into the service's. In a namespace that is not the callers' the most specific host is found first, among
    all that is exported to anybody, and then it is asked who sees it (istio/istio ``pilot/pkg/model/push_context.go``,
    ``getExportedDestinationRuleFromNamespace``).
    """
    host, where = service_host(service), namespace or service.namespace
    found = [obj for obj in objects if covers(ruled_host(obj), host) and not obj["spec"].get("workloadSelector")]
    own = [obj for obj in found if where != ROOT_NAMESPACE or _is_private(obj)]
    for place, rules in ((where, own), (service.namespace, found), (ROOT_NAMESPACE, found)):
        here = [obj for obj in rules if obj["metadata"]["namespace"] == place]
        if place != where:
            here = _most_specific([obj for obj in here if not _is_private(obj)])
        seen = [obj for obj in here if _visible(obj, where)]
        if seen:
            return min(seen, key=lambda obj: (-_precision(obj), *_age(obj)))
    return None


def _most_specific(rules: Sequence[Object]) -> list[Object]:
    best = max(map(_precision, rules), default=0)
    return [obj for obj in rules if _precision(obj) == best]


def is_for_some(rule: Object, service: ServiceRef, namespace: str) -> bool:
    """Whether a DestinationRule governs a service for some pods of a namespace alone, for which it comes before all others."""
    its = rule["spec"].get("workloadSelector") and rule["metadata"]["namespace"] == namespace
    return bool(its) and covers(ruled_host(rule), service_host(service))


def ruled_host(rule: Object) -> str:
    """The full name, or the pattern, that a DestinationRule is for."""
    return full_name(rule["spec"].get("host") or "", rule["metadata"]["namespace"])


def _precision(obj: Object) -> int:
    name = ruled_host(obj)
    return len(name) + (0 if name.startswith("*") else 1000)


@dataclass(frozen=True, slots=True)
class Ruling:
    """A resource and the namespaces whose callers it governs.

    Attributes:
        obj: The resource; ``None``: these callers have none.
        namespaces: The callers' namespaces; empty: every one.
    """

    obj: Object | None
    namespaces: tuple[str, ...] = ()


Govern = Callable[[ServiceRef, Iterable[Object], str | None], Object | None]


def rulings(
    service: ServiceRef, objects: Sequence[Object], callers: Sequence[str], govern: Govern = governing
) -> tuple[Ruling, ...]:
    """For each namespace with callers, what governs the service there; one entry where it is the same everywhere."""
    by_key: dict[tuple[str, str] | None, tuple[Object | None, list[str]]] = {}
    for namespace in callers or (service.namespace,):
        obj = govern(service, objects, namespace)
        key = (obj["metadata"]["namespace"], obj["metadata"]["name"]) if obj is not None else None
        by_key.setdefault(key, (obj, []))[1].append(namespace)
    if len(by_key) == 1:
        return (Ruling(next(iter(by_key.values()))[0]),)
    return tuple(Ruling(obj, tuple(names)) for obj, names in by_key.values())
