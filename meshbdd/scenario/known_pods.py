"""The pods of a cluster as a scenario knows them: those that are there, and those that it saw and are gone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from meshbdd.cluster import Cluster
from meshbdd.intents import ServiceRef
from meshbdd.mesh.base import Where
from meshbdd.sidecars import LINKERD, Sidecars
from meshbdd.telemetry.access_log import Entry
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
        self._homes: dict[str, set[str]] = defaultdict(set)
        """Name of a pod → the namespaces in which one was seen."""

    def look(self) -> None:
        """See who is there now."""
        found = {_life(pod): pod for pod in self._cluster.list("Pod")}
        # whoever is there comes last: an address that a pod had that is gone is the later one's
        self._seen = {life: pod for life, pod in self._seen.items() if life not in found} | found
        for pod in found.values():
            self._homes[str(pod["metadata"]["name"])].add(str(pod["metadata"].get("namespace")))
        self._staying = {life for life, pod in found.items() if not pod["metadata"].get("deletionTimestamp")}

    def of(self, *services: ServiceRef) -> set[str]:
        """The names of the pods of services."""
        return {self._name(pod) for service in services for pod in self._behind(service)}

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
        return {self._name(pod) for pod in self._meant(where)}

    def _meant(self, where: Where) -> list[Mapping[str, Any]]:
        return [pod for pod in self._seen.values() if where.takes(pod["metadata"])]

    def names(self) -> dict[str, str]:
        """Address → name of the pod."""
        return {address_of(pod): self._name(pod) for pod in self._seen.values()}

    def named(self, entry: Entry) -> Entry:
        """What a pod logged, under the name by which it is known here."""
        return replace(entry, pod=f"{entry.pod}.{entry.namespace}") if self._shared(entry.pod) else entry

    def _name(self, pod: Mapping[str, Any]) -> str:
        """The name of a pod; that of its namespace after it where pods of several have one name, as StatefulSets' may."""
        name, namespace = str(pod["metadata"]["name"]), pod["metadata"].get("namespace")
        return f"{name}.{namespace}" if self._shared(name) else name

    def _shared(self, name: str) -> bool:
        return len(self._homes.get(name, ())) > 1

    def bare(self) -> set[str]:
        """The names of the pods without a proxy."""
        return {str(pod["metadata"]["name"]) for pod in self._seen.values() if not has_proxy(pod)}

    def gone(self) -> dict[Life, str]:
        """The pods with a proxy that are there no more, or have another one by now, or are about to go → their names."""
        left = {life: pod for life, pod in self._seen.items() if life not in self._staying and has_proxy(pod)}
        return {life: self._name(pod) for life, pod in left.items()}


def _life(pod: Mapping[str, Any]) -> Life:
    return str(pod["metadata"]["uid"]), restarts(pod)
