"""What a sidecar writes down of each request in Linkerd mode: the lab's access log, and counters with Linkerd's meaning.

Envoy counts under a few raw labels, and ``exposition`` turns those into Linkerd's families when the metrics are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from meshbdd.lab.linkerd.envoy import scripts
from meshbdd.lab.linkerd.envoy.pod import OUTBOUND
from meshbdd.lab.sidecar import telemetry
from meshbdd.lab.sidecar.bootstrap import SidecarIdentity
from meshbdd.lab.xds.resources import LISTENER, ROUTES

Json = dict[str, Any]
Resources = dict[str, dict[str, Json]]

_MANAGER, _ROUTER = "envoy.filters.network.http_connection_manager", "envoy.filters.http.router"
_STATS = "type.googleapis.com/envoy.extensions.access_loggers.stats.v3.Config"
STATS_PREFIX = "l5d"

_ENDED = {"status": "%RESPONSE_CODE%", "flags": "%RESPONSE_FLAGS%", "grpc": "%GRPC_STATUS_NUMBER%"}
_INBOUND = {
    **_ENDED,
    "details": "%RESPONSE_CODE_DETAILS%",
    "target": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "peer": "%DOWNSTREAM_PEER_DNS_SAN%",
    "server": "%METADATA(ROUTE:linkerd:server)%",
    "route": "%METADATA(ROUTE:linkerd:route)%",
    "limit": "%METADATA(ROUTE:linkerd:limit)%",
    "authz": "%DYNAMIC_METADATA(envoy.filters.http.rbac:enforced_effective_policy_id)%",
}
_ROUTE = {
    **_ENDED,
    "family": "%METADATA(ROUTE:linkerd:family)%",
    "parent": "%METADATA(ROUTE:linkerd:parent_labels)%",
    "route": "%METADATA(ROUTE:linkerd:route_labels)%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
}
_ATTEMPT = {
    **_ENDED,
    "family": "%METADATA(ROUTE:linkerd:family)%",
    "parent": "%METADATA(ROUTE:linkerd:parent_labels)%",
    "route": "%METADATA(ROUTE:linkerd:route_labels)%",
    "original": f"%RESP({scripts.ORIGINAL_STATUS})%",
    "original_grpc": f"%RESP({scripts.ORIGINAL_GRPC})%",
    "backend": "%UPSTREAM_METADATA(linkerd:backend)%",
    "pod": "%UPSTREAM_METADATA(linkerd:pod)%",
    "namespace": "%UPSTREAM_METADATA(linkerd:namespace)%",
    "account": "%UPSTREAM_METADATA(linkerd:service_account)%",
    "identity": "%UPSTREAM_METADATA(linkerd:identity)%",
    "owner": "%UPSTREAM_METADATA(linkerd:owner)%",
    "template_hash": "%UPSTREAM_METADATA(linkerd:template_hash)%",
    "target": "%UPSTREAM_HOST%",
}


def _stats(kind: str, labels: Mapping[str, str]) -> Json:
    tags = [{"name": name, "value_format": value} for name, value in labels.items()]
    duration = {
        "stat": {"name": f"{kind}_duration", "tags": tags},
        "unit": "Milliseconds",
        "value_format": "%DURATION%",
    }
    config = {
        "@type": _STATS,
        "stat_prefix": STATS_PREFIX,
        "counters": [{"stat": {"name": f"{kind}_total", "tags": tags}, "value_fixed": 1}],
        "histograms": [duration],
    }
    return {"name": "envoy.access_loggers.stats", "typed_config": config}


def _managers(listener: Json) -> list[Json]:
    return [
        network["typed_config"]
        for chain in listener["filter_chains"]
        for network in chain["filters"]
        if network["name"] == _MANAGER
    ]


def with_telemetry(identity: SidecarIdentity, log: Path, resources: Resources) -> Resources:
    """Add logs and counters to the listeners, and the caller's name to the requests, in place."""
    for listener in resources[LISTENER].values():
        for manager in _managers(listener) if listener.get("traffic_direction") == "INBOUND" else ():
            manager["access_log"] = [telemetry.access_log(log), _stats("inbound", _INBOUND)]
            manager["http_filters"].insert(0, telemetry.peer_filter())
    for manager in _managers(resources[LISTENER][OUTBOUND]):
        manager["access_log"] = [telemetry.access_log(log), _stats("route", _ROUTE)]
        router = next(item for item in manager["http_filters"] if item["name"] == _ROUTER)
        router["typed_config"]["upstream_log"] = [_stats("attempt", _ATTEMPT)]
    table = resources[ROUTES][OUTBOUND]
    resources[ROUTES][OUTBOUND] = {**table, "request_headers_to_add": [telemetry.peer_header(identity)]}
    return resources
