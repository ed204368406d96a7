"""Clusters and their endpoints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from meshbdd.lab.compile import names
from meshbdd.lab.compile.envoy import tls
from meshbdd.lab.compile.envoy.types import ADS, HTTP_OPTIONS, HTTP_OPTIONS_KEY
from meshbdd.lab.compile.ir import Endpoint, Port, Service, TrafficPolicy
from meshbdd.lab.compile.values import duration

_NO_LIMIT = 4294967295
CONNECT_TIMEOUT = "10s"
"""Istio's default: meshConfig.connectTimeout."""

_POLICIES = {
    "ROUND_ROBIN": None, "RANDOM": "RANDOM", "LEAST_REQUEST": "LEAST_REQUEST", "LEAST_CONN": "LEAST_REQUEST",
    "UNSPECIFIED": "LEAST_REQUEST",
}  # fmt: skip
"""``None`` is Envoy's own default, which protobuf JSON leaves out."""


def _limits(pool: Mapping[str, Any] | None) -> dict[str, Any]:
    tcp, http = (pool or {}).get("tcp") or {}, (pool or {}).get("http") or {}
    # A 0 counts as "not said" in Istio.
    return {
        "max_connections": tcp.get("maxConnections") or _NO_LIMIT,
        "max_pending_requests": http.get("http1MaxPendingRequests") or _NO_LIMIT,
        "max_requests": http.get("http2MaxRequests") or _NO_LIMIT,
        "max_retries": http.get("maxRetries") or _NO_LIMIT,
    }


def _http_options(pool: Mapping[str, Any] | None, *, http2: bool) -> dict[str, Any] | None:
    tcp, http = (pool or {}).get("tcp") or {}, (pool or {}).get("http") or {}
    common: dict[str, Any] = {}
    idle = http.get("idleTimeout") or tcp.get("idleTimeout")
    if idle:
        common["idle_timeout"] = duration(idle)
    if http.get("maxRequestsPerConnection"):
        common["max_requests_per_connection"] = http["maxRequestsPerConnection"]
    if tcp.get("maxConnectionDuration"):
        common["max_connection_duration"] = duration(tcp["maxConnectionDuration"])
    upgrade = http.get("h2UpgradePolicy") == "UPGRADE"
    streams = http.get("maxConcurrentStreams")
    if not common and not http2 and not upgrade and not http.get("useClientProtocol"):
        return None
    made: dict[str, Any] = {"@type": HTTP_OPTIONS}
    if common:
        made["common_http_protocol_options"] = common
    if http.get("useClientProtocol"):
        made["use_downstream_protocol_config"] = {"http_protocol_options": {}, "http2_protocol_options": {}}
    elif http2 or upgrade:
        made["explicit_http_config"] = {
            "http2_protocol_options": {"max_concurrent_streams": streams} if streams else {}
        }
    else:
        made["explicit_http_config"] = {"http_protocol_options": {}}
    return made


def _apply_pool(cluster: dict[str, Any], pool: Mapping[str, Any] | None, *, http2: bool) -> None:
    cluster["circuit_breakers"] = {"thresholds": [_limits(pool)]}
    tcp = (pool or {}).get("tcp") or {}
    if tcp.get("connectTimeout"):
        cluster["connect_timeout"] = duration(tcp["connectTimeout"])
    if tcp.get("tcpKeepalive") is not None:
        alive = tcp["tcpKeepalive"]
        keep = {"keepalive_probes": alive.get("probes")} if alive.get("probes") else {}
        for theirs, ours in (("time", "keepalive_time"), ("interval", "keepalive_interval")):
            if alive.get(theirs):
                keep[ours] = int(float(duration(alive[theirs])[:-1]))
        cluster["upstream_connection_options"] = {"tcp_keepalive": keep}
    options = _http_options(pool, http2=http2)
    if options is not None:
        cluster["typed_extension_protocol_options"] = {HTTP_OPTIONS_KEY: options}


