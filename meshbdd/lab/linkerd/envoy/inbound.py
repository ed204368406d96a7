"""The inbound side of a sidecar: for each port of its pod a chain for Linkerd's TLS and one for everything else."""

from __future__ import annotations

from typing import Any

from meshbdd.lab.addresses import private_side
from meshbdd.lab.compile.envoy.types import (
    ADS,
    HTTP_OPTIONS,
    HTTP_OPTIONS_KEY,
    MANAGER,
    ROUTER,
    TCP_PROXY,
    TLS_INSPECTOR,
    typed,
)
from meshbdd.lab.linkerd.envoy import ratelimit, rbac, replies, scripts, tls
from meshbdd.lab.linkerd.envoy.labels import labels
from meshbdd.lab.linkerd.envoy.matches import answer_of, direct, header, modifiers, write_match
from meshbdd.lab.linkerd.envoy.order import Entry, ordered
from meshbdd.lab.linkerd.model import InboundServer, Meta, RpcMatch, ServerRoute, ServerRule

Json = dict[str, Any]

INBOUND = "inbound"
CLIENT_ID = "l5d-client-id"
_BYTES = {"opaque", "tls"}
"""Protocols whose bytes nobody looks at."""
APPLICATION_WAIT = 1000
"""Milliseconds for which HTTP/2 requests wait for an application that refuses."""
CONNECT_TIMEOUT = "0.100s"
"""``proxy.inboundConnectTimeout``: linkerd2 charts/linkerd-control-plane/values.yaml."""


def cluster_name(port: int) -> str:
    """The cluster of the application's port."""
    return f"inbound|{port}||"


def address(ip: str, port: int) -> Json:
    """A socket address."""
    return {"socket_address": {"address": ip, "port_value": port}}


