"""From a running sidecar's ``config_dump`` back to what the compiler wrote: the inverse of each named transform.

What loopback has no place for is not delivered, so no inverse can find it; ``NOT_DELIVERED`` names it. The rest must come
back exactly.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import extension_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.config.route.v3 import route_pb2

from meshbdd.lab.addresses import RESERVED_PORTS, private_side
from meshbdd.lab.compile import Compiled
from meshbdd.lab.compile.envoy import clusters as write_clusters
from meshbdd.lab.compile.envoy import listeners as write_listeners
from meshbdd.lab.compile.envoy.types import ORIGINAL_DST, typed
from meshbdd.lab.sidecar import transforms
from meshbdd.lab.sidecar.hidden import HIDDEN
from meshbdd.lab.xds.messages import as_dict, parse
from tests.fidelity.world import World

Config = dict[str, dict[str, Any]]
_MANAGER = "envoy.filters.network.http_connection_manager"


def _as_sent(assignment: dict[str, Any]) -> dict[str, Any]:
    """Endpoints without what Envoy writes down of its own; of these alone it does not keep what it was sent."""
    assert assignment.pop("policy") == {"overprovisioning_factor": 140}
    for group in assignment.get("endpoints", []):
        for place in group["lb_endpoints"]:
            assert place["endpoint"].pop("health_check_config") == {}
    return assignment


class Dump:
    """A sidecar's configuration on its way back, by kind and name."""

    def __init__(self, world: World, pod: str) -> None:
        self.ip: str = world.pods[pod]["status"]["podIP"]
        sections = json.loads(world.admin(pod, "/config_dump?include_eds"))["configs"]
        by_type = {section["@type"].rpartition(".")[2]: section for section in sections}

        def found(kind: str, key: str) -> list[dict[str, Any]]:
            return list(by_type.get(kind, {}).get(key, []))

        states = [item.get("active_state") for item in found("ListenersConfigDump", "dynamic_listeners")]
        listeners = [state["listener"] for state in states if state is not None]  # others drain
        clusters = [item["cluster"] for item in found("ClustersConfigDump", "dynamic_active_clusters")]
        routes = [item["route_config"] for item in found("RoutesConfigDump", "dynamic_route_configs")]
        places = [item["endpoint_config"] for item in found("EndpointsConfigDump", "dynamic_endpoint_configs")]
        filters = [item["ecds_filter"] for item in found("EcdsConfigDump", "ecds_filters")]
        self.listeners: Config = {item["name"]: item for item in listeners}
        self.clusters: Config = {item["name"]: item for item in clusters}
        self.routes: Config = {item["name"]: item for item in routes}
        self.endpoints: Config = {
            item["cluster_name"]: _as_sent(item) for item in places if item["cluster_name"].startswith("outbound|")
        }
        # Chains that are draining keep their subscription; what counts is what a chain in use has discovered.
        wanted = {
            item["name"] for name in self.listeners for manager in self.managers(name)
            for item in manager["http_filters"] if "config_discovery" in item
        }  # fmt: skip
        self.extensions: Config = {item["name"]: item for item in filters if item["name"] in wanted}
        self.filter_chains: Config = {}

    def managers(self, listener: str) -> list[dict[str, Any]]:
        """The connection managers of a listener."""
        return [
            network["typed_config"]
            for chain in self.listeners.get(listener, {}).get("filter_chains", [])
            for network in chain["filters"]
            if network["name"] == _MANAGER
        ]


def _agent() -> dict[str, Any]:
    """The socket of Istio's agent as a source."""
    return {
        "api_config_source": {
            "api_type": "GRPC",
            "grpc_services": [{"envoy_grpc": {"cluster_name": "sds-grpc"}}],
            "set_node_on_first_message_only": True,
            "transport_api_version": "V3",
        },
        "initial_fetch_timeout": "0s",
        "resource_api_version": "V3",
    }


def secrets_over_ads(dump: Dump) -> None:
    """Secrets come from the agent's socket again."""
    source = _agent()

    def visit(node: Any) -> None:
        if isinstance(node, dict):
            if "sds_config" in node:
                assert "ads" in node["sds_config"], node
                node["sds_config"] = source
            for value in node.values():
                visit(value)
        elif isinstance(node, list):
            for value in node:
                visit(value)

    visit(dump.clusters)
    visit(dump.listeners)


