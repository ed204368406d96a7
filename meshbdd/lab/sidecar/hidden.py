"""Services that a sidecar does not see: a call to their address goes past the mesh, to one of their endpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Object = Mapping[str, Any]
HIDDEN = "PassthroughCluster/"
"""What the name begins with of a cluster, and of a virtual host, for such a Service."""


def past_the_mesh(
    hidden: Mapping[str, Object], hosts: Sequence[Object], passthrough: Object
) -> tuple[list[Object], dict[str, dict[str, Any]]]:
    """The virtual hosts and the clusters by which they are called.

    Args:
        hidden: By ``host:port`` their ``domains`` and ``endpoints``.
        hosts: The virtual hosts there are; what they have is no hidden Service's, and the last takes all that is left.
        passthrough: The cluster of calls to unknown hosts, whose settings count for these too.

    Returns:
        The virtual hosts, in the place of those there are, and the clusters that are added.
    """
    if not hosts:
        return [], {}
    *made, last = hosts
    taken = {domain.lower() for host in made for domain in host["domains"]}
    clusters = {}
    for place, told in hidden.items():
        name, port = f"{HIDDEN}{place}", place.rpartition(":")[2]
        plain = told["domains"] if port == "80" else []
        free = [d for d in (*plain, *(f"{domain}:{port}" for domain in told["domains"])) if d.lower() not in taken]
        if not free:
            continue
        taken |= {domain.lower() for domain in free}
        action = {"cluster": name, "timeout": "0s", "max_grpc_timeout": "0s"}
        route = {"name": "allow_any", "match": {"prefix": "/"}, "route": action}
        made.append({"name": name, "domains": free, "routes": [route]})
        endpoints = {**told["endpoints"], "cluster_name": name}
        clusters[name] = {
            **passthrough, "name": name, "type": "STATIC", "lb_policy": "RANDOM", "load_assignment": endpoints
        }  # fmt: skip
    return [*made, last], clusters
