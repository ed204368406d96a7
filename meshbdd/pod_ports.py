"""The ports of a pod that go by a name, as Kubernetes looks them up for a Service's ``targetPort``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def named_ports(spec: Mapping[str, Any]) -> Mapping[str, int]:
    """The number that each name stands for: the first container's that has it, else the first sidecar's.

    Of the init containers those alone count that run beside the containers: kubernetes pkg/api/v1/pod/util.go, ``FindPort``.

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
