"""Policies that select pods by label: those that select none, that rival each other, or that nobody obeys."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from meshbdd.sense import catalog
from meshbdd.sense.finding import Finding, name_of
from meshbdd.sense.inventory import ROOT_NAMESPACE, Inventory
from meshbdd.sense.pods import Workload
from meshbdd.sense.reading import Object, mapping, mappings, namespace_of, told

_SELECTORS: dict[str, tuple[str, ...]] = {
    "PeerAuthentication": ("selector", "matchLabels"),
    "AuthorizationPolicy": ("selector", "matchLabels"),
    "RequestAuthentication": ("selector", "matchLabels"),
    "Telemetry": ("selector", "matchLabels"),
    "ProxyConfig": ("selector", "matchLabels"),
    "WasmPlugin": ("selector", "matchLabels"),
    "DestinationRule": ("workloadSelector", "matchLabels"),
    "Sidecar": ("workloadSelector", "labels"),
    "EnvoyFilter": ("workloadSelector", "labels"),
}
_FOR_ITS_NAMESPACE = ("AuthorizationPolicy", "RequestAuthentication")
"""Kinds that, without a selector, still are for pods: in a namespace without pods they are for none."""


def selector_of(obj: Object) -> Mapping[str, Any]:
    """The labels that an object's pods must have; empty: every pod of its namespace."""
    return mapping(obj, "spec", *_SELECTORS.get(str(obj.get("kind")), ("selector", "matchLabels")))


def has_targets(policy: Object) -> bool:
    """Whether a policy is for what waypoints and gateways serve, and selects no pods."""
    return bool(mapping(policy, "spec", "targetRef") or mappings(policy, "spec", "targetRefs"))


def selected_pods(world: Inventory, obj: Object) -> list[Workload]:
    """The pods that an object is for."""
    return world.selected(namespace_of(obj), selector_of(obj))


def nothing(world: Inventory) -> Iterator[Finding]:
    """Selectors that no pod matches."""
    if not world.workloads:
        return
    for kind in _SELECTORS:
        for obj in world.of(kind):
            selector, home = selector_of(obj), namespace_of(obj)
            if selector and not selected_pods(world, obj):
                said = told([f"{k}: {v}" for k, v in selector.items()])
                where = "" if home == ROOT_NAMESPACE else f" in namespace {home}"
                yield catalog.SELECTS_NOTHING.on(
                    obj, f"no pod{where} has the labels {said}, so it is in force nowhere."
                )
            elif not selector and kind in _FOR_ITS_NAMESPACE and not has_targets(obj) and not world.pods_of(home):
                yield catalog.SELECTS_NOTHING.on(
                    obj, f"there is no pod in namespace {home}, so it is in force nowhere."
                )
    yield from _gateways(world)


def _gateways(world: Inventory) -> Iterator[Finding]:
    for gateway in world.of("Gateway"):
        selector = mapping(gateway, "spec", "selector")
        if selector and not any(all(w.labels.get(k) == v for k, v in selector.items()) for w in world.workloads):
            said = told([f"{k}: {v}" for k, v in selector.items()])
            yield catalog.SELECTS_NOTHING.on(gateway, f"no pod has the labels {said}, so nothing serves this gateway.")


def peer_authentications(world: Inventory) -> Iterator[Finding]:
    """Policies in the root namespace that are ignored, two for the same pods, and ports on which nobody listens."""
    groups: dict[tuple[str, str], list[Object]] = defaultdict(list)
    for policy in world.of("PeerAuthentication"):
        selector, home = selector_of(policy), namespace_of(policy)
        groups[home, str(sorted(selector.items()))].append(policy)
        if selector and home == ROOT_NAMESPACE:
            yield catalog.IGNORED_IN_ROOT.on(
                policy,
                f"it has a selector and lies in {ROOT_NAMESPACE}, where Istio takes only policies for the whole mesh.",
            )
        yield from _ports(world, policy)
    for same in groups.values():
        for policy in same:
            others = [name_of(p) for p in same if p is not policy]
            if others:
                yield catalog.TWO_POLICIES.on(
                    policy, f"{told(others)} is for the same pods; the oldest alone is in force."
                )


def _ports(world: Inventory, policy: Object) -> Iterator[Finding]:
    pods = selected_pods(world, policy)
    for port in mapping(policy, "spec", "portLevelMtls"):
        if str(port).isdigit() and (targets := world.only_of_services(pods, int(port))):
            yield catalog.NOT_A_WORKLOAD_PORT.on(
                policy,
                f"portLevelMtls is for port {port}, which is the Service's; its calls come to the pods at port "
                f"{told(sorted(map(str, targets)))}, and that is what it takes, so nothing changes for them.",
            )
