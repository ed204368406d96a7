"""What a Deployment says of its pods, and whether any are due behind a service. Reading only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshbdd.intents import ServiceRef
from meshbdd.mesh.catalog import Catalog, has_ended, selected


def pod_labels(deployment: Mapping[str, Any]) -> Mapping[str, str]:
    """The labels of a Deployment's pods."""
    return (deployment["spec"]["template"].get("metadata") or {}).get("labels") or {}


def replicas_of(deployment: Mapping[str, Any]) -> int:
    """How many pods a Deployment is to have: one where it does not say, as where it leaves the field empty."""
    said = deployment["spec"].get("replicas")
    return 1 if said is None else int(said)


def has_pods_due(catalog: Catalog, ref: ServiceRef) -> bool:
    """Whether a service has pods, or a Deployment that is to bring some; never where there is no such Service.

    Args:
        catalog: Reads the cluster.
        ref: The service.
    """
    service = catalog.find("Service", ref.name, ref.namespace)
    labels = (service.get("spec") or {}).get("selector") if service else None
    if not labels:
        return False
    if any(not has_ended(pod) for pod in catalog.pods(labels, ref.namespace)):
        return True
    deployments = catalog.all("Deployment", ref.namespace)
    return any(replicas_of(one) > 0 and selected(labels, pod_labels(one)) for one in deployments)
