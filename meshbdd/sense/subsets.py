"""Routes to subsets: whether a DestinationRule that counts for the callers defines them, and whether pods have their labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from meshbdd.sense import catalog
from meshbdd.sense.finding import Finding, name_of
from meshbdd.sense.inventory import Inventory, full_name
from meshbdd.sense.reading import EVERYWHERE, Object, at, mapping, mappings, namespace_of, text, told, visible_in, whole
from meshbdd.sense.takers import takers


def led_to(world: Inventory, obj: Object, where: str, destination: Any, target: Object) -> Iterator[Finding]:
    """What is doubtful about the subset that a route leads to.

    Args:
        world: Everything there is.
        obj: The VirtualService that has the route.
        where: Names the route.
        destination: Where it leads.
        target: The Service or ServiceEntry that this means.
    """
    subset, near = text(destination, "subset"), namespace_of(obj)
    if not subset:
        return
    host = full_name(text(destination, "host"), near)
    home = namespace_of(target) or near
    callers = _callers(world, obj, home, destination)
    governing = [world.rules.governing(host, home, caller) for caller in callers]
    for_some = [world.rules.for_some(host, caller) for caller in callers]
    defined = (labels for rules in [*governing, *for_some] if (labels := _labels(rules, subset)) is not None)
    labels = next(defined, None)
    if labels is None:
        yield _undefined(world, obj, f'{where} leads to subset "{subset}" of {host}', (host, subset), governing)
    elif world.endpoints(target, labels) == 0:
        yield catalog.ROUTE_TO_EMPTY_SUBSET.on(
            obj,
            f'{where} leads to subset "{subset}" of {host}, and no pod has its labels '
            f"({told([f'{k}: {v}' for k, v in labels.items()])}); these requests get 503 (UH).",
        )
    else:
        yield from unseen(world, obj, where, destination, home)


def unseen(world: Inventory, obj: Object, where: str, destination: Any, home: str) -> Iterator[Finding]:
    """Callers that have a route to a subset and not the subset: what defines it is not exported to them, or others come before.

    Whether they ever call, nobody knows: for all others the route does what it says.

    Args:
        world: Everything there is.
        obj: The VirtualService that has the route.
        where: Names the route.
        destination: Where it leads.
        home: The namespace of the Service or ServiceEntry that this means.
    """
    subset, host = text(destination, "subset"), full_name(text(destination, "host"), namespace_of(obj))
    instead: dict[str, list[str]] = {}
    lost = _lost(obj, destination)
    if not lost:
        return
    for caller in takers(world, obj, destination):
        rules = world.rules.governing(host, home, caller)
        if _labels([*rules, *world.rules.for_some(host, caller)], subset) is None:
            instead[caller] = [name_of(rule) for rule in rules]
    if not instead:
        return
    defining = [name_of(rule) for rule in world.rules.over(host) if _labels([rule], subset) is not None]
    others = list(dict.fromkeys(name for names in instead.values() for name in names))
    yield catalog.SUBSET_NOT_FOR_ALL.on(
        obj,
        f'{where} leads to subset "{subset}" of {host}, which {told(defining)} defines, but callers in namespace '
        f"{told(sorted(instead))} take {told(others) or 'no DestinationRule'} for that host; {lost}.",
        f"define the subset in {others[0]}" if others else None,
    )


def _lost(obj: Object, destination: Any) -> str:
    """What becomes of the calls of a caller for whom a destination does not exist; empty where none is led there."""
    for rule in mappings(obj, "spec", "http"):
        ways = mappings(rule, "route")
        weights = [whole(way, "weight") or 0 for way in ways]
        for way, weight in zip(ways, weights, strict=True):
            if at(way, "destination") is not destination:
                continue
            if len(ways) == 1 or weight == sum(weights):  # of a sole one the weight does not count
                return "their calls get 503"
            return f"{100 * weight / sum(weights):.3g}% of their calls get 503" if weight else ""
        copies = [(at(rule, "mirror"), at(rule, "mirrorPercentage", "value"))]
        copies += [(at(copy, "destination"), at(copy, "percentage", "value")) for copy in mappings(rule, "mirrors")]
        for copy, percent in copies:
            if copy is destination:
                return "" if percent == 0 else "the copies of their calls are lost"
    return ""


def _callers(world: Inventory, obj: Object, home: str, destination: Any) -> Sequence[str]:
    """The namespaces whose callers are asked about: those that the route names or, where it names none, its own and the host's.

    Where no caller is in these, or the route is for callers by their labels, they are all that have the route.
    """
    seen, conditions = visible_in(obj), _conditions(obj, destination)
    everybody = sorted({w.namespace for w in world.workloads if seen & {EVERYWHERE, w.namespace}})
    if any(at(condition, "sourceLabels") for condition in conditions):
        return everybody
    named = [text(condition, "sourceNamespace") for condition in conditions]
    near = list(dict.fromkeys(named if named and all(named) else (namespace_of(obj), home)))
    inhabited = [namespace for namespace in near if world.pods_of(namespace) and seen & {EVERYWHERE, namespace}]
    return inhabited or everybody or near


def _conditions(obj: Object, destination: Any) -> list[Any]:
    """What a call has to be like to take the route that leads to a destination; empty where it takes any."""
    for route in mappings(obj, "spec", "http"):
        led = [at(way, "destination") for way in mappings(route, "route")] + [at(route, "mirror")]
        led += [at(copy, "destination") for copy in mappings(route, "mirrors")]
        if any(destination is one for one in led):
            return mappings(route, "match")
    return []


def _labels(rules: Sequence[Object], subset: str) -> Mapping[str, Any] | None:
    """The labels of a subset, as the first rule that has it says; ``None`` where none does."""
    entries = (entry for rule in rules for entry in mappings(rule, "spec", "subsets") if text(entry, "name") == subset)
    return next((mapping(entry, "labels") for entry in entries), None)


def _undefined(
    world: Inventory, obj: Object, what: str, sought: tuple[str, str], governing: Sequence[Sequence[Object]]
) -> Finding:
    host, subset = sought
    in_vain = [name_of(rule) for rule in world.rules.over(host) if _labels([rule], subset) is not None]
    if not in_vain:
        return catalog.UNKNOWN_SUBSET.on(obj, f"{what}, which no DestinationRule defines; callers get 503.")
    instead = list(dict.fromkeys(name_of(rule) for rules in governing for rule in rules))
    return catalog.UNKNOWN_SUBSET.on(
        obj,
        f"{what}, which {told(in_vain)} defines, but callers take "
        f"{told(instead) or 'no DestinationRule'} for that host; callers get 503.",
        f"define the subset in {instead[0]}" if instead else "move that rule to the namespace of the service",
    )
