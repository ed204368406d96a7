"""What a machine without a network needs to run Istio's configuration: a list of named transforms, and nothing else.

The compiler's output is what Istio would deliver. Each transform here changes it in one way that loopback asks for:
addresses, sockets, config sources, and a stand-in for the filters that a stock Envoy lacks. A transform carries the
reason in its docstring; ``TRANSFORMS`` is their order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meshbdd.lab.addresses import INBOUND_PORT, OUTBOUND_PORT, RESERVED_PORTS, private_side
from meshbdd.lab.compile.envoy.types import ADS
from meshbdd.lab.sidecar import telemetry
from meshbdd.lab.sidecar.bootstrap import SidecarIdentity
from meshbdd.lab.sidecar.hidden import past_the_mesh
from meshbdd.lab.sidecar.sharing import Once
from meshbdd.lab.xds.resources import CLUSTER, ENDPOINTS, EXTENSION, LISTENER, ROUTES

OUTBOUND = "outbound"
"""Name of the one outbound listener and of its route table."""

INBOUND = "virtualInbound"
"""Name of Istio's one inbound listener; those of the lab's ports have it before theirs."""

ORIGINAL = "original-destination/"
"""What the endpoints' name begins with of a cluster that goes by the address, on a real mesh."""

SYSTEM_ROOTS = "/etc/ssl/certs/ca-certificates.crt"
"""Where the roots of the machine are, on most of those that run labs; Istio's agent looks for them in seven places."""

_FILE_ROOT, _FILE_CERT = "file-root:", "file-cert:"
PASSTHROUGH = "InboundPassthroughCluster"
_FREE_PORTS = 1024
"""The first port that anybody may bind."""

_MANAGER = "envoy.filters.network.http_connection_manager"
_FORWARD_PROXY = "type.googleapis.com/envoy.extensions.{}.dynamic_forward_proxy.v3.{}"
_DNS_CACHE = {"name": "lab", "dns_lookup_family": "V4_ONLY"}
_NO_TUNNEL = (
    "This is the lab's sidecar: it forwards plain HTTP requests, and cannot look into a CONNECT tunnel. "
    "Send the request itself to the proxy; a gRPC client connects to the proxy's address "
    "with the service's name as authority.\n"
)


@dataclass(slots=True)
class Delivery:
    """A sidecar's configuration on its way from the compiler to Envoy, by kind and name.

    Transforms may change listeners in place; values of the other kinds are shared between sidecars and only replaced.
    """

    identity: SidecarIdentity
    log: Path
    listeners: dict[str, dict[str, Any]]
    routes: Mapping[str, dict[str, Any]]
    clusters: dict[str, dict[str, Any]]
    endpoints: dict[str, dict[str, Any]]
    extensions: dict[str, dict[str, Any]]
    behind: Mapping[str, dict[str, Any]]
    hidden: Mapping[str, dict[str, Any]]
    once: Once

    def resources(self) -> dict[str, dict[str, dict[str, Any]]]:
        """The configuration by xDS type."""
        return {
            CLUSTER: self.clusters,
            ENDPOINTS: self.endpoints,
            LISTENER: self.listeners,
            ROUTES: dict(self.routes),
            EXTENSION: self.extensions,
        }


