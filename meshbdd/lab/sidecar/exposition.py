"""From a sidecar's raw counters to Istio's metrics: the page at port 15020 (``/stats/prometheus``).

Labels, their order of meaning and the words for what is missing are Istio's:
https://istio.io/latest/docs/reference/config/metrics/ (``unknown``; revision ``latest``; no gRPC status: empty).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

_RAW = re.compile(r"envoy_(istio_\w+?)(_bucket|_sum|_count)?\{(.*)\}$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_BUCKET = ',le="'
"""Envoy writes a bucket's label last."""
_WORKLOADS, _KEPT = 256, 16384
"""Of how many workloads series are remembered, and how many of each: some hundred for each kind of answer."""
_UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Workload:
    """One side of a call as Istio's labels name it."""

    name: str = _UNKNOWN
    namespace: str = _UNKNOWN
    app: str = _UNKNOWN
    version: str = _UNKNOWN
    principal: str = _UNKNOWN

    @classmethod
    def of_peer(cls, word: str, principal: str) -> Workload:
        """Read ``workload;namespace;canonical service;revision;cluster``."""
        fields = word.split(";")
        principal = principal if principal not in {"", "-"} else _UNKNOWN
        if len(fields) < 4:
            return cls(principal=principal)
        return cls(fields[0], fields[1], fields[2], fields[3], principal)

    def labels(self, side: str) -> dict[str, str]:
        """The labels of this workload as ``source`` or ``destination``."""
        known = self.name != _UNKNOWN
        return {
            f"{side}_workload": self.name,
            f"{side}_workload_namespace": self.namespace,
            f"{side}_principal": self.principal,
            f"{side}_app": self.app,
            f"{side}_version": self.version,
            f"{side}_canonical_service": self.app,
            f"{side}_canonical_revision": self.version if known else "latest",
            f"{side}_cluster": "Kubernetes" if known else _UNKNOWN,
        }


def _service_labels(cluster: str, host: str) -> dict[str, str]:
    if not host:
        # Istio puts the names of BlackHoleCluster and PassthroughCluster here.
        name = cluster or _UNKNOWN
        return {
            "destination_service": _UNKNOWN,
            "destination_service_name": name,
            "destination_service_namespace": _UNKNOWN,
        }
    parts = host.split(".")
    namespace = parts[1] if len(parts) > 1 else _UNKNOWN
    return {
        "destination_service": host,
        "destination_service_name": parts[0],
        "destination_service_namespace": namespace,
    }


def _istio_labels(raw: Mapping[str, str], own: Workload, host: str) -> dict[str, str]:
    peer = Workload.of_peer(raw["peer"], raw["peer_principal"])
    source_side = raw["reporter"] == "source"
    mutual = raw["peer_principal"] not in {"", "-"}
    if not mutual:
        own = Workload(own.name, own.namespace, own.app, own.version)
    source, destination = (own, peer) if source_side else (peer, own)
    grpc = raw["grpc_response_status"] if raw["grpc_response_status"] != "-" else ""
    return {
        "reporter": raw["reporter"],
        **source.labels("source"),
        **destination.labels("destination"),
        **_service_labels(raw["cluster"], host),
        "request_protocol": "grpc" if grpc else "http",
        "response_code": raw["response_code"],
        "grpc_response_status": grpc,
        "response_flags": raw["response_flags"],
        # Only the destination knows: https://istio.io/latest/docs/reference/config/metrics/#labels
        "connection_security_policy": _UNKNOWN if source_side else ("mutual_tls" if mutual else "none"),
    }


@lru_cache(maxsize=_WORKLOADS)
def _known(own: Workload, services: tuple[tuple[str, str], ...]) -> dict[str, str]:  # noqa: ARG001 - its key
    """Series of a workload's sidecars, as Envoy names them, in Istio's words; filled as they come."""
    return {}


def _translated(series: str, own: Workload, services: Mapping[str, str]) -> str:
    """The name and labels of a series in Istio's words; as they are where they are none of a request."""
    match = _RAW.match(series)
    labels, bucket, limit = match[3].partition(_BUCKET) if match else ("", "", "")
    raw = dict(_LABEL.findall(labels))
    if match is None or "reporter" not in raw:
        return series
    cluster = raw["cluster"]
    host = cluster.rpartition("|")[2] if cluster.startswith("outbound|") else services.get(cluster, "")
    text = ",".join(f'{name}="{value}"' for name, value in _istio_labels(raw, own, host).items())
    return f"{match[1]}{match[2] or ''}{{{text}{bucket}{limit}}}"


def istio_metrics(page: str, own: Workload, inbound_services: Mapping[str, str]) -> str:
    """Envoy's Prometheus page under Istio's names; what is not Istio's passes as it is.

    Args:
        page: The text of Envoy's ``/stats/prometheus``.
        own: The workload whose sidecar wrote it, with its principal.
        inbound_services: Inbound cluster name → full name of the first Service it serves.
    """
    known = _known(own, tuple(sorted(inbound_services.items())))
    if len(known) > _KEPT:
        known.clear()
    lines = []
    for line in page.rstrip("\n").split("\n"):  # a label may hold what else ends a line
        if line.startswith("envoy_istio_"):
            series, _, value = line.rpartition(" ")
            if series not in known:
                known[series] = _translated(series, own, inbound_services)
            lines.append(f"{known[series]} {value}")
        elif line.startswith("# TYPE envoy_istio_"):
            lines.append(line.replace("envoy_istio_", "istio_", 1))
        else:
            lines.append(line)
    return "\n".join(lines) + "\n"
