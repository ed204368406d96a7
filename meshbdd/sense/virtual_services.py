"""VirtualServices: which are in force, and whether what their rules name exists."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from meshbdd.sense import catalog, subsets
from meshbdd.sense.finding import Finding, name_of
from meshbdd.sense.inventory import Inventory, full_name, ports_of
from meshbdd.sense.protocols import carries_http, told_ports
from meshbdd.sense.reading import (
    EVERYWHERE,
    Object,
    mapping,
    mappings,
    namespace_of,
    selects,
    text,
    texts,
    told,
    visible_in,
    whole,
    without_topology,
)
from meshbdd.sense.takers import on_mesh


def destinations(obj: Object) -> Iterator[tuple[int, str, Any]]:
    """Rule number (from 1), ``route`` or ``mirror``, and the destination, of all rules."""
    for protocol in ("http", "tcp", "tls"):
        for number, rule in enumerate(mappings(obj, "spec", protocol), 1):
            for route in mappings(rule, "route"):
                yield number, "route", mapping(route, "destination")
            if mapping(rule, "mirror"):
                yield number, "mirror", mapping(rule, "mirror")
            for mirror in mappings(rule, "mirrors"):
                yield number, "mirror", mapping(mirror, "destination")


def references(world: Inventory) -> Iterator[Finding]:
    """Hosts, ports, subsets, gateways, delegates and callers that rules name and that do not exist."""
    for obj in world.of("VirtualService"):
        yield from _hosts(world, obj)
        yield from _gateways(world, obj)
        yield from _exported(world, obj)
        for number, kind, destination in destinations(obj):
            yield from _destination(world, obj, f"rule {number}'s {kind}", destination)
        for number, rule in enumerate(mappings(obj, "spec", "http"), 1):
            yield from _delegate(world, obj, number, rule)
            yield from _callers(world, obj, number, rule)
            yield from _weights(obj, number, rule)


def _hosts(world: Inventory, obj: Object) -> Iterator[Finding]:
    if not on_mesh(obj):
        return
    for host in texts(obj, "spec", "hosts"):
        if host == "*":
            yield catalog.WILDCARD_ON_MESH.on(
                obj, 'hosts "*" is for gateways only, and this object is for sidecars; Istio refuses it.'
            )
            continue
        home = namespace_of(obj)
        name = full_name(host, home)
        near = world.nearest(host, home)
        internal = "." not in host or name.endswith(".svc.cluster.local") or (near and near.startswith(f"{host}."))
        if name.startswith("*") or not internal or not world.services or world.destination(host, home) is not None:
            continue  # names of one's own, outside of the cluster's, may be given rules without a service
        yield catalog.UNKNOWN_ROUTED_HOST.on(
            obj,
            f'its rules are for host "{host}" ({name}), which no Service has; calls to the Service you mean do not meet them.',
            f'did you mean "{near}"?' if near else None,
        )


def _gateways(world: Inventory, obj: Object) -> Iterator[Finding]:
    known = {f"{namespace_of(g)}/{text(g, 'metadata', 'name')}": g for g in world.of("Gateway")}
    home, hosts = namespace_of(obj), texts(obj, "spec", "hosts")
    left, unsure = set(hosts), on_mesh(obj)
    for name in texts(obj, "spec", "gateways"):
        if name == "mesh":
            continue
        full = name if "/" in name else f"{home}/{name}"
        if full not in known:
            unsure = True
            yield catalog.UNKNOWN_GATEWAY.on(obj, f'gateway "{name}" does not exist, so no gateway uses these rules.')
            continue
        patterns = [h.rpartition("/")[2] for s in mappings(known[full], "spec", "servers") for h in texts(s, "hosts")]
        served = {
            host for host in hosts if any(_serves(p, host) or _serves(p, full_name(host, home)) for p in patterns)
        }
        left -= served
        if patterns and not served:
            unsure = True
            yield catalog.NOT_IN_GATEWAY.on(
                obj, f'gateway "{name}" serves {told(patterns)}, and not {told(hosts)}, so it never uses these rules.'
            )
        unsure = unsure or not patterns
    for host in () if unsure else sorted(left):  # sidecars, or another gateway, may use the rules for it
        yield catalog.NOT_IN_GATEWAY.on(
            obj, f'no gateway of its own serves "{host}", so the rules for it are never used.'
        )


def _exported(world: Inventory, obj: Object) -> Iterator[Finding]:
    said, known = visible_in(obj), {EVERYWHERE, *world.namespaces, *(w.namespace for w in world.workloads)}
    if world.namespaces and on_mesh(obj) and said and not said & known:
        yield catalog.NO_SUCH_CALLER.on(
            obj,
            f"it is exported to namespace {told(sorted(said))} alone, which does not exist: no caller has its rules.",
            "correct exportTo",
        )


def _serves(pattern: str, host: str) -> bool:
    if pattern.startswith("*"):
        return host.endswith(pattern[1:])
    return host == pattern or (host.startswith("*") and pattern.endswith(host[1:]))


def _destination(world: Inventory, obj: Object, where: str, destination: Any) -> Iterator[Finding]:
    home, host = namespace_of(obj), text(destination, "host")
    if not host:
        return
    target = world.destination(host, home)
    if target is None:
        near = world.nearest(host, home)
        yield catalog.UNKNOWN_HOST.on(
            obj,
            f'{where} leads to "{host}" ({full_name(host, home)}), which does not exist; callers get 503 (no cluster).',
            f'did you mean "{near}"?' if near else None,
        )
        return
    ports, port = ports_of(target), whole(destination, "port", "number")
    if port is not None and port not in ports:
        yield catalog.UNKNOWN_PORT.on(
            obj,
            f'{where} leads to port {port} of "{host}", which has {told([str(p) for p in ports]) or "none"}; callers get 503.',
        )
    called = _called_ports(world, obj) if port is None and on_mesh(obj) else set()
    if ports and called and called.isdisjoint(ports):
        asked = told([str(p) for p in sorted(called)])
        yield catalog.UNKNOWN_PORT.on(
            obj,
            f'{where} names no port of "{host}", so that which is called counts ({asked}), and "{host}" has '
            f"{told([str(p) for p in ports])} alone; callers get 503.",
            "name the destination's port",
        )
    if port is None and len(ports) > 1 and not on_mesh(obj):
        yield catalog.PORT_NEEDED.on(
            obj,
            f'{where} names no port of "{host}", which has {told([str(p) for p in ports])}; a gateway cannot choose.',
        )
    yield from subsets.led_to(world, obj, where, destination, target)


def _called_ports(world: Inventory, obj: Object) -> set[int]:
    """The ports at which sidecars have the rules; empty where a host is no Service's, which may be called at any."""
    services = [world.destination(host, namespace_of(obj)) for host in texts(obj, "spec", "hosts")]
    return (
        {port for service in services if service is not None for port in ports_of(service)} if all(services) else set()
    )