def _address(address: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": address, "port_value": port}}


def _managers(listener: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        network["typed_config"]
        for chain in listener.get("filter_chains", [])
        for network in chain["filters"]
        if network["name"] == _MANAGER
    ]


def _copied(node: Any) -> Any:
    # Configuration is JSON: four times as fast as copy.deepcopy, which looks for cycles.
    # The plain types come first: `Mapping` is an abstract class, which is slow to ask for.
    if isinstance(node, (str, int, float)):
        return node
    if isinstance(node, (dict, Mapping)):
        return {key: _copied(value) for key, value in node.items()}
    return [_copied(value) for value in node] if isinstance(node, list) else node


def _move_secrets(node: Any) -> None:
    """Change what is the caller's own, in place."""
    if isinstance(node, dict):
        if "sds_config" in node:
            node["sds_config"] = {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"}
        for value in node.values():
            _move_secrets(value)
    elif isinstance(node, list):
        for value in node:
            _move_secrets(value)


def _with_secrets_over_ads(cluster: Mapping[str, Any]) -> Any:
    made = _copied(cluster)
    _move_secrets(made)
    return made


def _read_by_envoy(node: Any) -> Any:
    """A configuration in which Envoy reads the files that its secrets are named by."""
    if isinstance(node, list):
        return [_read_by_envoy(value) for value in node]
    if not isinstance(node, dict):
        return node
    made = {key: _read_by_envoy(value) for key, value in node.items()}
    checked = made.get("combined_validation_context") or {}
    root = (checked.get("validation_context_sds_secret_config") or {}).get("name", "")
    if root.startswith(_FILE_ROOT):
        path = root.removeprefix(_FILE_ROOT)
        trusted = {"trusted_ca": {"filename": SYSTEM_ROOTS if path == "system" else path}}
        del made["combined_validation_context"]
        made["validation_context"] = {**checked["default_validation_context"], **trusted}
    secrets = made.get("tls_certificate_sds_secret_configs") or []
    if secrets and secrets[0]["name"].startswith(_FILE_CERT):
        chain, _, key = secrets[0]["name"].removeprefix(_FILE_CERT).partition("~")
        del made["tls_certificate_sds_secret_configs"]
        made["tls_certificates"] = [{"certificate_chain": {"filename": chain}, "private_key": {"filename": key}}]
    return made


def certificates_from_files(delivery: Delivery) -> None:
    """Istio's agent reads the files of a DestinationRule's certificates and serves them; here Envoy reads them itself."""
    for name, cluster in delivery.clusters.items():
        if "transport_socket" in cluster:
            delivery.clusters[name] = delivery.once(_read_by_envoy, cluster)


def original_destination_by_endpoints(delivery: Delivery) -> None:
    """Nothing stands at a Service's address: a call that goes to it is led to one of its endpoints, as kube-proxy would."""
    for name, places in delivery.behind.items():
        resource = f"{ORIGINAL}{name}"
        cluster = delivery.clusters[name]
        source = {"eds_config": ADS, "service_name": resource}
        delivery.clusters[name] = {**cluster, "type": "EDS", "lb_policy": "RANDOM", "eds_cluster_config": source}
        delivery.endpoints[resource] = {**places, "cluster_name": resource}


def secrets_over_ads(delivery: Delivery) -> None:
    """Istio's agent serves secrets on a socket of its own (``sds-grpc``); the lab serves them on the ADS stream."""
    for name, cluster in delivery.clusters.items():
        delivery.clusters[name] = delivery.once(_with_secrets_over_ads, cluster)
    _move_secrets(delivery.listeners)


def one_outbound_listener(delivery: Delivery) -> None:
    """Nothing redirects connections on loopback: applications reach one outbound listener as an HTTP proxy.

    It has the connection manager of Istio's per-port listeners, which differ in name and route table alone.
    """
    outbound = {name: item for name, item in delivery.listeners.items() if name != INBOUND}
    for name in outbound:
        del delivery.listeners[name]
    managers = [manager for _, item in sorted(outbound.items()) for manager in _managers(item)]
    if not managers:
        return
    manager = managers[0]
    manager["stat_prefix"] = OUTBOUND
    manager["rds"]["route_config_name"] = OUTBOUND
    manager["local_reply_config"] = {
        "mappers": [
            {
                "filter": {"header_filter": {"header": {"name": ":method", "string_match": {"exact": "CONNECT"}}}},
                "status_code": 405,
                "body": {"inline_string": _NO_TUNNEL},
            }
        ]
    }
    delivery.listeners[OUTBOUND] = {
        "name": OUTBOUND,
        "address": _address(private_side(delivery.identity.ip), OUTBOUND_PORT),
        "traffic_direction": "OUTBOUND",
        "filter_chains": [{"filters": [{"name": _MANAGER, "typed_config": manager}]}],
    }


def _merged_tables(routes: Mapping[str, Any]) -> dict[str, Any]:
    merged: list[dict[str, Any]] = []
    rest: dict[str, Any] = {}
    last: list[dict[str, Any]] = []
    for name, table in sorted(routes.items(), key=lambda item: (item[0] != "80", item[0])):
        port = name.rpartition(":")[2]
        rest = rest or {key: value for key, value in table.items() if key not in {"name", "virtual_hosts"}}
        for host in table.get("virtual_hosts", []):
            if host["domains"] == ["*"]:
                last = last or [host]
                continue
            plain = host["domains"] if port == "80" else []
            merged.append({**host, "domains": [*plain, *(f"{domain}:{port}" for domain in host["domains"])]})
    rest.pop("ignore_port_in_host_matching", None)
    return {**rest, "name": OUTBOUND, "virtual_hosts": [*merged, *last]}


def one_route_table(delivery: Delivery) -> None:
    """The port in the authority picks the route table (80 where none stands), so the tables become one."""
    delivery.routes = {OUTBOUND: delivery.once(_merged_tables, delivery.routes)}


def inbound_at_the_pod_address(delivery: Delivery) -> None:
    """Each port of the pod has an inbound listener of its own, instead of one that catches redirections to all.

    One alone with an address for each would close all its sockets when a port is added, and reset what waits there. Chains
    without a port of their own catch what was redirected from undeclared ports; nothing arrives there. Nor is anything bound
    at a sidecar's own ports, and at undeclared ones that only root may bind: their chains stay with the listener's own.
    """
    listener = delivery.listeners.get(INBOUND)
    if listener is None:
        return
    at: dict[int, list[dict[str, Any]]] = {}
    beside = RESERVED_PORTS | {port for port, _ in _undeclared(listener) if port < _FREE_PORTS}
    for chain in listener["filter_chains"]:
        port = chain.get("filter_chain_match", {}).get("destination_port")
        if port is not None:
            at.setdefault(INBOUND_PORT if port in beside else port, []).append(chain)
    redirected = "envoy.filters.listener.original_dst"
    own = _without(listener, "filter_chains")
    own["listener_filters"] = [f for f in listener.get("listener_filters", []) if f["name"] != redirected]
    for port, chains in at.items():
        name = INBOUND if port == INBOUND_PORT else f"{INBOUND}:{port}"
        place = _address(delivery.identity.ip, port)
        delivery.listeners[name] = {**_copied(own), "name": name, "address": place, "filter_chains": chains}


def _undeclared(listener: Mapping[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The chains of ports that no Service leads to but a PeerAuthentication names, with their port."""
    for chain in listener.get("filter_chains", ()):
        port = chain.get("filter_chain_match", {}).get("destination_port")
        if port is not None and chain.get("name", "").startswith(INBOUND) and port != INBOUND_PORT:
            yield port, chain


def _with_cluster(node: Any, old: str, new: str) -> Any:
    """A configuration whose references to one cluster are to another."""
    if isinstance(node, dict):
        return {
            key: new if key == "cluster" and value == old else _with_cluster(value, old, new)
            for key, value in node.items()
        }
    return [_with_cluster(value, old, new) for value in node] if isinstance(node, list) else node


def _at_the_private_address(cluster: Mapping[str, Any], name: str, delivery: Delivery, port: int) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": _address(private_side(delivery.identity.ip), port)}}
    return {
        **_without(cluster, "cleanup_interval"),
        "name": name,
        "type": "STATIC",
        "lb_policy": "ROUND_ROBIN",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def application_at_the_private_address(delivery: Delivery) -> None:
    """Inbound clusters lead to the application's private address, where Istio has the original destination."""
    passthrough = delivery.clusters.get(PASSTHROUGH, {})
    for listener in delivery.listeners.values():
        for port, chain in _undeclared(listener):
            own = f"{PASSTHROUGH}:{port}"
            chain["filters"] = _with_cluster(chain["filters"], PASSTHROUGH, own)
            delivery.clusters[own] = _at_the_private_address(passthrough, own, delivery, port)
    for name, cluster in delivery.clusters.items():
        if not name.startswith("inbound|"):
            continue
        delivery.clusters[name] = _at_the_private_address(cluster, name, delivery, int(name.split("|")[1]))


def _without(config: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name not in names}


def hidden_services_by_endpoints(delivery: Delivery) -> None:
    """A Service that the sidecar does not see is called past the mesh, as by its address: one of its endpoints takes it."""
    table, cluster = delivery.routes.get(OUTBOUND), delivery.clusters.get("PassthroughCluster")
    if delivery.hidden and table is not None and cluster is not None:
        hosts, made = past_the_mesh(delivery.hidden, table["virtual_hosts"], cluster)
        delivery.clusters |= made
        delivery.routes = {**delivery.routes, OUTBOUND: {**table, "virtual_hosts": hosts}}


def passthrough_by_name(delivery: Delivery) -> None:
    """Without an original destination, a host that no route knows is looked up by the name in the request."""
    delivery.clusters.pop(PASSTHROUGH, None)
    cluster = delivery.clusters.get("PassthroughCluster")
    if cluster is None:
        return
    delivery.clusters["PassthroughCluster"] = {
        **_without(cluster, "type", "typed_extension_protocol_options"),
        "cluster_type": {
            "name": "envoy.clusters.dynamic_forward_proxy",
            "typed_config": {
                "@type": _FORWARD_PROXY.format("clusters", "ClusterConfig"),
                "dns_cache_config": _DNS_CACHE,
            },
        },
    }
    lookup = {
        "name": "envoy.filters.http.dynamic_forward_proxy",
        "typed_config": {
            "@type": _FORWARD_PROXY.format("filters.http", "FilterConfig"),
            "dns_cache_config": _DNS_CACHE,
        },
    }
    for manager in _managers(delivery.listeners.get(OUTBOUND, {})):
        manager["http_filters"].insert(-1, lookup)


def telemetry_by_access_log(delivery: Delivery) -> None:
    """Istio's stats and peer-metadata filters are not in a stock Envoy: see ``telemetry``."""
    for name, listener in delivery.listeners.items():
        inbound = name != OUTBOUND
        logs = [telemetry.access_log(delivery.log), telemetry.stats_log(inbound=inbound)]
        for manager in _managers(listener):
            manager["access_log"] = logs
            if inbound:
                manager["http_filters"].insert(0, telemetry.peer_filter())
        if inbound:
            # A connection that no chain takes (plaintext at a STRICT port) is seen by the listener alone.
            listener["access_log"] = [
                {**logs[0], "filter": {"response_flag_filter": {"flags": ["NR"]}}},
            ]
    mine = telemetry.peer_header(delivery.identity)
    delivery.routes = {
        name: {**table, "request_headers_to_add": [*table.get("request_headers_to_add", []), mine]}
        for name, table in delivery.routes.items()
    }


Transform = Callable[[Delivery], None]

TRANSFORMS: tuple[Transform, ...] = (
    original_destination_by_endpoints,
    certificates_from_files,
    secrets_over_ads,
    one_outbound_listener,
    one_route_table,
    inbound_at_the_pod_address,
    application_at_the_private_address,
    hidden_services_by_endpoints,
    passthrough_by_name,
    telemetry_by_access_log,
)


def deliver(
    identity: SidecarIdentity,
    log: Path,
    *,
    listeners: Mapping[str, Any],
    filter_chains: Mapping[str, Any],
    routes: Mapping[str, Any],
    clusters: Mapping[str, Any],
    endpoints: Mapping[str, Any],
    extensions: Mapping[str, Any],
    behind: Mapping[str, Any],
    hidden: Mapping[str, Any],
    once: Once | None = None,
) -> Delivery:
    """Turn the compiler's output for one pod into what its Envoy is sent.

    Args:
        identity: Whose Envoy.
        log: Its access log.
        listeners: By name, without their chains.
        filter_chains: By listener.
        routes: By name.
        clusters: By name.
        endpoints: By cluster.
        extensions: By name.
        behind: What the addresses of Services lead to, by the cluster that goes by them.
        hidden: What those of Services lead to that the pod's sidecar does not see, by host and port.
        once: Work shared with the other sidecars of one push.
    """
    # Listeners are the sidecar's own, and changed in place; the rest is shared with others, and replaced.
    whole: dict[str, dict[str, Any]] = _copied(listeners)
    for key, chain in sorted(filter_chains.items()):
        whole[key.partition(" / ")[0]].setdefault("filter_chains", []).append(_copied(chain))
    delivery = Delivery(
        identity, log, whole, routes, dict(clusters), dict(endpoints), dict(extensions), behind, hidden, once or Once()
    )
    for transform in TRANSFORMS:
        transform(delivery)
    return delivery
