"""Sidecars (the resource): what they hide from the pods that they are for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from meshbdd.sense import catalog
from meshbdd.sense.finding import Finding, name_of
from meshbdd.sense.inventory import ROOT_NAMESPACE, Inventory, full_name
from meshbdd.sense.pods import Workload
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
)
from meshbdd.sense.selectors import selected_pods, selector_of
from meshbdd.sense.takers import on_mesh


def check(world: Inventory) -> Iterator[Finding]:
    """Sidecars that hide what their pods call, egress hosts that are nothing, and Sidecars that rival."""
    for sidecar in world.of("Sidecar"):
        entries = [e for block in mappings(sidecar, "spec", "egress") for e in texts(block, "hosts")]
        if entries:
            yield from _entries(world, sidecar, entries)
            yield from _hidden(world, sidecar, entries)
    yield from _rivals(world)


def _shows(entry: str, home: str, host: str, owner: str) -> bool:
    """Whether an egress entry ``namespace/dnsName`` shows a host of a namespace to pods in ``home``."""
    space, _, name = entry.rpartition("/")
    if space == "~" or not space:
        return False
    there = space == "*" or owner == (home if space == "." else space)
    return there and (name in {"*", host} or (name.startswith("*") and host.endswith(name[1:])))


def _hosts(world: Inventory) -> list[tuple[str, str]]:
    entries = [(h, namespace_of(e)) for e in world.of("ServiceEntry") for h in texts(e, "spec", "hosts")]
    return [*((host, namespace_of(s)) for host, s in world.services.items()), *entries]


def _entries(world: Inventory, sidecar: Object, entries: list[str]) -> Iterator[Finding]:
    home = namespace_of(sidecar)
    for entry in entries:
        space, _, name = entry.rpartition("/")
        if space in {"", "~"}:
            continue
        if space not in {"*", "."} and world.namespaces and space not in {*world.namespaces, ROOT_NAMESPACE}:
            yield catalog.EGRESS_MATCHES_NOTHING.on(sidecar, f'egress host "{entry}": there is no namespace "{space}".')
        elif name != "*" and world.services and not any(_shows(entry, home, h, o) for h, o in _hosts(world)):
            near = world.nearest(name, home if space in {".", "*"} else space)
            yield catalog.EGRESS_MATCHES_NOTHING.on(
                sidecar,
                f'egress host "{entry}" is no service: it shows nothing.',
                f'did you mean "{space}/{near}"?' if near else None,
            )


def _hidden(world: Inventory, sidecar: Object, entries: list[str]) -> Iterator[Finding]:
    """What is hidden though it is called. Who calls whom is nowhere said, so it takes a rule that names the callers.

    Pods that call nobody are best served by a Sidecar that shows nothing, and says so.
    """
    home = namespace_of(sidecar)
    hosts = dict(_hosts(world))
    seen = {host for host, owner in hosts.items() if any(_shows(entry, home, host, owner) for entry in entries)}
    elsewhere = {entry.rpartition("/")[0] for entry in entries} - {"", "~", ".", home, ROOT_NAMESPACE}
    if hosts and not seen and elsewhere:
        yield catalog.HIDES.on(
            sidecar,
            f"its egress hosts ({told(entries)}) show no service at all: calls of its pods pass by every route, fault and policy.",
        )
        return
    pods = _pods(world, sidecar)
    for obj in world.of("VirtualService"):
        callers = _callers(obj)
        if not callers or not on_mesh(obj) or not visible_in(obj) & {EVERYWHERE, home}:
            continue
        hidden = sorted({full_name(h, namespace_of(obj)) for h in texts(obj, "spec", "hosts")} & hosts.keys() - seen)
        if hidden and any(selects(labels, p.labels) and space in {"", home} for labels, space in callers for p in pods):
            yield catalog.HIDES.on(
                sidecar,
                f"it hides {told(hidden)}, so its pods do not hold the rules of {name_of(obj)} for their calls.",
            )


def _pods(world: Inventory, sidecar: Object) -> list[Workload]:
    """The pods of its namespace that it is for; none for one in the root namespace, which each namespace reads its way."""
    home, pods = namespace_of(sidecar), selected_pods(world, sidecar)
    if home == ROOT_NAMESPACE or selector_of(sidecar):
        return [] if home == ROOT_NAMESPACE else pods
    others = [selector_of(s) for s in world.of("Sidecar") if namespace_of(s) == home and selector_of(s)]
    return [pod for pod in pods if not any(selects(labels, pod.labels) for labels in others)]


def _callers(obj: Object) -> list[tuple[Mapping[str, Any], str]]:
    """The labels of callers that rules are for, and their namespace if it is said."""
    matches = [match for rule in mappings(obj, "spec", "http") for match in mappings(rule, "match")]
    return [(labels, text(m, "sourceNamespace")) for m in matches if (labels := mapping(m, "sourceLabels"))]


def _rivals(world: Inventory) -> Iterator[Finding]:
    by_pod: dict[Any, list[Object]] = defaultdict(list)
    for sidecar in world.of("Sidecar"):
        if not selector_of(sidecar):
            by_pod["every pod without one of its own", namespace_of(sidecar)].append(sidecar)
            continue
        for pod in selected_pods(world, sidecar):
            by_pod[name_of(pod.obj), namespace_of(sidecar)].append(sidecar)
    found: dict[str, set[str]] = defaultdict(set)
    for (pod, _), rivals in by_pod.items():
        if len(rivals) > 1:
            for sidecar in rivals:
                found[name_of(sidecar)].add(pod)
    for name, pods in found.items():
        yield catalog.TWO_SIDECARS.on(
            name, f"another Sidecar is for {told(sorted(pods))} too; which one counts is undefined."
        )
