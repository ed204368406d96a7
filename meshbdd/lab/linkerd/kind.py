"""Linkerd as the lab plays it."""

from __future__ import annotations

import copy
import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryptography import x509

from meshbdd.errors import BadInput
from meshbdd.lab.api.errors import ApiError
from meshbdd.lab.certificates import CertificateAuthority
from meshbdd.lab.compile import Compiled
from meshbdd.lab.controllers.mesh_kind import Compile, MeshKind, Object, Resources
from meshbdd.lab.linkerd import injection
from meshbdd.lab.linkerd.admission.definitions import RESOURCES, crds
from meshbdd.lab.linkerd.admission.webhook import admission_hook
from meshbdd.lab.linkerd.envoy.pod import Compiler
from meshbdd.lab.linkerd.installed import settings_of
from meshbdd.lab.linkerd.metrics.exposition import PAGES, linkerd_metrics
from meshbdd.lab.linkerd.metrics.scraped import SCRAPE_JOB, scrape_labels
from meshbdd.lab.linkerd.policies import Policies
from meshbdd.lab.linkerd.ports import ADMIN_PORT, OUTBOUND_PORT, RESERVED_PORTS
from meshbdd.lab.linkerd.settings import ControlPlaneSettings
from meshbdd.lab.linkerd.telemetry import STATS_PREFIX, with_telemetry
from meshbdd.lab.sidecar.bootstrap import SidecarIdentity, bootstrap
from meshbdd.lab.xds.resources import CLUSTER, ENDPOINTS, LISTENER, ROUTES

SETTINGS = ControlPlaneSettings(cluster_networks=("127.0.0.0/8",))
"""As the lab is installed: its cluster is the loopback network."""
_DRAIN_SECONDS = 5
"""A linkerd-proxy drains nothing: it ends an open connection at once that a port's new policy does not allow, and asks that anew
for each request (linkerd2-proxy linkerd/app/inbound/src/policy/tcp.rs and http.rs)."""
_DRAINING = "listener_manager.total_"
"""What tells whether listeners drain; no metric of Linkerd's is made of it."""


class LinkerdKind:
    """See ``MeshKind``."""

    name = "linkerd"
    sidecar = injection.PROXY
    system_namespace = SETTINGS.namespace
    outbound_port = OUTBOUND_PORT
    drain_seconds = _DRAIN_SECONDS
    metrics_port = ADMIN_PORT
    scrape_job = SCRAPE_JOB
    metric_pages: tuple[str, ...] = PAGES
    reserved_ports = RESERVED_PORTS
    resources = ("namespaces", "configmaps", "pods", "services", "endpointslices.discovery.k8s.io", *RESOURCES)

    def definitions(self) -> list[dict[str, Any]]:
        """See ``MeshKind``."""
        return crds()

    def first_objects(self, authority: CertificateAuthority) -> list[tuple[str, dict[str, Any], str]]:
        """Linkerd publishes its trust roots in a ConfigMap of this name."""
        meta = {"name": "linkerd-identity-trust-roots", "namespace": self.system_namespace}
        body = {"metadata": meta, "data": {"ca-bundle.crt": authority.root.decode()}}
        return [("configmaps", body, self.system_namespace)]

    def admit(self, operation: str, resource: str, new: dict[str, Any] | None, old: dict[str, Any] | None) -> list[str]:
        """See ``MeshKind``; a ``linkerd-config`` that no control plane would start with is refused too."""
        if resource == "configmaps" and operation != "DELETE" and new is not None:
            try:
                settings_of([{"kind": "ConfigMap", **new}])
            except BadInput as refused:
                raise ApiError(400, "BadRequest", refused.sentence) from None
        return admission_hook(operation, resource, new, old)

    def wants_sidecar(self, pod: Object, namespace: Object) -> bool:
        """See ``MeshKind``."""
        return injection.wants_proxy(pod, namespace)

    def inject(self, pod: dict[str, Any], namespace: Object) -> None:
        """See ``MeshKind``."""
        injection.inject(pod, namespace)

    def is_meshed(self, pod: Object) -> bool:
        """See ``MeshKind``."""
        return injection.is_meshed(pod)

    def ready_probe(self, ip: str, sidecar: Object) -> Object:  # noqa: ARG002 - Istio's needs it
        """See ``MeshKind``: at once; the two seconds that Linkerd's injector gives a proxy are for slower machines."""
        return {"httpGet": {"host": ip, "port": ADMIN_PORT, "path": "/ready"}, "periodSeconds": 15}

    def bootstrap(self, identity: SidecarIdentity, ads_socket: Path) -> dict[str, Any]:
        """Istio's status ports stay closed: the lab serves Linkerd's one admin port itself."""
        made = bootstrap(identity, ads_socket)
        made["static_resources"]["listeners"] = []
        kept = [{"prefix": f"{STATS_PREFIX}."}, {"prefix": _DRAINING}]
        made["stats_config"] = {"stats_matcher": {"inclusion_list": {"patterns": kept}}}
        return made

    def compiler(self, objects: Iterable[Object]) -> tuple[Compile, Iterable[tuple[Object, Mapping[str, Any]]]]:
        """See ``MeshKind``."""
        objects = list(objects)
        said = settings_of(objects, SETTINGS)
        # Where the lab's cluster is, and what it is called, is not for a chart's values to say.
        policies = Policies(objects, replace(said, cluster_networks=SETTINGS.cluster_networks, domain=SETTINGS.domain))
        return Compiler(policies).compile, policies.statuses()

    def deliver(self, identity: SidecarIdentity, log: Path, compiled: Compiled) -> Resources:
        """See ``MeshKind``."""
        return {
            CLUSTER: dict(compiled.clusters),
            ENDPOINTS: dict(compiled.endpoints),
            **with_telemetry(
                identity, log, {LISTENER: copy.deepcopy(compiled.listeners), ROUTES: dict(compiled.routes)}
            ),
        }

    def identity(self, namespace: str, service_account: str) -> x509.GeneralName:
        """See ``MeshKind``."""
        return x509.DNSName(SETTINGS.identity(namespace, service_account))

    def certificate_terms(self, pod: Object, objects: Iterable[Object]) -> tuple[dt.timedelta, dt.timedelta]:
        """One lifetime for all, ``identity.issuer.issuanceLifetime``; each proxy renews as its environment says."""
        lifetime = settings_of(objects, SETTINGS).issuance_lifetime
        return lifetime, injection.renewed_after(pod, lifetime)

    def scrape_labels(self, pod: Object) -> Mapping[str, str]:
        """See ``MeshKind``."""
        return scrape_labels(pod)

    def metrics(
        self,
        pages: Mapping[str, str],
        identity: SidecarIdentity,  # noqa: ARG002 - Istio's metrics name both sides
        compiled: Compiled | None,
    ) -> str:
        """See ``MeshKind``."""
        return linkerd_metrics(pages, compiled)


LINKERD: MeshKind = LinkerdKind()
