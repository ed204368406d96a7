"""What happens to an object before the API keeps it: sidecar injection, and what Istio and the lab refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from meshbdd.lab.addresses import RESERVED_PORTS
from meshbdd.lab.admission import admission_hook
from meshbdd.lab.api.errors import Cause, invalid
from meshbdd.lab.controllers.injection import SIDECAR, inject, wants_sidecar

Object = dict[str, Any]


class LabAdmission:
    """The lab's mutating and validating admission.

    Args:
        namespace: Reads a namespace by name; ``None`` where there is none.
    """

    def __init__(self, namespace: Callable[[str], Object | None]) -> None:
        self._namespace = namespace

    def __call__(self, operation: str, resource: str, new: Object | None, old: Object | None) -> list[str]:
        """Admit one write.

        Args:
            operation: CREATE, UPDATE or DELETE.
            resource: ``pods`` or ``virtualservices.networking.istio.io``.
            new: The object to be kept; ``None`` for DELETE.
            old: The object that is kept now.

        Returns:
            Warnings for the client.

        Raises:
            ApiError: refused.
        """
        if new is None:
            return []
        if resource == "pods":
            self._check_ports(new)
            return []
        return admission_hook(operation, resource, new, old)

    def mutate(self, resource: str, obj: Object) -> None:
        """Inject the sidecar into a new pod, where Istio would."""
        if resource != "pods" or any(c.get("name") == SIDECAR for c in obj["spec"].get("containers") or []):
            return
        namespace = self._namespace(obj["metadata"].get("namespace", "")) or {}
        if wants_sidecar(obj, namespace):
            inject(obj)

    @staticmethod
    def _check_ports(pod: Object) -> None:
        containers = (pod.get("spec") or {}).get("containers") or []
        for number, container in enumerate(containers):
            for index, port in enumerate(container.get("ports") or []):
                if container.get("name") != SIDECAR and port.get("containerPort") in RESERVED_PORTS:
                    field = f"spec.containers[{number}].ports[{index}].containerPort"
                    message = f"Invalid value: {port['containerPort']}: Istio keeps this port for the sidecar"
                    cause = Cause("FieldValueInvalid", message, field)
                    raise invalid("Pod", "", pod["metadata"].get("name", ""), [cause])
