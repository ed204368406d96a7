"""Kinds that no rule is about: an object of one is passed over, and that has to be said where nobody knows the kind."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import Any

from meshbdd.sense.catalog import UNKNOWN_KIND
from meshbdd.sense.finding import Finding
from meshbdd.sense.pods import TEMPLATES, template_of

_OF_ISTIO = (
    "VirtualService", "DestinationRule", "Gateway", "ServiceEntry", "WorkloadEntry", "WorkloadGroup", "Sidecar", "EnvoyFilter",
    "ProxyConfig", "PeerAuthentication", "RequestAuthentication", "AuthorizationPolicy", "Telemetry", "WasmPlugin", "IstioOperator",
)  # fmt: skip
"""https://istio.io/latest/docs/reference/config/"""
_KUBERNETES = {"", "apps", "batch", "autoscaling", "policy"}
"""Kubernetes' groups, besides those that end in .k8s.io."""
_LINKERD = "linkerd.io"


def unknown_kinds(objects: Iterable[dict[str, Any]]) -> Iterator[Finding]:
    """The objects of kinds that neither Kubernetes nor a mesh has, as far as is known here."""
    for obj in objects:
        kind, version = obj["kind"], str(obj.get("apiVersion") or "")
        group = version.rpartition("/")[0]
        known = (
            kind in _OF_ISTIO
            if group.endswith("istio.io")
            else group.endswith((_LINKERD, ".k8s.io")) or group in _KUBERNETES
        )
        if not known and (kind in TEMPLATES or not template_of(obj)):  # pods of an unknown kind's template are judged
            near = difflib.get_close_matches(kind, _OF_ISTIO, 1, 0.8)
            help_ = f"did you mean {near[0]}?" if near else UNKNOWN_KIND.help
            yield UNKNOWN_KIND.on(
                obj, f"nobody here knows the kind {kind} of {version or 'no apiVersion'}: it is not judged.", help_
            )
