"""Backends that a manifest itself brings up to answer in a service's place: how Linkerd's users write down a fault."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from meshbdd.intents import ServiceRef
from meshbdd.mesh.base import Draw, Object
from meshbdd.mesh.catalog import selected
from meshbdd.mesh.linkerd.detours import backends
from meshbdd.mesh.linkerd.objects import ROUTE_KINDS, parents

_EVERY_CALL: tuple[Object, ...] = ({}, {"path": {"type": "PathPrefix", "value": "/"}}, {"path": {"value": "/"}})
"""Matches that every call meets; a path is a prefix where nothing else is said."""


def replaced(documents: Iterable[Object]) -> dict[ServiceRef, list[ServiceRef]]:
    """Services whose routes lead to backends that the manifest itself brings up, and those backends.

    Linkerd injects no faults: a backend that fails or waits in a service's place is how its users write one down.
    """
    pods = [
        (d["metadata"]["namespace"], d["spec"]["template"]["metadata"].get("labels") or {})
        for d in documents
        if d["kind"] == "Deployment"
    ]
    own = {
        ServiceRef(d["metadata"]["name"], d["metadata"]["namespace"])
        for d in documents
        if d["kind"] == "Service" and (wanted := (d.get("spec") or {}).get("selector"))
        if any(place == d["metadata"]["namespace"] and selected(wanted, labels) for place, labels in pods)
    }
    found: dict[ServiceRef, list[ServiceRef]] = {}
    for route in documents:
        if route["kind"] not in ROUTE_KINDS:
            continue
        for parent in parents(route):
            for rule in route["spec"].get("rules") or []:
                for backend, ref in backends(rule, parent["namespace"]):
                    if backend in own and ref.get("weight", 1):
                        found.setdefault(ServiceRef(parent["name"], parent["namespace"]), []).append(backend)
    return found


def draws(documents: Iterable[Object], stand_ins: Collection[ServiceRef]) -> tuple[Draw, ...]:
    """How many of the calls the manifest's own backends get, where one rule of one route decides about all of them."""
    rules = [
        (parent["namespace"], rule)
        for route in documents
        if route["kind"] in ROUTE_KINDS
        for parent in parents(route)
        for rule in route["spec"].get("rules") or []
    ]
    if not stand_ins or len(rules) != 1 or any(match not in _EVERY_CALL for match in rules[0][1].get("matches") or []):
        return ()
    namespace, rule = rules[0]
    weights = [(backend, ref.get("weight", 1)) for backend, ref in backends(rule, namespace)]
    total = sum(weight for _, weight in weights)
    return (Draw("", sum(weight for ref, weight in weights if ref in stand_ins) / total),) if total else ()
