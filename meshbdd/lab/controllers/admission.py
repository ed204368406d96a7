"""What happens to an object before the API keeps it: sidecar injection, and what the mesh and the lab refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from meshbdd.lab.api.errors import Cause, invalid
from meshbdd.lab.controllers.mesh_kind import MeshKind
from meshbdd.pod_spec import containers

Object = dict[str, Any]


class LabAdmission:
    """The lab's mutating and validating admission.

    Args:
        namespace: Reads a namespace by name; ``None`` where there is none.
        mesh: Whose webhooks are played.
    """

    def __init__(self, namespace: Callable[[str], Object | None], mesh: MeshKind) -> None:
        self._namespace = namespace
        self._mesh = mesh

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
        return self._mesh.admit(operation, resource, new, old)

    def mutate(self, resource: str, obj: Object) -> None:
        """Inject the sidecar into a new pod, where the mesh would."""
        if resource != "pods" or any(c.get("name") == self._mesh.sidecar for c in containers(obj.get("spec") or {})):
            return
        namespace = self._namespace(obj["metadata"].get("namespace", "")) or {}
        if self._mesh.wants_sidecar(obj, namespace):
            self._mesh.inject(obj, namespace)

    def _check_ports(self, pod: Object) -> None:
        containers = (pod.get("spec") or {}).get("containers") or []
        for number, container in enumerate(containers):
            for index, port in enumerate(container.get("ports") or []):
                if (
                    container.get("name") != self._mesh.sidecar
                    and port.get("containerPort") in self._mesh.reserved_ports
                ):
                    field = f"spec.containers[{number}].ports[{index}].containerPort"
                    message = f"Invalid value: {port['containerPort']}: {self._mesh.name.capitalize()} keeps this port for the sidecar"
                    cause = Cause("FieldValueInvalid", message, field)
                    raise invalid("Pod", "", pod["metadata"].get("name", ""), [cause])
