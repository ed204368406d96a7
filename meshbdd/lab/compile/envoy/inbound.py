"""The inbound listener of a sidecar and its filter chains."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from meshbdd.lab.compile import names
from meshbdd.lab.compile.envoy import tls
from meshbdd.lab.compile.envoy.listeners import PLAIN_ALPN, Access, address, manager, tcp
from meshbdd.lab.compile.envoy.types import (
    HTTP_INSPECTOR,
    ORIGINAL_DST,
    TLS_INSPECTOR,
    typed,
)
from meshbdd.lab.compile.ir import Mtls, Protocol, Service

INBOUND_PORT = 15006
PASSTHROUGH = "InboundPassthroughCluster"
_ANY_PORT = 0
_Sort = tuple[str, bool, dict[str, Any]]
_ISTIO_HTTP = ["istio-http/1.0", "istio-http/1.1", "istio-h2"]


@dataclass(frozen=True, slots=True)
class InboundPort:
    """One port of a workload that a Service leads to."""

    port: int
    service_port: int
    service: Service
    http: bool
    mtls: Mtls


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
    return manager(
        f"inbound_0.0.0.0_{port};",
        access,
        route_config=table,
        server_name="istio-envoy",
        forward_client_cert_details="APPEND_FORWARD",
        set_current_client_cert_details={"dns": True, "subject": True, "uri": True},
    )


def _sorts(protocol: Protocol | None, mtls: Mtls) -> list[_Sort]:
    """The kinds of connection that a port takes: ``http`` or ``tcp``, whether TLS ends here, and how it is told.

    Args:
        protocol: What the port speaks; ``None`` where that is not known, and has to be found out.
        mtls: What it takes.

    The matrix is that of istio/istio ``pilot/pkg/networking/core/filterchain_options.go``.
    """
    tls_: dict[str, Any] = {"transport_protocol": "tls"}
    raw: dict[str, Any] = {"transport_protocol": "raw_buffer"}
    any_istio = {**tls_, "application_protocols": ["istio", "istio-peer-exchange", *_ISTIO_HTTP]}
    istio_http = {**tls_, "application_protocols": _ISTIO_HTTP}
    istio_tcp = {**tls_, "application_protocols": ["istio-peer-exchange", "istio"]}
    plain_http = {**raw, "application_protocols": PLAIN_ALPN}
    kind = "http" if protocol != "tcp" else "tcp"
    found: list[_Sort]
    if mtls == "PERMISSIVE":
        if protocol is None:
            found = [
                ("http", True, istio_http), ("http", False, plain_http), ("tcp", True, istio_tcp), ("tcp", False, raw),
                ("tcp", False, tls_),
            ]  # fmt: skip
        elif kind == "http":
            found = [("http", True, any_istio), ("http", False, raw)]
        else:
            found = [("tcp", True, any_istio), ("tcp", False, tls_), ("tcp", False, raw)]
    elif mtls == "STRICT":
        found = [("http", True, istio_http), ("tcp", True, tls_)] if protocol is None else [(kind, True, tls_)]
    else:
        found = [("http", False, plain_http), ("tcp", False, raw)] if protocol is None else [(kind, False, raw)]
    return found


def _chains(
    protocol: Protocol | None,
    mtls: Mtls,
    where: Mapping[str, Any],
    names_: Mapping[str, str],
    by_kind: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """The chains of one port, or of all others.

    Args:
        protocol: What the port speaks, if that is known.
        mtls: What it takes.
        where: The part of the match that names the port.
        names_: Of the chains, by kind.
        by_kind: Filters for ``http`` and for ``tcp``.
    """
    made = []
    for kind, ends_here, match in _sorts(protocol, mtls):
        chain = {"name": names_[kind], "filter_chain_match": {**where, **match}, "filters": by_kind[kind]}
        made.append({**chain, "transport_socket": tls.downstream(http=kind == "http")} if ends_here else chain)
    return made


def _port_chains(inbound: InboundPort, access: Access) -> list[dict[str, Any]]:
    """The chains of a port that a Service leads to."""
    name = f"0.0.0.0_{inbound.port}"
    cluster = names.inbound_cluster(inbound.port)
    operation = f"{inbound.service.host}:{inbound.service_port}/*"
    host = f"inbound|http|{inbound.service_port}"
    filters = {
        "http": [_inbound_manager(str(inbound.port), cluster, host, operation, access)],
        "tcp": [*access.network, tcp(cluster, f"inbound|{inbound.port}||;")],
    }
    protocol: Protocol = "http" if inbound.http else "tcp"
    return _chains(protocol, inbound.mtls, {"destination_port": inbound.port}, {"http": name, "tcp": name}, filters)


def _passthrough_chains(mtls: Mtls, access: Access, port: int | None = None) -> list[dict[str, Any]]:
    """What takes connections to ports that no Service leads to: to one of them, or to all others."""
    filters = {
        "http": [_inbound_manager("0", PASSTHROUGH, "inbound|http|0", None, access)],
        "tcp": [*access.network, tcp(PASSTHROUGH)],
    }
    where = {"destination_port": port} if port is not None else {}
    return _chains(None, mtls, where, {"http": "virtualInbound-catchall-http", "tcp": "virtualInbound"}, filters)


def _at(ports: Iterable[int]) -> dict[str, Any]:
    ranges = [{"destination_port_range": {"start": port, "end": port + 1}} for port in sorted(ports)]
    return ranges[0] if len(ranges) == 1 else {"or_match": {"rules": ranges}}


def _inspectors(chains: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The filters that find out what a connection speaks, at those ports alone where some chain asks for it.

    istio/istio ``pilot/pkg/networking/core/listener_inbound.go``, ``populateListenerFilters``.
    """
    tls_at: dict[int, bool] = defaultdict(bool)
    http_at: dict[int, bool] = defaultdict(bool)
    for chain in chains:
        match = chain["filter_chain_match"]
        port = match.get("destination_port", _ANY_PORT)
        tls_at[port] |= match.get("transport_protocol") == "tls"
        http_at[port] |= bool({*match.get("application_protocols", ())} & {*PLAIN_ALPN})
    made = []
    if any(tls_at.values()):
        tls_filter = typed("envoy.filters.listener.tls_inspector", TLS_INSPECTOR, {"initial_read_buffer_size": 512})
        named = {port: needed for port, needed in tls_at.items() if port != _ANY_PORT}
        if not tls_at[_ANY_PORT]:
            tls_filter["filter_disabled"] = {"not_match": _at(port for port, needed in named.items() if needed)}
        elif off := [port for port, needed in named.items() if not needed]:
            tls_filter["filter_disabled"] = _at(off)
        made.append(tls_filter)
    if any(http_at.values()):
        http_filter = typed("envoy.filters.listener.http_inspector", HTTP_INSPECTOR)
        made.append({**http_filter, "filter_disabled": _at(port for port, needed in http_at.items() if not needed)})
    return made