def one_outbound_listener(dump: Dump) -> None:
    """A listener for each port again. Around its connection manager everything is the same for every sidecar."""
    outbound = dump.listeners.pop(transforms.OUTBOUND)
    assert outbound["address"]["socket_address"]["address"] == private_side(dump.ip)
    (network,) = outbound["filter_chains"][0]["filters"]
    manager = network["typed_config"]
    assert manager.pop("local_reply_config")["mappers"][0]["status_code"] == 405
    for name, table in dump.routes.items():
        known = any(host["name"] == "allow_any" for host in table["virtual_hosts"])
        listener, chain = write_listeners.outbound(int(name), "PassthroughCluster" if known else "BlackHoleCluster")
        template = chain["filters"][0]["typed_config"]
        made = copy.deepcopy(manager)
        made["stat_prefix"] = template["stat_prefix"]
        made["rds"]["route_config_name"] = name
        chain["filters"] = [{"name": network["name"], "typed_config": made}]
        dump.listeners[listener["name"]] = {**listener, "filter_chains": [chain]}


def one_route_table(dump: Dump) -> None:
    """A table for each port again, read from the port in the domains."""
    whole = dump.routes.pop(transforms.OUTBOUND)
    hosts = whole.pop("virtual_hosts")
    fallback = [host for host in hosts if host["domains"] == ["*"]]
    tables: dict[str, list[dict[str, Any]]] = {}
    for host in hosts:
        if host["domains"] == ["*"]:
            continue
        port = host["name"].rpartition(":")[2]
        domains = [domain.removesuffix(f":{port}") for domain in host["domains"] if domain.endswith(f":{port}")]
        without = [domain for domain in host["domains"] if not domain.endswith(f":{port}")]
        assert without == (domains if port == "80" else []), host["domains"]
        tables.setdefault(port, []).append({**host, "domains": domains})
    for port, own in tables.items():
        table = {**whole, "name": port, "ignore_port_in_host_matching": True}
        dump.routes[port] = {**table, "virtual_hosts": [*own, *copy.deepcopy(fallback)]}


def inbound_at_the_pod_address(dump: Dump) -> None:
    """The inbound listener catches redirected connections again."""
    names = [name for name in dump.listeners if name.startswith(transforms.INBOUND)]
    listener = {**dump.listeners[transforms.INBOUND], "filter_chains": []}
    for name in names:
        of_port = dump.listeners.pop(name)
        place, chains = of_port["address"]["socket_address"], of_port["filter_chains"]
        ports = {chain["filter_chain_match"]["destination_port"] for chain in chains}
        root = {port for port in ports if port < 1024 and f"inbound|{port}||" not in dump.clusters}
        if name == transforms.INBOUND:
            assert place["port_value"] == transforms.INBOUND_PORT
            assert ports <= RESERVED_PORTS | root
        else:
            assert name == f"{transforms.INBOUND}:{place['port_value']}"
            assert ports == {place["port_value"]}
            assert not ports & (RESERVED_PORTS | root)
        assert place["address"] == dump.ip
        same = {key for key in of_port if key not in {"name", "address", "filter_chains"}}
        assert {key: of_port[key] for key in same} == {key: listener[key] for key in same}
        listener["filter_chains"] += chains
    dump.listeners[transforms.INBOUND] = listener
    listener["address"] = {"socket_address": {"address": "0.0.0.0", "port_value": 15006}}
    redirected = typed("envoy.filters.listener.original_dst", ORIGINAL_DST)
    listener["listener_filters"] = [redirected, *listener.get("listener_filters", [])]


