"""Where pods are: by a label of their own, else by their node's, as istio/istio ``getPodLocality`` has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Object = Mapping[str, Any]

NETWORK, CLUSTER, HOSTNAME = "topology.istio.io/network", "topology.istio.io/cluster", "kubernetes.io/hostname"
REGION, ZONE = "topology.kubernetes.io/region", "topology.kubernetes.io/zone"
SUBZONE = "topology.istio.io/subzone"
CLUSTER_NAME = "Kubernetes"
"""Istio's name for a cluster that was given none."""

_OF_POD = "istio-locality"
_BEFORE = {REGION: "failure-domain.beta.kubernetes.io/region", ZONE: "failure-domain.beta.kubernetes.io/zone"}
"""What a label of nodes was called before."""
_SAME_ZONE = (NETWORK, REGION, ZONE)
_DISTRIBUTIONS = {
    "preferclose": _SAME_ZONE, "prefersamezone": _SAME_ZONE, "prefersamenode": (*_SAME_ZONE, SUBZONE, HOSTNAME),
}  # fmt: skip
_ANNOTATION = "networking.istio.io/traffic-distribution"


def parts(locality: str) -> tuple[str, str, str]:
    """Region, zone and subzone of a locality as it is written, ``region/zone/subzone``."""
    region, zone, subzone, *_ = (*locality.split("/"), "", "")
    return region, zone, subzone


class Nodes:
    """The nodes of a cluster.

    Args:
        nodes: Node objects.
    """

    def __init__(self, nodes: Mapping[str, Object]) -> None:
        self._labels = {name: node["metadata"].get("labels") or {} for name, node in nodes.items()}

    def locality(self, pod: Object) -> str:
        """Where a pod is; empty where nobody says."""
        said = str((pod["metadata"].get("labels") or {}).get(_OF_POD) or "")
        if said:
            return said if "/" in said else said.replace(".", "/")
        labels = self._labels.get(str(pod["spec"].get("nodeName") or ""), {})
        found = [labels.get(name) or labels.get(_BEFORE.get(name, "")) or "" for name in (REGION, ZONE, SUBZONE)]
        return "/".join(found) if any(found) else ""

    def labels(self, pod: Object) -> dict[str, str]:
        """A pod's labels, with those that tell where it is."""
        region, zone, subzone = parts(self.locality(pod))
        told = {
            REGION: region, ZONE: zone, SUBZONE: subzone, CLUSTER: CLUSTER_NAME,
            HOSTNAME: str(pod["spec"].get("nodeName") or ""),
        }  # fmt: skip
        return {**(pod["metadata"].get("labels") or {}), **{name: value for name, value in told.items() if value}}


def preferred(service: Object, namespace: Object | None) -> tuple[str, ...]:
    """What a Service's callers and endpoints should share, the widest first: its field, its annotation, its namespace's."""
    said = str(service["spec"].get("trafficDistribution") or "").lower()
    if said in _DISTRIBUTIONS:
        return _DISTRIBUTIONS[said]
    for obj in (service, namespace or {}):
        if word := ((obj.get("metadata") or {}).get("annotations") or {}).get(_ANNOTATION):
            return _DISTRIBUTIONS.get(str(word).lower(), ())
    return ()
