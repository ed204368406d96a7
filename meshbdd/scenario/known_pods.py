"""The pods of a cluster as a scenario knows them: those that are there, and those that it saw and are gone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from meshbdd.cluster import Cluster
from meshbdd.intents import ServiceRef
from meshbdd.mesh.base import Where
from meshbdd.sidecars import LINKERD, Sidecars
from meshbdd.telemetry.proxies import address_of, has_proxy, restarts
from meshbdd.telemetry.shared_pods import hosts_beside

Life = tuple[str, int]
"""A pod, and which start of its proxy it is: with each the log begins anew."""


class KnownPods:
    """Remembers every pod that it ever saw: what one that is gone logged before still tells of calls.

    Args:
        cluster: Where they are.
        sidecars: The mesh's.
    """

    def __init__(self, cluster: Cluster, sidecars: Sidecars) -> None:
        self._cluster = cluster
        self._sidecars = sidecars
        self._seen: dict[Life, Mapping[str, Any]] = {}
        self._staying: set[Life] = set()

    def look(self) -> None:
        """See who is there now."""
        found = {_life(pod): pod for pod in self._cluster.list("Pod")}
        # whoever is there comes last: an address that a pod had that is gone is the later one's
        self._seen = {life: pod for life, pod in self._seen.items() if life not in found} | found
        self._staying = {life for life, pod in found.items() if not pod["metadata"].get("deletionTimestamp")}

    def of(self, *services: ServiceRef) -> set[str]:
        """The names of the pods of services."""
        return {str(pod["metadata"]["name"]) for service in services for pod in self._behind(service)}

    def beside(self, service: ServiceRef) -> frozenset[str]:
        """The full names of the other Services that select pods of a service: see ``Proxies.beside``."""
        if self._sidecars is LINKERD:
            return frozenset()
        return hosts_beside(service, self._cluster.list("Service", service.namespace), self._behind(service))

    def addresses_of(self, services: Iterable[ServiceRef]) -> set[str]:
        """The addresses of the pods of services."""
        return {address_of(pod) for service in services for pod in self._behind(service)}

    def _behind(self, service: ServiceRef) -> Iterable[Mapping[str, Any]]:
        selector = self._cluster.get("Service", service.name, service.namespace)["spec"].get("selector")
        return self._meant(Where(service.namespace, selector)) if selector else ()

    def meant(self, where: Where) -> set[str]:
        """The names of the pods that are meant."""
        return {str(pod["metadata"]["name"]) for pod in self._meant(where)}

    def _meant(self, where: Where) -> list[Mapping[str, Any]]:
        return [pod for pod in self._seen.values() if where.takes(pod["metadata"])]

    def names(self) -> dict[str, str]:
        """Address → name of the pod."""
        return {address_of(pod): str(pod["metadata"]["name"]) for pod in self._seen.values()}

    def bare(self) -> set[str]:
        """The names of the pods without a proxy."""
        return {str(pod["metadata"]["name"]) for pod in self._seen.values() if not has_proxy(pod)}

    def gone(self) -> dict[Life, str]:
        """The pods with a proxy that are there no more, or have another one by now, or are about to go → their names."""
        left = {life: pod for life, pod in self._seen.items() if life not in self._staying and has_proxy(pod)}
        return {life: str(pod["metadata"]["name"]) for life, pod in left.items()}


def _life(pod: Mapping[str, Any]) -> Life:
    return str(pod["metadata"]["uid"]), restarts(pod)
