"""The ports and the probes of a pod: linkerd2 policy-controller/k8s/index/src/inbound/workload.rs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from meshbdd.lab.linkerd.objects import annotations_of
from meshbdd.lab.linkerd.read.selectors import selects
from meshbdd.lab.linkerd.values import ports
from meshbdd.pod_spec import containers, dialled_until_ready

Object = Mapping[str, Any]

SKIP_INBOUND = "config.linkerd.io/skip-inbound-ports"
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_UNUSED_SECONDS = 90
"""``proxy.inboundDiscoveryCacheUnusedTimeout``: linkerd2 charts/linkerd-control-plane/values.yaml."""


def _ports(container: Object) -> Iterator[tuple[str, int]]:
    for port in container.get("ports") or []:
        if port.get("protocol", "TCP").upper() == "TCP":
            yield port.get("name") or "", port["containerPort"]


def declared_ports(pod: Object) -> frozenset[int]:
    """The ports that a pod's containers declare."""
    return frozenset(number for container in containers(pod["spec"]) for _name, number in _ports(container))


def named_ports(pod: Object) -> Mapping[str, frozenset[int]]:
    """The ports of each name: every container may have one of its own."""
    found: dict[str, set[int]] = defaultdict(set)
    for container in containers(pod["spec"]):
        for name, number in _ports(container):
            if name:
                found[name].add(number)
    return {name: frozenset(numbers) for name, numbers in found.items()}


def ports_picked(server: Object, pod: Object) -> frozenset[int]:
    """The ports of a pod that a Server picks; one that is said as text is a name, even if it reads like a number."""
    spec, meta = server["spec"], pod["metadata"]
    if server["metadata"]["namespace"] != meta["namespace"] or "podSelector" not in spec:
        return frozenset()
    if not selects(spec["podSelector"], meta.get("labels") or {}):
        return frozenset()
    said = spec["port"]
    return frozenset({said}) if isinstance(said, int) else named_ports(pod).get(str(said), frozenset())


def numbers_by_name(pod: Object) -> Mapping[str, int]:
    """The port of each name, where a list asks for one; of several the last: linkerd2 pkg/util/parsing.go."""
    spec = pod["spec"]
    init_first = [*(spec.get("initContainers") or []), *spec["containers"]]
    return {p["name"]: p["containerPort"] for c in init_first for p in c.get("ports") or [] if p.get("name")}


def skipped_ports(pod: Object) -> frozenset[int]:
    """The ports that lead past a pod's proxy."""
    return ports(annotations_of(pod).get(SKIP_INBOUND, ""))


def probed_ports(pod: Object) -> frozenset[int]:
    """The ports, said as numbers, by which a pod is probed: linkerd2 pkg/inject/inject.go, ``getPodInboundPorts``."""
    gets = ((container.get(name) or {}).get("httpGet") for container in containers(pod["spec"]) for name in _PROBES[:2])
    return frozenset(get["port"] for get in gets if get and isinstance(get.get("port"), int))


def kept_ports(pod: Object) -> frozenset[int]:
    """The ports that the kubelet connects to before a pod is ready, and then often enough for the proxy to keep their policies."""
    return frozenset(port for port, period in dialled_until_ready(pod["spec"]) if period < _UNUSED_SECONDS)


def probe_paths(pod: Object, port: int) -> list[str]:
    """The paths by which the kubelet probes a port, sorted; a port's name is one of the same container."""
    found = set()
    for container in containers(pod["spec"]):
        for name in _PROBES:
            get = (container.get(name) or {}).get("httpGet")
            if get and _number(container, get.get("port")) == port:
                found.add(str(get.get("path") or "/").partition("?")[0])
    return sorted(found)


def _number(container: Object, said: Any) -> int | None:
    if isinstance(said, int):
        return said
    return next((number for name, number in _ports(container) if name.lower() == str(said).lower()), None)
