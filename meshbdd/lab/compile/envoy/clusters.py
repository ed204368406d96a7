"""Clusters and their endpoints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from meshbdd.lab.compile import names
from meshbdd.lab.compile.envoy import tls
from meshbdd.lab.compile.envoy.localities import Preference, cluster_settings, groups, preference
from meshbdd.lab.compile.envoy.traffic_policy import (
    Speaks,
    apply_balancer,
    apply_pool,
    write_limits,
    write_outlier_detection,
)
from meshbdd.lab.compile.envoy.types import ADS, HTTP_OPTIONS, HTTP_OPTIONS_KEY
from meshbdd.lab.compile.ir import Endpoint, Port, Service, Workload
from meshbdd.lab.compile.policies import Rule, TrafficPolicy

CONNECT_TIMEOUT = "10s"
"""Istio's default: meshConfig.connectTimeout."""


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
    service: Service,
    port: Port,
    policy: TrafficPolicy,
    *,
    rule: Rule | None = None,
    subset: str = "",
    plain: bool,
    original: bool = False,
) -> dict[str, Any]:
    """The cluster for calls to a Service's port.

    Args:
        service: The Service.
        port: One of its ports.
        policy: What the DestinationRule says for this port and subset.
        rule: The DestinationRule itself.
        subset: Name of the subset.
        plain: Whether automatic mutual TLS is off for this Service.
        original: Whether calls go to the address that the caller connected to.
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
        "metadata": _metadata(service, rule.origin if rule else None, subset),
    }
    if original:
        del cluster["eds_cluster_config"]
        cluster["type"] = "ORIGINAL_DST"
    apply_pool(
        cluster,
        policy.connection_pool,
        Speaks(http2, as_caller=port.detected),
        budget=policy.retry_budget,
        error_codes=(policy.outlier_detection or {}).get("outlierDetectionHttpErrorCodes") or (),
    )
    if policy.outlier_detection is not None:
        cluster["outlier_detection"] = write_outlier_detection(policy.outlier_detection)
        least = policy.outlier_detection.get("minHealthPercent")
        if least and not service.prefers:  # a Service with a traffic distribution needs its unready endpoints told
            cluster["common_lb_config"] = {"healthy_panic_threshold": {"value": least}}
    cluster["common_lb_config"] |= cluster_settings(preference(service, policy))
    if original:
        cluster["lb_policy"] = "CLUSTER_PROVIDED"
    else:
        apply_balancer(cluster, policy.load_balancer)
    server_name = (policy.tls or {}).get("sni") or names.sni(port.number, service.host, subset)
    identities = (policy.tls or {}).get("subjectAltNames") or service.service_accounts
    match policy.tls_mode:
        case "ISTIO_MUTUAL":
            cluster["transport_socket"] = tls.upstream(server_name, identities, http2=http2)
        case "SIMPLE" | "MUTUAL":
            tls.apply_own(cluster, policy.tls or {}, http2=http2, may_use_secrets=rule is not None and rule.selects)
        case None if original and not plain:
            cluster["transport_socket"] = tls.upstream(server_name, identities, http2=http2)
        case None if not plain:
            cluster["transport_socket_matches"] = tls.automatic(server_name, identities, http2=http2)
    if policy.proxy_protocol is not None:
        tls.wrap_in_proxy_protocol(cluster, policy.proxy_protocol)
    return cluster


def _upgrades(policy: TrafficPolicy) -> bool:
    http = (policy.connection_pool or {}).get("http") or {}
    return http.get("h2UpgradePolicy") == "UPGRADE" and not http.get("useClientProtocol")


def endpoints(
    cluster: str, places: Iterable[tuple[Endpoint, bool]], wanted: Preference | None, caller: Workload
) -> dict[str, Any]:
    """The endpoints of a cluster.

    Args:
        cluster: Its name.
        places: Each endpoint with whether it takes mutual TLS.
        wanted: What counts of nearness.
        caller: Near to whom.
    """
    entries = []
    for place, mutual in places:
        metadata: dict[str, Any] = {"istio": {"workload": place.workload}} if place.workload else {}
        if mutual:
            metadata["envoy.transport_socket_match"] = {"tlsMode": "istio"}
        entry: dict[str, Any] = {
            "endpoint": {"address": {"socket_address": {"address": place.address, "port_value": place.port}}},
            "health_status": "HEALTHY" if place.healthy else "UNHEALTHY",
            "load_balancing_weight": 1,
        }
        if metadata:
            entry["metadata"] = {"filter_metadata": metadata}
        entries.append((place, entry))
    made: dict[str, Any] = {"cluster_name": cluster}
    if entries:
        made["endpoints"] = groups(entries, wanted, caller)
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
    apply_pool(cluster, pool, Speaks(http2))
    return cluster


def fixed() -> dict[str, dict[str, Any]]:
    """The clusters that every sidecar has."""
    passthrough = {
        "circuit_breakers": {"thresholds": [write_limits()]},
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
