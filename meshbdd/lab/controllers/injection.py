"""Sidecar injection, as Istio's webhook decides it: at the creation of a pod, by labels.

The rules and the marks that an injected pod carries are Istio's (``pkg/kube/inject/inject.go`` and
``injection-template.yaml``): a namespace that says no takes no pod, ``false`` on the pod always wins, a pod of a namespace
that says nothing may ask for itself by a label, pods of the host network and of system namespaces are never injected.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from meshbdd.lab.addresses import ENVOY_METRICS_PORT, HEALTH_PORT, METRICS_PORT
from meshbdd.lab.api.errors import Cause, invalid

SIDECAR = "istio-proxy"
TLS_MODE = "security.istio.io/tlsMode"
SYSTEM_NAMESPACES = frozenset({"kube-system", "kube-public", "kube-node-lease", "local-path-storage", "istio-system"})

_INJECT = "sidecar.istio.io/inject"
_REVISION = "istio.io/rev"
_DELAY = "readiness.status.sidecar.istio.io/initialDelaySeconds"
"""https://istio.io/latest/docs/reference/config/annotations/"""


def wants_sidecar(pod: Mapping[str, Any], namespace: Mapping[str, Any]) -> bool:
    """Whether Istio would inject this pod of this namespace."""
    meta = pod.get("metadata") or {}
    if pod.get("spec", {}).get("hostNetwork") or meta.get("namespace") in SYSTEM_NAMESPACES:
        return False
    labels = meta.get("labels") or {}
    if not _is_asked_for(labels, (namespace.get("metadata") or {}).get("labels") or {}):
        return False
    said = labels.get(_INJECT, (meta.get("annotations") or {}).get(_INJECT))
    return not said or str(said).lower() in {"y", "yes", "true", "on"}


def _is_asked_for(pod: Mapping[str, Any], namespace: Mapping[str, Any]) -> bool:
    """Whether the API server asks one of Istio's webhooks, by the labels of a pod and of its namespace: only then it is injected.

    manifests/charts/istio-control/istio-discovery/templates/mutatingwebhook.yaml. Any revision is the lab's own.
    """
    if pod.get(_INJECT) == "false":
        return False
    if "istio-injection" in namespace:
        return bool(namespace["istio-injection"] == "enabled")
    return _REVISION in namespace or _REVISION in pod or pod.get(_INJECT) == "true"


def is_meshed(pod: Mapping[str, Any]) -> bool:
    """Whether a pod carries a sidecar."""
    return ((pod.get("metadata") or {}).get("labels") or {}).get(TLS_MODE) == "istio"


def inject(pod: dict[str, Any]) -> None:
    """Give a pod its sidecar container and the labels and annotations that go with it, in place.

    Raises:
        ApiError: an annotation for the sidecar's readiness is no number of seconds.
    """
    meta, spec = pod.setdefault("metadata", {}), pod.setdefault("spec", {})
    labels, annotations = meta.setdefault("labels", {}), meta.setdefault("annotations", {})
    name = labels.get("service.istio.io/canonical-name") or labels.get("app.kubernetes.io/name") or labels.get("app")
    owner = next((ref["name"] for ref in meta.get("ownerReferences") or []), None)
    labels.setdefault("service.istio.io/canonical-name", name or owner or meta.get("name") or "unknown")
    version = labels.get("app.kubernetes.io/version") or labels.get("version") or "latest"
    labels.setdefault("service.istio.io/canonical-revision", version)
    labels.setdefault(TLS_MODE, "istio")
    status = {"initContainers": None, "containers": [SIDECAR], "volumes": None, "imagePullSecrets": None}
    annotations.setdefault("sidecar.istio.io/status", json.dumps({**status, "revision": "default"}))
    # Who says "false" is left alone: istio/istio pkg/kube/inject/webhook.go, getPrometheusScrape.
    if annotations.get("prometheus.io/scrape", "true") != "false":
        for key, value in (("scrape", "true"), ("port", str(METRICS_PORT)), ("path", "/stats/prometheus")):
            annotations[f"prometheus.io/{key}"] = value
    app = next((container["name"] for container in spec["containers"] if container["name"] != SIDECAR), SIDECAR)
    annotations.setdefault("kubectl.kubernetes.io/default-container", app)
    ready = {
        "httpGet": {"path": "/healthz/ready", "port": HEALTH_PORT},
        "initialDelaySeconds": _delay(meta),
        "periodSeconds": 15,
        "failureThreshold": 4,
    }
    sidecar = {
        "name": SIDECAR,
        "image": "envoyproxy/envoy:lab",
        "ports": [{"name": "http-envoy-prom", "containerPort": ENVOY_METRICS_PORT, "protocol": "TCP"}],
        "readinessProbe": ready,
    }
    # What a pod says of its own sidecar is laid over the template; the image ``auto`` is whatever the template has.
    own: dict[str, Any] = next((container for container in spec["containers"] if container.get("name") == SIDECAR), {})
    image = own.get("image", "auto")
    sidecar |= own | {"image": sidecar["image"] if image == "auto" else image}
    spec["containers"] = [*(c for c in spec["containers"] if c is not own), sidecar]


def _delay(meta: Mapping[str, Any]) -> int:
    """Seconds after which the sidecar is first asked whether it is ready; the chart's own value is 0."""
    said = str((meta.get("annotations") or {}).get(_DELAY, "0"))
    if not (said.isascii() and said.isdigit()):
        cause = Cause(
            "FieldValueInvalid", f"Invalid value: {said!r}: a number of seconds", f"metadata.annotations[{_DELAY}]"
        )
        raise invalid("Pod", "", str(meta.get("name") or ""), [cause])
    return int(said)
