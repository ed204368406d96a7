"""Envoy's page ``/clusters?format=json``: a proxy's clusters with their endpoints, as far as meshbdd goes by it.

The fields are those of envoy/admin/v3/clusters.proto.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from meshbdd.sidecars import callee, whole

HOSTS = "/clusters?format=json"

_NOT_READY = {"UNHEALTHY", "DRAINING", "TIMEOUT"}
"""Of the values of Envoy's core.v3.HealthStatus those that take an endpoint out of balancing."""


@dataclass(frozen=True, slots=True)
class Host:
    """An endpoint of a cluster.

    Attributes:
        address: Its IP address; empty where the proxy gives none.
        ready: Whether requests are sent to it, for all that the control plane says. Istio tells a proxy of endpoints that are
            not ready, too, since 1.31; one that was ejected is ready nevertheless.
        ejected: Whether outlier detection has ejected it.
        active: Requests under way to it: a gauge that every proxy keeps, whatever statistics it was told to keep.
        sent: Requests that were ever sent to it.
    """

    address: str
    ready: bool
    ejected: bool
    active: int
    sent: int


@dataclass(frozen=True, slots=True)
class HostsOf:
    """The endpoints of one cluster.

    Attributes:
        cluster: Its name.
        service: Full name of the service that calls go to by it; empty where they go to none.
        hosts: Its endpoints.
    """

    cluster: str
    service: str
    hosts: tuple[Host, ...]

    @property
    def whole(self) -> bool:
        """Whether it has the endpoints of its service, all of them and no others."""
        return whole(self.cluster)

    @property
    def ejects(self) -> bool:
        """Whether one of them is ejected."""
        return any(host.ejected for host in self.hosts)


def read_hosts(page: Mapping[str, Any]) -> Iterator[HostsOf]:
    """The clusters on the page."""
    for status in page.get("cluster_statuses") or []:
        name = str(status.get("name", ""))
        yield HostsOf(name, callee(name), tuple(_host(entry) for entry in status.get("host_statuses") or []))


def hosts_to(page: Mapping[str, Any], service: str) -> list[HostsOf]:
    """The clusters by which calls go to a service: one a port and subset.

    Args:
        page: The page.
        service: Full name of the service.
    """
    return [cluster for cluster in read_hosts(page) if cluster.service == service]


def _host(entry: Mapping[str, Any]) -> Host:
    health = entry.get("health_status") or {}
    stats = {str(stat.get("name")): int(stat.get("value") or 0) for stat in entry.get("stats") or []}
    address = (entry.get("address") or {}).get("socket_address") or {}
    return Host(
        str(address.get("address", "")),
        health.get("eds_health_status") not in _NOT_READY,
        bool(health.get("failed_outlier_check")),
        stats.get("rq_active", 0),
        stats.get("rq_total", 0),
    )
