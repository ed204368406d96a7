"""Clusters and their endpoints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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


def _limits(pool: Mapping[str, Any] | None, budget: Mapping[str, Any] | None) -> dict[str, Any]:
    tcp, http = (pool or {}).get("tcp") or {}, (pool or {}).get("http") or {}
    # A 0 counts as "not said" in Istio.
    made: dict[str, Any] = {
        "max_connections": tcp.get("maxConnections") or _NO_LIMIT,
        "max_pending_requests": http.get("http1MaxPendingRequests") or _NO_LIMIT,
        "max_requests": http.get("http2MaxRequests") or _NO_LIMIT,
        "max_retries": http.get("maxRetries") or _NO_LIMIT,
    }
    if budget is not None:
        share = (budget.get("percent") or {}).get("value", 0.0) if budget.get("percent") is not None else 20.0
        made["retry_budget"] = {
            "budget_percent": {"value": share} if share else {},
            "min_retry_concurrency": budget.get("minRetryConcurrency") or 3,
            **({"budget_interval": duration(budget["budgetInterval"])} if budget.get("budgetInterval") else {}),
        }
    return made


@dataclass(frozen=True, slots=True)
class _Protocol:
    """What a cluster speaks: as its port says, or as the caller does."""

    http2: bool = False
    as_caller: bool = False


def _http_options(
    pool: Mapping[str, Any] | None, speaks: _Protocol, error_codes: Sequence[int] = ()
) -> dict[str, Any] | None:
    tcp, http = (pool or {}).get("tcp") or {}, (pool or {}).get("http") or {}
    common: dict[str, Any] = {}
    idle = http.get("idleTimeout") or tcp.get("idleTimeout")
    if idle:
        common["idle_timeout"] = duration(idle)
    if http.get("maxRequestsPerConnection"):
        common["max_requests_per_connection"] = http["maxRequestsPerConnection"]
    if tcp.get("maxConnectionDuration"):
        common["max_connection_duration"] = duration(tcp["maxConnectionDuration"])
    streams, alive = http.get("maxConcurrentStreams"), http.get("http2KeepAlive")
    as_caller = speaks.as_caller or bool(http.get("useClientProtocol"))
    said = bool(common) or bool(streams) or alive is not None
    if not said and not speaks.http2 and not as_caller and not error_codes:
        return None
    made: dict[str, Any] = {"@type": HTTP_OPTIONS}
    if said:
        made["common_http_protocol_options"] = common
    if as_caller:
        made["use_downstream_protocol_config"] = {"http_protocol_options": {}, "http2_protocol_options": {}}
    elif speaks.http2:
        options: dict[str, Any] = {"max_concurrent_streams": streams} if streams else {}
        if alive is not None:
            options["connection_keepalive"] = {
                name: duration(alive[name]) for name in ("interval", "timeout") if alive.get(name)
            }
        made["explicit_http_config"] = {"http2_protocol_options": options}
    else:
        made["explicit_http_config"] = {"http_protocol_options": {}}
    if error_codes:
        made["outlier_detection"] = {"error_matcher": _any_status(error_codes)}
    return made


def _any_status(codes: Sequence[int]) -> dict[str, Any]:
    rules = [
        {"http_response_headers_match": {"headers": [{"name": ":status", "string_match": {"exact": str(code)}}]}}
        for code in codes
    ]
    return rules[0] if len(rules) == 1 else {"or_match": {"rules": rules}}


def _apply_pool(
    cluster: dict[str, Any],
    pool: Mapping[str, Any] | None,
    speaks: _Protocol,
    *,
    budget: Mapping[str, Any] | None = None,
    error_codes: Sequence[int] = (),
) -> None:
    cluster["circuit_breakers"] = {"thresholds": [_limits(pool, budget)]}
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
    options = _http_options(pool, speaks, error_codes)
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
        if local := block.get("consecutiveLocalOriginFailures"):
            made["consecutive_local_origin_failure"] = local
            made["enforcing_consecutive_local_origin_failure"] = 100
        made["enforcing_local_origin_success_rate"] = 0
    return made


def _apply_balancer(cluster: dict[str, Any], block: Mapping[str, Any] | None) -> None:
    block = block or {}
    if hashing := block.get("consistentHash"):
        _apply_hash(cluster, hashing)
        return
    policy = _POLICIES.get(block.get("simple") or "UNSPECIFIED", "LEAST_REQUEST")
    if policy:
        cluster["lb_policy"] = policy
    if policy != "RANDOM" and (start := _slow_start(block)):
        cluster["least_request_lb_config" if policy else "round_robin_lb_config"] = {"slow_start_config": start}


def _apply_hash(cluster: dict[str, Any], hashing: Mapping[str, Any]) -> None:
    if hashing.get("maglev") is not None:
        cluster["lb_policy"] = "MAGLEV"
        if size := hashing["maglev"].get("tableSize"):
            cluster["maglev_lb_config"] = {"table_size": str(size)}
        return
    cluster["lb_policy"] = "RING_HASH"
    ring = hashing.get("ringHash")
    size = ring.get("minimumRingSize") if ring is not None else hashing.get("minimumRingSize") or 1024
    if size:
        cluster["ring_hash_lb_config"] = {"minimum_ring_size": str(size)}


def _slow_start(block: Mapping[str, Any]) -> dict[str, Any]:
    """How slowly a new endpoint gets its share."""
    warmup = block.get("warmup")
    if warmup is None:
        window = block.get("warmupDurationSecs")
        return {"slow_start_window": duration(window)} if window else {}
    least = warmup["minimumPercent"] if warmup.get("minimumPercent") is not None else 10.0
    aggression = warmup["aggression"] if warmup.get("aggression") is not None else 1.0
    return {
        "slow_start_window": duration(warmup["duration"]),
        # Istio's key names no runtime value, so the default counts.
        "aggression": {"default_value": aggression, "runtime_key": "("},
        "min_weight_percent": {"value": least} if least else {},
    }


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
    _apply_pool(
        cluster,
        policy.connection_pool,
        _Protocol(http2, as_caller=port.detected),
        budget=policy.retry_budget,
        error_codes=(policy.outlier_detection or {}).get("outlierDetectionHttpErrorCodes") or (),
    )
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
    http = (policy.connection_pool or {}).get("http") or {}
    return http.get("h2UpgradePolicy") == "UPGRADE" and not http.get("useClientProtocol")


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
    port: int, services: list[Service], pool: Mapping[str, Any] | None, origin: str | None, *, http2: bool
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
    _apply_pool(cluster, pool, _Protocol(http2))
    return cluster


def fixed() -> dict[str, dict[str, Any]]:
    """The clusters that every sidecar has."""
    passthrough = {
        "circuit_breakers": {"thresholds": [_limits(None, None)]},
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
