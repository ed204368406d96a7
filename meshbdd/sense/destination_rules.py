"""DestinationRules: subsets, rivals, breakers that cannot open, and TLS that the server does not speak."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from meshbdd.sense import catalog
from meshbdd.sense.finding import Finding, name_of
from meshbdd.sense.inventory import ROOT_NAMESPACE, Inventory, full_name, ports_of
from meshbdd.sense.reading import EVERYWHERE, Object, at, mapping, mappings, namespace_of, text, told, visible_in, whole
from meshbdd.sense.virtual_services import destinations

DEFAULT_EJECTION_PERCENT = 10
"""Envoy's own default, which Istio leaves as it is: envoy config/cluster/v3/outlier_detection.proto."""
ALL_PERCENT = 100
"""The most that Istio takes for a share."""


def host_of(rule: Object) -> str:
    """The full name of the host that a rule is for."""
    return full_name(text(rule, "spec", "host"), namespace_of(rule))


def policies(rule: Object) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any] | None]]:
    """Where a traffic policy stands, the policy, and the labels of its subset; the rule's own first, ports after."""
    for where, block, labels in (
        ("its trafficPolicy", mapping(rule, "spec", "trafficPolicy"), None),
        *(
            (f'subset "{text(s, "name")}"', mapping(s, "trafficPolicy"), mapping(s, "labels"))
            for s in mappings(rule, "spec", "subsets")
        ),
    ):
        if block:
            yield where, block, labels
        for port in mappings(block, "portLevelSettings"):
            yield f"{where} for port {whole(port, 'port', 'number')}", port, labels


def existence(world: Inventory) -> Iterator[Finding]:
    """Hosts that do not exist, subsets without pods, rules that nobody looks at."""
    routed = _routed_subsets(world)
    for rule in world.of("DestinationRule"):
        host, home = host_of(rule), namespace_of(rule)
        if not world.hosts_under(host) and world.destination(host, home) is None:
            near = world.nearest(text(rule, "spec", "host"), home)
            yield catalog.UNKNOWN_RULED_HOST.on(
                rule,
                f'host "{text(rule, "spec", "host")}" ({host}) does not exist, so the rule has no effect.',
                f'did you mean "{near}"?' if near else None,
            )
            continue
        service = world.destination(host, home)
        if service is None:
            continue  # a wildcard: its pods are those of many services
        yield from _consulted(world, rule, service)
        yield from _ports(rule, service)
        for subset in mappings(rule, "spec", "subsets"):
            yield from _subset(world, rule, service, subset, routed)


def _routed_subsets(world: Inventory) -> set[tuple[str, str]]:
    return {
        (full_name(text(d, "host"), namespace_of(obj)), text(d, "subset"))
        for obj in world.of("VirtualService")
        for _, _, d in destinations(obj)
        if text(d, "subset")
    }


def _consulted(world: Inventory, rule: Object, service: Object) -> Iterator[Finding]:
    home = namespace_of(rule)
    callers_here = any(w.namespace == home for w in world.workloads)
    if world.workloads and home not in {namespace_of(service), ROOT_NAMESPACE} and not callers_here:
        yield catalog.NEVER_CONSULTED.on(
            rule,
            f"callers look for rules in their own namespace, in {namespace_of(service)} and in {ROOT_NAMESPACE}; "
            f"no pod is in {home}, so nobody looks there.",
        )


def _ports(rule: Object, service: Object) -> Iterator[Finding]:
    for where, block, _ in policies(rule):
        number = whole(block, "port", "number")
        if number is not None and number not in ports_of(service):
            has = told([str(p) for p in ports_of(service)])
            yield catalog.UNKNOWN_RULED_PORT.on(rule, f"{where}: the service has no port {number} (it has {has}).")


_MARKER = "meshbdd.dev/marker"
"""Label of the empty subsets by which meshbdd sees its own changes arrive."""


