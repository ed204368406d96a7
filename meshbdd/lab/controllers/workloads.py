"""Deployments and ReplicaSets: how many pods there are, and how a new template replaces an old one.

A rolling update brings all new pods up before it takes the old ones down (maxSurge 100 %): on one machine there is no
reason to be sparing, and no request is lost.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from meshbdd.lab.api.core import Api
from meshbdd.lab.controllers import revisions
from meshbdd.lab.controllers.container import timestamp
from meshbdd.lab.controllers.queue import Key, WorkQueue, key_of

_DEPLOYMENTS, _REPLICASETS = "deployments.apps", "replicasets.apps"
_HASH = "pod-template-hash"
_SAFE = "bcdfghjklmnpqrstvwxz2456789"
"""Kubernetes' alphabet for hashes in names: no vowels, so no words."""


def template_hash(template: dict[str, Any]) -> str:
    """A short name for a pod template."""
    digest = hashlib.blake2b(json.dumps(template, sort_keys=True).encode(), digest_size=10).digest()
    return "".join(_SAFE[byte % len(_SAFE)] for byte in digest)


def _owner(kind: str, obj: dict[str, Any]) -> dict[str, Any]:
    meta = obj["metadata"]
    return {
        "apiVersion": "apps/v1", "kind": kind, "name": meta["name"], "uid": meta["uid"],
        "controller": True, "blockOwnerDeletion": True,
    }  # fmt: skip


def _owned_by(obj: dict[str, Any], uid: str) -> bool:
    return any(ref.get("uid") == uid for ref in obj["metadata"].get("ownerReferences") or [])


def is_ready(pod: dict[str, Any]) -> bool:
    """Whether a pod's Ready condition holds and it is not being deleted."""
    if pod["metadata"].get("deletionTimestamp"):
        return False
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


