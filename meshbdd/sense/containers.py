"""Containers that take their pod out of the mesh: one that is taken for the sidecar, and a sidecar that never comes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from meshbdd.sense import catalog
from meshbdd.sense.finding import Finding
from meshbdd.sense.inventory import Inventory
from meshbdd.sense.pods import Workload, made_by, template_of, will_be_meshed
from meshbdd.sense.reading import Object, at, containers, mapping, mappings, namespace_of, text, whole
from meshbdd.sidecars import ISTIO

PROXYS_ID = 1337
"""User and group of istio-proxy; istio-iptables lets pass what either of them sends (istio/istio
tools/istio-iptables/pkg/capture/run.go, chain ISTIO_OUTPUT)."""
_AUTO = "auto"
"""The image that Istio's injector puts its own in the place of."""


def check(world: Inventory) -> Iterator[Finding]:
    """Applications with the sidecar's user, and ``image: auto`` that nobody replaces."""
    told: list[Object] = []
    for maker in world.makers:
        found = list(_of_template(world, maker))
        told += [maker] if found else []
        yield from found
    for pod in world.workloads:
        if text(pod.obj, "kind") == "Pod" and not made_by(pod.obj, told):
            yield from _of_pod(world, pod)


def _of_template(world: Inventory, maker: Object) -> Iterator[Finding]:
    template = template_of(maker)
    if will_be_meshed(template, world.namespaces.get(namespace_of(maker))):
        yield from _proxys_user(maker, mapping(template, "spec"))
    elif _is_auto(template):
        yield catalog.AUTO_NOT_INJECTED.on(
            maker,
            "istio-proxy has image: auto, and its pods get no injection: they cannot start, there is no such image.",
        )


def _of_pod(world: Inventory, pod: Workload) -> Iterator[Finding]:
    exists = bool(text(pod.obj, "metadata", "uid") or text(pod.obj, "status", "phase"))
    awaited = not exists and will_be_meshed(pod.obj, world.namespaces.get(pod.namespace))
    if pod.meshed or awaited:
        yield from _proxys_user(pod.obj, pod.spec)
    if not _is_auto(pod.obj) or awaited:
        return
    if exists:
        yield catalog.AUTO_REMAINED.on(
            pod.obj,
            "istio-proxy has image: auto still, so nothing was injected: it cannot start, there is no such image.",
        )
    else:
        yield catalog.AUTO_NOT_INJECTED.on(
            pod.obj, "istio-proxy has image: auto, and it gets no injection: it cannot start, there is no such image."
        )


def _proxys_user(obj: Object, spec: Mapping[str, Any]) -> Iterator[Finding]:
    """Application containers with the proxy's user or group, their own or their pod's.

    Init containers are passed over: with Istio's CNI plugin, that user is how they reach the network before the sidecar
    is there (https://istio.io/latest/docs/setup/additional-setup/cni/#compatibility-with-application-init-containers).
    """
    for container in mappings(spec, "containers"):
        name = text(container, "name")
        for field, what in (("runAsUser", "user"), ("runAsGroup", "group")):
            own = whole(container, "securityContext", field)
            number = whole(spec, "securityContext", field) if own is None else own
            if number == PROXYS_ID and name != ISTIO.container:
                yield catalog.PROXYS_USER.on(
                    obj,
                    f"container {name} runs as {what} {PROXYS_ID} ({field}), the sidecar's own: its calls pass by the sidecar, "
                    "and so by every route, fault and policy.",
                )


def _is_auto(pod: Mapping[str, Any]) -> bool:
    """Whether a pod's sidecar is left to the injector, native sidecars included."""
    return {text(c, "image") for c in containers(at(pod, "spec")) if text(c, "name") == ISTIO.container} == {_AUTO}
