"""Writing into the DestinationRules that govern a service: one that stands beside would be ignored or merged wrongly."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from meshbdd.cluster import Edit
from meshbdd.errors import BadInput
from meshbdd.intents import CircuitBreaker, Limit, ServiceRef
from meshbdd.mesh.base import Marker, Stage, Where
from meshbdd.mesh.catalog import Catalog
from meshbdd.mesh.istio.hosts import Object, Ruling, governing_rule, is_for_some, ruled_host, rulings, service_host
from meshbdd.mesh.markers import SubsetHeld
from meshbdd.mesh.splits import see_pods_in

Spec = dict[str, Any]
NETWORKING = "networking.istio.io/v1"
EJECTION_INTERVAL = "1s"
"""How often Envoy looks whether an ejection is over. Istio's default, 10 s, would make a breaker of 3 s stay open 10."""


def rules_stage(catalog: Catalog, service: ServiceRef, marker: str, change: Callable[[Spec], None]) -> Stage:
    """Change every DestinationRule that governs a service for some caller; make one where there is none.

    One that is for a pattern of hosts governs other services, too: beside it this one gets a rule of its own, with the same words
    and the change. It counts alone, since of a namespace's rules Istio takes the most specific, and merges those for one and the
    same host (istio/istio ``pilot/pkg/model/push_context.go``, ``destinationRule``).

    Proxies show that they hold it by the cluster of a subset that selects nothing and whose name is new: it arrives
    with the same push, made from the same object.

    Args:
        catalog: Reads the cluster.
        service: The service that is called.
        marker: Name of that subset.
        change: Changes a spec, in place.

    Raises:
        BadInput: a rule that is made would have to stand beside another one for the service, or some pods take one of their own.
    """
    edits: list[Edit] = []
    markers: list[Marker] = []
    host, rules, callers = service_host(service), catalog.all("DestinationRule"), catalog.calling_namespaces()
    own = next((rule for caller in callers for rule in rules if is_for_some(rule, service, caller)), None)
    if own is not None:
        raise _for_some(service, own)
    found = rulings(service, rules, callers, governing_rule)
    homes = Counter(_home(service, ruling) for ruling in found)
    for ruling in found:

        def make(spec: Any, ruling: Ruling = ruling) -> Any:
            made = copy.deepcopy(spec) or _begun(service, ruling)
            change(made)
            made["subsets"] = [*(made.get("subsets") or []), {"name": marker, "labels": {"meshbdd.dev/marker": marker}}]
            return made

        if ruling.obj is not None and ruled_host(ruling.obj) == host:
            meta = ruling.obj["metadata"]
            edits.append(Edit("DestinationRule", meta["name"], meta["namespace"], ("spec",), make))
        else:
            if ruling.obj is not None and homes[_home(service, ruling)] > 1:
                raise _merged(service, ruling.obj)
            beside = next(
                (r for r in rules if _is_exact(r, host) and r["metadata"]["namespace"] == _home(service, ruling)), None
            )
            if beside is not None:
                raise _hidden(service, beside)
            edits.append(_create(service, ruling, make))
        markers += [SubsetHeld(host, marker, Where(namespace)) for namespace in ruling.namespaces or (None,)]
    return Stage.of(*edits, markers=markers)


def _home(service: ServiceRef, ruling: Ruling) -> str:
    """The namespace in which the service has its rule, or gets it."""
    return str(ruling.obj["metadata"]["namespace"]) if ruling.obj is not None else service.namespace


def _begun(service: ServiceRef, ruling: Ruling) -> Spec:
    """What a rule of the service's own says before it is changed."""
    return {**copy.deepcopy(dict(ruling.obj["spec"] if ruling.obj is not None else {})), "host": service_host(service)}


def _create(service: ServiceRef, ruling: Ruling, make: Callable[[Any], Any]) -> Edit:
    """A rule for the service alone: where the one for a pattern is, which it has the words of, or where the service is."""
    home = _home(service, ruling)
    name = f"meshbdd-{service.name}" + ("" if home == service.namespace else f".{service.namespace}")
    new = {
        "apiVersion": NETWORKING,
        "kind": "DestinationRule",
        "metadata": {"name": name, "namespace": home},
        "spec": make(None),
    }
    of = ("DestinationRule", str(ruling.obj["metadata"]["name"]), home) if ruling.obj is not None else None
    return Edit("DestinationRule", name, home, ("spec",), make, new, of)


