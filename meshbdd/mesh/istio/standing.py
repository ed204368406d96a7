"""What stands in the cluster that a fault at the callers would never reach: by the rules that govern the callers it is for.

Which VirtualService, HTTPRoute or DestinationRule governs a call is a matter of the caller's namespace, whatever the service's is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from meshbdd.errors import Inconclusive
from meshbdd.intents import Fault, ServiceRef
from meshbdd.mesh.catalog import Catalog, carries_http, selected
from meshbdd.mesh.istio.hosts import (
    ROOT_NAMESPACE,
    Object,
    concerns,
    governing,
    governing_rule,
    http_route_before,
    is_everybodys,
    is_for_some,
    rulings,
)
from meshbdd.mesh.istio.own_calls import routes_of
from meshbdd.mesh.istio.routes import sources


@dataclass(frozen=True, slots=True)
class Objects:
    """The resources that say what becomes of calls.

    Attributes:
        virtual_services: All VirtualServices.
        rules: All DestinationRules.
        http_routes: All HTTPRoutes.
        policies: All AuthorizationPolicies.
        pods: Gives the labels of each pod of a service that has a sidecar; asked only where a policy stands.
        services: Gives all Services; asked only where a VirtualService is for several hosts, or an HTTPRoute for a port.
        callers: Gives the namespaces with callers; asked only where these may have different rules, or a VirtualService delegates.
        labels: Gives the labels by which a caller is known; asked only where a rule or a route is for some pods.
    """

    virtual_services: Sequence[Any] = ()
    rules: Sequence[Any] = ()
    http_routes: Sequence[Any] = ()
    policies: Sequence[Any] = ()
    pods: Callable[[ServiceRef], Sequence[Mapping[str, str]]] = lambda _service: ()
    services: Callable[[], Sequence[Any]] = lambda: ()
    callers: Callable[[], Sequence[str]] = lambda: ()
    labels: Callable[[ServiceRef], Mapping[str, str]] = lambda _caller: {}

    @property
    def routing(self) -> list[Any]:
        """What leads calls: the VirtualServices, and of the HTTPRoutes those parents whose calls these lead at every port."""
        return [*self.virtual_services, *(self._at_all_ports(route) for route in self.http_routes)]

    def _at_all_ports(self, route: Object) -> Object:
        refs = route["spec"].get("parentRefs") or []
        kept = [ref for ref in refs if not ref.get("port") or self._has_no_other(ref, route, refs)]
        return {**route, "spec": {**route["spec"], "parentRefs": kept}}

    def _has_no_other(self, ref: Mapping[str, Any], route: Object, refs: Iterable[Mapping[str, Any]]) -> bool:
        """Whether some parents of a route name every port of a Service that may carry HTTP."""

        def key(parent: Mapping[str, Any]) -> tuple[str, str]:
            return str(parent.get("namespace") or route["metadata"]["namespace"]), str(parent.get("name"))

        named = {parent.get("port") for parent in refs if key(parent) == key(ref)}
        own = (s for s in self.services() if (s["metadata"]["namespace"], s["metadata"]["name"]) == key(ref))
        return any(
            {port["port"] for port in service["spec"].get("ports") or [] if carries_http(port)} <= named
            for service in own
        )

    @classmethod
    def read(cls, catalog: Catalog) -> Objects:
        """Those that are there."""
        return cls(
            catalog.all("VirtualService"),
            catalog.all("DestinationRule"),
            catalog.readable("HTTPRoute"),
            catalog.readable("AuthorizationPolicy"),
            catalog.meshed_labels,
            partial(catalog.readable, "Service"),
            catalog.calling_namespaces,
            catalog.caller_labels,
        )


def delegating(fault: Fault, objects: Objects) -> Iterator[Object]:
    """The VirtualServices by which callers that a fault is for go, and that leave routes of the service to others."""
    if not any(_has_delegates(obj["spec"].get("http")) for obj in objects.virtual_services):
        return
    by = fault.scope.called_by
    for ruling in rulings(fault.service, objects.virtual_services, (by.namespace,) if by else objects.callers()):
        if ruling.obj is not None and _has_delegates(routes_of(fault.service, ruling.obj, objects.services)):
            yield ruling.obj


def _has_delegates(routes: Iterable[Mapping[str, Any]] | None) -> bool:
    return any(route.get("delegate") for route in routes or ())


def stands(fault: Fault, objects: Objects) -> Iterator[str]:
    """What stands in the cluster that would see a fault at the server, and none at the callers.

    That are the rules of those callers whom the fault is for, and the policies that the service's own proxies ask.
    """
    told: set[str] = set()
    for namespace in _namespaces(fault, objects):
        found = [*_of_routes(fault, objects, namespace), *_of_rules(fault, objects, namespace)]
        yield from (word for word in dict.fromkeys(found) if word not in told)
        told.update(found)
    yield from _judges(fault.service, objects)


def instead_of_server(fault: Fault, objects: Objects) -> str:
    """What may be written of a fault for which something stands and that cannot be at the server; empty where nothing helps.

    Beside an HTTPRoute no fault can be at the callers that go by it; what stands for some callers is not for the others.
    """
    spaces = _namespaces(fault, objects)
    ways = [] if any(_http_route(fault.service, objects, space) for space in spaces) else ["| inject at | caller |"]
    free = [s for s in spaces if not any((*_of_routes(fault, objects, s), *_of_rules(fault, objects, s)))]
    if len(free) < len(spaces) and free and not any(_judges(fault.service, objects)):
        ways.append(f"| called by | … | with a caller in namespace {', '.join(free)}")
    return f"write {' or '.join(ways)}" if ways else ""


def _http_route(service: ServiceRef, objects: Objects, namespace: str) -> Object | None:
    ruling = governing(service, objects.virtual_services, namespace)
    return http_route_before(service, ruling, objects.http_routes, namespace)


def _namespaces(fault: Fault, objects: Objects) -> Sequence[str]:
    """The namespaces whose callers a fault is for, the service's own first; that alone where all have the same rules."""
    service, by = fault.service, fault.scope.called_by
    if by is not None:
        return (by.namespace,)
    there = (*objects.virtual_services, *objects.rules, *objects.http_routes)
    if all(is_everybodys(obj, service) for obj in there if concerns(obj, service)):
        return (service.namespace,)
    spaces: Sequence[str] = ()
    with contextlib.suppress(Inconclusive):  # a rehearsal may not know the pods
        spaces = objects.callers()
    return sorted(spaces or (service.namespace,), key=lambda name: (name != service.namespace, name))


