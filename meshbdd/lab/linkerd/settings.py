"""The control plane's settings that a policy depends on; Linkerd's chart has them as values.

Defaults: linkerd2 charts/linkerd-control-plane/values.yaml.
"""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass

from meshbdd.lab.certificates import LEAF_LIFETIME

DEFAULT_POLICIES = (
    "all-unauthenticated", "all-authenticated", "cluster-unauthenticated", "cluster-authenticated", "deny", "audit",
)  # fmt: skip


def unknown_mode(text: str) -> str:
    """What Linkerd says of a default policy that it does not know: linkerd2 policy-controller/k8s/index/src/defaults.rs."""
    return f"invalid mode: {json.dumps(text, ensure_ascii=False)}"


@dataclass(frozen=True, slots=True)
class ControlPlaneSettings:
    """How a control plane was installed."""

    default_policy: str = "all-unauthenticated"
    cluster_networks: tuple[str, ...] = ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "fd00::/8")
    opaque_ports: frozenset[int] = frozenset({25, 587, 3306, 4444, 5432, 6379, 9300, 11211})
    allow_request_headers: bool = False
    namespace: str = "linkerd"
    domain: str = "cluster.local"
    egress_namespace: str = "linkerd-egress"
    issuance_lifetime: dt.timedelta = LEAF_LIFETIME

    @property
    def identity_suffix(self) -> str:
        """What every identity ends with."""
        return f"serviceaccount.identity.{self.namespace}.{self.domain}"

    def identity(self, namespace: str, service_account: str) -> str:
        """A workload's identity, a DNS name: linkerd2 charts/partials/templates/_proxy.tpl."""
        return f"{service_account}.{namespace}.{self.identity_suffix}"

    def authority(self, name: str, namespace: str, port: int) -> str:
        """A Service's port as the destination service looks it up."""
        return f"{name}.{namespace}.svc.{self.domain}:{port}"