def _is_exact(rule: Object, host: str) -> bool:
    return ruled_host(rule) == host and not rule["spec"].get("workloadSelector")


def _hidden(service: ServiceRef, private: Object) -> BadInput:
    name = f"{private['metadata']['name']}.{private['metadata']['namespace']}"
    return BadInput(
        "MB0491",
        f"DestinationRule {name} is for {service} and not exported to all of its callers. One for the others would have to stand beside "
        f"it, and callers that see both would take that in its place.",
        help=f"export {name} to all callers of {service}",
    )


def _for_some(service: ServiceRef, rule: Object) -> BadInput:
    name = f"{rule['metadata']['name']}.{rule['metadata']['namespace']}"
    return BadInput(
        "MB0489",
        f"DestinationRule {name} is for some pods of its namespace alone (workloadSelector), which take it for {service} before any "
        "other, so what the step changes would not hold for their calls.",
        help=f"have the step in a scenario without {name}",
    )


def _merged(service: ServiceRef, pattern: Object) -> BadInput:
    meta = pattern["metadata"]
    return BadInput(
        "MB0491",
        f"DestinationRule {meta['name']}.{meta['namespace']} is for {pattern['spec']['host']}, and governs {service} for some of its "
        f"callers. A rule for {service} alone would have to stand beside it, and Istio would merge that with the one which others of "
        "its callers have there.",
        help=f"write one DestinationRule for {service_host(service)} into namespace {meta['namespace']} that all its callers see",
    )


def _policies(spec: Spec, name: str) -> list[Spec]:
    """Every traffic policy in a spec by which ``name`` is decided for some call: nested ones override the outer."""
    outer = spec.setdefault("trafficPolicy", {})
    found = [outer, *(outer.get("portLevelSettings") or [])]
    for subset in spec.get("subsets") or []:
        inner = subset.get("trafficPolicy") or {}
        found += [inner] if inner.get(name) is not None else []
        found += inner.get("portLevelSettings") or []
    return found


def set_breaker(breaker: CircuitBreaker) -> Callable[[Spec], None]:
    """Outlier detection that can open: Istio's default of 10 % ejects nobody below ten endpoints."""

    def change(spec: Spec) -> None:
        for policy in _policies(spec, "outlierDetection"):
            policy["outlierDetection"] = {
                "consecutive5xxErrors": breaker.errors,
                "interval": EJECTION_INTERVAL,
                "baseEjectionTime": str(breaker.open_for),
                "maxEjectionPercent": 100,
            }

    return change


def set_limit(limit: Limit) -> Callable[[Spec], None]:
    """Requests at a time; Istio's ``http2MaxRequests`` is Envoy's ``max_requests``, for HTTP/1.1 and HTTP/2 alike."""

    def change(spec: Spec) -> None:
        for policy in _policies(spec, "connectionPool"):
            policy.setdefault("connectionPool", {}).setdefault("http", {})["http2MaxRequests"] = limit.concurrent

    return change


def add_subsets(wanted: Mapping[str, Mapping[str, str]]) -> Callable[[Spec], None]:
    """Subsets by their labels; those that a spec has stay as they are."""

    def change(spec: Spec) -> None:
        known = {subset.get("name") for subset in spec.get("subsets") or []}
        new = [{"name": name, "labels": dict(labels)} for name, labels in wanted.items() if name not in known]
        spec["subsets"] = [*(spec.get("subsets") or []), *new]

    return change


def subset_labels(catalog: Catalog, service: ServiceRef, name: str) -> Mapping[str, str]:
    """The labels of a subset: the DestinationRule's, else ``version`` with the subset's name.

    Raises:
        BadInput: no pod of the service has them.
    """
    rules = [
        ruling.obj
        for ruling in rulings(service, catalog.all("DestinationRule"), catalog.calling_namespaces(), governing_rule)
        if ruling.obj is not None
    ]
    known = {s.get("name"): s.get("labels") or {} for rule in rules for s in rule["spec"].get("subsets") or []}
    labels = known.get(name, {"version": name})
    pods = catalog.pods(catalog.labels_of(service), service.namespace)
    see_pods_in(service, name, labels, pods, {str(n) for n in known if n})
    return labels
