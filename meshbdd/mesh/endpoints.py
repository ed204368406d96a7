"""Whether a proxy has lost, or got, the endpoints of a service: pure functions on its page of clusters.

Where calls to a service are led elsewhere, as Linkerd's routes and the ``dstOverrides`` of a ServiceProfile do, no cluster
has its endpoints by name: then it counts which addresses the proxy would send to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from meshbdd.mesh.base import Dump, Object
from meshbdd.mesh.hosts_page import HostsOf, hosts_to, read_hosts
from meshbdd.sidecars import INBOUND

Leads = tuple[Any, ...]
"""The backends that the objects give which a cluster is called by; empty where no object tells."""


@dataclass(frozen=True, slots=True)
class Own:
    """How a service's own endpoints are known.

    Attributes:
        addresses: Those of the ready pods behind it.
        clusters: The names of proxies' clusters that had some of them when they were last there → where these led.
    """

    addresses: frozenset[str] = frozenset()
    clusters: Mapping[str, Leads] = field(default_factory=dict)

    def now(self, addresses: frozenset[str], routes: Iterable[Object]) -> Own:
        """The same with other addresses, without the clusters that lead elsewhere by now.

        A cluster is called by the place of its rule among those of a route, and another rule may have come to that place.

        Args:
            addresses: Those of the pods that are ready now.
            routes: The routes and profiles there are now.
        """
        there = tuple(routes)
        clusters = {name: leads for name, leads in self.clusters.items() if leads and leads == leads_of(name, there)}
        return Own(addresses, clusters)


def clusters_with(page: Dump, service: str, addresses: frozenset[str]) -> Iterator[str]:
    """The names of a proxy's clusters by which calls to a service go to some of these addresses."""
    yield from (cluster.cluster for cluster in hosts_to(page, service) if _has(cluster, addresses))


def leads_of(cluster: str, routes: Iterable[Object]) -> Leads:
    """Where a cluster leads that is called by a rule of a route, or by a ServiceProfile.

    Args:
        cluster: Its name: ``Service.shop.pay:80/HTTPRoute.shop.pay/0``, or ``…/ServiceProfile.shop.pay.shop.svc.cluster.local``.
        routes: The routes and profiles there are, of all kinds.
    """
    by, _, place = cluster.partition("/")[2].partition("/")
    index = place.partition("/")[0]
    specs = [
        r.get("spec") or {} for r in routes if by == f"{r['kind']}.{r['metadata']['namespace']}.{r['metadata']['name']}"
    ]
    if not index.isdigit():
        return tuple(spec.get("dstOverrides") or [] for spec in specs)
    rules = (spec.get("rules") or [] for spec in specs)
    return tuple(own[int(index)].get("backendRefs") or [] for own in rules if int(index) < len(own))


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
    lacks = any(not _has(c, own.addresses) for c in clusters if not c.whole and c.cluster in own.clusters)
    return None if ready and not lacks else "0 ready endpoints"


def _has(cluster: HostsOf, addresses: frozenset[str]) -> bool:
    return any(host.ready and host.address in addresses for host in cluster.hosts)
