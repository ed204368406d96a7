"""What the controllers need to know of a mesh: everything in which Istio and Linkerd differ stands behind this."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from cryptography import x509

from meshbdd.lab.certificates import CertificateAuthority
from meshbdd.lab.compile import Compiled
from meshbdd.lab.sidecar.bootstrap import SidecarIdentity

Object = Mapping[str, Any]
Compile = Callable[[str, str], Compiled]
"""Name and namespace of a pod → the configuration of its sidecar."""
Resources = dict[str, dict[str, dict[str, Any]]]
"""Envoy configuration by xDS type and name."""


class MeshKind(Protocol):
    """One mesh as the lab plays it.

    Attributes:
        name: ``istio`` or ``linkerd``.
        sidecar: Name of the sidecar's container.
        system_namespace: Where its control plane lives.
        outbound_port: Where applications enter their sidecar, at the pod-private address.
        drain_seconds: How long connections live on that were open when what governs their port was replaced.
        metrics_port: Where a sidecar's metrics are, at the pod's address.
        scrape_job: What Prometheus calls its scraping of the sidecars, where it is set up as the mesh's own project does.
        metric_pages: The pages of Envoy's admin interface that they are made of.
        reserved_ports: Ports that no container may declare.
        resources: The API's names of everything that is compiled.
    """

    name: str
    sidecar: str
    system_namespace: str
    outbound_port: int
    drain_seconds: int
    metrics_port: int
    scrape_job: str
    metric_pages: tuple[str, ...]
    reserved_ports: frozenset[int]
    resources: tuple[str, ...]

    def definitions(self) -> list[dict[str, Any]]:
        """The CustomResourceDefinitions that the lab begins with."""

    def first_objects(self, authority: CertificateAuthority) -> list[tuple[str, dict[str, Any], str]]:
        """Further objects that the lab begins with: resource, body, namespace."""

    def admit(self, operation: str, resource: str, new: dict[str, Any] | None, old: dict[str, Any] | None) -> list[str]:
        """What the mesh's webhook says: warnings, or an ``ApiError``."""

    def wants_sidecar(self, pod: Object, namespace: Object) -> bool:
        """Whether a new pod gets a sidecar."""

    def inject(self, pod: dict[str, Any], namespace: Object) -> None:
        """Give a pod its sidecar, in place."""

    def is_meshed(self, pod: Object) -> bool:
        """Whether a pod carries a sidecar."""

    def ready_probe(self, ip: str, sidecar: Object) -> Object:
        """How a sidecar is asked whether it is ready; ``sidecar``: its container as it was injected."""

    def bootstrap(self, identity: SidecarIdentity, ads_socket: Path) -> dict[str, Any]:
        """Envoy's bootstrap."""

    def compiler(self, objects: Iterable[Object]) -> tuple[Compile, Iterable[tuple[Object, Object]]]:
        """Index the objects of one change; also the statuses that the control plane writes: object and status."""

    def deliver(self, identity: SidecarIdentity, log: Path, compiled: Compiled) -> Resources:
        """What a sidecar is sent."""

    def identity(self, namespace: str, service_account: str) -> x509.GeneralName:
        """The name in a workload's certificate."""

    def certificate_terms(self, pod: Object, objects: Iterable[Object]) -> tuple[dt.timedelta, dt.timedelta]:
        """How long a pod's certificates live, and after what time each is renewed.

        Args:
            pod: The pod.
            objects: Everything that is in force; the control plane's own settings may be among it.
        """

    def scrape_labels(self, pod: Object) -> Mapping[str, str]:
        """What Prometheus says of a pod beside what its metrics say."""

    def metrics(self, pages: Mapping[str, str], identity: SidecarIdentity, compiled: Compiled | None) -> str:
        """Envoy's pages under the mesh's names."""
