"""The mesh's control plane: what the API holds becomes, for each sidecar, the configuration it is sent."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from collections.abc import Callable
from typing import Any

import yaml

from meshbdd.lab.api.core import Api
from meshbdd.lab.certificates import LEAF_LIFETIME, Certificate, CertificateAuthority
from meshbdd.lab.compile import Compiled, Mesh, compile_pod
from meshbdd.lab.controllers.kubelet import Kubelet
from meshbdd.lab.controllers.pod import PodRuntime
from meshbdd.lab.sidecar.bootstrap import SidecarIdentity
from meshbdd.lab.sidecar.transforms import deliver
from meshbdd.lab.xds.resources import SECRET, NotEnvoyConfig, Packer
from meshbdd.lab.xds.server import AdsServer
from meshbdd.units import Duration

_log = logging.getLogger(__name__)

RESOURCES = (
    "namespaces", "pods", "services", "endpointslices.discovery.k8s.io",
    "virtualservices.networking.istio.io", "destinationrules.networking.istio.io",
    "sidecars.networking.istio.io", "envoyfilters.networking.istio.io", "serviceentries.networking.istio.io",
    "peerauthentications.security.istio.io", "authorizationpolicies.security.istio.io",
    "httproutes.gateway.networking.k8s.io",
)  # fmt: skip
"""Everything that the compiler reads."""

_DEBOUNCE_SECONDS = 0.001
"""Istio waits 100 ms for quiet (``PILOT_DEBOUNCE_AFTER``); here one turn of the event loop gathers a burst."""


def secret_lifetime(pod: dict[str, Any]) -> dt.timedelta:
    """How long a pod's certificates live: 24 h, or ``SECRET_TTL`` in the annotation ``proxy.istio.io/config``."""
    text = (pod["metadata"].get("annotations") or {}).get("proxy.istio.io/config")
    config = (yaml.safe_load(text) if text else None) or {}
    asked = (config.get("proxyMetadata") or {}).get("SECRET_TTL")
    return dt.timedelta(seconds=Duration.parse(str(asked)).seconds) if asked else LEAF_LIFETIME


class ControlPlane:
    """Compiles on every change and hands the outcome to the ADS server.

    Args:
        api: The lab's API.
        kubelet: Knows which pods run.
        ads: Delivers.
        authority: Issues the workloads' certificates.
        pushed: Called after every push; for figures.
    """

    def __init__(
        self, api: Api, kubelet: Kubelet, ads: AdsServer, authority: CertificateAuthority, pushed: Callable[[], None]
    ) -> None:
        self._api = api
        self._kubelet = kubelet
        self._ads = ads
        self._authority = authority
        self._packer = Packer()
        self._pushed = pushed
        self._scheduled = False
        self._certificates: dict[str, Certificate] = {}
        self._compiled: dict[str, Compiled] = {}
        self._nodes: dict[str, str] = {}
        api.subscribe(lambda _event: self.schedule(), list(RESOURCES))

    def compiled(self, uid: str) -> Compiled | None:
        """The last compiled configuration of a pod."""
        return self._compiled.get(uid)

    def schedule(self) -> None:
        """Push soon."""
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_later(_DEBOUNCE_SECONDS, self._push)

    def _push(self) -> None:
        self._scheduled = False
        objects = [
            obj for resource in RESOURCES if self._api.registry.get(resource) for obj in self._api.list(resource)
        ]
        mesh = Mesh.read(objects)
        gone = set(self._nodes) - set(self._kubelet.pods)
        for uid in gone:
            self._ads.forget(self._nodes.pop(uid))
            self._compiled.pop(uid, None)
            self._certificates.pop(uid, None)
        for obj in objects:
            if obj.get("kind") != "Pod":
                continue
            uid = obj["metadata"]["uid"]
            runtime = self._kubelet.pods.get(uid)
            if runtime is None or not runtime.meshed or not (obj.get("status") or {}).get("podIP"):
                continue
            self._push_pod(mesh, uid, obj, runtime)
        self._pushed()

    def _push_pod(self, mesh: Mesh, uid: str, pod: dict[str, Any], runtime: PodRuntime) -> None:
        identity = runtime.identity
        compiled = compile_pod(mesh, identity.pod, identity.namespace)
        self._compiled[uid] = compiled
        delivery = deliver(
            identity,
            runtime.access_log,
            listeners=compiled.listeners,
            filter_chains=compiled.filter_chains,
            routes=compiled.routes,
            clusters=compiled.clusters,
            endpoints=compiled.endpoints,
            extensions=compiled.extensions,
        )
        resources = delivery.resources()
        resources[SECRET] = self._secrets(uid, identity, pod)
        try:
            snapshot = self._packer.snapshot(resources)
        except NotEnvoyConfig:
            # A mistake of the compiler: the sidecar keeps what it has, and the log names it.
            _log.exception("the configuration of %s is not Envoy's", identity.node)
            return
        self._nodes[uid] = identity.node
        self._ads.set(identity.node, snapshot)

    def _secrets(self, uid: str, identity: SidecarIdentity, pod: dict[str, Any]) -> dict[str, dict[str, Any]]:
        certificate = self._certificates.get(uid)
        now = dt.datetime.now(dt.UTC)
        if certificate is None or now >= certificate.rotate_at:
            lifetime = secret_lifetime(pod)
            certificate = self._authority.workload(identity.namespace, identity.service_account, lifetime=lifetime)
            self._certificates[uid] = certificate
            wait = (certificate.rotate_at - now).total_seconds()
            asyncio.get_running_loop().call_later(max(0.05, wait), self.schedule)
        chain = {
            "certificate_chain": {"inline_string": certificate.chain.decode()},
            "private_key": {"inline_string": certificate.key.decode()},
        }
        trust = {"trusted_ca": {"inline_string": self._authority.root.decode()}}
        return {
            "default": {"name": "default", "tls_certificate": chain},
            "ROOTCA": {"name": "ROOTCA", "validation_context": trust},
        }