def _subset(
    world: Inventory, rule: Object, service: Object, subset: Any, routed: set[tuple[str, str]]
) -> Iterator[Finding]:
    name, labels = text(subset, "name"), mapping(subset, "labels")
    if _MARKER in labels:
        return
    if labels and world.endpoints(service, labels) == 0:
        said = told([f"{k}: {v}" for k, v in labels.items()])
        yield catalog.EMPTY_SUBSET.on(rule, f'no pod of {host_of(rule)} has the labels of subset "{name}" ({said}).')
    elif mapping(subset, "trafficPolicy") and (host_of(rule), name) not in routed:
        yield catalog.UNUSED_SUBSET_POLICY.on(
            rule, f'the policy of subset "{name}" takes effect only where a VirtualService routes to it, and none does.'
        )


def rivals(world: Inventory) -> Iterator[Finding]:
    """Several rules for one host at one level: Istio merges them, and what two say only the older keeps."""
    groups: dict[tuple[str, str, str], list[Object]] = defaultdict(list)
    for rule in world.of("DestinationRule"):
        groups[namespace_of(rule), host_of(rule), str(mapping(rule, "spec", "workloadSelector"))].append(rule)
    for (_, host, _), rules in groups.items():
        for rule in rules:
            others = [r for r in rules if r is not rule and visible_in(r) & visible_in(rule)]
            if others:
                yield catalog.TWO_DESTINATION_RULES.on(
                    rule, f"{told([name_of(r) for r in others])} is for {host} too; {_lost(rule, others)}."
                )
    yield from _overruled(world)


def _overruled(world: Inventory) -> Iterator[Finding]:
    """Rules of the root namespace behind others, for every caller there is. One for a pattern may be meant for hosts to come."""
    callers = {workload.namespace for workload in world.workloads if workload.meshed}
    for rule in world.of("DestinationRule"):
        host, target = host_of(rule), world.destination(host_of(rule), "")
        if (
            target is None
            or host.startswith("*")
            or namespace_of(rule) != ROOT_NAMESPACE
            or at(rule, "spec", "workloadSelector")
        ):
            continue
        seeing = sorted(callers & visible_in(rule) if EVERYWHERE not in visible_in(rule) else callers)
        taken = [world.rules.governing(host, namespace_of(target), caller) for caller in seeing]
        if taken and all(taken) and not any(rule is one for rules in taken for one in rules):
            before = list(dict.fromkeys(name_of(one) for rules in taken for one in rules))
            yield catalog.TWO_DESTINATION_RULES.on(
                rule,
                f"callers with a sidecar all take {told(before)} for {host}, and nothing of this rule.",
                f"write what it says into {before[0]}",
            )


def _lost(rule: Object, others: list[Object]) -> str:
    names = {text(s, "name") for s in mappings(rule, "spec", "subsets")}
    twice = sorted(names & {text(s, "name") for o in others for s in mappings(o, "spec", "subsets")})
    both = mapping(rule, "spec", "trafficPolicy") and any(mapping(o, "spec", "trafficPolicy") for o in others)
    said = []
    if both:
        said.append("the older one's trafficPolicy is in force, the other's is dropped without a word")
    if twice:
        said.append(f"of subset {told(twice)} the older one's definition counts")
    return " and ".join(said) or "Istio merges them, and which one wins a later conflict is a matter of age"


def breakers(world: Inventory) -> Iterator[Finding]:
    """Outlier detection that cannot eject anything."""
    routed = _routed_subsets(world)
    for rule in world.of("DestinationRule"):
        ruled = targets(world, rule)
        for where, block, labels in policies(rule):
            detection = at(block, "outlierDetection")
            if isinstance(detection, Mapping):
                yield from _breaker(world, rule, where, detection, ruled, labels)
        inherited = at(rule, "spec", "trafficPolicy", "outlierDetection")
        for subset in mappings(rule, "spec", "subsets") if isinstance(inherited, Mapping) else ():
            own = at(subset, "trafficPolicy", "outlierDetection")
            led_to = {host: target for host, target in ruled.items() if (host, text(subset, "name")) in routed}
            if own is None and led_to:
                where, labels = f'its trafficPolicy, for subset "{text(subset, "name")}"', mapping(subset, "labels")
                yield from _breaker(world, rule, where, inherited, led_to, labels)


