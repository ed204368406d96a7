"""A small world for tests of Linkerd's compiler: one Service with one pod in ``shop``, resources as YAML."""

from __future__ import annotations

from typing import Any

import yaml

from meshbdd.lab.linkerd.compile import show
from meshbdd.lab.linkerd.policies import Policies

_WORLD = """
apiVersion: v1
kind: Service
metadata: {name: order, namespace: shop}
spec: {clusterIP: 10.1.0.1, clusterIPs: [10.1.0.1], ports: [{name: http, port: 80, targetPort: 8080}], selector: {app: order}}
---
apiVersion: v1
kind: Service
metadata: {name: client, namespace: other}
spec: {clusterIP: 10.1.0.2, clusterIPs: [10.1.0.2], ports: [{name: http, port: 80}], selector: {app: client}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: order, namespace: shop, labels: {kubernetes.io/service-name: order}}
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.0.0.1], conditions: {ready: true}, targetRef: {kind: Pod, name: order-1, namespace: shop}}]
---
apiVersion: v1
kind: Pod
metadata:
  name: order-1
  namespace: shop
  labels: {app: order, linkerd.io/control-plane-ns: linkerd}
spec: {serviceAccountName: order, containers: [{name: app, image: shop, ports: [{name: web, containerPort: 8080}]}]}
status: {podIP: 10.0.0.1}
"""
SERVER = """
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {name: order, labels: {side: front}}
spec: {podSelector: {matchLabels: {app: order}}, port: 8080}
"""
POD_PORT = "order-1.shop:8080"


def objects(*texts: str) -> list[dict[str, Any]]:
    """The objects of YAML in ``shop``, all of one age."""
    made = [d for text in texts for d in yaml.safe_load_all(text) if d]
    for item in made:
        item["metadata"].setdefault("namespace", "shop")
        item["metadata"].setdefault("creationTimestamp", "2026-01-01T00:00:00Z")
    return made


def world(*texts: str) -> list[dict[str, Any]]:
    """The world with these resources; they replace those of the same kind and name."""
    own = objects(*texts)
    taken = {(obj["kind"], obj["metadata"]["name"]) for obj in own}
    return [*(obj for obj in objects(_WORLD) if (obj["kind"], obj["metadata"]["name"]) not in taken), *own]


def told(*texts: str) -> dict[str, Any]:
    """Everything that Linkerd tells of the world with these resources."""
    return show(Policies(world(*texts)), objects(*texts))


def name_of(entry: dict[str, Any]) -> str:
    """What a piece of policy calls itself."""
    meta = entry["metadata"]
    return str(meta.get("default") or meta["resource"]["name"])


def authorizations(made: dict[str, Any], place: str = POD_PORT) -> list[str]:
    """Who is let in at a pod's port, by the names of the policies that say so."""
    return sorted(name_of(entry) for entry in made["inbound"][place]["authorizations"])


def inbound_routes(made: dict[str, Any], place: str = POD_PORT) -> list[str]:
    """The routes of a pod's port, in order."""
    (protocol,) = made["inbound"][place]["protocol"].values()
    return [name_of(entry) for entry in protocol.get("http_routes", protocol.get("routes"))]


def denied(made: dict[str, Any]) -> list[str]:
    """What the webhook denies, in its words."""
    return [verdict["message"] for verdict in made["admission"].values()]
