"""Sidecars (the resource): what they hide from the pods that they are for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from meshbdd.sense import catalog
from meshbdd.sense.finding import Finding, name_of
from meshbdd.sense.inventory import ROOT_NAMESPACE, Inventory, full_name
from meshbdd.sense.reading import Object, mapping, mappings, namespace_of, texts, told
from meshbdd.sense.selectors import selected_pods, selector_of
from meshbdd.sense.virtual_services import on_mesh


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
    home = namespace_of(sidecar)
    hosts = _hosts(world)
    seen = {host for host, owner in hosts if any(_shows(entry, home, host, owner) for entry in entries)}
    own = {host for host, owner in hosts if owner == home}
    routed = {
        host: name_of(obj)
        for obj in world.of("VirtualService")
        if on_mesh(obj) and namespace_of(obj) == home
        for host in (full_name(h, home) for h in texts(obj, "spec", "hosts"))
        if host in dict(hosts) and host not in seen
    }
    pods = selected_pods(world, sidecar)
    if hosts and not seen:
        yield catalog.HIDES.on(
            sidecar,
            f"its egress hosts ({told(entries)}) show no service at all: calls of its pods pass by every route, fault and policy.",
        )
    elif own and not own & seen and not mapping(sidecar, "spec", "workloadSelector") and len(pods) > 1:
        yield catalog.HIDES.on(
            sidecar,
            f"its egress hosts ({told(entries)}) hide every service of its own namespace ({told(sorted(own))}): calls between "
            "them pass by every route, fault and policy.",
        )
    for host, rules in routed.items() if seen else ():
        yield catalog.HIDES.on(sidecar, f"it hides {host}, so its pods do not hold the rules of {rules} for it.")


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