def cluster(ip: str, port: int) -> Json:
    """The application itself, at the pod-private address."""
    name = cluster_name(port)
    options = {
        "@type": HTTP_OPTIONS,
        "use_downstream_protocol_config": {"http_protocol_options": {}, "http2_protocol_options": {}},
    }
    endpoint = {"endpoint": {"address": address(private_side(ip), port)}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": CONNECT_TIMEOUT,
        "typed_extension_protocol_options": {HTTP_OPTIONS_KEY: options},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _routes(server: InboundServer, port: int, first: InboundServer | None) -> list[Json]:
    entries = [
        Entry(host, match, (route, rule))
        for route in server.routes
        for rule in route.rules
        for match in rule.matches or (RpcMatch(),)
        for host in route.hosts or (None,)
    ]
    made = [_route(entry, server, port) for entry in ordered(entries)]
    made.append({"match": {"prefix": "/"}, "name": "no-route", "metadata": _told(server, None), **direct(404, None)})
    if first is None:
        return made
    for route in made:
        route["metadata"]["filter_metadata"][scripts.ANSWERS] = {"undeclared": True}
    unfetched = _routes(first, port, None)
    marked = {"name": scripts.UNFETCHED, "present_match": True}
    for route in unfetched:
        route["match"] = {**route["match"], "headers": [*route["match"].get("headers", []), marked]}
    return [*unfetched, *made]


def _told(server: InboundServer, route: Meta | None) -> Json:
    """What a route says of itself, for metrics."""
    fields = ("group", "kind", "name")
    told = {"server": labels(server.meta, *fields), "route": labels(route, *fields) if route is not None else ""}
    if server.rate_limit is not None:
        told["limit"] = (
            f"policy.linkerd.io|HTTPLocalRateLimitPolicy|{server.rate_limit.name}|{ratelimit.scope(server.rate_limit)}"
        )
    return {"filter_metadata": {"linkerd": told}}


def _route(entry: Entry[tuple[ServerRoute, ServerRule]], server: InboundServer, port: int) -> Json:
    route, rule = entry.target
    made: Json = {
        "match": write_match(entry),
        "name": str(route.meta),
        "metadata": _told(server, route.meta),
        "typed_per_filter_config": rbac.per_route((*server.authorizations, *route.authorizations)),
    }
    answer = answer_of(rule.filters, informs=False)
    if answer is not None:
        return {**made, **answer}
    # Retries of requests that a kept connection lost before they were written are the codec's business, not a policy's.
    retry = {"num_retries": 1, "retry_on": "reset-before-request"}
    forward = {"cluster": cluster_name(port), "timeout": "0s", "retry_policy": retry}
    return {**made, "route": forward, **modifiers(rule.filters)}


def _table_name(port: int, *, meshed: bool) -> str:
    return f"{INBOUND}:{port}" if meshed else f"{INBOUND}:{port}:unmeshed"


def route_tables(servers: dict[int, InboundServer], first: dict[int, InboundServer | None]) -> dict[str, Json]:
    """The routes with their policies, apart from the listener: a change of them holds for open connections too.

    Args:
        servers: The policies by port.
        first: By which the first request to a port is judged; ``None``: by the port's policy, as every other one.
    """
    made = {}
    for port, server in servers.items():
        if server.protocol in _BYTES:
            continue
        limited = {"typed_per_filter_config": ratelimit.per_host(server.rate_limit)} if server.rate_limit else {}
        host = {"name": str(server.meta), "domains": ["*"], "routes": _routes(server, port, first.get(port)), **limited}
        for meshed in (True, False):
            name = _table_name(port, meshed=meshed)
            # Only rate limits need a name for callers without an identity, and only routes know which request is the first.
            own = [scripts.UNFETCHED] if meshed else [scripts.UNFETCHED, CLIENT_ID]
            made[name] = {
                "name": name,
                "validate_clusters": False,
                "virtual_hosts": [host],
                "request_headers_to_remove": own,
            }
    return made


def _manager(server: InboundServer, port: int, *, meshed: bool) -> Json:
    codec = {"http2": "HTTP2", "grpc": "HTTP2", "http1": "HTTP1"}.get(server.protocol, "AUTO")
    config: Json = {
        "stat_prefix": INBOUND,
        # A meshed caller may have its requests carried by either protocol.
        "codec_type": "AUTO" if meshed else codec,
        "rds": {"config_source": ADS, "route_config_name": _table_name(port, meshed=meshed)},
        "http_filters": [
            scripts.inbound(port, APPLICATION_WAIT),
            _identity_filter(meshed=meshed),
            rbac.http_filter(),
            ratelimit.http_filter(),
            typed("envoy.filters.http.router", ROUTER),
        ],
        "local_reply_config": replies.inbound(),
        "server_header_transformation": "PASS_THROUGH",
        "stream_idle_timeout": "0s",
        "use_remote_address": False,
        "upgrade_configs": [{"upgrade_type": "websocket"}],
    }
    return typed("envoy.filters.network.http_connection_manager", MANAGER, config)


def _identity_filter(*, meshed: bool) -> Json:
    """Name the caller before its requests are counted; ``-`` is shared by all that have no identity."""
    value = "%DOWNSTREAM_PEER_DNS_SAN%" if meshed else "unmeshed"
    append = {"append": header(CLIENT_ID, value)}
    mutation = "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation"
    config = {"@type": mutation, "mutations": {"request_mutations": [append]}}
    return {"name": "meshbdd.lab.client", "typed_config": config}


def _filters(server: InboundServer, port: int, *, meshed: bool) -> list[Json]:
    if server.protocol in _BYTES:
        proxy = {"cluster": cluster_name(port), "stat_prefix": INBOUND}
        return [rbac.network_filter(server.authorizations), typed("envoy.filters.network.tcp_proxy", TCP_PROXY, proxy)]
    return [_manager(server, port, meshed=meshed)]


def _chains(identity: str, server: InboundServer, port: int) -> list[Json]:
    """By what a connection to a port speaks: the mesh's own TLS, no TLS, or somebody else's."""
    where = {"destination_port": port}
    passing = typed(
        "envoy.filters.network.tcp_proxy", TCP_PROXY, {"cluster": cluster_name(port), "stat_prefix": INBOUND}
    )
    return [
        {
            "name": f"meshed:{port}",
            "filter_chain_match": {**where, "transport_protocol": "tls", "server_names": [identity]},
            "filters": _filters(server, port, meshed=True),
            "transport_socket": tls.downstream(),
        },
        {
            "name": f"unmeshed:{port}",
            "filter_chain_match": {**where, "transport_protocol": "raw_buffer"},
            "filters": _filters(server, port, meshed=False),
        },
        {
            "name": f"foreign-tls:{port}",
            "filter_chain_match": {**where, "transport_protocol": "tls"},
            "filters": [rbac.network_filter(server.authorizations), passing],
        },
    ]


def listeners(ip: str, identity: str, servers: dict[int, InboundServer]) -> dict[str, Json]:
    """The inbound listeners by name, one for each port of the pod.

    One alone with an address for each port would close all its sockets when a port is added, and reset the connections that
    wait there; nobody redirects connections here, and a linkerd-proxy has but the one socket that they are redirected to.
    """
    return {
        f"{INBOUND}:{port}": {
            "name": f"{INBOUND}:{port}",
            "address": address(ip, port),
            "listener_filters": [typed("envoy.filters.listener.tls_inspector", TLS_INSPECTOR)],
            "traffic_direction": "INBOUND",
            "filter_chains": _chains(identity, server, port),
        }
        for port, server in servers.items()
    }
