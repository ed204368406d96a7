"""Which proxies come to hold a manifest's DestinationRule: for each caller Istio takes rules of one namespace alone.

It looks in the caller's, then in the service's, then in the root namespace, and takes there those for the most specific host
(istio/istio ``pilot/pkg/model/push_context.go``, ``destinationRule``).
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

from meshbdd.cluster.record import ROUTE_PREFIX
from meshbdd.errors import BadInput, Inconclusive
from meshbdd.intents import ServiceRef
from meshbdd.mesh.base import Where
from meshbdd.mesh.beside import BEFORE
from meshbdd.mesh.catalog import Catalog
from meshbdd.mesh.istio.hosts import ROOT_NAMESPACE, Object, covers, governing_rule, ruled_host, service_host
from meshbdd.mesh.istio.named_routes import exported
from meshbdd.mesh.markers import SubsetHeld

Taken = Mapping[tuple[str, ...], Sequence[str]]
"""Hosts → the callers' namespaces in which a rule governs these and no others."""


def rule_held(after: Catalog, rule: Object, subset: str) -> list[SubsetHeld]:
    """How proxies show that they hold a rule: by a subset of each Service that it governs for them.

    A host that is no Service, an external one for instance, is awaited of whoever knows it.

    Args:
        after: Reads the cluster as it will be then.
        rule: The rule.
        subset: The name of a subset of its own.

    Raises:
        BadInput: it governs no Service for anybody.
    """
    host = ruled_host(rule)
    covered = [service for service in _services(after) if covers(host, service_host(service))]
    found: list[SubsetHeld] = []
    for where in _readers(rule):
        taken = _taken(after, rule, covered, where) if covered else {}
        whole = SubsetHeld(host, subset, where)
        if len(taken) > 1 or () in taken:
            found += [
                replace(
                    whole,
                    where=replace(where, namespace=namespace),
                    governed=hosts or tuple(map(service_host, covered)),
                    awaited=bool(hosts),  # others may come to hold it later, and are to lose it with its end
                )
                for hosts, namespaces in taken.items()
                for namespace in namespaces
            ]
        else:
            found += [replace(whole, governed=hosts) for hosts in taken] or [whole]
    if not any(marker.awaited for marker in found):
        raise _vain(after, rule, covered, [str(marker.where.namespace) for marker in found])
    return found


def _services(catalog: Catalog) -> list[ServiceRef]:
    """All Services but those of type ExternalName: these are names of other hosts, and may have no clusters."""
    return [
        ServiceRef(service["metadata"]["name"], service["metadata"]["namespace"])
        for service in catalog.all("Service")
        if (service.get("spec") or {}).get("type") != "ExternalName"
    ]


def _readers(rule: Object) -> list[Where]:
    """The proxies that may see a rule: one for some pods is never exported."""
    spec, meta = dict(rule["spec"]), rule["metadata"]
    chosen = spec.get("workloadSelector")
    return exported(spec, meta) if chosen is None else [Where(meta["namespace"], chosen.get("matchLabels") or None)]


def _taken(after: Catalog, rule: Object, covered: Sequence[ServiceRef], where: Where) -> Taken:
    """What a rule governs for each namespace of those that may see it; empty where nobody knows the namespaces.

    Rules of one namespace for one and the same host count as one: Istio merges them.
    """
    own, rules = (ruled_host(rule), rule["metadata"]["namespace"]), _with_mine(after, rule)
    by_hosts: dict[tuple[str, ...], list[str]] = {}
    with contextlib.suppress(Inconclusive):  # a rehearsal may not know the pods
        for namespace in (where.namespace,) if where.namespace else after.calling_namespaces():
            ruling = ((service, governing_rule(service, rules, namespace)) for service in covered)
            hosts = tuple(
                service_host(service)
                for service, found in ruling
                if found is not None and (ruled_host(found), found["metadata"]["namespace"]) == own
            )
            by_hosts.setdefault(hosts, []).append(namespace)
    return by_hosts


def _with_mine(after: Catalog, rule: Object) -> list[Object]:
    """All rules, of which one for some pods counts as for them it does: before one of the same host for all."""
    key = _name(rule)
    others = [other for other in after.all("DestinationRule") if _name(other) != key]
    if not rule["spec"].get("workloadSelector"):
        return [rule, *others]
    return [{**rule, "spec": {**rule["spec"], "workloadSelector": None, "exportTo": ["."]}}, *others]


def _name(rule: Object) -> str:
    return f"DestinationRule {rule['metadata']['name']}.{rule['metadata']['namespace']}"


def _vain(after: Catalog, rule: Object, covered: Sequence[ServiceRef], callers: Sequence[str]) -> BadInput:
    """Why a rule governs nothing: others come before it, or its callers do not look where it is."""
    rules = _with_mine(after, rule)
    before: set[str] = set()
    elsewhere: set[str] = set()
    for namespace in callers:
        for service in covered:
            other = governing_rule(service, rules, namespace)
            if other is not None:
                before.add(_name(other))
            else:
                elsewhere.add(namespace)
    told = [f"{', '.join(sorted(before))} comes before it"] if before else []
    if elsewhere:
        home = rule["metadata"]["namespace"]
        told.append(
            f"callers in {', '.join(sorted(elsewhere))} look in their own namespace, in the service's and in {ROOT_NAMESPACE}, and "
            f"not in {home}"
        )
    action = "move it to the namespace of the service or of its callers"
    if before:
        made = any(name.startswith(f"DestinationRule {ROUTE_PREFIX}") for name in before)
        action = BEFORE if made else f"write what it says into {min(before)}, or take that away"
    said = f"{_name(rule)} is for {rule['spec']['host']}, and would govern nobody's calls: {'; '.join(told)}."
    return BadInput("MB0499", said, help=action)