def write_outlier_detection(block: Mapping[str, Any]) -> dict[str, Any]:
    """Outlier detection; what is not said keeps Envoy's default (5 errors, 10 s, 30 s, at most 10 percent)."""
    made: dict[str, Any] = {"enforcing_success_rate": 0}
    for theirs, ours in (
        ("consecutive5xxErrors", "consecutive_5xx"),
        ("consecutiveGatewayErrors", "consecutive_gateway_failure"),
    ):
        if block.get(theirs) is not None:
            made[ours] = block[theirs]
            made[f"enforcing_{ours}"] = 100 if block[theirs] > 0 else 0
    for theirs, ours in (("interval", "interval"), ("baseEjectionTime", "base_ejection_time")):
        if block.get(theirs):
            made[ours] = duration(block[theirs])
    if block.get("maxEjectionPercent"):
        made["max_ejection_percent"] = block["maxEjectionPercent"]
    if block.get("splitExternalLocalOriginErrors"):
        made["split_external_local_origin_errors"] = True
        local = block.get("consecutiveLocalOriginFailures")
        if local is not None:
            made["consecutive_local_origin_failure"] = local
            made["enforcing_consecutive_local_origin_failure"] = 100 if local > 0 else 0
        made["enforcing_local_origin_success_rate"] = 0
    return made


def _apply_balancer(cluster: dict[str, Any], block: Mapping[str, Any] | None) -> None:
    hashing = (block or {}).get("consistentHash")
    if hashing:
        if "maglev" in hashing:
            size = (hashing["maglev"] or {}).get("tableSize")
            cluster["lb_policy"] = "MAGLEV"
            cluster["maglev_lb_config"] = {"table_size": str(size)} if size else {}
            return
        size = (hashing.get("ringHash") or {}).get("minimumRingSize") or hashing.get("minimumRingSize") or 1024
        cluster["lb_policy"] = "RING_HASH"
        cluster["ring_hash_lb_config"] = {"minimum_ring_size": str(size)}
        return
    policy = _POLICIES.get((block or {}).get("simple") or "UNSPECIFIED", "LEAST_REQUEST")
    if policy:
        cluster["lb_policy"] = policy


