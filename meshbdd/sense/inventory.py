"""The world that objects are judged in: services and their ports, workloads and their labels, hosts by full name."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from meshbdd.sense.reading import Object, at, labels_of, mapping, mappings, namespace_of, selects, text, texts, whole

ROOT_NAMESPACE = "istio-system"
"""Where Istio takes policies for the whole mesh from (``meshConfig.rootNamespace``)."""

INJECT = "sidecar.istio.io/inject"
_OURS = "meshbdd-"
_TEMPLATES = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job")
_SERVICE_SUFFIX = ".svc.cluster.local"


def full_name(host: str, namespace: str) -> str:
    """A host as Istio reads it in an object of ``namespace``: only a name without a dot is completed.

    https://istio.io/latest/docs/reference/config/networking/virtual-service/#Destination
    """
    return host if "." in host or host.startswith("*") else f"{host}.{namespace}{_SERVICE_SUFFIX}"


@dataclass(frozen=True, slots=True)
class Workload:
    """Pods of one kind.

    Attributes:
        obj: The Pod, or what makes the pods.
        namespace: Their namespace.
        labels: Their labels.
        count: How many there are, or will be.
        meshed: Whether they have (or will have) a sidecar.
        account: Their service account.
        spec: The pod's specification.
    """

    obj: Object
    namespace: str
    labels: Mapping[str, Any]
    count: int
    meshed: bool
    account: str
    spec: Mapping[str, Any]

    def container_ports(self) -> Iterable[Mapping[str, Any]]:
        """The ports that its containers declare."""
        for container in (*mappings(self.spec, "containers"), *mappings(self.spec, "initContainers")):
            yield from mappings(container, "ports")


class Inventory:
    """Objects, found by what one wants to know of them.

    Args:
        objects: Everything there is. What meshbdd itself put there for a scenario is left out: its routes, and the
            objects that it made.
    """

    def __init__(self, objects: Iterable[Object]) -> None:
        self._by_kind: dict[str, list[Object]] = defaultdict(list)
        for obj in objects:
            if not text(obj, "metadata", "name").startswith(_OURS):
                self._by_kind[text(obj, "kind")].append(_without_our_routes(obj))

    def of(self, kind: str) -> list[Object]:
        """The objects of a kind."""
        return self._by_kind.get(kind, [])

    @cached_property
    def namespaces(self) -> dict[str, Object]:
        """The namespaces that are said to exist."""
        return {text(n, "metadata", "name"): n for n in self.of("Namespace")}

    @cached_property
    def services(self) -> dict[str, Object]:
        """Services by full name."""
        return {service_host(s): s for s in self.of("Service")}

    @cached_property
    def _entries(self) -> dict[str, Object]:
        return {host: e for e in self.of("ServiceEntry") for host in texts(e, "spec", "hosts")}

    def destination(self, host: str, namespace: str) -> Object | None:
        """The Service or ServiceEntry that a host means in an object of ``namespace``."""
        name = full_name(host, namespace)
        found = self.services.get(name) or self._entries.get(name)
        if found is not None:
            return found
        wild = (
            entry for pattern, entry in self._entries.items() if pattern.startswith("*") and name.endswith(pattern[1:])
        )
        return next(wild, None)

    def hosts_under(self, pattern: str) -> list[str]:
        """The known hosts that a full name, or one with a leading ``*``, covers."""
        if not pattern.startswith("*"):
            return [pattern] if pattern in self.services or pattern in self._entries else []
        return [host for host in (*self.services, *self._entries) if host.endswith(pattern[1:])]

    def nearest(self, host: str, namespace: str) -> str | None:
        """The host that somebody may have meant."""
        dotted = {s.removesuffix(_SERVICE_SUFFIX): s for s in self.services}
        if host.removesuffix(".svc") in dotted:  # "payment-service.shop": Istio completes no name that has a dot
            return dotted[host.removesuffix(".svc")]
        own = {s.partition(".")[0]: s for s in self.services if namespace_of(self.services[s]) == namespace}
        near = difflib.get_close_matches(host.partition(".")[0], own, 1)
        return near[0] if near else None

    @cached_property
    def workloads(self) -> list[Workload]:
        """All pods: those that run, and for what makes pods and has none yet, those that it will make."""
        pods = [self._workload(pod, pod, 1) for pod in self.of("Pod")]
        made = []
        for kind in _TEMPLATES:
            for owner in self.of(kind):
                template = mapping(owner, "spec", "template")
                if mappings(owner, "metadata", "ownerReferences"):
                    continue  # a ReplicaSet of a Deployment: the Deployment stands for it
                planned = self._workload(owner, template, _replicas(owner))
                running = any(p.namespace == planned.namespace and selects(planned.labels, p.labels) for p in pods)
                if not running:
                    made.append(planned)
        return [*pods, *made]

    def _workload(self, owner: Object, pod: Mapping[str, Any], count: int) -> Workload:
        namespace = namespace_of(owner)
        spec = mapping(pod, "spec")
        is_pod = owner is pod
        meshed = is_meshed(owner) if is_pod else self._will_be_injected(namespace, pod)
        account = text(spec, "serviceAccountName") or "default"
        return Workload(owner, namespace, labels_of(pod), count, meshed, account, spec)

    def _will_be_injected(self, namespace: str, template: Mapping[str, Any]) -> bool:
        wish = str(labels_of(template).get(INJECT) or mapping(template, "metadata", "annotations").get(INJECT) or "")
        if wish.lower() == "false" or at(template, "spec", "hostNetwork") is True:
            return False
        home = self.namespaces.get(namespace)
        return wish.lower() == "true" or "istio.io/rev" in labels_of(template) or home is None or injects(home)

    def pods_of(self, namespace: str) -> list[Workload]:
        """The workloads of a namespace; of all namespaces for the root namespace, whose policies reach everywhere."""
        return [w for w in self.workloads if namespace in {ROOT_NAMESPACE, w.namespace}]

    def selected(self, namespace: str, selector: Mapping[str, Any]) -> list[Workload]:
        """The workloads in a namespace that a selector means."""
        return [w for w in self.pods_of(namespace) if selects(selector, w.labels)]

    def behind(self, service: Object, labels: Mapping[str, Any] | None = None) -> list[Workload]:
        """The workloads behind a Service; with labels, those of a subset."""
        selector = mapping(service, "spec", "selector")
        if not selector:
            return []
        own = [w for w in self.workloads if w.namespace == namespace_of(service) and selects(selector, w.labels)]
        return [w for w in own if selects(labels or {}, w.labels)]

    def endpoints(self, host: Object, labels: Mapping[str, Any] | None = None) -> int | None:
        """How many endpoints a Service or ServiceEntry has; ``None`` where that cannot be known from objects."""
        if text(host, "kind") == "ServiceEntry":
            own = mappings(host, "spec", "endpoints")
            return sum(selects(labels or {}, mapping(e, "labels")) for e in own) if own else None
        if not mapping(host, "spec", "selector") or text(host, "spec", "type") == "ExternalName":
            return None
        return sum(w.count for w in self.behind(host, labels))


def service_host(service: Object) -> str:
    """The full name of a Service."""
    return f"{text(service, 'metadata', 'name')}.{namespace_of(service)}{_SERVICE_SUFFIX}"


def ports_of(host: Object) -> list[int]:
    """The port numbers of a Service or ServiceEntry."""
    key = "number" if text(host, "kind") == "ServiceEntry" else "port"
    return [number for port in mappings(host, "spec", "ports") if (number := whole(port, key)) is not None]


def target_ports(service: Object, pods: Iterable[Workload]) -> set[int]:
    """The container ports that a Service sends to; names are looked up in the containers."""
    named = {text(p, "name"): whole(p, "containerPort") for w in pods for p in w.container_ports()}
    found = set()
    for port in mappings(service, "spec", "ports"):
        wanted = at(port, "targetPort")
        number = named.get(wanted) if isinstance(wanted, str) else wanted or whole(port, "port")
        if isinstance(number, int):
            found.add(number)
    return found


def is_meshed(pod: Object) -> bool:
    """Whether a pod has a sidecar: by the label that injection leaves, or by the container, native ones included."""
    containers = (*mappings(pod, "spec", "containers"), *mappings(pod, "spec", "initContainers"))
    return labels_of(pod).get("security.istio.io/tlsMode") == "istio" or any(
        text(c, "name") == "istio-proxy" for c in containers
    )


def injects(namespace: Object) -> bool:
    """Whether a namespace's pods get a sidecar. ``istio-injection`` has precedence over ``istio.io/rev``."""
    labels = labels_of(namespace)
    return labels.get("istio-injection") == "enabled" or ("istio-injection" not in labels and "istio.io/rev" in labels)


def _replicas(owner: Object) -> int:
    said = whole(owner, "spec", "replicas")
    return 1 if said is None else said


def _without_our_routes(obj: Object) -> Object:
    """A VirtualService without the copies of its routes that a scenario put in front of them for a fault.

    The last route is the tester's own. It has a tag too where a scenario applied the manifest that it comes from.
    """
    routes = mappings(obj, "spec", "http")
    if text(obj, "kind") != "VirtualService" or not routes:
        return obj
    own = _tag(routes[-1])
    kept = [route for route in routes if _tag(route) in {"", own}]
    return obj if len(kept) == len(routes) else {**obj, "spec": {**mapping(obj, "spec"), "http": kept}}


def _tag(route: Mapping[str, Any]) -> str:
    """``meshbdd-RUN-NUMBER`` of ``meshbdd-RUN-NUMBER-INDEX``; empty for a route that no scenario named."""
    name = text(route, "name")
    return name.rpartition("-")[0] if name.startswith(_OURS) else ""
