"""The world that objects are judged in: services and their ports, workloads and their labels, hosts by full name."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

from meshbdd.sense.own_changes import OURS, without_ours
from meshbdd.sense.pods import MACHINES, Workload, led_to, machine, planned, running, template_of
from meshbdd.sense.reading import Object, mapping, mappings, namespace_of, selects, text, texts, whole, without_topology
from meshbdd.sense.ruling import Rules

ROOT_NAMESPACE = "istio-system"
"""Where Istio takes policies for the whole mesh from (``meshConfig.rootNamespace``)."""

_ENDED = {"Succeeded", "Failed"}
_ANY = ("", "")
"""Stands for every label in the index of workloads: no label is called so."""
_SERVICE_SUFFIX = ".svc.cluster.local"


def full_name(host: str, namespace: str) -> str:
    """A host as Istio reads it in an object of ``namespace``: only a name without a dot is completed.

    https://istio.io/latest/docs/reference/config/networking/virtual-service/#Destination
    """
    return host if "." in host or host.startswith("*") else f"{host}.{namespace}{_SERVICE_SUFFIX}"


class Inventory:
    """Objects, found by what one wants to know of them.

    Args:
        objects: Everything there is. What meshbdd itself put there for a scenario is left out: its routes, that it
            took a service down, and the objects that it made, but for policies of mutual TLS, which say what servers ask of the
            testers' own clients.
        mesh: Whose reading of them counts where it is not the same on every mesh.
    """

    def __init__(self, objects: Iterable[Object], mesh: str) -> None:
        self.mesh = mesh
        self._by_kind: dict[str, list[Object]] = defaultdict(list)
        for obj in objects:
            kind = text(obj, "kind")
            if kind == "PeerAuthentication" or not text(obj, "metadata", "name").startswith(OURS):
                self._by_kind[kind].append(without_ours(obj))

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
    def makers(self) -> list[Object]:
        """What makes pods from a template, but for ReplicaSets of a Deployment: the Deployment stands for them."""
        owners = (owner for objects in self._by_kind.values() for owner in objects if template_of(owner))
        return [owner for owner in owners if not mappings(owner, "metadata", "ownerReferences")]

    @cached_property
    def _scaled(self) -> set[tuple[str, str, str]]:
        """Kind, namespace and name of those whose pods something else counts: an autoscaler, a Rollout in their place."""
        all_ = [obj for objects in self._by_kind.values() for obj in objects]
        refs = [(obj, mapping(obj, "spec", field)) for obj in all_ for field in ("scaleTargetRef", "workloadRef")]
        return {(text(ref, "kind") or "Deployment", namespace_of(obj), text(ref, "name")) for obj, ref in refs if ref}

    @cached_property
    def workloads(self) -> list[Workload]:
        """All pods: those that run, and for what makes pods and has none yet, those that it will make; and machines."""
        pods = [running(pod, self.mesh) for pod in self.of("Pod") if text(pod, "status", "phase") not in _ENDED]
        made = []
        for owner in self.makers:
            name = text(owner, "kind"), namespace_of(owner), text(owner, "metadata", "name")
            to_come = planned(owner, self.namespaces.get(namespace_of(owner)), self.mesh, scaled=name in self._scaled)
            if not any(p.namespace == to_come.namespace and selects(to_come.labels, p.labels) for p in pods):
                made.append(to_come)
        return [*pods, *made, *(machine(obj) for kind in MACHINES for obj in self.of(kind))]

    def pods_of(self, namespace: str) -> list[Workload]:
        """The workloads of a namespace; of all namespaces for the root namespace, whose policies reach everywhere."""
        return self.workloads if namespace == ROOT_NAMESPACE else self._by_label[namespace].get(_ANY, [])

    @cached_property
    def _by_label(self) -> dict[str, dict[tuple[str, Any], list[Workload]]]:
        """Namespace → label → workloads, so that a selector looks at few of many."""
        found: dict[str, dict[tuple[str, Any], list[Workload]]] = defaultdict(lambda: defaultdict(list))
        for workload in self.workloads:
            for label in (_ANY, *workload.labels.items()):
                if isinstance(label[1], str):
                    found[workload.namespace][label].append(workload)
        return found

    def selected(self, namespace: str, selector: Mapping[str, Any]) -> list[Workload]:
        """The workloads in a namespace that a selector means."""
        if namespace == ROOT_NAMESPACE:
            return [w for w in self.workloads if selects(selector, w.labels)]
        return self._within(namespace, selector)

    def _within(self, namespace: str, selector: Mapping[str, Any]) -> list[Workload]:
        own = self._by_label[namespace]
        pairs = (_ANY, *(pair for pair in selector.items() if isinstance(pair[1], str)))
        fewest = min((own.get(pair, []) for pair in pairs), key=len)
        return [w for w in fewest if selects(selector, w.labels)]

    def behind(self, service: Object, labels: Mapping[str, Any] | None = None) -> list[Workload]:
        """The workloads behind a Service; with labels, those of a subset."""
        selector = mapping(service, "spec", "selector")
        if not selector:
            return []
        return [w for w in self._within(namespace_of(service), selector) if selects(labels or {}, w.labels)]

    def listens_on(self, pods: Iterable[Workload]) -> set[int]:
        """The ports on which pods listen, as far as containers and Services say."""
        return {number for pod in pods for number in self._ports.get(id(pod), ())}

    @cached_property
    def _ports(self) -> dict[int, set[int]]:
        found: dict[int, set[int]] = defaultdict(set)
        for pod in self.workloads:
            found[id(pod)] |= {n for p in pod.container_ports() if (n := whole(p, "containerPort")) is not None}
            found[id(pod)] |= {target for _, target in self._led_to.get(id(pod), ())}
        return found

    def only_of_services(self, pods: Iterable[Workload], number: int) -> set[int]:
        """The container ports to which Services of these pods lead a port of theirs that is none of the pods' own.

        Empty where it is, and where no Service has it: pods may listen where no container says it, for
        ``containerPort`` only informs.
        """
        pods = list(pods)
        if number in self.listens_on(pods):
            return set()
        return {target for pod in pods for port, target in self._led_to.get(id(pod), ()) if port == number}

    @cached_property
    def _led_to(self) -> dict[int, list[tuple[int | None, int]]]:
        found: dict[int, list[tuple[int | None, int]]] = defaultdict(list)
        for service in self.of("Service"):
            for pod in self.behind(service):
                found[id(pod)] += led_to(service, [pod])
        return found

    @cached_property
    def rules(self) -> Rules:
        """The DestinationRules."""
        rules = sorted(self.of("DestinationRule"), key=_age)
        return Rules(((full_name(text(r, "spec", "host"), namespace_of(r)), r) for r in rules), ROOT_NAMESPACE)

    @cached_property
    def _authentications(self) -> dict[str, list[Object]]:
        found: dict[str, list[Object]] = defaultdict(list)
        for policy in sorted(self.of("PeerAuthentication"), key=_age):
            found[namespace_of(policy)].append(policy)
        return found

    def peer_authentications(self, namespace: str) -> list[Object]:
        """The PeerAuthentications of a namespace, the oldest first."""
        return self._authentications.get(namespace, [])

    def endpoints(self, host: Object, labels: Mapping[str, Any] | None = None) -> int | None:
        """How many endpoints a Service or ServiceEntry has; ``None`` where that cannot be known from objects."""
        known = without_topology(labels or {})
        count = self._count(host, known)
        return count if not count or len(known) == len(labels or {}) else None

    def _count(self, host: Object, labels: Mapping[str, Any]) -> int | None:
        if text(host, "kind") == "ServiceEntry":
            own = mappings(host, "spec", "endpoints")
            return sum(selects(labels, mapping(e, "labels")) for e in own) if own else None
        if not mapping(host, "spec", "selector") or text(host, "spec", "type") == "ExternalName":
            return None
        counts = [w.count for w in self.behind(host, labels)]
        known = [count for count in counts if count is not None]
        return sum(known) if len(known) == len(counts) else None


def _age(obj: Object) -> tuple[str, str]:
    # An object that is still to be written is the youngest.
    return text(obj, "metadata", "creationTimestamp") or "9999", text(obj, "metadata", "name")


def service_host(service: Object) -> str:
    """The full name of a Service."""
    return f"{text(service, 'metadata', 'name')}.{namespace_of(service)}{_SERVICE_SUFFIX}"


def ports_of(host: Object) -> list[int]:
    """The port numbers of a Service or ServiceEntry."""
    key = "number" if text(host, "kind") == "ServiceEntry" else "port"
    return [number for port in mappings(host, "spec", "ports") if (number := whole(port, key)) is not None]
