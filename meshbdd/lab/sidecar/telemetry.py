"""What a sidecar writes down of each request: Istio's access log, and counters with Istio's meaning.

Istio's own ``istio_stats`` filter is not in a stock Envoy; ``envoy.access_loggers.stats`` is. It counts under a few raw
labels here, and ``exposition`` turns those into Istio's labels when the metrics are read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from meshbdd.lab.sidecar.bootstrap import SidecarIdentity

PEER_HEADER = "x-meshbdd-lab-peer"
"""Request header in which the caller's sidecar names its workload; the callee's sidecar strips it."""

METADATA = "meshbdd.lab"

# The keys and their order are Istio's: istio/istio pilot/pkg/model/telemetry_logging.go; the last two are what an operator
# adds to meshConfig.accessLogFormat so that the log tells of traces and of what became of gRPC calls.
ACCESS_LOG_FIELDS = {
    "start_time": "%START_TIME%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "protocol": "%PROTOCOL%",
    "response_code": "%RESPONSE_CODE%",
    "response_flags": "%RESPONSE_FLAGS%",
    "response_code_details": "%RESPONSE_CODE_DETAILS%",
    "connection_termination_details": "%CONNECTION_TERMINATION_DETAILS%",
    "upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration": "%DURATION%",
    "upstream_service_time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%",
    "user_agent": "%REQ(USER-AGENT)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "authority": "%REQ(:AUTHORITY)%",
    "upstream_host": "%UPSTREAM_HOST%",
    "upstream_cluster": "%UPSTREAM_CLUSTER_RAW%",
    "upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%",
    "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "requested_server_name": "%REQUESTED_SERVER_NAME%",
    "route_name": "%ROUTE_NAME%",
    "traceparent": "%REQ(TRACEPARENT)%",
    "grpc_status": "%GRPC_STATUS_NUMBER%",
}

_STATS = "type.googleapis.com/envoy.extensions.access_loggers.stats.v3.Config"
_FILE = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
_HEADER_TO_METADATA = "type.googleapis.com/envoy.extensions.filters.http.header_to_metadata.v3.Config"


def peer_of(identity: SidecarIdentity) -> str:
    """A workload as one word, fields as in Istio's endpoint metadata: workload;namespace;canonical service;revision."""
    return f"{identity.workload};{identity.namespace};{identity.app};{identity.version};Kubernetes"


def access_log(log: Path) -> dict[str, Any]:
    """Istio's JSON access log, written to the sidecar's own log file."""
    fields: dict[str, Any] = {"json_format": ACCESS_LOG_FIELDS}
    config = {"@type": _FILE, "path": str(log), "log_format": fields}
    return {"name": "envoy.access_loggers.file", "typed_config": config}


def stats_log(*, inbound: bool) -> dict[str, Any]:
    """Counters and histograms per request, under raw labels (see ``exposition``)."""
    if inbound:
        peer, theirs, ours = (
            f"%DYNAMIC_METADATA({METADATA}:peer)%",
            "%DOWNSTREAM_PEER_URI_SAN%",
            "%DOWNSTREAM_LOCAL_URI_SAN%",
        )
    else:
        peer, theirs, ours = "%UPSTREAM_METADATA(istio:workload)%", "%UPSTREAM_PEER_URI_SAN%", "-"
    labels = {
        "reporter": "destination" if inbound else "source",
        "peer": peer,
        "peer_principal": theirs,
        "own_principal": ours,
        "cluster": "%UPSTREAM_CLUSTER_RAW%",
        "protocol": "%PROTOCOL%",
        "response_code": "%RESPONSE_CODE%",
        "grpc_response_status": "%GRPC_STATUS_NUMBER%",
        "response_flags": "%RESPONSE_FLAGS%",
    }
    tags = [{"name": name, "value_format": value} for name, value in labels.items()]

    def histogram(name: str, unit: str, value: str) -> dict[str, Any]:
        return {"stat": {"name": name, "tags": tags}, "unit": unit, "value_format": value}

    config = {
        "@type": _STATS,
        "stat_prefix": "istio",
        "counters": [{"stat": {"name": "requests_total", "tags": tags}, "value_fixed": 1}],
        "histograms": [
            histogram("request_duration_milliseconds", "Milliseconds", "%DURATION%"),
            histogram("request_bytes", "Bytes", "%BYTES_RECEIVED%"),
            histogram("response_bytes", "Bytes", "%BYTES_SENT%"),
        ],
    }
    return {"name": "envoy.access_loggers.stats", "typed_config": config}


def peer_header(identity: SidecarIdentity) -> dict[str, Any]:
    """What the outbound side tells the callee's sidecar; a value set by the application is overwritten."""
    return {"header": {"key": PEER_HEADER, "value": peer_of(identity)}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def peer_filter() -> dict[str, Any]:
    """The inbound filter that keeps the caller's word for the counters and takes it off the request."""
    rule = {
        "header": PEER_HEADER,
        "on_header_present": {"metadata_namespace": METADATA, "key": "peer", "type": "STRING"},
        "remove": True,
    }
    config = {"@type": _HEADER_TO_METADATA, "request_rules": [rule]}
    return {"name": "meshbdd.lab.peer", "typed_config": config}
