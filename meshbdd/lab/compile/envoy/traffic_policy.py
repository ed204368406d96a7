"""The blocks of a DestinationRule's traffic policy, as a cluster has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from meshbdd.lab.compile.envoy.types import HTTP_OPTIONS, HTTP_OPTIONS_KEY
from meshbdd.lab.compile.values import duration

_NO_LIMIT = 4294967295
_POLICIES = {
    "ROUND_ROBIN": None, "RANDOM": "RANDOM", "LEAST_REQUEST": "LEAST_REQUEST", "LEAST_CONN": "LEAST_REQUEST",
    "UNSPECIFIED": "LEAST_REQUEST",
}  # fmt: skip
"""``None`` is Envoy's own default, which protobuf JSON leaves out."""


def write_limits(pool: Mapping[str, Any] | None = None, budget: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The thresholds of a circuit breaker; what is not said has no limit."""
    tcp, http = (pool or {}).get("tcp") or {}, (pool or {}).get("http") or {}
    # A 0 counts as "not said" in Istio.
    made: dict[str, Any] = {
        "max_connections": tcp.get("maxConnections") or _NO_LIMIT,
        "max_pending_requests": http.get("http1MaxPendingRequests") or _NO_LIMIT,
        "max_requests": http.get("http2MaxRequests") or _NO_LIMIT,
        "max_retries": http.get("maxRetries") or _NO_LIMIT,
    }
    if budget is not None:
        share = budget["percent"] if budget.get("percent") is not None else 20.0
        made["retry_budget"] = {
            "budget_percent": {"value": share} if share else {},
            "min_retry_concurrency": budget.get("minRetryConcurrency") or 3,
            **({"budget_interval": duration(budget["budgetInterval"])} if budget.get("budgetInterval") else {}),
        }
    return made


@dataclass(frozen=True, slots=True)
class Speaks:
    """What a cluster speaks: as its port says, or as the caller does."""

    http2: bool = False
    as_caller: bool = False


def _http_options(
    pool: Mapping[str, Any] | None, speaks: Speaks, error_codes: Sequence[int] = ()
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


def apply_pool(
    cluster: dict[str, Any],
    pool: Mapping[str, Any] | None,
    speaks: Speaks,
    *,
    budget: Mapping[str, Any] | None = None,
    error_codes: Sequence[int] = (),
) -> None:
    """Connection limits, timeouts and the protocol, in place."""
    cluster["circuit_breakers"] = {"thresholds": [write_limits(pool, budget)]}
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


def apply_balancer(cluster: dict[str, Any], block: Mapping[str, Any] | None) -> None:
    """How an endpoint is chosen, in place."""
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
