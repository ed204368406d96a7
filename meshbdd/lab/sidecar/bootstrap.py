"""The bootstrap of a sidecar: everything that Envoy must know before its first word with the lab."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meshbdd.lab.addresses import ADMIN_PORT, ENVOY_METRICS_PORT, HEALTH_PORT, private_side

ADS_CLUSTER = "xds-grpc"
"""Istio's name for the cluster of the control plane."""

_MANAGER = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"

DRAIN_SECONDS = 45
"""Istio's ``terminationDrainDuration``/``drainDuration`` of a sidecar."""


@dataclass(frozen=True, slots=True)
class SidecarIdentity:
    """Which pod a sidecar belongs to."""

    pod: str
    namespace: str
    ip: str
    service_account: str
    workload: str
    app: str
    version: str

    @property
    def node(self) -> str:
        """The node id as Istio writes it; the lab reads pod and namespace back from it."""
        return f"sidecar~{self.ip}~{self.pod}.{self.namespace}~{self.namespace}.svc.cluster.local"


def _socket(address: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": address, "port_value": port}}


def _static_cluster(name: str, address: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        # These clusters reach the lab, not the mesh: they must not leave from the pod's address.
        "upstream_bind_config": {},
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }


def _admin_listener(name: str, address: dict[str, Any], path: str, rewrite: str) -> dict[str, Any]:
    """A listener that shows one page of the admin interface at the pod's address, as Istio's sidecars do."""
    route = {"match": {"path": path}, "route": {"cluster": "agent", "prefix_rewrite": rewrite}}
    manager: dict[str, Any] = {
        "@type": _MANAGER,
        "stat_prefix": "agent",
        "route_config": {"virtual_hosts": [{"name": "backend", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
            }
        ],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    return {"name": name, "address": address, "filter_chains": [{"filters": filters}]}


_KEPT_STATS = {
    "prefix": (
        "istio",
        "reporter=",
        "component",
        "cluster_manager",
        "listener_manager",
        "server",
        "cluster.xds-grpc",
        "wasm",
    ),
    "suffix": ("rbac.allowed", "rbac.denied", "shadow_allowed", "shadow_denied"),
}
"""What Istio's agent lets a sidecar count (istio/istio pkg/bootstrap/config.go); the rest, such as a cluster's retries and
ejections, does not exist there unless somebody asks for it. It also makes each scrape ten times smaller."""


def bootstrap(identity: SidecarIdentity, ads_socket: Path) -> dict[str, Any]:
    """Envoy's bootstrap for one pod, as a dict in protobuf field names."""
    ads = {
        "api_type": "DELTA_GRPC",
        "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": ADS_CLUSTER}}],
        "set_node_on_first_message_only": True,
    }
    control = _static_cluster(ADS_CLUSTER, {"pipe": {"path": str(ads_socket)}})
    control["typed_extension_protocol_options"] = {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    }
    admin = _socket(private_side(identity.ip), ADMIN_PORT)
    return {
        "node": {"id": identity.node, "cluster": f"{identity.app}.{identity.namespace}"},
        "admin": {"address": admin},
        "cluster_manager": {"upstream_bind_config": {"source_address": {"address": identity.ip, "port_value": 0}}},
        "dynamic_resources": {
            "ads_config": ads,
            "cds_config": {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"},
            "lds_config": {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"},
        },
        "static_resources": {
            "clusters": [control, _static_cluster("agent", admin)],
            "listeners": [
                _admin_listener("health", _socket(identity.ip, HEALTH_PORT), "/healthz/ready", "/ready"),
                _admin_listener(
                    "metrics", _socket(identity.ip, ENVOY_METRICS_PORT), "/stats/prometheus", "/stats/prometheus"
                ),
            ],
        },
        "stats_config": {
            "stats_matcher": {
                "inclusion_list": {"patterns": [{kind: text} for kind, texts in _KEPT_STATS.items() for text in texts]}
            }
        },
        "stats_flush_on_admin": True,
        "layered_runtime": {
            "layers": [
                {
                    "name": "lab",
                    # Envoy asks for a limit on downstream connections; a sidecar under test must not be the bottleneck.
                    "static_layer": {"overload.global_downstream_max_connections": 50000},
                }
            ]
        },
    }
