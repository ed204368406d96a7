"""Where the rules that stand lead calls: a fault at a service's server meets none of those that are led elsewhere. Pure functions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from meshbdd.errors import BadInput
from meshbdd.intents import Fault, ServiceRef
from meshbdd.mesh.istio.hosts import Object, full_name, governing, http_route_before, is_http_route, service_host
from meshbdd.mesh.istio.standing import Objects

_DOMAIN = ".svc.cluster.local"


def refuse_led_away(
    fault: Fault, why: str, shared: Collection[ServiceRef], objects: Objects, callers: Sequence[str], *, ports: int
) -> None:
    """See that the calls which sidecars make to a service may come to its server, where a fault is to be injected.

    None does where each namespace with callers has a rule for the service, and nobody's rule leads to it, or to another Service
    of its pods. A caller without a sidecar goes by no rule.

    Args:
        fault: The fault.
        why: Why it is to be injected there.
        shared: The other Services that select pods of the service.
        objects: What stands in the cluster.
        callers: The namespaces with callers.
        ports: How many the service has.

    Raises:
        BadInput: none does.
    """
    by = fault.scope.called_by
    spaces = (by.namespace,) if by else callers or (fault.service.namespace,)
    rules = [_rule(fault.service, objects, namespace, ports) for namespace in spaces]
    everybodys = {host for obj in (*objects.virtual_services, *objects.http_routes) for host in leads_to(obj)}
    first = rules[0]
    if first is None or None in rules or everybodys & {service_host(own) for own in (fault.service, *shared)}:
        return
    led = leads_to(first, mirrors=False)
    if not led:  # what answers them is told by the accounting
        return
    names = ", ".join(sorted(host.removesuffix(_DOMAIN) for host in led))
    raise BadInput(
        "MB0496",
        f"«{fault}» would meet no call of a caller with a sidecar: {_name(first)} leads those to {fault.service} "
        f"elsewhere, to {names}, and the fault's place is {why}.",
        help=instead(fault, first),
    )


def instead(fault: Fault, rule: Object) -> str:
    """What to do where a rule leads calls past a fault: have the fault at the servers to which it leads them.

    Args:
        fault: The fault.
        rule: The VirtualService or HTTPRoute.
    """
    led = sorted(host.removesuffix(_DOMAIN) for host in leads_to(rule, mirrors=False) if host.endswith(_DOMAIN))
    if not led:
        return f"let {_name(rule)} lead the calls to {fault.service}"
    *others, last = led
    each = "each with" if others else "with"
    names = f"{', '.join(others)} and {last}" if others else last
    return f"let {names} {'be slowed' if fault.delay else 'fail'} instead, {each} | inject at | server |"


def at_server(fault: Fault, route: Object, shared: Collection[ServiceRef]) -> str:
    """What to do where an HTTPRoute keeps a fault from the callers: have it at the servers to which the route leads calls.

    Args:
        fault: The fault.
        route: The HTTPRoute.
        shared: The other Services that select pods of the service.
    """
    if leads_to(route, mirrors=False) & {service_host(own) for own in (fault.service, *shared)}:
        return "an HTTPRoute has no faults: write | inject at | server | into the fault's table"
    return f"an HTTPRoute has no faults: {instead(fault, route)}"


def _name(rule: Object) -> str:
    kind = "HTTPRoute" if is_http_route(rule) else "VirtualService"
    return f"{kind} {rule['metadata']['name']}"


def _rule(service: ServiceRef, objects: Objects, namespace: str, ports: int) -> Object | None:
    """The rule of all calls to a service; ``None`` where some come to it unled."""
    ruling = governing(service, objects.virtual_services, namespace)
    other = http_route_before(service, ruling, objects.http_routes, namespace)
    if other is None:
        return ruling if ruling is not None and ruling["spec"].get("http") else None
    own = [parent.get("port") for parent in other["spec"]["parentRefs"] if parent.get("name") == service.name]
    return other if ports == 1 or None in own else None


def leads_to(obj: Object, *, mirrors: bool = True) -> set[str]:
    """The full names of the hosts to which a VirtualService or an HTTPRoute leads calls.

    Args:
        obj: The VirtualService or the HTTPRoute.
        mirrors: Whether those count to which it mirrors calls.
    """
    home = obj["metadata"]["namespace"]
    found = {
        f"{ref['name']}.{ref.get('namespace') or home}{_DOMAIN}"
        for rule in obj["spec"].get("rules") or []
        for ref in (*_weighty(rule.get("backendRefs")), *(_mirrored(rule) if mirrors else ()))
        if ref.get("name")
    }
    return found | {full_name(str(to["host"]), home) for to in _destinations(obj["spec"], mirrors) if to.get("host")}


def _mirrored(rule: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for told in rule.get("filters") or []:
        yield (told.get("requestMirror") or {}).get("backendRef") or {}


def _destinations(spec: Mapping[str, Any], mirrors: bool) -> Iterator[Mapping[str, Any]]:
    for route in (route for kind in ("http", "tls", "tcp") for route in spec.get(kind) or []):
        for to in (*_weighty(route.get("route")), *((route.get("mirrors") or []) if mirrors else ())):
            yield to.get("destination") or {}
        if mirrors:
            yield route.get("mirror") or {}


def _weighty(shares: Iterable[Mapping[str, Any]] | None) -> list[Mapping[str, Any]]:
    """Those that get calls; where there is only one, it gets them all."""
    found = list(shares or ())
    return [share for share in found if share.get("weight", 1) or len(found) == 1]
