"""Listeners and their filter chains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from meshbdd.lab.compile import names
from meshbdd.lab.compile.envoy import tls
from meshbdd.lab.compile.envoy.types import (
    ADS,
    CORS,
    FAULT,
    GRPC_STATS,
    HTTP_INSPECTOR,
    MANAGER,
    ORIGINAL_DST,
    REQUEST_ID,
    ROUTER,
    TCP_PROXY,
    TLS_INSPECTOR,
    typed,
)
from meshbdd.lab.compile.ir import Mtls, Service

INBOUND_PORT, OUTBOUND_PORT = 15006, 15001
_PLAIN_ALPN = ["http/1.1", "h2c"]
_ISTIO_HTTP = ["istio-http/1.0", "istio-http/1.1", "istio-h2"]


@dataclass(frozen=True, slots=True)
class InboundPort:
    """One port of a workload that a Service leads to."""

    port: int
    service_port: int
    service: Service
    http: bool
    mtls: Mtls


@dataclass(frozen=True, slots=True)
class Access:
    """The filters that let callers in, or not: for chains that speak HTTP, and for those that do not."""

    http: list[dict[str, Any]] = field(default_factory=list)
    network: list[dict[str, Any]] = field(default_factory=list)


def _address(address: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": address, "port_value": port}}


def http_filters() -> list[dict[str, Any]]:
    """Istio's HTTP filters without those of its own, in order; the fault filter is empty until a route fills it."""
    return [
        typed("envoy.filters.http.grpc_stats", GRPC_STATS, {"emit_filter_state": True, "stats_for_all_methods": False}),
        typed("envoy.filters.http.fault", FAULT),
        typed("envoy.filters.http.cors", CORS),
        typed("envoy.filters.http.router", ROUTER),
    ]


def _manager(stat_prefix: str, access: Access = Access(), **more: Any) -> dict[str, Any]:
    config = {
        "stat_prefix": stat_prefix,
        "http_filters": [*access.http, *http_filters()],
        "normalize_path": True,
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
        "proxy_100_continue": True,
        "request_id_extension": {"typed_config": {"@type": REQUEST_ID, "use_request_id_for_trace_sampling": True}},
        "stream_idle_timeout": "0s",
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "use_remote_address": False,
        **more,
    }
    return typed("envoy.filters.network.http_connection_manager", MANAGER, config)


def _tcp(cluster: str, stat_prefix: str | None = None) -> dict[str, Any]:
    return typed(
        "envoy.filters.network.tcp_proxy", TCP_PROXY, {"cluster": cluster, "stat_prefix": stat_prefix or cluster}
    )


