"""Whether a proxy has lost, or got, the endpoints of a service: pure functions on its page of clusters.

Where calls to a service are led elsewhere, as Linkerd's routes and the ``dstOverrides`` of a ServiceProfile do, no cluster
has its endpoints by name: then it counts which addresses the proxy would send to.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from meshbdd.mesh.base import Dump
from meshbdd.mesh.hosts_page import HostsOf, hosts_to, read_hosts
from meshbdd.sidecars import INBOUND


@dataclass(frozen=True, slots=True)
class Own:
    """How a service's own endpoints are known.

    Attributes:
        addresses: Those of the ready pods behind it.
        clusters: The names of proxies' clusters that had some of them when they were last there.
    """

    addresses: frozenset[str] = frozenset()
    clusters: frozenset[str] = frozenset()


def clusters_with(page: Dump, service: str, addresses: frozenset[str]) -> Iterator[str]:
    """The names of a proxy's clusters by which calls to a service go to some of these addresses."""
    yield from (cluster.cluster for cluster in hosts_to(page, service) if _has(cluster, addresses))


def not_lost(page: Dump, service: str, own: Own) -> str | None:
    """What a proxy still has of a service that has no endpoint any more; ``None`` where it has nothing.

    Args:
        page: Its clusters.
        service: Full name of the service.
        own: What was its own before.
    """
    clusters = hosts_to(page, service)
    left = sum(
        host.ready and (cluster.whole or host.address in own.addresses)
        for cluster in clusters
        for host in cluster.hosts
    )
    return f"{left} ready endpoints" if left else None


def not_got(page: Dump, service: str, own: Own) -> str | None:
    """What a proxy has too little of, of a service that has endpoints again; ``None`` where it has enough.

    One that does not know the service gets none of them, nor does one that leads all of its calls elsewhere.

    Args:
        page: Its clusters.
        service: Full name of the service.
        own: What is its own now.
    """
    clusters = hosts_to(page, service)
    if not clusters:
        told = any(cluster.service or cluster.cluster.startswith(INBOUND) for cluster in read_hosts(page))
        return None if told else "no clusters yet, so none"
    asked = [cluster for cluster in clusters if cluster.whole] or clusters
    ready = any(host.ready for cluster in asked for host in cluster.hosts)
    lacks = any(not _has(c, own.addresses) for c in asked if not c.whole and c.cluster in own.clusters)
    return None if ready and not lacks else "0 ready endpoints"


def _has(cluster: HostsOf, addresses: frozenset[str]) -> bool:
    return any(host.ready and host.address in addresses for host in cluster.hosts)
