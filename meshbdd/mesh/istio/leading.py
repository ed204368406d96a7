"""Where the rules that stand lead calls: a fault at a service's server meets none of those that are led elsewhere. Pure functions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from meshbdd.errors import BadInput
from meshbdd.intents import Fault, ServiceRef
from meshbdd.mesh.istio.hosts import Object, full_name, governing, http_route_before, service_host
from meshbdd.mesh.istio.injection import Objects

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
    led = sorted(host.removesuffix(_DOMAIN) for host in leads_to(first))
    if not led:  # what answers them is told by the accounting
        return
    kind = "HTTPRoute" if "parentRefs" in first["spec"] else "VirtualService"
    raise BadInput(
        "MB0496",
        f"«{fault}» would meet no call of a caller with a sidecar: {kind} {first['metadata']['name']} leads those to {fault.service} "
        f"elsewhere, to {', '.join(led)}, and the fault's place is {why}.",
        help=f"let {led[0]} fail instead, with | inject at | server |",
    )


def _rule(service: ServiceRef, objects: Objects, namespace: str, ports: int) -> Object | None:
    """The rule of all calls to a service; ``None`` where some come to it unled."""
    ruling = governing(service, objects.virtual_services, namespace)
    other = http_route_before(service, ruling, objects.http_routes, namespace)
    if other is None:
        return ruling if ruling is not None and ruling["spec"].get("http") else None
    own = [parent.get("port") for parent in other["spec"]["parentRefs"] if parent.get("name") == service.name]
    return other if ports == 1 or None in own else None


def leads_to(obj: Object) -> set[str]:
    """The full names of the hosts to which a VirtualService or an HTTPRoute leads calls, or mirrors them."""
    home = obj["metadata"]["namespace"]
    found = {
        f"{ref['name']}.{ref.get('namespace') or home}{_DOMAIN}"
        for rule in obj["spec"].get("rules") or []
        for ref in (*_weighty(rule.get("backendRefs")), *_mirrored(rule))
        if ref.get("name")
    }
    return found | {full_name(str(to["host"]), home) for to in _destinations(obj["spec"]) if to.get("host")}


def _mirrored(rule: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for told in rule.get("filters") or []:
        yield (told.get("requestMirror") or {}).get("backendRef") or {}


def _destinations(spec: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for route in (route for kind in ("http", "tls", "tcp") for route in spec.get(kind) or []):
        for to in (*_weighty(route.get("route")), *(route.get("mirrors") or [])):
            yield to.get("destination") or {}
        yield route.get("mirror") or {}


def _weighty(shares: Iterable[Mapping[str, Any]] | None) -> list[Mapping[str, Any]]:
    """Those that get calls; where there is only one, it gets them all."""
    found = list(shares or ())
    return [share for share in found if share.get("weight", 1) or len(found) == 1]