def application_at_the_private_address(dump: Dump) -> None:
    """Inbound clusters lead to the original destination again."""
    for name in [name for name in dump.clusters if name.startswith(f"{transforms.PASSTHROUGH}:")]:
        (group,) = dump.clusters.pop(name)["load_assignment"]["endpoints"]
        place = group["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
        assert place == {"address": private_side(dump.ip), "port_value": int(name.rpartition(":")[2])}
        dump.listeners = json.loads(json.dumps(dump.listeners).replace(f'"{name}"', f'"{transforms.PASSTHROUGH}"'))
    for name, cluster in dump.clusters.items():
        if not name.startswith("inbound|"):
            continue
        (group,) = cluster.pop("load_assignment")["endpoints"]
        place = group["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
        assert place == {"address": private_side(dump.ip), "port_value": int(name.split("|")[1])}
        cluster |= {"type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED", "cleanup_interval": "9223372035s"}


def hidden_services_by_endpoints(dump: Dump) -> None:
    """A Service that the sidecar does not see is no part of what it holds."""
    table = dump.routes[transforms.OUTBOUND]
    hidden = [host["name"] for host in table["virtual_hosts"] if host["name"].startswith(HIDDEN)]
    table["virtual_hosts"] = [host for host in table["virtual_hosts"] if host["name"] not in hidden]
    for name in hidden:
        assert dump.clusters.pop(name)["alt_stat_name"] == "PassthroughCluster;"
    assert not [name for name in dump.clusters if name.startswith(HIDDEN)]


def passthrough_by_name(dump: Dump) -> None:
    """What no route knows goes to its original destination again."""
    cluster = dump.clusters["PassthroughCluster"]
    assert cluster.pop("cluster_type")["name"] == "envoy.clusters.dynamic_forward_proxy"
    template = write_clusters.fixed()["PassthroughCluster"]
    for field in ("type", "typed_extension_protocol_options"):
        cluster[field] = template[field]
    for manager in dump.managers(transforms.OUTBOUND):
        lookup = manager["http_filters"].pop(-2)
        assert lookup["name"] == "envoy.filters.http.dynamic_forward_proxy"


def telemetry_by_access_log(dump: Dump) -> None:
    """No access logs, no word to the peer."""
    for name, listener in dump.listeners.items():
        for manager in dump.managers(name):
            assert len(manager.pop("access_log")) == 2
            if name != transforms.OUTBOUND:
                assert manager["http_filters"].pop(0)["name"] == "meshbdd.lab.peer"
        listener.pop("access_log", None)
    for table in dump.routes.values():
        *others, own = table.pop("request_headers_to_add")
        assert own["header"]["key"] == "x-meshbdd-lab-peer"
        if others:
            table["request_headers_to_add"] = others


def certificates_from_files(dump: Dump) -> None:
    """The agent reads files again."""

    def secret(name: str) -> dict[str, Any]:
        source = {k: v for k, v in _agent().items() if k != "initial_fetch_timeout"}
        return {"name": name, "sds_config": source}

    def visit(node: Any) -> None:
        for value in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            visit(value)
        if not isinstance(node, dict):
            return
        if path := node.get("validation_context", {}).get("trusted_ca", {}).get("filename"):
            checked = node.pop("validation_context")
            del checked["trusted_ca"]
            name = "file-root:" + ("system" if path == transforms.SYSTEM_ROOTS else path)
            node["combined_validation_context"] = {
                "default_validation_context": checked, "validation_context_sds_secret_config": secret(name),
            }  # fmt: skip
        if "tls_certificates" in node:
            (files,) = node.pop("tls_certificates")
            chain, key = files["certificate_chain"]["filename"], files["private_key"]["filename"]
            node["tls_certificate_sds_secret_configs"] = [secret(f"file-cert:{chain}~{key}")]

    for cluster in dump.clusters.values():
        visit(cluster.get("transport_socket", {}))


def original_destination_by_endpoints(dump: Dump) -> None:
    """The address of the Service counts again."""
    for cluster in dump.clusters.values():
        if cluster.get("eds_cluster_config", {}).get("service_name", "").startswith(transforms.ORIGINAL):
            assert cluster["lb_policy"] == "RANDOM"
            assert cluster.pop("eds_cluster_config")["service_name"] == f"{transforms.ORIGINAL}{cluster['name']}"
            cluster |= {"type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED"}


INVERSES: dict[str, Callable[[Dump], None]] = {
    "original_destination_by_endpoints": original_destination_by_endpoints,
    "certificates_from_files": certificates_from_files,
    "secrets_over_ads": secrets_over_ads,
    "one_outbound_listener": one_outbound_listener,
    "one_route_table": one_route_table,
    "inbound_at_the_pod_address": inbound_at_the_pod_address,
    "application_at_the_private_address": application_at_the_private_address,
    "hidden_services_by_endpoints": hidden_services_by_endpoints,
    "passthrough_by_name": passthrough_by_name,
    "telemetry_by_access_log": telemetry_by_access_log,
}
"""By the name of the transform that it undoes."""


@dataclass(frozen=True, slots=True)
class NotDelivered:
    """A part of the compiler's output that is not sent to a sidecar of the lab.

    Attributes:
        part: Which, and why not.
        effect: What that means for a verdict.
        holds: Whether something of the output is such a part: section, name, and the thing itself.
    """

    part: str
    effect: str
    holds: Callable[[str, str, Mapping[str, Any]], bool]


NOT_DELIVERED = (
    NotDelivered(
        "the listener `virtualOutbound` for what no port's listener takes: nothing redirects connections to it",
        "A client that ignores `http_proxy` meets no sidecar of its own, so nothing that is done at the caller touches its "
        "calls; a fault that meets no call makes the claims about it inconclusive.",
        lambda _section, name, _item: name.startswith("virtualOutbound"),
    ),
    NotDelivered(
        "the chains of `virtualInbound` for ports of a pod that neither a Service leads to nor a PeerAuthentication names: "
        "nothing redirects connections to them",
        "Such a port cannot be reached, whatever the mode of mutual TLS and the policies say, where Istio's sidecar passes on "
        "what these allow. That such a call succeeds is red here; that it is refused is green here and proves nothing. Let a "
        "Service lead to the port.",
        lambda section, name, item: (
            section == "filter_chains"
            and name.startswith("virtualInbound")
            and "destination_port" not in item.get("filter_chain_match", {})
        ),
    ),
    NotDelivered(
        "the cluster `InboundPassthroughCluster`, which leads on from those chains",
        "As of those chains; an EnvoyFilter for this cluster changes nothing that a request could show.",
        lambda section, name, _item: section == "clusters" and name == "InboundPassthroughCluster",
    ),
)

_MESSAGES: dict[str, Any] = {
    "listeners": listener_pb2.Listener,
    "filter_chains": listener_components_pb2.FilterChain,
    "routes": route_pb2.RouteConfiguration,
    "clusters": cluster_pb2.Cluster,
    "endpoints": endpoint_pb2.ClusterLoadAssignment,
    "extensions": extension_pb2.TypedExtensionConfig,
}


SECTIONS = tuple(_MESSAGES)
"""The parts of the compiler's output."""


def _plain(section: str, item: Mapping[str, Any]) -> dict[str, Any]:
    """One spelling of defaults, durations and numbers."""
    return as_dict(parse(_MESSAGES[section], {k: v for k, v in item.items() if k != "@type"}))


def _keyed(chains: Config) -> Config:
    """Filter chains by listener and match: without those that are not delivered their numbers have gaps."""
    made = {}
    for name, chain in chains.items():
        match = json.dumps(chain.get("filter_chain_match", {}), sort_keys=True)
        made[f"{name.partition(' / ')[0]} / {chain.get('name', '')} {match}"] = chain
    return made


def inverted(world: World, pod: str) -> dict[str, Config]:
    """What the compiler must have written for a pod, read from its running sidecar."""
    dump = Dump(world, pod)
    for transform in reversed(transforms.TRANSFORMS):
        INVERSES[transform.__name__](dump)
    for name, listener in dump.listeners.items():
        for index, chain in enumerate(listener.pop("filter_chains")):
            dump.filter_chains[f"{name} / {index:02d}"] = chain
    sections = {section: getattr(dump, section) for section in _MESSAGES}
    return _canonical(sections)


def delivered(compiled: Compiled) -> dict[str, Config]:
    """The compiler's output without what is not delivered."""
    sections: dict[str, Config] = {}
    for section in _MESSAGES:
        sections[section] = {
            name: item
            for name, item in getattr(compiled, section).items()
            if not any(part.holds(section, name, item) for part in NOT_DELIVERED)
        }
    return _canonical(sections)


def _canonical(sections: Mapping[str, Config]) -> dict[str, Config]:
    made = {
        section: {name: _plain(section, item) for name, item in named.items()} for section, named in sections.items()
    }
    made["filter_chains"] = _keyed(made["filter_chains"])
    return made