def hash_policy(block: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """The route's hash policy for a load balancer block; empty for none."""
    hashing = (block or {}).get("consistentHash") or {}
    if hashing.get("httpHeaderName"):
        return [{"header": {"header_name": hashing["httpHeaderName"]}}]
    if hashing.get("httpCookie"):
        cookie = hashing["httpCookie"]
        made = {"name": cookie["name"], **({"path": cookie["path"]} if cookie.get("path") else {})}
        if cookie.get("ttl"):
            made["ttl"] = duration(cookie["ttl"])
        return [{"cookie": made}]
    if hashing.get("useSourceIp"):
        return [{"connection_properties": {"source_ip": True}}]
    if hashing.get("httpQueryParameterName"):
        return [{"query_parameter": {"name": hashing["httpQueryParameterName"]}}]
    return []


def _metadata(service: Service, origin: str | None, subset: str) -> dict[str, Any]:
    made: dict[str, Any] = {"services": [_service_name(service)]}
    if origin:
        made["config"] = origin
    if subset:
        made["subset"] = subset
    return {"filter_metadata": {"istio": made}}


def _service_name(service: Service) -> dict[str, str]:
    return {"host": service.host, "name": service.name, "namespace": service.namespace}


def outbound(
    service: Service, port: Port, policy: TrafficPolicy, *, subset: str = "", origin: str | None = None, plain: bool
) -> dict[str, Any]:
    """The cluster for calls to a Service's port.

    Args:
        service: The Service.
        port: One of its ports.
        policy: What the DestinationRule says for this port and subset.
        subset: Name of the subset.
        origin: Which DestinationRule, for the metadata.
        plain: Whether automatic mutual TLS is off for this Service.
    """
    name = names.outbound_cluster(port.number, service.host, subset)
    http2 = port.protocol == "http2" or _upgrades(policy)
    cluster: dict[str, Any] = {
        "name": name,
        "alt_stat_name": f"{name};",
        "type": "EDS",
        "eds_cluster_config": {"eds_config": ADS, "service_name": name},
        "connect_timeout": CONNECT_TIMEOUT,
        "common_lb_config": {"healthy_panic_threshold": {}},
        "metadata": _metadata(service, origin, subset),
    }
    _apply_pool(cluster, policy.connection_pool, http2=port.protocol == "http2")
    if policy.outlier_detection is not None:
        cluster["outlier_detection"] = write_outlier_detection(policy.outlier_detection)
        least = policy.outlier_detection.get("minHealthPercent")
        if least:
            cluster["common_lb_config"] = {"healthy_panic_threshold": {"value": least}}
    _apply_balancer(cluster, policy.load_balancer)
    mode = (policy.tls or {}).get("mode")
    server_name = (policy.tls or {}).get("sni") or names.sni(port.number, service.host, subset)
    identities = (policy.tls or {}).get("subjectAltNames") or service.service_accounts
    if mode == "ISTIO_MUTUAL":
        cluster["transport_socket"] = tls.upstream(server_name, identities, http2=http2)
    elif mode is None and not plain:
        cluster["transport_socket_matches"] = tls.automatic(server_name, identities, http2=http2)
    return cluster


def _upgrades(policy: TrafficPolicy) -> bool:
    return ((policy.connection_pool or {}).get("http") or {}).get("h2UpgradePolicy") == "UPGRADE"


def endpoints(cluster: str, places: Iterable[tuple[Endpoint, bool]]) -> dict[str, Any]:
    """The endpoints of a cluster, each with whether it takes mutual TLS."""
    entries = []
    for place, mutual in places:
        metadata: dict[str, Any] = {"istio": {"workload": place.workload}} if place.workload else {}
        if mutual:
            metadata["envoy.transport_socket_match"] = {"tlsMode": "istio"}
        entry: dict[str, Any] = {
            "endpoint": {"address": {"socket_address": {"address": place.address, "port_value": place.port}}},
            "health_status": "HEALTHY",
            "load_balancing_weight": 1,
        }
        if metadata:
            entry["metadata"] = {"filter_metadata": metadata}
        entries.append(entry)
    made: dict[str, Any] = {"cluster_name": cluster}
    if entries:
        made["endpoints"] = [{"lb_endpoints": entries, "load_balancing_weight": len(entries), "locality": {}}]
    return made


def inbound(
    port: int, services: list[Service], policy: TrafficPolicy, origin: str | None, *, http2: bool
) -> dict[str, Any]:
    """The cluster that leads to a workload's own port; of a DestinationRule only the connection limits count here."""
    name = names.inbound_cluster(port)
    metadata: dict[str, Any] = {"services": [_service_name(service) for service in services]}
    if origin:
        metadata["config"] = origin
    cluster: dict[str, Any] = {
        "name": name,
        "alt_stat_name": f"{name};",
        "type": "ORIGINAL_DST",
        "lb_policy": "CLUSTER_PROVIDED",
        "cleanup_interval": "9223372035s",
        "common_lb_config": {},
        "connect_timeout": CONNECT_TIMEOUT,
        "metadata": {"filter_metadata": {"istio": metadata}},
        "upstream_bind_config": {"source_address": {"address": "127.0.0.6", "port_value": 0}},
    }
    _apply_pool(cluster, policy.connection_pool, http2=http2)
    return cluster


def fixed() -> dict[str, dict[str, Any]]:
    """The clusters that every sidecar has."""
    passthrough = {
        "circuit_breakers": {"thresholds": [_limits(None)]},
        "connect_timeout": CONNECT_TIMEOUT,
        "lb_policy": "CLUSTER_PROVIDED",
        "type": "ORIGINAL_DST",
        "alt_stat_name": "PassthroughCluster;",
        "typed_extension_protocol_options": {
            HTTP_OPTIONS_KEY: {
                "@type": HTTP_OPTIONS,
                "common_http_protocol_options": {"idle_timeout": "300s"},
                "use_downstream_protocol_config": {"http_protocol_options": {}, "http2_protocol_options": {}},
            }
        },
    }
    bind = {"source_address": {"address": "127.0.0.6", "port_value": 0}}
    black_hole = {
        "name": "BlackHoleCluster",
        "alt_stat_name": "BlackHoleCluster;",
        "type": "STATIC",
        "connect_timeout": CONNECT_TIMEOUT,
    }
    return {
        "BlackHoleCluster": black_hole,
        "PassthroughCluster": {"name": "PassthroughCluster", **passthrough},
        "InboundPassthroughCluster": {"name": "InboundPassthroughCluster", "upstream_bind_config": bind, **passthrough},
    }
