"""Revisions of a Deployment: which of its ReplicaSets is how old, as ``kubectl rollout`` reads them.

As Kubernetes' deployment controller does it (pkg/controller/deployment/sync.go): a template that comes back is the newest
revision again, and idle ReplicaSets beyond ``revisionHistoryLimit`` go, the oldest revision first.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_ANNOTATION = "deployment.kubernetes.io/revision"
_LIMIT = 10
"""Kubernetes' default of ``revisionHistoryLimit``."""


def of(obj: dict[str, Any]) -> int:
    """The revision that a ReplicaSet is, or a Deployment is at; 0 where none stands."""
    return int((obj["metadata"].get("annotations") or {}).get(_ANNOTATION, 0))


def newest(replicasets: Iterable[dict[str, Any]]) -> int:
    """The highest revision; 0 where there is none."""
    return max(map(of, replicasets), default=0)


def numbered(obj: dict[str, Any], revision: int) -> dict[str, str]:
    """An object's annotations with the revision among them."""
    return {**(obj["metadata"].get("annotations") or {}), _ANNOTATION: str(revision)}


def current_again(
    replicaset: dict[str, Any], replicas: int, replicasets: Iterable[dict[str, Any]]
) -> dict[str, Any] | None:
    """The ReplicaSet of the template that a Deployment wants now, as it has to be.

    Args:
        replicaset: It, as it is.
        replicas: How many pods are wanted.
        replicasets: All of the Deployment.

    Returns:
        ``None`` if it is so already.
    """
    latest = newest(replicasets)
    revision = of(replicaset) if of(replicaset) == latest else latest + 1
    if revision == of(replicaset) and replicaset["spec"].get("replicas") == replicas:
        return None
    metadata = {**replicaset["metadata"], "annotations": numbered(replicaset, revision)}
    return {**replicaset, "metadata": metadata, "spec": {**replicaset["spec"], "replicas": replicas}}


def beyond_limit(
    deployment: dict[str, Any], current: dict[str, Any], replicasets: Iterable[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The ReplicaSets without pods that are more than the Deployment wants to remember."""
    idle = [
        r
        for r in replicasets
        if r["metadata"]["name"] != current["metadata"]["name"]
        and not r["spec"].get("replicas")
        and not (r.get("status") or {}).get("replicas")
    ]
    limit = deployment["spec"].get("revisionHistoryLimit", _LIMIT)
    return sorted(idle, key=of)[: max(0, len(idle) - limit)]
