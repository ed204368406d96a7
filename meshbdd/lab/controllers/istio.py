"""Istio as the lab plays it."""

from __future__ import annotations

import base64
import datetime as dt
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from cryptography import x509

from meshbdd.lab.addresses import HEALTH_PORT, METRICS_PORT, OUTBOUND_PORT, RESERVED_PORTS
from meshbdd.lab.admission import admission_hook, crds
from meshbdd.lab.certificates import LEAF_LIFETIME, CertificateAuthority, spiffe_id
from meshbdd.lab.compile import Compiled, Mesh, compile_pod
from meshbdd.lab.controllers import injection
from meshbdd.lab.controllers.mesh_kind import Compile, MeshKind, Object, Resources
from meshbdd.lab.go import seconds
from meshbdd.lab.sidecar.bootstrap import DRAIN_SECONDS, SidecarIdentity, bootstrap
from meshbdd.lab.sidecar.exposition import Workload, istio_metrics
from meshbdd.lab.sidecar.sharing import Once
from meshbdd.lab.sidecar.transforms import deliver

_log = logging.getLogger(__name__)

_SYSTEM = "istio-system"


def secret_lifetime(pod: Object) -> dt.timedelta:
    """How long a pod's certificates live: 24 h, or ``SECRET_TTL`` in the annotation ``proxy.istio.io/config``.

    What is no duration is passed over with a warning, as Istio's agent does (istio/istio pkg/env).
    """
    text = (pod["metadata"].get("annotations") or {}).get("proxy.istio.io/config")
    config = (yaml.safe_load(text) if text else None) or {}
    asked = (config.get("proxyMetadata") or {}).get("SECRET_TTL")
    try:
        return dt.timedelta(seconds=float(seconds(str(asked)))) if asked else LEAF_LIFETIME
    except ValueError as error:
        _log.warning("SECRET_TTL of pod %s is passed over: %s", pod["metadata"].get("name"), error)
        return LEAF_LIFETIME


def inbound_services(compiled: Compiled | None) -> dict[str, str]:
    """Inbound cluster → the first Service it serves, from the cluster's metadata."""
    found = {}
    for name, cluster in (compiled.clusters if compiled else {}).items():
        services = cluster.get("metadata", {}).get("filter_metadata", {}).get("istio", {}).get("services")
        if name.startswith("inbound|") and services:
            found[name] = services[0]["host"]
    return found


class IstioKind:
    """See ``MeshKind``."""

    name = "istio"
    sidecar = injection.SIDECAR
    system_namespace = _SYSTEM
    outbound_port = OUTBOUND_PORT
    drain_seconds = DRAIN_SECONDS
    metrics_port = METRICS_PORT
    scrape_job = "kubernetes-pods"
    metric_pages: tuple[str, ...] = ("/stats/prometheus",)
    reserved_ports = RESERVED_PORTS
    resources: tuple[str, ...] = (
        "namespaces", "nodes", "pods", "services", "endpointslices.discovery.k8s.io",
        "virtualservices.networking.istio.io", "destinationrules.networking.istio.io",
        "sidecars.networking.istio.io", "envoyfilters.networking.istio.io", "serviceentries.networking.istio.io",
        "peerauthentications.security.istio.io", "authorizationpolicies.security.istio.io",
        "httproutes.gateway.networking.k8s.io",
    )  # fmt: skip

    def definitions(self) -> list[dict[str, Any]]:
        """See ``MeshKind``."""
        return crds()

    def first_objects(self, authority: CertificateAuthority) -> list[tuple[str, dict[str, Any], str]]:
        """Istio keeps its authority in a Secret of this name; who may read it may issue identities, there and here."""
        content = {"ca-cert.pem": authority.root, "ca-key.pem": authority.key}
        data = {name: base64.b64encode(value).decode() for name, value in content.items()}
        meta = {"name": "istio-ca-secret", "namespace": _SYSTEM}
        return [("secrets", {"metadata": meta, "type": "istio.io/ca-root", "data": data}, _SYSTEM)]

    def admit(self, operation: str, resource: str, new: dict[str, Any] | None, old: dict[str, Any] | None) -> list[str]:
        """See ``MeshKind``."""
        return admission_hook(operation, resource, new, old)

    def wants_sidecar(self, pod: Object, namespace: Object) -> bool:
        """See ``MeshKind``."""
        return injection.wants_sidecar(pod, namespace)

    def inject(self, pod: dict[str, Any], namespace: Object) -> None:  # noqa: ARG002 - Linkerd's needs it
        """See ``MeshKind``."""
        injection.inject(pod)

    def is_meshed(self, pod: Object) -> bool:
        """See ``MeshKind``."""
        return injection.is_meshed(pod)

    def ready_probe(self, ip: str, sidecar: Object) -> Object:
        """See ``MeshKind``."""
        injected = sidecar.get("readinessProbe") or {}
        return {
            "httpGet": {"host": ip, "port": HEALTH_PORT, "path": "/healthz/ready"},
            "initialDelaySeconds": injected.get("initialDelaySeconds") or 0,
            "periodSeconds": 15,
        }

    def bootstrap(self, identity: SidecarIdentity, ads_socket: Path) -> dict[str, Any]:
        """See ``MeshKind``."""
        return bootstrap(identity, ads_socket)

    def compiler(self, objects: Iterable[Object]) -> tuple[Compile, Iterable[tuple[Object, Mapping[str, Any]]]]:
        """See ``MeshKind``."""
        mesh = Mesh.read(objects)
        self._once = Once()
        return (lambda pod, namespace: compile_pod(mesh, pod, namespace)), ()

    def deliver(self, identity: SidecarIdentity, log: Path, compiled: Compiled) -> Resources:
        """See ``MeshKind``."""
        delivery = deliver(
            identity,
            log,
            listeners=compiled.listeners,
            filter_chains=compiled.filter_chains,
            routes=compiled.routes,
            clusters=compiled.clusters,
            endpoints=compiled.endpoints,
            behind=compiled.behind,
            hidden=compiled.hidden,
            extensions=compiled.extensions,
            once=self._once,
        )
        return delivery.resources()

    def identity(self, namespace: str, service_account: str) -> x509.GeneralName:
        """See ``MeshKind``."""
        return x509.UniformResourceIdentifier(spiffe_id(namespace, service_account))

    def certificate_terms(
        self,
        pod: Object,
        objects: Iterable[Object],  # noqa: ARG002 - Istio's agent asks for what its own pod says
    ) -> tuple[dt.timedelta, dt.timedelta]:
        """Istio's agent renews at half of the lifetime: options.go, ``SECRET_GRACE_PERIOD_RATIO``."""
        lifetime = secret_lifetime(pod)
        return lifetime, lifetime / 2

    def scrape_labels(self, pod: Object) -> Mapping[str, str]:
        """See ``MeshKind``."""
        return {"namespace": pod["metadata"]["namespace"], "pod": pod["metadata"]["name"]}

    def metrics(self, pages: Mapping[str, str], identity: SidecarIdentity, compiled: Compiled | None) -> str:
        """See ``MeshKind``."""
        principal = spiffe_id(identity.namespace, identity.service_account)
        workload = Workload(identity.workload, identity.namespace, identity.app, identity.version, principal)
        return istio_metrics(pages["/stats/prometheus"], workload, inbound_services(compiled))


ISTIO: MeshKind = IstioKind()
