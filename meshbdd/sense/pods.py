"""Pods: those that run, and those that a Deployment or its like will make."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from meshbdd.sense import linkerd_pods
from meshbdd.sense.reading import (
    Object,
    at,
    containers,
    labels_of,
    mapping,
    mappings,
    namespace_of,
    selects,
    text,
    whole,
)
from meshbdd.sidecars import ISTIO

INJECT = ISTIO.injection.name
DATAPLANE_MODE = "istio.io/dataplane-mode"
"""The label by which a namespace or a pod is ambient, or is not."""
_TLS_MODE = "security.istio.io/tlsMode"
_ONE_UNLESS_SAID = ("Deployment", "StatefulSet", "ReplicaSet")
"""Kinds that make one pod where they say no number of replicas."""
TEMPLATES = (*_ONE_UNLESS_SAID, "DaemonSet", "Job")
"""Kinds that make pods from a template."""
MACHINES = ("WorkloadEntry", "WorkloadGroup")
"""Kinds that stand for machines outside of the cluster, one, or as many as sign on."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Pods of one kind, or machines that Services select like pods.

    Attributes:
        obj: The Pod, or what makes the pods; the WorkloadEntry, or the group of such.
        namespace: Their namespace.
        labels: Their labels.
        count: How many there are, or will be; ``None`` where no object says it.
        meshed: Whether they have (or will have) a sidecar.
        account: Their service account.
        spec: The pod's specification.
    """

    obj: Object
    namespace: str
    labels: Mapping[str, Any]
    count: int | None
    meshed: bool
    account: str
    spec: Mapping[str, Any]

    def is_ambient(self, namespace: Object | None) -> bool:
        """Whether ztunnel carries their connections, as their own label says or else that of their namespace."""
        own = self.labels.get(DATAPLANE_MODE, labels_of(namespace or {}).get(DATAPLANE_MODE))
        return own == "ambient" and not self.meshed

    def container_ports(self) -> Iterable[Mapping[str, Any]]:
        """The ports that its containers declare."""
        for container in containers(self.spec):
            yield from mappings(container, "ports")


def running(pod: Object, mesh: str) -> Workload:
    """A pod that is there, with the sidecar of a mesh or without."""
    return _workload(pod, pod, 1, meshed=linkerd_pods.is_meshed(pod) if mesh == "linkerd" else is_meshed(pod))


def template_of(owner: Object) -> Object:
    """The template from which something makes pods; empty where it makes none.

    A CronJob has it in the Job that it makes. Of kinds that nobody here knows (Argo's Rollout) it is one if it has
    containers.
    """
    spec = mapping(owner, "spec")
    template = mapping(spec, "jobTemplate", "spec", "template") or mapping(spec, "template")
    return template if text(owner, "kind") in TEMPLATES or mappings(template, "spec", "containers") else {}


def planned(owner: Object, home: Object | None, mesh: str, *, scaled: bool = False) -> Workload:
    """The pods that something will make.

    Args:
        owner: The Deployment, or whatever else has a template.
        home: Its namespace; ``None`` where nobody described it, and injection is taken for granted.
        mesh: Whose sidecars they get.
        scaled: Whether something else decides how many.
    """
    template = template_of(owner)
    count = None if scaled else _replicas(owner)
    injected = linkerd_pods.will_be_meshed if mesh == "linkerd" else will_be_meshed
    return _workload(owner, template, count, meshed=injected(template, home))


def machine(obj: Object) -> Workload:
    """What a WorkloadEntry describes, or each entry of a WorkloadGroup.

    Labels of its own and of its metadata count alike; with a service account it is taken to have a sidecar (istio/istio
    pilot/pkg/serviceregistry/serviceentry/conversion.go).
    """
    group = text(obj, "kind") == "WorkloadGroup"
    entry = mapping(obj, "spec", "template") if group else mapping(obj, "spec")
    labels = {**labels_of(mapping(obj, "spec") if group else obj), **mapping(entry, "labels")}
    account = text(entry, "serviceAccount")
    ports = [{"name": name, "containerPort": port} for name, port in mapping(entry, "ports").items()]
    meshed = bool(account) or labels.get(_TLS_MODE) == "istio"
    spec = {"containers": [{"ports": ports}]}
    return Workload(obj, namespace_of(obj), labels, None if group else 1, meshed, account or "default", spec)


def will_be_meshed(pod: Mapping[str, Any], home: Object | None) -> bool:
    """Whether a pod gets Istio's sidecar when it is created.

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


def _workload(owner: Object, pod: Mapping[str, Any], count: int | None, *, meshed: bool) -> Workload:
    spec = mapping(pod, "spec")
    account = text(spec, "serviceAccountName") or "default"
    return Workload(owner, namespace_of(owner), labels_of(pod), count, meshed, account, spec)


def made_by(pod: Object, makers: Iterable[Object]) -> bool:
    """Whether one of these made a pod; what is said of it need not be said of each of its pods."""
    return bool(mappings(pod, "metadata", "ownerReferences")) and any(
        namespace_of(pod) == namespace_of(maker) and selects(labels_of(template_of(maker)), labels_of(pod))
        for maker in makers
    )


def target_ports(service: Object, pods: Iterable[Workload]) -> set[int]:
    """The container ports that a Service sends to."""
    return {target for _, target in led_to(service, pods)}


def led_to(service: Object, pods: Iterable[Workload]) -> Iterator[tuple[int | None, int]]:
    """A Service's ports, each with the container port that it sends to; names are looked up in the containers."""
    named = {text(p, "name"): whole(p, "containerPort") for w in pods for p in w.container_ports()}
    for port in mappings(service, "spec", "ports"):
        wanted = at(port, "targetPort")
        number = named.get(wanted) if isinstance(wanted, str) else wanted or whole(port, "port")
        if isinstance(number, int):
            yield whole(port, "port"), number


def is_meshed(pod: Object) -> bool:
    """Whether a pod has Istio's sidecar: by the label that injection leaves, or by the container, native ones included."""
    return labels_of(pod).get(_TLS_MODE) == "istio" or any(
        text(c, "name") == "istio-proxy" for c in containers(at(pod, "spec"))
    )


def injects(namespace: Object) -> bool:
    """Whether a namespace's pods get Istio's sidecar. ``istio-injection`` has precedence over ``istio.io/rev``."""
    labels = labels_of(namespace)
    return labels.get("istio-injection") == "enabled" or ("istio-injection" not in labels and "istio.io/rev" in labels)


def _replicas(owner: Object) -> int | None:
    said = whole(owner, "spec", "replicas")
    return 1 if said is None and text(owner, "kind") in _ONE_UNLESS_SAID else said
