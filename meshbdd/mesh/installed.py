"""Which mesh a cluster has, by the API groups that it serves."""

from __future__ import annotations

import json

from meshbdd.cluster import Cluster
from meshbdd.errors import BadInput

_GROUPS = {"networking.istio.io": "istio", "policy.linkerd.io": "linkerd"}


def find_mesh(cluster: Cluster, asked: str) -> str:
    """The mesh to speak to.

    Args:
        cluster: The cluster.
        asked: The mesh that the settings name, or ``auto``.

    Raises:
        BadInput: the one that is asked for is not there, there is none, or there are two and none is named.
    """
    groups = json.loads(cluster.request("GET", "/apis")).get("groups") or []
    found = sorted({_GROUPS[group["name"]] for group in groups if group.get("name") in _GROUPS})
    if asked in found:
        return asked
    if asked == "auto" and len(found) == 1:
        return found[0]
    there = " and ".join(found) or "neither Istio nor Linkerd"
    help_ = "name one: --mesh istio or --mesh linkerd"
    if asked != "auto" or not found:
        help_ = "install the mesh, or name the one that is there"
    wanted = "a mesh" if asked == "auto" else asked
    raise BadInput("MB0216", f"The run needs {wanted}, and the cluster {cluster.context} has {there}.", help=help_)
