"""Whose calls take a route of a VirtualService, as far as that is certain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from meshbdd.route_matches import takes_every_request
from meshbdd.sense.inventory import ROOT_NAMESPACE, Inventory, full_name
from meshbdd.sense.matching import matches_of
from meshbdd.sense.pods import Workload
from meshbdd.sense.reading import (
    EVERYWHERE,
    Object,
    at,
    mapping,
    mappings,
    namespace_of,
    selects,
    text,
    texts,
    visible_in,
)


def on_mesh(obj: Object) -> bool:
    """Whether sidecars use it: with no gateway named, or with the word ``mesh`` among them."""
    return "mesh" in (texts(obj, "spec", "gateways") or ["mesh"])


def takers(world: Inventory, obj: Object, destination: Any) -> list[str]:
    """The namespaces with a sidecar whose requests take the HTTP route that leads to a destination.

    Left out are those for which something else may decide: another VirtualService for a host of it, a Sidecar, and an earlier
    rule for certain callers.

    Args:
        world: Everything there is.
        obj: The VirtualService.
        destination: One of its destinations.
    """
    rules = mappings(obj, "spec", "http")
    number = next((n for n, rule in enumerate(rules) if _leads(rule, destination)), None)
    hosts, seen = _hosts(obj), visible_in(obj)
    if number is None or not hosts or not on_mesh(obj):
        return []
    rivals = [
        other for other in world.of("VirtualService") if other is not obj and on_mesh(other) and hosts & _hosts(other)
    ]
    elsewhere = {space for other in (*rivals, *_sidecars(world)) for space in visible_in(other)}
    if EVERYWHERE in elsewhere:
        return []
    callers = [
        w for w in world.workloads if w.meshed and seen & {EVERYWHERE, w.namespace} and w.namespace not in elsewhere
    ]
    wanted, before = matches_of(rules[number]), [m for rule in rules[:number] for m in matches_of(rule)]
    taking = [
        w
        for w in callers
        if w.namespace != ROOT_NAMESPACE and _means_any(wanted, w) and not _means_any(before, w, whole=True)
    ]
    return sorted({w.namespace for w in taking})


def _leads(rule: Mapping[str, Any], destination: Any) -> bool:
    ways = [at(way, "destination") for way in (*mappings(rule, "route"), *mappings(rule, "mirrors"))]
    return any(way is destination for way in (*ways, at(rule, "mirror")))


def _hosts(obj: Object) -> set[str]:
    return {full_name(host, namespace_of(obj)) for host in texts(obj, "spec", "hosts")}


def _sidecars(world: Inventory) -> list[Object]:
    """The Sidecars, each as if it were exported to the callers that it is for."""
    found: list[Object] = []
    for sidecar in world.of("Sidecar"):
        home = namespace_of(sidecar)
        found.append({"spec": {"exportTo": [EVERYWHERE if home == ROOT_NAMESPACE else home]}})
    return found


def _means_any(matches: Sequence[Mapping[str, Any]], caller: Workload, *, whole: bool = False) -> bool:
    """Whether one of some matches means a caller; ``whole``: and all of its requests."""
    return any(
        "mesh" in (texts(match, "gateways") or ["mesh"])
        and text(match, "sourceNamespace") in {"", caller.namespace}
        and selects(mapping(match, "sourceLabels"), caller.labels)
        and (not whole or takes_every_request(match))
        for match in matches
    )
