"""The proxies of a service: which pods have one, and what its pages say, through the API server as on any cluster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from meshbdd.cluster import Cluster
from meshbdd.cluster.tunnel import Tunnel
from meshbdd.errors import BadInput
from meshbdd.intents import ServiceRef
from meshbdd.pod_spec import containers
from meshbdd.sidecars import FAULT_LABEL, ISTIO, LINKERD, Sidecars
from meshbdd.telemetry.shared_pods import hosts_beside

ADMIN_PORT = 15000
"""https://istio.io/latest/docs/ops/deployment/application-requirements/ lists the sidecar's ports."""

SIDECARS = (ISTIO.container, LINKERD.container)

_INJECT, _LINKERD_INJECT = ISTIO.injection.name, LINKERD.injection.name
_LINKERD_WANTED = {LINKERD.injection.wanted, "ingress"}
"""https://linkerd.io/2/features/proxy-injection/"""

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PodView:
    """A pod, as far as its proxy is concerned.

    Attributes:
        name: Its name.
        meshed: Whether it has a proxy that is ready.
        why: Why it has none; empty where it has one.
    """

    name: str
    meshed: bool
    why: str = ""


def _statuses(pod: Object) -> Iterator[Mapping[str, Any]]:
    for kind in ("containerStatuses", "initContainerStatuses"):
        yield from (pod.get("status") or {}).get(kind) or []


def restarts(pod: Object) -> int:
    """How often the proxy of a pod was started anew: its log and its counters begin with each start."""
    return sum(int(s.get("restartCount") or 0) for s in _statuses(pod) if s["name"] in SIDECARS)


def _containers(pod: Object) -> Iterator[tuple[str, bool]]:
    """Name and readiness of every container; a native sidecar is an init container (istioctl's FindContainerFromPod)."""
    ready = {s["name"]: bool(s.get("ready")) for s in _statuses(pod)}
    for container in containers(pod.get("spec") or {}):
        yield container["name"], ready.get(container["name"], False)


def has_proxy(pod: Object) -> bool:
    """Whether one of a pod's containers is a mesh's proxy."""
    return any(name in SIDECARS for name, _ in _containers(pod))


def view(pod: Object, namespace: Object | None, sidecars: Sidecars = ISTIO) -> PodView:
    """Whether a pod has a proxy, and if not, what its marks and its namespace's say of that.

    The order in which injectors decide is that of their webhooks: the pod's mark, then the namespace's, at creation only.
    Istio's are labels, Linkerd's are annotations.
    """
    name = str(pod["metadata"]["name"])
    found = [ready for container, ready in _containers(pod) if container in SIDECARS]
    if found:
        return PodView(name, found[0], "" if found[0] else "its sidecar is not ready")
    if sidecars is LINKERD:
        return PodView(name, False, _not_in_linkerd(pod, namespace))
    labels = pod["metadata"].get("labels") or {}
    above = ((namespace or {}).get("metadata") or {}).get("labels") or {}
    if in_ambient_mode(pod):
        why = "it is in ambient mode, where ztunnel stands in a sidecar's place"
    elif labels.get(_INJECT) == ISTIO.injection.unwanted:
        why = f"its label {_INJECT} is false"
    elif (
        above.get("istio-injection") == "enabled"
        or "istio.io/rev" in above
        or labels.get(_INJECT) == ISTIO.injection.wanted
    ):
        why = "it is older than the injection label and was not restarted"
    elif above.get("istio-injection") == "disabled":
        why = "its namespace's label istio-injection is disabled"
    else:
        why = "its namespace has no label istio-injection=enabled"
    return PodView(name, False, why)


def in_ambient_mode(pod: Object) -> bool:
    """Whether a node's ztunnel takes a pod's connections, as Istio's CNI says of it."""
    return (pod["metadata"].get("annotations") or {}).get("ambient.istio.io/redirection") == "enabled"


def _not_in_linkerd(pod: Object, namespace: Object | None) -> str:
    own = (pod["metadata"].get("annotations") or {}).get(_LINKERD_INJECT)
    above = (((namespace or {}).get("metadata") or {}).get("annotations") or {}).get(_LINKERD_INJECT)
    if own is not None and own not in _LINKERD_WANTED:
        return f"its annotation {_LINKERD_INJECT} is {own}"
    if own in _LINKERD_WANTED or above in _LINKERD_WANTED:
        return f"it is older than the annotation {_LINKERD_INJECT} and was not restarted"
    return f"neither it nor its namespace has the annotation {_LINKERD_INJECT}: enabled"


