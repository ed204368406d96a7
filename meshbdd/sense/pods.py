"""Pods: those that run, and those that a Deployment or its like will make."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from meshbdd.sense.reading import Object, at, labels_of, mapping, mappings, namespace_of, selects, text, whole
from meshbdd.sidecars import ISTIO

INJECT = ISTIO.injection.name
TEMPLATES = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job")
"""Kinds that make pods from a template."""


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


def running(pod: Object) -> Workload:
    """A pod that is there."""
    return _workload(pod, pod, 1, meshed=is_meshed(pod))


def planned(owner: Object, home: Object | None) -> Workload:
    """The pods that something will make.

    Args:
        owner: The Deployment, or whatever else has a template.
        home: Its namespace; ``None`` where nobody described it, and injection is taken for granted.
    """
    template = mapping(owner, "spec", "template")
    return _workload(owner, template, _replicas(owner), meshed=will_be_meshed(template, home))


def will_be_meshed(pod: Mapping[str, Any], home: Object | None) -> bool:
    """Whether a pod gets a sidecar when it is created.

    The selectors of Istio's webhooks, istio/istio manifests/charts/istio-control/istio-discovery/templates/mutatingwebhook.yaml:
    no pod can have a sidecar in a namespace whose ``istio-injection`` says anything but ``enabled``.

    Args:
        pod: The pod, or the template that it is made from.
        home: Its namespace; ``None`` where nobody described it, and injection is taken for granted.
    """
    wish = str(labels_of(pod).get(INJECT) or mapping(pod, "metadata", "annotations").get(INJECT) or "").lower()
    if wish == "false" or at(pod, "spec", "hostNetwork") is True:
        return False
    if home is None or injects(home):
        return True
    return "istio-injection" not in labels_of(home) and (wish == "true" or "istio.io/rev" in labels_of(pod))


def _workload(owner: Object, pod: Mapping[str, Any], count: int, *, meshed: bool) -> Workload:
    spec = mapping(pod, "spec")
    account = text(spec, "serviceAccountName") or "default"
    return Workload(owner, namespace_of(owner), labels_of(pod), count, meshed, account, spec)


def made_by(pod: Object, makers: Iterable[Object]) -> bool:
    """Whether one of these made a pod; what is said of it need not be said of each of its pods."""
    return bool(mappings(pod, "metadata", "ownerReferences")) and any(
        namespace_of(pod) == namespace_of(maker)
        and selects(labels_of(mapping(maker, "spec", "template")), labels_of(pod))
        for maker in makers
    )


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
