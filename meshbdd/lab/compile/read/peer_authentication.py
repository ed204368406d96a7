"""PeerAuthentication → whether a workload's port takes mutual TLS, plaintext, or both."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

from meshbdd.lab.compile.ir import Mtls

Object = Mapping[str, Any]


def _mode(block: Object | None) -> Mtls | None:
    mode = (block or {}).get("mode")
    return cast("Mtls", mode) if mode in {"DISABLE", "PERMISSIVE", "STRICT"} else None


def _selects(policy: Object, labels: Mapping[str, str]) -> bool:
    wanted = (policy["spec"].get("selector") or {}).get("matchLabels") or {}
    return all(labels.get(name) == value for name, value in wanted.items())


def _selector(policy: Object) -> Object:
    return ((policy.get("spec") or {}).get("selector") or {}).get("matchLabels") or {}


class PeerAuthentications:
    """All policies, the oldest first in every scope: that one wins.

    Args:
        policies: PeerAuthentication objects, oldest first.
        root: The mesh's root namespace, whose policy without selector is the mesh's.
    """

    def __init__(self, policies: Iterable[Object], root: str) -> None:
        self._namespaces: dict[str, Object] = {}
        self._workloads: dict[str, list[Object]] = {}
        self._root = root
        for policy in policies:
            namespace = policy["metadata"]["namespace"]
            if not _selector(policy):
                self._namespaces.setdefault(namespace, policy)
            elif namespace != root:  # Istio pays no heed to selectors in the root namespace
                self._workloads.setdefault(namespace, []).append(policy)

    def of_namespace(self, namespace: str) -> Mtls:
        """The mode of a namespace as callers see it: namespace, then mesh, then PERMISSIVE."""
        for scope in (namespace, self._root):
            mode = _mode((self._namespaces.get(scope) or {"spec": {}}).get("spec", {}).get("mtls"))
            if mode:
                return mode
        return "PERMISSIVE"

    def of_port(self, namespace: str, labels: Mapping[str, str], port: int) -> Mtls:
        """The mode of a workload's own port: port, then workload, then namespace, then mesh."""
        spec = self._of_workload(namespace, labels) or {}
        ports = spec.get("portLevelMtls") or {}
        mode = _mode(ports.get(port) or ports.get(str(port))) or _mode(spec.get("mtls"))
        return mode or self.of_namespace(namespace)

    def _of_workload(self, namespace: str, labels: Mapping[str, str]) -> Object | None:
        """The ``spec`` of the policy that selects a workload."""
        found: Iterator[Object] = (p["spec"] for p in self._workloads.get(namespace, ()) if _selects(p, labels))
        return next(found, None)

    def named_ports(self, namespace: str, labels: Mapping[str, str]) -> dict[int, Mtls]:
        """The ports for which a workload's policy says something, with their modes."""
        ports = (self._of_workload(namespace, labels) or {}).get("portLevelMtls") or {}
        return {int(port): self.of_port(namespace, labels, int(port)) for port in ports}

    def of_workload(self, namespace: str, labels: Mapping[str, str]) -> Mtls:
        """The mode of a workload without regard to ports."""
        return self.of_port(namespace, labels, -1)