def _selector(service: ServiceRef, found: Object | None) -> Mapping[str, str]:
    return (found["spec"].get("selector") or {}) if found else {"app": service.name}


def _runs(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") == "Running" and not pod["metadata"].get("deletionTimestamp")


def address_of(pod: Object) -> str:
    """The address of a pod."""
    return str((pod.get("status") or {}).get("podIP"))


class Proxies:
    """Looks at the proxies of services.

    Args:
        cluster: The API through which they are reached.
        sidecars: Whose they are.
    """

    def __init__(self, cluster: Cluster, sidecars: Sidecars = ISTIO) -> None:
        self._cluster = cluster
        self.sidecars = sidecars
        self._tunnels: dict[tuple[str, int], Tunnel] = {}

    def close(self) -> None:
        """Close what is open."""
        for tunnel in self._tunnels.values():
            tunnel.close()
        self._tunnels.clear()

    def pods(self, service: ServiceRef) -> list[Object]:
        """The running pods of a service, or those that carry its name as ``app`` where it is a mere client.

        A fault backend is none of them, also where it has taken their place.

        Raises:
            BadInput: there is no such Service and no such client.
        """
        found = self.leading_to(service)
        selector = _selector(service, found)
        labels = ",".join(f"{name}={value}" for name, value in sorted(selector.items()))
        pods: list[Object] = [*self._cluster.list("Pod", service.namespace, labels=labels or None)]
        running = [pod for pod in pods if _runs(pod)]
        if found is None and not running:
            names = ", ".join(s["metadata"]["name"] for s in self._cluster.list("Service", service.namespace))
            raise BadInput(
                "MB0641",
                f'There is no Service and no client "{service.name}" in namespace "{service.namespace}".',
                help=f"name one of: {names or 'none'}",
            )
        return running

    def selector(self, service: ServiceRef) -> Mapping[str, str]:
        """The labels of a service's pods."""
        return _selector(service, self.leading_to(service))

    def leading_to(self, service: ServiceRef) -> Object | None:
        """The Service that leads to a service's own pods: while a fault backend is in their place, its twin."""
        found = self._cluster.find("Service", service.name, service.namespace)
        if FAULT_LABEL not in _selector(service, found):
            return found
        beside = self._cluster.list("Service", service.namespace, labels=f"{FAULT_LABEL}={service.name}")
        return next((twin for twin in beside if FAULT_LABEL not in _selector(service, twin)), found)

    def beside(self, service: ServiceRef) -> frozenset[str]:
        """The full names of the other Services that select pods of a service.

        None on Linkerd, whose twins of a service do and are no others.
        """
        if self.sidecars is LINKERD or self._cluster.find("Service", service.name, service.namespace) is None:
            return frozenset()
        return hosts_beside(service, self._cluster.list("Service", service.namespace), self.pods(service))

    def fault_backends(self, service: ServiceRef) -> list[Object]:
        """The running pods of a fault backend beside a service, or in its place; only Linkerd needs such."""
        if self.sidecars is not LINKERD:
            return []
        pods = self._cluster.list("Pod", service.namespace, labels=f"{FAULT_LABEL}={service.name}")
        return [pod for pod in pods if _runs(pod) and has_proxy(pod)]

    def views(self, service: ServiceRef) -> list[PodView]:
        """Every running pod of a service, with or without a proxy."""
        namespace = self._cluster.find("Namespace", service.namespace)
        return [view(pod, namespace, self.sidecars) for pod in self.pods(service)]

    def every(self) -> list[Object]:
        """Every running pod that has a proxy, in all namespaces."""
        pods: list[Object] = [*self._cluster.list("Pod", labels=self.sidecars.label)]
        return [pod for pod in pods if (pod.get("status") or {}).get("phase") == "Running"]

    def meshed(self, service: ServiceRef) -> list[Object]:
        """The running pods of a service that have a proxy."""
        return [pod for pod in self.pods(service) if has_proxy(pod)]

    def receiving(self, service: ServiceRef) -> list[Object]:
        """The running pods with a proxy to which calls to a service come: its own, and those of its fault backend."""
        return [*self.meshed(service), *self.fault_backends(service)]

    def tunnel(self, pod: Object, port: int) -> Tunnel:
        """A way to a port inside a pod, kept open."""
        meta = pod["metadata"]
        key = (meta["uid"], port)
        if key not in self._tunnels:
            self._tunnels[key] = Tunnel(self._cluster, meta["name"], meta["namespace"], port)
        return self._tunnels[key]