def outbound(port: int, rest: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The outbound listener of a port, and its one filter chain; cluster ``rest`` takes what is no HTTP."""
    address = "0.0.0.0"  # noqa: S104 - Istio's name for it
    listener_name = f"{address}_{port}"
    rds = {"config_source": ADS, "route_config_name": str(port)}
    chain = {
        "filter_chain_match": {"application_protocols": _PLAIN_ALPN, "transport_protocol": "raw_buffer"},
        "filters": [_manager(f"outbound_{listener_name};", rds=rds)],
        "transport_socket_connect_timeout": "15s",
    }
    listener = {
        "name": listener_name,
        "address": _address(address, port),
        "bind_to_port": False,
        "continue_on_listener_filters_timeout": True,
        "default_filter_chain": {
            "filter_chain_match": {},
            "filters": [_tcp(rest)],
            "name": "PassthroughFilterChain",
        },
        "listener_filters": [typed("envoy.filters.listener.http_inspector", HTTP_INSPECTOR)],
        "listener_filters_timeout": "0s",
        "traffic_direction": "OUTBOUND",
    }
    return listener, chain


def virtual_outbound(rest: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What catches calls that no port listener takes, and hands them to cluster ``rest``."""
    listener = {
        "name": "virtualOutbound",
        "address": _address("0.0.0.0", OUTBOUND_PORT),  # noqa: S104 - the lab's transforms bind it elsewhere
        "max_connections_to_accept_per_socket_event": 1,
        "traffic_direction": "OUTBOUND",
        "use_original_dst": True,
    }
    black_hole = {
        "name": "virtualOutbound-blackhole",
        "filter_chain_match": {"destination_port": OUTBOUND_PORT},
        "filters": [_tcp("BlackHoleCluster")],
    }
    return listener, [black_hole, {"name": "virtualOutbound-catchall-tcp", "filters": [_tcp(rest)]}]


def _inbound_manager(port: str, cluster: str, vhost: str, operation: str | None, access: Access) -> dict[str, Any]:
    route: dict[str, Any] = {
        "name": "default",
        "match": {"prefix": "/"},
        "route": {
            "cluster": cluster,
            "timeout": "0s",
            "max_stream_duration": {"max_stream_duration": "0s", "grpc_timeout_header_max": "0s"},
            "retry_policy": {"num_retries": 2, "retry_on": "reset-before-request"},
        },
    }
    if operation:
        route["decorator"] = {"operation": operation}
    table = {
        "name": cluster,
        "validate_clusters": False,
        "virtual_hosts": [{"name": vhost, "domains": ["*"], "routes": [route]}],
    }
    return _manager(
        f"inbound_0.0.0.0_{port};",
        access,
        route_config=table,
        server_name="istio-envoy",
        forward_client_cert_details="APPEND_FORWARD",
        set_current_client_cert_details={"dns": True, "subject": True, "uri": True},
    )


def _port_chains(inbound: InboundPort, access: Access) -> list[dict[str, Any]]:
    """The chains of one port: mutual TLS, plaintext, or both (PERMISSIVE)."""
    name = f"0.0.0.0_{inbound.port}"
    cluster = names.inbound_cluster(inbound.port)
    operation = f"{inbound.service.host}:{inbound.service_port}/*"
    if inbound.http:
        host = f"inbound|http|{inbound.service_port}"
        filters = [_inbound_manager(str(inbound.port), cluster, host, operation, access)]
    else:
        filters = [*access.network, _tcp(cluster, f"inbound|{inbound.port}||;")]
    where = {"destination_port": inbound.port}
    secured: dict[str, Any] = {**where, "transport_protocol": "tls"}
    if inbound.mtls == "PERMISSIVE":
        alpn = ["istio", "istio-peer-exchange", *_ISTIO_HTTP] if inbound.http else ["istio-peer-exchange", "istio"]
        secured["application_protocols"] = alpn
    mutual = {
        "name": name,
        "filter_chain_match": secured,
        "filters": filters,
        "transport_socket": tls.downstream(http=inbound.http),
    }
    plain = {"name": name, "filter_chain_match": {**where, "transport_protocol": "raw_buffer"}, "filters": filters}
    through = {"name": name, "filter_chain_match": {**where, "transport_protocol": "tls"}, "filters": filters}
    match inbound.mtls:
        case "STRICT":
            return [mutual]
        case "DISABLE":
            return [plain]
    return [mutual, plain] if inbound.http else [mutual, through, plain]


def _passthrough_chains(mtls: Mtls, access: Access) -> list[dict[str, Any]]:
    """What takes connections to ports that no Service leads to."""
    manager = _inbound_manager("0", "InboundPassthroughCluster", "inbound|http|0", None, access)
    http = "virtualInbound-catchall-http"
    tcp = [*access.network, _tcp("InboundPassthroughCluster")]
    tls_alpn = {} if mtls == "STRICT" else {"application_protocols": ["istio-peer-exchange", "istio"]}
    mutual_http = {
        "name": http, "filters": [manager], "transport_socket": tls.downstream(),
        "filter_chain_match": {"application_protocols": _ISTIO_HTTP, "transport_protocol": "tls"},
    }  # fmt: skip
    plain_http = {
        "name": http, "filters": [manager],
        "filter_chain_match": {"application_protocols": _PLAIN_ALPN, "transport_protocol": "raw_buffer"},
    }  # fmt: skip
    mutual_tcp = {
        "name": "virtualInbound", "filters": tcp, "transport_socket": tls.downstream(http=False),
        "filter_chain_match": {**tls_alpn, "transport_protocol": "tls"},
    }  # fmt: skip
    plain_tcp = {"name": "virtualInbound", "filters": tcp, "filter_chain_match": {"transport_protocol": "raw_buffer"}}
    any_tls = {"name": "virtualInbound", "filters": tcp, "filter_chain_match": {"transport_protocol": "tls"}}
    match mtls:
        case "STRICT":
            return [mutual_http, mutual_tcp]
        case "DISABLE":
            return [plain_http, plain_tcp]
    return [mutual_http, plain_http, mutual_tcp, plain_tcp, any_tls]


def _disabled_at(ports: Sequence[int]) -> dict[str, Any]:
    ranges = [{"destination_port_range": {"start": port, "end": port + 1}} for port in sorted(ports)]
    return ranges[0] if len(ranges) == 1 else {"or_match": {"rules": ranges}}


def virtual_inbound(
    ports: Sequence[InboundPort], workload_mtls: Mtls, access: Access
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The inbound listener with its chains: black hole, passthrough, then each port."""
    chains: list[dict[str, Any]] = [
        {
            "name": "virtualInbound-blackhole",
            "filter_chain_match": {"destination_port": INBOUND_PORT},
            "filters": [_tcp("BlackHoleCluster")],
        },
        *_passthrough_chains(workload_mtls, access),
    ]
    for port in ports:
        chains += _port_chains(port, access)
    filters = [typed("envoy.filters.listener.original_dst", ORIGINAL_DST)]
    if workload_mtls != "DISABLE" or any(port.mtls != "DISABLE" for port in ports):
        off = [INBOUND_PORT, *(port.port for port in ports if port.mtls == "DISABLE")]
        inspector = typed("envoy.filters.listener.tls_inspector", TLS_INSPECTOR, {"initial_read_buffer_size": 512})
        filters.append({**inspector, "filter_disabled": _disabled_at(off)})
    if workload_mtls != "STRICT":
        off = [INBOUND_PORT, *(port.port for port in ports)]
        inspector = typed("envoy.filters.listener.http_inspector", HTTP_INSPECTOR)
        filters.append({**inspector, "filter_disabled": _disabled_at(off)})
    listener = {
        "name": "virtualInbound",
        "address": _address("0.0.0.0", INBOUND_PORT),  # noqa: S104 - the lab's transforms bind it elsewhere
        "continue_on_listener_filters_timeout": True,
        "listener_filters": filters,
        "listener_filters_timeout": "0s",
        "max_connections_to_accept_per_socket_event": 1,
        "traffic_direction": "INBOUND",
    }
    return listener, chains