def _of_routes(fault: Fault, objects: Objects, namespace: str) -> Iterator[str]:
    service = fault.service
    ruling = governing(service, objects.virtual_services, namespace)
    other = _http_route(service, objects, namespace)
    if other is not None:
        yield f"HTTPRoute {_name(other, service)} routes its calls, beside which Istio ignores a VirtualService"
    elif ruling is not None:
        own = routes_of(service, ruling, objects.services)
        taken = [route for route in own if _takes(route, fault, objects, namespace)]
        yield from _routes(f"VirtualService {_name(ruling, service)}", taken)


def _takes(route: Mapping[str, Any], fault: Fault, objects: Objects, namespace: str) -> bool:
    """Whether a route may take calls of a caller in a namespace whom a fault is for."""
    return any(
        where.namespace in (None, namespace) and _may_have(where.labels or {}, fault, objects)
        for where in sources([route])
    )


def _of_rules(fault: Fault, objects: Objects, namespace: str) -> Iterator[str]:
    service = fault.service
    for_some = [rule for rule in objects.rules if is_for_some(rule, service, namespace)]
    own = [r for r in for_some if _may_have(r["spec"]["workloadSelector"].get("matchLabels") or {}, fault, objects)]
    for rule in (governing_rule(service, objects.rules, namespace), *own):
        if rule is None:
            continue
        name = f"DestinationRule {_name(rule, service)}"
        for policy in _policies(rule["spec"]):
            if policy.get("outlierDetection") is not None:  # an empty one detects by Envoy's defaults
                yield f"{name} has outlier detection (a circuit breaker)"
            if policy.get("connectionPool"):
                yield f"{name} limits its connections"


def _may_have(wanted: Mapping[str, str], fault: Fault, objects: Objects) -> bool:
    """Whether pods of a caller whom a fault is for may have labels."""
    by = fault.scope.called_by
    known = objects.labels(by) if wanted and by else {}
    return all(known.get(name, value) == value for name, value in wanted.items())


def _name(obj: Object, service: ServiceRef) -> str:
    """The name of a rule as it is found from the service: with its namespace where that is another one."""
    name, home = obj["metadata"]["name"], obj["metadata"]["namespace"]
    return str(name) if home == service.namespace else f"{name}.{home}"


def _judges(service: ServiceRef, objects: Objects) -> Iterator[str]:
    """The policies that the service's own proxies ask; one that only audits, or is for gateways, denies nobody here."""
    for policy in objects.policies:
        spec, meta = policy.get("spec") or {}, policy["metadata"]
        wanted = (spec.get("selector") or {}).get("matchLabels") or {}
        if (
            meta["namespace"] in (service.namespace, ROOT_NAMESPACE)
            and spec.get("action") != "AUDIT"
            and not (spec.get("targetRef") or spec.get("targetRefs"))
            and any(selected(wanted, labels) for labels in objects.pods(service))
        ):
            yield f"AuthorizationPolicy {meta['name']} says who may call it"


def _routes(name: str, routes: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for route in routes:
        if (route.get("retries") or {}).get("attempts"):
            yield f"{name} retries its calls"
        if route.get("timeout") not in (None, "0s"):
            yield f"{name} gives its calls a timeout"
        if route.get("mirror") or route.get("mirrors"):
            yield f"{name} mirrors its calls"


def _policies(spec: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    outers = [spec.get("trafficPolicy") or {}, *(s.get("trafficPolicy") or {} for s in spec.get("subsets") or [])]
    for outer in outers:
        yield outer
        yield from outer.get("portLevelSettings") or []
