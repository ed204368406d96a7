"""All rules over all objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from meshbdd.sense import (
    authorization,
    containers,
    destination_rules,
    envoy_filters,
    gateway_api,
    istio_annotations,
    linkerd_injection,
    routes,
    selectors,
    sidecars,
    telemetry,
    tls,
    virtual_services,
    workloads,
)
from meshbdd.sense.finding import Finding, name_of
from meshbdd.sense.inventory import Inventory
from meshbdd.sense.reading import Object

Rule = Callable[[Inventory], Iterator[Finding]]

_ISTIO: tuple[Rule, ...] = (
    virtual_services.references,
    virtual_services.conflicts,
    virtual_services.protocols,
    routes.reachability,
    routes.resilience,
    destination_rules.existence,
    destination_rules.rivals,
    destination_rules.breakers,
    tls.clients,
    selectors.nothing,
    selectors.peer_authentications,
    authorization.check,
    workloads.injection,
    workloads.services,
    workloads.protocols,
    sidecars.check,
    envoy_filters.check,
    gateway_api.check,
    gateway_api.unread,
    containers.check,
    istio_annotations.check,
    telemetry.check,
)
_LINKERD: tuple[Rule, ...] = (
    linkerd_injection.injection,
    workloads.services,
    gateway_api.check,
    gateway_api.unread,
    gateway_api.limits,
)
"""Istio's objects mean nothing to Linkerd, nor do the names of ports: nothing is said of what Istio would make of them."""
_RULES = {"istio": _ISTIO, "linkerd": _LINKERD}


def check(objects: Iterable[Object], mesh: str = "istio") -> list[Finding]:
    """Everything doubtful in a world, by object and code, each finding once.

    Args:
        objects: All of it, as the API gives it or YAML holds it; every object with its namespace.
        mesh: The mesh that reads it.
    """
    world = Inventory(objects, mesh)
    found = dict.fromkeys(finding for rule in _RULES[mesh] for finding in rule(world))
    return sorted(found, key=lambda f: (f.object, f.code, f.sentence))


def check_changes(changed: Iterable[Object], world: Iterable[Object], mesh: str = "istio") -> list[Finding]:
    """What is doubtful once these objects are in the world: about them, or about others because of them.

    Args:
        changed: Objects as they will be; they take the place of those of the same kind and name.
        world: Objects as they are now.
        mesh: The mesh that reads them.
    """
    new, now = list(changed), list(world)
    names = {name_of(obj) for obj in new}
    before = set(check(now, mesh))
    after = check([*(obj for obj in now if name_of(obj) not in names), *new], mesh)
    return [finding for finding in after if finding.object in names or finding not in before]