def virtual_inbound(
    ports: Sequence[InboundPort], mtls: Mtls, others: Mapping[int, Mtls], access: Access
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The inbound listener with its chains: black hole, passthrough, then each port.

    Args:
        ports: Those that Services lead to.
        mtls: What every port takes for which nothing else is said.
        others: What is said for ports that no Service leads to.
        access: Who is let in.
    """
    chains: list[dict[str, Any]] = [
        {
            "name": "virtualInbound-blackhole",
            "filter_chain_match": {"destination_port": INBOUND_PORT},
            "filters": [tcp("BlackHoleCluster")],
        },
        *_passthrough_chains(mtls, access),
    ]
    for number, mode in sorted(others.items()):
        chains += _passthrough_chains(mode, access, number)
    for port in ports:
        chains += _port_chains(port, access)
    listener = {
        "name": "virtualInbound",
        "address": address("0.0.0.0", INBOUND_PORT),  # noqa: S104 - the lab's transforms bind it elsewhere
        "continue_on_listener_filters_timeout": True,
        "listener_filters": [typed("envoy.filters.listener.original_dst", ORIGINAL_DST), *_inspectors(chains)],
        "listener_filters_timeout": "0s",
        "max_connections_to_accept_per_socket_event": 1,
        "traffic_direction": "INBOUND",
    }
    return listener, chains