class Workloads:
    """The Deployment and ReplicaSet controllers."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._deployments = WorkQueue(self._reconcile_deployment)
        self._replicasets = WorkQueue(self._reconcile_replicaset)
        self._serial = 0
        api.subscribe(lambda event: self._deployments.add(key_of(event.object)), [_DEPLOYMENTS])
        api.subscribe(self._on_replicaset, [_REPLICASETS])
        api.subscribe(self._on_pod, ["pods"])

    def _on_replicaset(self, event: Any) -> None:
        self._replicasets.add(key_of(event.object))
        self._add_owner(event.object, "Deployment", self._deployments)

    def _on_pod(self, event: Any) -> None:
        self._add_owner(event.object, "ReplicaSet", self._replicasets)

    @staticmethod
    def _add_owner(obj: dict[str, Any], kind: str, queue: WorkQueue) -> None:
        for ref in obj["metadata"].get("ownerReferences") or []:
            if ref["kind"] == kind:
                queue.add((obj["metadata"]["namespace"], ref["name"]))

    # Deployments

    def _reconcile_deployment(self, key: Key) -> None:
        deployment = self._api.find(_DEPLOYMENTS, key[1], key[0])
        if deployment is None or deployment["metadata"].get("deletionTimestamp"):
            return
        uid = deployment["metadata"]["uid"]
        sets = [r for r in self._api.list(_REPLICASETS, key[0]) if _owned_by(r, uid)]
        wanted = template_hash(deployment["spec"]["template"])
        current = next((r for r in sets if r["metadata"]["labels"].get(_HASH) == wanted), None)
        replicas = deployment["spec"].get("replicas", 1)
        if current is None:
            current = self._create_replicaset(deployment, wanted, replicas, revisions.newest(sets) + 1)
            sets.append(current)
        elif (again := revisions.current_again(current, replicas, sets)) is not None:
            current = self._api.update(_REPLICASETS, again, key[0])
        if revisions.of(deployment) != revisions.of(current):
            numbered = {"metadata": {"annotations": revisions.numbered(deployment, revisions.of(current))}}
            deployment = self._api.patch(_DEPLOYMENTS, key[1], numbered, namespace=key[0])
        available = (current.get("status") or {}).get("availableReplicas", 0)
        for old in sets:
            if (
                old["metadata"]["name"] != current["metadata"]["name"]
                and old["spec"].get("replicas")
                and available >= replicas
            ):
                self._scale(old, 0)
        for old in revisions.beyond_limit(deployment, current, sets):
            self._api.delete(_REPLICASETS, old["metadata"]["name"], key[0])
        self._deployment_status(deployment, current, sets)

    def _create_replicaset(
        self, deployment: dict[str, Any], wanted: str, replicas: int, revision: int
    ) -> dict[str, Any]:
        spec, meta = deployment["spec"], deployment["metadata"]
        template = spec["template"]
        labels = {**(template.get("metadata") or {}).get("labels", {}), _HASH: wanted}
        selector = {**spec["selector"], "matchLabels": {**(spec["selector"].get("matchLabels") or {}), _HASH: wanted}}
        body = {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": f"{meta['name']}-{wanted}",
                "namespace": meta["namespace"],
                "labels": labels,
                "annotations": revisions.numbered({"metadata": {}}, revision),
                "ownerReferences": [_owner("Deployment", deployment)],
            },
            "spec": {
                "replicas": replicas,
                "selector": selector,
                "template": {**template, "metadata": {**(template.get("metadata") or {}), "labels": labels}},
            },
        }
        return self._api.create(_REPLICASETS, body, meta["namespace"])

    def _scale(self, replicaset: dict[str, Any], replicas: int) -> dict[str, Any]:
        body = {**replicaset, "spec": {**replicaset["spec"], "replicas": replicas}}
        return self._api.update(_REPLICASETS, body, replicaset["metadata"]["namespace"])

    def _deployment_status(
        self, deployment: dict[str, Any], current: dict[str, Any], sets: list[dict[str, Any]]
    ) -> None:
        wanted = deployment["spec"].get("replicas", 1)
        now = current.get("status") or {}
        total = sum((r.get("status") or {}).get("replicas", 0) for r in sets)
        available = sum((r.get("status") or {}).get("availableReplicas", 0) for r in sets)
        done = now.get("availableReplicas", 0) >= wanted and total == wanted
        before: dict[str, dict[str, Any]] = {
            c["type"]: c for c in (deployment.get("status") or {}).get("conditions") or []
        }

        def condition(kind: str, holds: bool, reason: str, message: str) -> dict[str, Any]:
            status = "True" if holds else "False"
            old = before.get(kind)
            if old and (old["status"], old["reason"]) == (status, reason):
                return old
            return {
                "type": kind, "status": status, "reason": reason, "message": message,
                "lastTransitionTime": timestamp(), "lastUpdateTime": timestamp(),
            }  # fmt: skip

        name = current["metadata"]["name"]
        least = available >= wanted
        status = {
            "observedGeneration": deployment["metadata"].get("generation", 1),
            "replicas": total,
            "updatedReplicas": now.get("replicas", 0),
            "readyReplicas": available,
            "availableReplicas": available,
            "unavailableReplicas": max(0, wanted - available),
            "conditions": [
                condition(
                    "Available", least, "MinimumReplicasAvailable" if least else "MinimumReplicasUnavailable",
                    f"Deployment {'has' if least else 'does not have'} minimum availability.",
                ),
                condition(
                    "Progressing", True, "NewReplicaSetAvailable" if done else "ReplicaSetUpdated",
                    f'ReplicaSet "{name}" ' + ("has successfully progressed." if done else "is progressing."),
                ),
            ],
        }  # fmt: skip
        self._write_status(_DEPLOYMENTS, deployment, {k: v for k, v in status.items() if v not in (0, None)})

    # ReplicaSets

    def _reconcile_replicaset(self, key: Key) -> None:
        replicaset = self._api.find(_REPLICASETS, key[1], key[0])
        if replicaset is None or replicaset["metadata"].get("deletionTimestamp"):
            return
        uid = replicaset["metadata"]["uid"]
        pods = [
            pod for pod in self._api.list("pods", key[0])
            if _owned_by(pod, uid) and not pod["metadata"].get("deletionTimestamp")
        ]  # fmt: skip
        wanted = replicaset["spec"].get("replicas", 1)
        pods += [self._create_pod(replicaset) for _ in range(wanted - len(pods))]
        # Pods that are not ready go first, then the youngest.
        pods.sort(key=lambda pod: (is_ready(pod), pod["metadata"]["creationTimestamp"] == "", pod["metadata"]["name"]))
        for pod in pods[: max(0, len(pods) - wanted)]:
            self._api.delete("pods", pod["metadata"]["name"], key[0])
        ready = sum(map(is_ready, pods))
        status = {"observedGeneration": replicaset["metadata"].get("generation", 1), "replicas": min(len(pods), wanted)}
        if ready:
            status |= {
                "readyReplicas": ready,
                "availableReplicas": ready,
                "fullyLabeledReplicas": min(len(pods), wanted),
            }
        self._write_status(_REPLICASETS, replicaset, status)

    def _create_pod(self, replicaset: dict[str, Any]) -> dict[str, Any]:
        meta, template = replicaset["metadata"], replicaset["spec"]["template"]
        self._serial += 1
        suffix = template_hash({"serial": self._serial, "uid": meta["uid"]})[:5]
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                **{k: v for k, v in (template.get("metadata") or {}).items() if k in {"labels", "annotations"}},
                "name": f"{meta['name']}-{suffix}",
                "generateName": f"{meta['name']}-",
                "namespace": meta["namespace"],
                "ownerReferences": [_owner("ReplicaSet", replicaset)],
            },
            "spec": template["spec"],
        }
        return self._api.create("pods", body, meta["namespace"])

    def _write_status(self, resource: str, obj: dict[str, Any], status: dict[str, Any]) -> None:
        if (obj.get("status") or {}) != status:
            self._api.set_status(resource, obj["metadata"]["name"], obj["metadata"]["namespace"], status)
