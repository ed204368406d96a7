"""Addresses on loopback: each lab owns one /16 of 127.0.0.0/8, so that labs run side by side.

====================  =====================================================================
``127.N.0.1``         the lab itself: Kubernetes API, Prometheus
``127.N.1-63.x``      pods (inbound sidecar listener, status ports; the application itself where there is no sidecar)
``127.N.64-127.x``    cluster IPs of Services; nothing listens there, plain pods are led past them
``127.N.129-191.x``   the private side of the pod with address ``127.N.1-63.x`` (+128): the application,
                      the sidecar's outbound listener and Envoy's admin interface
====================  =====================================================================
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, field

from meshbdd.errors import EnvironmentBroken

API_PORT = 6443
PROMETHEUS_PORT = 9090
_CLAIM_PORT = 6442
"""Bound for as long as a lab lives: whoever holds it owns the network."""

OUTBOUND_PORT = 15001
INBOUND_PORT = 15006
ADMIN_PORT = 15000
METRICS_PORT = 15020
HEALTH_PORT = 15021
ENVOY_METRICS_PORT = 15090
RESERVED_PORTS = frozenset({15000, 15001, 15004, 15006, 15008, 15020, 15021, 15053, 15090})
"""Ports that Istio keeps for itself: https://istio.io/latest/docs/ops/deployment/application-requirements/"""

_FIRST_NET, _LAST_NET = 16, 250
_POD_BLOCK, _SERVICE_BLOCK, _PRIVATE_OFFSET = range(1, 64), range(64, 128), 128


def private_side(pod_ip: str) -> str:
    """The pod-private address behind a pod address."""
    first, net, block, host = pod_ip.split(".")
    return f"{first}.{net}.{int(block) + _PRIVATE_OFFSET}.{host}"


@dataclass(slots=True)
class Subnet:
    """One lab's /16 and what of it is in use."""

    net: int
    _pods: set[str] = field(default_factory=set)
    _services: set[str] = field(default_factory=set)
    _next_pod: int = 0

    @property
    def own(self) -> str:
        """Address of the lab itself."""
        return f"127.{self.net}.0.1"

    def pod(self) -> str:
        """Take a pod address; the one released longest ago comes back last, as on a real cluster."""
        size = len(_POD_BLOCK) * 254
        for step in range(size):
            block, host = divmod((self._next_pod + step) % size, 254)
            address = f"127.{self.net}.{_POD_BLOCK[block]}.{host + 1}"
            if address not in self._pods:
                self._next_pod += step + 1
                self._pods.add(address)
                return address
        raise EnvironmentBroken("MB0701", f"All {size} pod addresses of the lab are in use.", help="delete pods")

    def release_pod(self, address: str) -> None:
        """Give a pod address back."""
        self._pods.discard(address)

    def service(self) -> str:
        """Take a cluster IP."""
        for block in _SERVICE_BLOCK:
            for host in range(1, 255):
                address = f"127.{self.net}.{block}.{host}"
                if address not in self._services:
                    self._services.add(address)
                    return address
        raise EnvironmentBroken("MB0702", "All cluster IPs of the lab are in use.", help="delete Services")

    def release_service(self, address: str) -> None:
        """Give a cluster IP back."""
        self._services.discard(address)


def claim_subnet() -> tuple[Subnet, socket.socket]:
    """Find a /16 that no other lab uses, and hold it by a bound socket, for as long as that is open.

    Raises:
        EnvironmentBroken: no subnet is free, or the machine has no 127.0.0.0/8 (macOS has 127.0.0.1 alone).
    """
    last: OSError | None = None
    for net in range(_FIRST_NET, _LAST_NET + 1):
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((f"127.{net}.0.1", _CLAIM_PORT))
            listener.listen(1)
            for port in (API_PORT, PROMETHEUS_PORT):
                with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as free:
                    free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    free.bind((f"127.{net}.0.1", port))
        except OSError as error:
            listener.close()
            last = error
            continue
        return Subnet(net), listener
    raise EnvironmentBroken(
        "MB0703",
        f"No loopback network 127.{_FIRST_NET}-{_LAST_NET}.0.0/16 is free for the lab's ports {API_PORT} and {PROMETHEUS_PORT}: {last}.",
        help="take other labs down with `meshbdd lab down`; on macOS the lab needs Linux",
    )