def _delegate(world: Inventory, obj: Object, number: int, rule: Any) -> Iterator[Finding]:
    wanted = mapping(rule, "delegate")
    if not wanted:
        return
    home = text(wanted, "namespace") or namespace_of(obj)
    names = {(text(v, "metadata", "name"), namespace_of(v)) for v in world.of("VirtualService")}
    if (text(wanted, "name"), home) not in names:
        yield catalog.UNKNOWN_DELEGATE.on(
            obj,
            f"rule {number} delegates to VirtualService {home}/{text(wanted, 'name')}, which does not exist; Istio leaves the rule "
            "out, so that its requests meet the rules after it, or get 404.",
        )


def _callers(world: Inventory, obj: Object, number: int, rule: Any) -> Iterator[Finding]:
    for match in mappings(rule, "match"):
        wanted, namespace = mapping(match, "sourceLabels"), text(match, "sourceNamespace")
        if not world.workloads or not (wanted or namespace):
            continue
        own = [w for w in world.workloads if not namespace or w.namespace == namespace]
        if not any(selects(without_topology(wanted), w.labels) for w in own):
            said = told([f"{k}: {v}" for k, v in wanted.items()] + ([f"namespace {namespace}"] if namespace else []))
            yield catalog.NO_SUCH_CALLER.on(
                obj, f"rule {number} is for callers with {said}, and no pod is such a caller."
            )


_LIKE_PERCENTAGES = range(80, 121)
"""What weights add up to that were meant as percentages; 9 and 1 are shares, and meant as such."""


def _weights(obj: Object, number: int, rule: Any) -> Iterator[Finding]:
    weights = [whole(route, "weight") for route in mappings(rule, "route")]
    said = [weight for weight in weights if weight is not None]
    if len(weights) > 1 and sum(said) != 100 and sum(said) in _LIKE_PERCENTAGES:
        shares = told([f"{weight / sum(said):.1%}" for weight in said])
        yield catalog.WEIGHTS.on(
            obj, f"rule {number}'s weights add up to {sum(said)}; Istio takes them as shares, so they mean {shares}."
        )


def conflicts(world: Inventory) -> Iterator[Finding]:
    """VirtualServices for one host: the oldest is in force, the others are ignored without a word."""
    by_host: dict[str, list[Object]] = defaultdict(list)
    for obj in world.of("VirtualService"):
        if on_mesh(obj):
            for host in dict.fromkeys(full_name(h, namespace_of(obj)) for h in texts(obj, "spec", "hosts")):
                by_host[host].append(obj)
    for host, objects in by_host.items():
        for obj in objects:
            rivals = [other for other in objects if other is not obj]
            same = [r for r in rivals if visible_in(r) & visible_in(obj)]
            if same:
                yield catalog.TWO_FOR_A_HOST.on(
                    obj,
                    f"{told([name_of(r) for r in same])} has rules for {host} too; sidecars use the oldest alone (IST0109).",
                )
            # One of another namespace is its callers' choice.
            elif EVERYWHERE in visible_in(obj) and (hiding := [r for r in rivals if _hides(r, obj)]):
                there = told(sorted(set().union(*(visible_in(r) for r in hiding))))
                yield catalog.SHADOWED.on(
                    obj,
                    f"{told([name_of(r) for r in hiding])} takes its place for {host} in namespace {there}, wholly.",
                )


def _hides(private: Object, public: Object) -> bool:
    return bool(visible_in(private)) and namespace_of(private) == namespace_of(public)


def protocols(world: Inventory) -> Iterator[Finding]:
    """HTTP rules for services whose ports are not HTTP: Istio makes no HTTP route there, and says nothing."""
    for obj in world.of("VirtualService"):
        if not on_mesh(obj) or not mappings(obj, "spec", "http"):
            continue
        for host in texts(obj, "spec", "hosts"):
            service = world.destination(host, namespace_of(obj))
            if service is not None and ports_of(service) and not carries_http(service):
                yield catalog.NO_HTTP.on(
                    obj,
                    f'no port of "{host}" is HTTP ({told_ports(service)}), so its HTTP rules have no effect at all.',
                )