def targets(world: Inventory, rule: Object) -> Mapping[str, Object]:
    """The hosts that a rule is for; of a pattern those for which some caller takes it, and none that is more specific."""
    host = host_of(rule)
    if not host.startswith("*"):
        target = world.destination(host, namespace_of(rule))
        return {host: target} if target is not None else {}
    found = {name: target for name in world.hosts_under(host) if (target := world.destination(name, "")) is not None}
    callers = {workload.namespace for workload in world.workloads if workload.meshed}
    return {name: target for name, target in found.items() if _governs(world, rule, name, target, callers)}


def _governs(world: Inventory, rule: Object, host: str, target: Object, callers: Collection[str]) -> bool:
    home = namespace_of(target)
    return any(rule is r for caller in callers or (home,) for r in world.rules.governing(host, home, caller))


def _breaker(
    world: Inventory,
    rule: Object,
    where: str,
    detection: Mapping[str, Any],
    ruled: Mapping[str, Object],
    labels: Mapping[str, Any] | None,
) -> Iterator[Finding]:
    counts = [whole(detection, "consecutive5xxErrors"), whole(detection, "consecutiveGatewayErrors")]
    split = at(detection, "splitExternalLocalOriginErrors") is True
    if counts[0] == 0 and not counts[1] and not split:
        yield catalog.DETECTION_OFF.on(
            rule,
            f"{where}: consecutive5xxErrors: 0 switches the detection off, and nothing else is on: the circuit never opens.",
        )
        return
    said = whole(detection, "maxEjectionPercent")
    percent, least = said or DEFAULT_EJECTION_PERCENT, whole(detection, "minHealthPercent") or 0
    numbers = {host: world.endpoints(target, labels) for host, target in ruled.items()}
    few = {host: n for host, n in numbers.items() if n and 100 / n > percent}
    frail = {host: n for host, n in numbers.items() if n and host not in few and 100 * (n - 1) / n < least}
    opens = any(n != 0 and host not in few and host not in frail for host, n in numbers.items())
    # A share that somebody wrote, and that does for other services of the pattern, is meant.
    if few and not (said and opens):
        needed = -(-ALL_PERCENT // min(few.values()))
        default = "" if said else ", the default,"
        yield catalog.NEVER_EJECTS.on(
            rule,
            f"{where}: maxEjectionPercent {percent}{default} of {_endpoints(rule, few)} is less than one: "
            "none is ever ejected, the circuit never opens.",
            f"set maxEjectionPercent to {needed}{' or more' if needed < ALL_PERCENT else ''}",
        )
    if frail and not opens:
        left = _endpoints(rule, frail, lambda n: f"{n - 1} of ")
        are = "are" if sum(frail.values()) > 1 else "is"
        yield catalog.NEVER_EJECTS.on(
            rule,
            f"{where}: minHealthPercent {least}: with one ejected, {left} {are} less than that, so Envoy sends to ejected ones "
            "too: the circuit never opens.",
            "set minHealthPercent to 0",
        )


def _endpoints(rule: Object, numbers: Mapping[str, int], before: Callable[[int], str] = lambda _number: "") -> str:
    """How many endpoints there are; of each service by name where the rule is for a pattern of hosts."""
    of = {host: f" of {host.removesuffix('.svc.cluster.local')}" if host != host_of(rule) else "" for host in numbers}
    return told([f"{before(n)}{n} endpoint{'s' if n > 1 else ''}{of[host]}" for host, n in sorted(numbers.items())])
