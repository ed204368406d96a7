"""What the spec of a pod, or of a template, says: its containers, their environment, and their ports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_PERIOD_SECONDS = 10
"""Between two probes, where nothing says otherwise."""


def containers(spec: Mapping[str, Any]) -> list[Any]:
    """All containers, and after them the init containers: a native sidecar is one of these."""
    return [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]


def variable(spec: Mapping[str, Any], container: str, name: str) -> str:
    """The value that the environment of a container gives to a name; empty where none is written there.

    Args:
        spec: A pod's, or that of a template.
        container: The container's name, also that of an init container.
        name: The variable's.
    """
    environment = (entry for one in containers(spec) if one.get("name") == container for entry in one.get("env") or ())
    return next((str(entry["value"]) for entry in environment if entry["name"] == name and entry.get("value")), "")


def dialled_until_ready(spec: Mapping[str, Any]) -> Iterator[tuple[int, float]]:
    """The ports that the kubelet connects to by TCP or gRPC before a pod is ready, and from then on.

    What it asks for by HTTP is not among them.

    Args:
        spec: A pod's, or that of a template.

    Yields:
        A port, and how many seconds pass between two connections.
    """
    for container in containers(spec):
        probe = container.get("readinessProbe") or {}
        dialled = probe.get("tcpSocket") or probe.get("grpc") or {}
        if str(dialled.get("port", "")).isdigit() and not dialled.get("host"):
            yield int(dialled["port"]), float(probe.get("periodSeconds") or _PERIOD_SECONDS)


def named_ports(spec: Mapping[str, Any]) -> Mapping[str, int]:
    """The number that each name stands for, as Kubernetes looks it up for a Service's ``targetPort``.

    It is the first container's that has it, else the first sidecar's. Of the init containers those alone count that run beside
    the containers: kubernetes pkg/api/v1/pod/util.go, ``FindPort``.

    Args:
        spec: A pod's, or that of a template.
    """
    beside = [one for one in spec.get("initContainers") or [] if one.get("restartPolicy") == "Always"]
    found: dict[str, int] = {}
    for container in (*(spec.get("containers") or []), *beside):
        for port in container.get("ports") or []:
            if port.get("name"):
                found.setdefault(str(port["name"]), int(port["containerPort"]))
    return found
