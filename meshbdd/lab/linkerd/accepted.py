"""Whether a route, an egress network or a rate limit is accepted: conditions of its status.

linkerd2 policy-controller/k8s/status/src/index.rs. A route is in effect only at parents that accept it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from meshbdd.lab.linkerd.objects import (
    CORE,
    GATEWAY,
    POLICY,
    ROUTE_KINDS,
    Object,
    Objects,
    Parent,
    age,
    cluster_addresses,
    group_of,
    parents,
)
from meshbdd.lab.linkerd.read.egress import overlaps
from meshbdd.lab.linkerd.read.targets import targets
from meshbdd.lab.linkerd.settings import ControlPlaneSettings

CONTROLLER = "linkerd.io/policy-controller"
Condition = dict[str, str]

_ACCEPTED: Condition = {"type": "Accepted", "status": "True", "reason": "Accepted"}


def _no(kind: str, reason: str, message: str = "") -> Condition:
    return {"type": kind, "status": "False", "reason": reason, **({"message": message} if message else {})}


def _precedes(route: Object, other: Object) -> bool:
    return ROUTE_KINDS.index(other["kind"]) < ROUTE_KINDS.index(route["kind"])


def _port(parent: Parent) -> int | None:
    """The port by which a parent is told apart; a Server is one parent whatever port is named beside it."""
    return None if parent.kind == "Server" else parent.port


def acceptance(objects: Objects, route: Object, parent: Parent, settings: ControlPlaneSettings) -> Condition:
    """Whether a parent takes a route."""
    place = (parent.namespace, parent.name)
    if parent.kind == "Server":
        if objects.find("Server", *place) is None:
            return _no("Accepted", "NoMatchingParent")
    elif parent.kind == "EgressNetwork":
        network = objects.egress_networks.get(place)
        if network is None:
            return _no("Accepted", "NoMatchingParent")
        if egress_condition(network, settings)["status"] != "True":
            return _no("Accepted", "NoMatchingParent", "EgressNetwork parent has not been accepted")
    else:
        service = objects.services.get(place)
        if service is None:
            return _no("Accepted", "NoMatchingParent")
        if service["spec"].get("type") == "ExternalName" or not cluster_addresses(service):
            return _no("Accepted", "NoMatchingParent", "parent service must have a ClusterIP")
    beside = objects.attached(parent.kind, parent.namespace, parent.name)
    if any(_precedes(route, other) and _port(parent) == _port(theirs) for other, theirs in beside):
        return _no("Accepted", "RouteReasonConflicted")
    return _ACCEPTED


def is_accepted(objects: Objects, route: Object, parent: Parent, settings: ControlPlaneSettings) -> bool:
    """Whether a route is in effect at a parent."""
    return acceptance(objects, route, parent, settings)["status"] == "True"


def _resolved(objects: Objects, route: Object, parent: Parent) -> Condition:
    own = route["metadata"]["namespace"]
    for rule in route["spec"].get("rules") or []:
        for ref in rule.get("backendRefs") or []:
            kind = (ref.get("group") or CORE, ref.get("kind") or "Service")
            place = (ref.get("namespace") or own, ref["name"])
            known = {(CORE, "Service"): objects.services, (POLICY, "EgressNetwork"): objects.egress_networks}
            if kind not in known:
                return _no("ResolvedRefs", "InvalidKind")
            if place not in known[kind]:
                return _no("ResolvedRefs", "BackendNotFound")
            if kind[1] == "EgressNetwork" and (parent.kind, parent.namespace, parent.name) != (kind[1], *place):
                needs = "EgressNetwork backend needs to be on a route that has an EgressNetwork parent"
                return _no("ResolvedRefs", "InvalidKind", needs)
    return {"type": "ResolvedRefs", "status": "True", "reason": "ResolvedRefs"}


def route_status(objects: Objects, route: Object, settings: ControlPlaneSettings) -> list[dict[str, Any]]:
    """``status.parents`` of a route, without times."""
    told = []
    for parent in parents(route):
        conditions = [acceptance(objects, route, parent, settings)]
        if parent.kind != "Server":
            conditions.append(_resolved(objects, route, parent))
        ref: dict[str, Any] = {
            "group": parent.group, "kind": parent.kind, "namespace": parent.namespace, "name": parent.name,
            **({"port": _port(parent)} if _port(parent) is not None else {}),
        }  # fmt: skip
        told.append({"parentRef": ref, "controllerName": CONTROLLER, "conditions": conditions})
    return told


def governing_rate_limit(objects: Objects, namespace: str, server: str) -> Object | None:
    """The rate limit of a Server: the oldest one."""
    for policy in objects.of("HTTPLocalRateLimitPolicy"):
        target = policy["spec"]["targetRef"]
        here = (policy["metadata"]["namespace"], target["name"]) == (namespace, server)
        if here and targets(target, POLICY, "Server"):
            return policy
    return None


def rate_limit_condition(objects: Objects, policy: Object) -> Condition:
    """Whether a rate limit is in effect."""
    namespace, target = policy["metadata"]["namespace"], policy["spec"]["targetRef"]
    if objects.find("Server", namespace, target["name"]) is None:
        return _no("Accepted", "NoMatchingTarget")
    winner = governing_rate_limit(objects, namespace, target["name"])
    if winner is not None and age(winner) != age(policy):
        return _no("Accepted", "RateLimitReasonAlreadyExists")
    return _ACCEPTED


def egress_condition(network: Object, settings: ControlPlaneSettings) -> Condition:
    """Whether routes may name an egress network: its own networks may not overlap the cluster's."""
    if overlaps(network, settings.cluster_networks):
        return _no("Accepted", "EgressReasonNetworkOverlap", "networks overlap with clusterNetworks")
    return _ACCEPTED


def statuses(objects: Objects, settings: ControlPlaneSettings) -> Iterator[tuple[Object, Mapping[str, Any]]]:
    """The status of every object that Linkerd writes one for."""
    for route in objects.routes():
        if group_of(route) in {GATEWAY, POLICY} and (told := route_status(objects, route, settings)):
            yield route, {"parents": told}
    for network in objects.of("EgressNetwork"):
        yield network, {"conditions": [egress_condition(network, settings)]}
    for policy in objects.of("HTTPLocalRateLimitPolicy"):
        # One for anything else gets no status at all.
        if targets(policy["spec"]["targetRef"], POLICY, "Server"):
            yield policy, {"conditions": [rate_limit_condition(objects, policy)]}
