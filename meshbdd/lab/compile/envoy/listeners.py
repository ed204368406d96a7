"""What listeners are made of, and those of the outbound side."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from meshbdd.lab.compile.envoy.types import (
    ADS,
    CORS,
    FAULT,
    GRPC_STATS,
    HTTP_INSPECTOR,
    MANAGER,
    REQUEST_ID,
    ROUTER,
    TCP_PROXY,
    typed,
)

OUTBOUND_PORT = 15001
PLAIN_ALPN = ["http/1.1", "h2c"]


@dataclass(frozen=True, slots=True)
class Access:
    """The filters that let callers in, or not: for chains that speak HTTP, and for those that do not."""

    http: list[dict[str, Any]] = field(default_factory=list)
    network: list[dict[str, Any]] = field(default_factory=list)


def address(host: str, port: int) -> dict[str, Any]:
    """A socket's address."""
    return {"socket_address": {"address": host, "port_value": port}}


def http_filters() -> list[dict[str, Any]]:
    """Istio's HTTP filters without those of its own, in order; the fault filter is empty until a route fills it."""
    return [
        typed("envoy.filters.http.grpc_stats", GRPC_STATS, {"emit_filter_state": True, "stats_for_all_methods": False}),
        typed("envoy.filters.http.fault", FAULT),
        typed("envoy.filters.http.cors", CORS),
        typed("envoy.filters.http.router", ROUTER),
    ]


def manager(stat_prefix: str, access: Access = Access(), **more: Any) -> dict[str, Any]:
    """The filter that speaks HTTP."""
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


def tcp(cluster: str, stat_prefix: str | None = None) -> dict[str, Any]:
    """The filter that hands bytes on to a cluster."""
    return typed(
        "envoy.filters.network.tcp_proxy", TCP_PROXY, {"cluster": cluster, "stat_prefix": stat_prefix or cluster}
    )


def outbound(port: int, rest: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The outbound listener of a port, and its one filter chain; cluster ``rest`` takes what is no HTTP."""
    everywhere = "0.0.0.0"  # noqa: S104 - Istio's name for it
    listener_name = f"{everywhere}_{port}"
    rds = {"config_source": ADS, "route_config_name": str(port)}
    chain = {
        "filter_chain_match": {"application_protocols": PLAIN_ALPN, "transport_protocol": "raw_buffer"},
        "filters": [manager(f"outbound_{listener_name};", rds=rds)],
        "transport_socket_connect_timeout": "15s",
    }
    listener = {
        "name": listener_name,
        "address": address(everywhere, port),
        "bind_to_port": False,
        "continue_on_listener_filters_timeout": True,
        "default_filter_chain": {
            "filter_chain_match": {},
            "filters": [tcp(rest)],
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
        "address": address("0.0.0.0", OUTBOUND_PORT),  # noqa: S104 - the lab's transforms bind it elsewhere
        "max_connections_to_accept_per_socket_event": 1,
        "traffic_direction": "OUTBOUND",
        "use_original_dst": True,
    }
    black_hole = {
        "name": "virtualOutbound-blackhole",
        "filter_chain_match": {"destination_port": OUTBOUND_PORT},
        "filters": [tcp("BlackHoleCluster")],
    }
    return listener, [black_hole, {"name": "virtualOutbound-catchall-tcp", "filters": [tcp(rest)]}]
