"""Which mode of mutual TLS a pod's sidecar asks for, of all that Istio's PeerAuthentications say.

https://istio.io/latest/docs/reference/config/security/peer_authentication/ and istio/istio
``pilot/pkg/security/authn/policy_applier.go`` (ComposePeerAuthentication).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_UNSAID = {"", "UNSET"}


@dataclass(frozen=True, slots=True)
class PeerPolicy:
    """A PeerAuthentication.

    Attributes:
        namespace: Where it lies.
        labels: The labels of the pods that it is for; empty: all of its namespace.
        mode: Its mode; empty where it says none.
        ports: Container port → mode.
    """

    namespace: str
    labels: Mapping[str, Any]
    mode: str
    ports: Mapping[str, str]


def in_force(
    policies: Iterable[PeerPolicy], root: str, namespace: str, labels: Mapping[str, Any], port: int | None
) -> str:
    """The mode at a container port: port before workload before namespace before mesh; PERMISSIVE where nobody says anything.

    Args:
        policies: All there are, the oldest first: that counts of those of one scope.
        root: The mesh's root namespace.
        namespace: The pod's.
        labels: The pod's.
        port: The port; ``None``: of no port in particular.
    """
    mode = "PERMISSIVE"
    for policy in _levels(list(policies), root, namespace, labels):
        mode = mode if policy.mode in _UNSAID else policy.mode
        at_port = policy.ports.get(str(port), "")
        if policy.labels and at_port not in _UNSAID:  # the workload's level is the last, and the only one with ports
            return at_port
    return mode


def _levels(policies: list[PeerPolicy], root: str, namespace: str, labels: Mapping[str, Any]) -> Iterator[PeerPolicy]:
    """The policies that a pod obeys, the widest first."""
    for home in dict.fromkeys((root, namespace)):
        yield from [policy for policy in policies if policy.namespace == home and not policy.labels][:1]
    if namespace != root:  # there a selector makes Istio pay no heed to a policy
        yield from [p for p in policies if p.namespace == namespace and p.labels and _is_for(p, labels)][:1]


def _is_for(policy: PeerPolicy, labels: Mapping[str, Any]) -> bool:
    return all(labels.get(name) == value for name, value in policy.labels.items())
