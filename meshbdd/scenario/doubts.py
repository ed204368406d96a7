"""Static sense checks at run time: what a change would make of the world is judged before it is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain

from meshbdd.cluster import Cluster
from meshbdd.cluster.at_once import at_once
from meshbdd.errors import BadInput
from meshbdd.mesh.base import Object
from meshbdd.mesh.catalog import Catalog
from meshbdd.sense import Severity, check, check_changes

_WORLD = (
    "Namespace", "Service", "Deployment", "Pod", "ServiceEntry", "WorkloadEntry", "Gateway.networking.istio.io",
    "VirtualService", "DestinationRule", "EnvoyFilter", "Sidecar", "PeerAuthentication", "AuthorizationPolicy", "HTTPRoute",
    "HTTPRoute.policy.linkerd.io", "GRPCRoute",
)  # fmt: skip
"""Everything that changes are judged by; a kind that is not installed or not readable is passed over."""


def refuse_nonsense(cluster: Cluster, changed: Sequence[Object], mesh: str) -> tuple[str, ...]:
    """Judge objects as they would be, in the world as it is.

    Args:
        cluster: The world.
        changed: The objects as they would be.
        mesh: The mesh that reads them.

    Returns:
        A sentence for each doubt that does not keep them from being written.

    Raises:
        BadInput: one of them could not do in this world what it says; what was wrong before is not held against it.
    """
    world = list(_world(cluster))
    known = set(check(world, mesh))
    findings = [finding for finding in check_changes(changed, world, mesh) if finding not in known]
    for finding in findings:
        if finding.severity is Severity.ERROR:
            raise BadInput(finding.code, f"{finding.object}: {finding.sentence}", help=finding.help)
    return tuple(str(finding) for finding in findings)


def _world(cluster: Cluster) -> Iterator[Object]:
    catalog = Catalog(cluster)
    return chain.from_iterable(at_once(partial(catalog.readable, kind) for kind in _WORLD))
