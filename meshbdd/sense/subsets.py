"""Routes to subsets: whether a DestinationRule that counts for the callers defines them, and whether pods have their labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from meshbdd.sense import catalog
from meshbdd.sense.finding import Finding, name_of
from meshbdd.sense.inventory import Inventory, full_name
from meshbdd.sense.reading import EVERYWHERE, Object, mapping, mappings, namespace_of, text, told, visible_in


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
    governing = [world.rules.governing(host, home, caller) for caller in _callers(world, obj, home)]
    defined = (labels for rules in governing if (labels := _labels(rules, subset)) is not None)
    labels = next(defined, None)
    if labels is None:
        yield _undefined(world, obj, f'{where} leads to subset "{subset}" of {host}', (host, subset), governing)
    elif world.endpoints(target, labels) == 0:
        yield catalog.ROUTE_TO_EMPTY_SUBSET.on(
            obj,
            f'{where} leads to subset "{subset}" of {host}, and no pod has its labels '
            f"({told([f'{k}: {v}' for k, v in labels.items()])}); these requests get 503 (UH).",
        )


def _callers(world: Inventory, obj: Object, home: str) -> Sequence[str]:
    """The namespaces whose callers are asked about: the rule's own and the host's, and others where no caller is in these."""
    near = list(dict.fromkeys((namespace_of(obj), home)))
    seen = visible_in(obj)
    inhabited = [namespace for namespace in near if world.pods_of(namespace) and seen & {EVERYWHERE, namespace}]
    return inhabited or sorted({w.namespace for w in world.workloads if seen & {EVERYWHERE, w.namespace}}) or near


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
