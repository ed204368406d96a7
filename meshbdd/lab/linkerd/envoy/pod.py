"""Compiling for one pod: what its sidecar is sent in Linkerd mode. A pure function of the policies and the pod."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshbdd.lab.addresses import private_side
from meshbdd.lab.compile import Compiled
from meshbdd.lab.compile.envoy.types import ADS, FAULT, MANAGER, ROUTER, typed
from meshbdd.lab.linkerd.envoy import inbound as write_inbound
from meshbdd.lab.linkerd.envoy import replies, scripts
from meshbdd.lab.linkerd.envoy.outbound import PASSTHROUGH, Outbound, OutboundWriter
from meshbdd.lab.linkerd.model import FAIL_FAST, Authorization, Default, InboundServer
from meshbdd.lab.linkerd.policies import Policies
from meshbdd.lab.linkerd.ports import OUTBOUND_PORT, RESERVED_PORTS, TIMER_PORT
from meshbdd.lab.linkerd.read.authorizations import EVERYWHERE
from meshbdd.lab.linkerd.read.destinations import NoProfile, Profile
from meshbdd.lab.linkerd.read.pods import skipped_ports

Json = dict[str, Any]

OUTBOUND = "outbound"
_OPEN = Default("all-unauthenticated")
_BESIDE = InboundServer(_OPEN, "opaque", (Authorization(_OPEN, EVERYWHERE),))
"""A port that leads past the proxy: all bytes reach the application, and no policy is asked."""
_FORWARD_PROXY = "type.googleapis.com/envoy.extensions.{}.dynamic_forward_proxy.v3.{}"
_DNS_CACHE = {"name": "lab", "dns_lookup_family": "V4_ONLY"}


class Compiler:
    """Compiles for the sidecars of one state of the world; what pods of a namespace share is made once.

    Args:
        policies: What Linkerd makes of the objects.
    """

    def __init__(self, policies: Policies) -> None:
        self._policies = policies
        self._outbound: dict[str, Outbound] = {}

    def compile(self, pod: str, namespace: str) -> Compiled:
        """The configuration of a pod's sidecar.

        Raises:
            KeyError: there is no such pod.
        """
        subject = self._policies.objects.pods[namespace, pod]
        if namespace not in self._outbound:
            self._outbound[namespace] = self._services_for(namespace)
        return _Compilation(self._policies, subject, self._outbound[namespace]).run()

    def _services_for(self, client: str) -> Outbound:
        made = Outbound()
        writer = OutboundWriter(self._policies.destinations, made)
        domain = self._policies.settings.domain
        for (namespace, name), service in sorted(self._policies.objects.services.items()):
            address = service["spec"].get("clusterIP") or ""
            names = host_names(name, namespace, address, client, domain)
            rest = [f"{host}:*" for host in names]
            for port in service["spec"].get("ports") or []:
                number = port["port"]
                policy = self._policies.outbound.of_service(name, namespace, number, client)
                hosts = domains(names, number)
                profile = self._profile(name, namespace, number, client)
                if profile is not None:
                    writer.profile(policy, profile, f"{address}:{number}", hosts)
                else:
                    writer.service(policy, f"{address}:{number}", hosts)
            if all(port["port"] != 80 for port in service["spec"].get("ports") or []):
                rest += names
            writer.service(self._policies.outbound.undefined_port(name, namespace), f"{address}:0", rest)
        writer.service(self._policies.outbound.elsewhere(client), "outside", ["*"])
        return made

    def _profile(self, name: str, namespace: str, port: int, client: str) -> Profile | None:
        try:
            found = self._policies.destinations.profile(name, namespace, port, client)
        except NoProfile:
            return None
        return found if found.governs else None


def host_names(name: str, namespace: str, address: str, client: str, domain: str) -> list[str]:
    """Under which hosts clients of a namespace reach a Service: DNS names and the cluster IP."""
    dotted = f"{name}.{namespace}"
    full = f"{dotted}.svc.{domain}"
    names = [full, f"{full}.", f"{dotted}.svc", dotted, *([name] if namespace == client else [])]
    return [*names, address] if address not in {"", "None"} else names


def domains(names: list[str], port: int) -> list[str]:
    """Under which authorities a port is called: 80 where none stands."""
    with_port = [f"{host}:{port}" for host in names]
    return [*names, *with_port] if port == 80 else with_port


class _Compilation:
    def __init__(self, policies: Policies, pod: Mapping[str, Any], outbound: Outbound) -> None:
        self._policies = policies
        self._outbound = outbound
        self._pod = pod
        self._namespace: str = pod["metadata"]["namespace"]
        self._ip: str = (pod.get("status") or {}).get("podIP", "")

    def run(self) -> Compiled:
        made = self._outbound
        servers = self._servers()
        clusters = {**made.clusters, PASSTHROUGH: _passthrough(), scripts.TIMER: self._timer_cluster()}
        for port in servers:
            clusters[write_inbound.cluster_name(port)] = write_inbound.cluster(self._ip, port)
        account = self._pod["spec"].get("serviceAccountName") or "default"
        identity = self._policies.settings.identity(self._namespace, account)
        listeners = {
            OUTBOUND: self._outbound_listener(),
            scripts.TIMER: self._timer(),
            **write_inbound.listeners(self._ip, identity, servers),
        }
        routes = {
            OUTBOUND: {
                "name": OUTBOUND,
                "validate_clusters": False,
                "virtual_hosts": made.hosts,
                "request_headers_to_remove": [scripts.PASSED_OVER],
            },
            **write_inbound.route_tables(servers, {port: self._first(port) for port in servers}),
        }
        return Compiled(listeners, {}, routes, clusters, made.endpoints, {}, ())

    def _servers(self) -> dict[int, InboundServer]:
        called = self._policies.objects.endpoint_ports(self._namespace, self._pod["metadata"]["name"])
        ports = (self._policies.inbound.ports_of(self._pod) | called) - RESERVED_PORTS
        past = skipped_ports(self._pod)
        return {
            port: _BESIDE if port in past else self._policies.inbound.at_port(self._pod, port) for port in sorted(ports)
        }

    def _first(self, port: int) -> InboundServer | None:
        return None if port in skipped_ports(self._pod) else self._policies.inbound.before_fetched(self._pod, port)

    def _outbound_listener(self) -> Json:
        lookup = typed(
            "envoy.filters.http.dynamic_forward_proxy",
            _FORWARD_PROXY.format("filters.http", "FilterConfig"),
            {"dns_cache_config": _DNS_CACHE},
        )
        config = {
            "stat_prefix": OUTBOUND,
            "rds": {"config_source": ADS, "route_config_name": OUTBOUND},
            "http_filters": [
                scripts.downstream(int(FAIL_FAST * 1000)),
                lookup,
                typed("envoy.filters.http.router", ROUTER),
            ],
            "local_reply_config": replies.outbound(),
            "server_header_transformation": "PASS_THROUGH",
            "stream_idle_timeout": "0s",
            "use_remote_address": False,
            "upgrade_configs": [{"upgrade_type": "websocket"}],
        }
        manager = typed("envoy.filters.network.http_connection_manager", MANAGER, config)
        return {
            "name": OUTBOUND,
            "address": write_inbound.address(private_side(self._ip), OUTBOUND_PORT),
            "traffic_direction": "OUTBOUND",
            "filter_chains": [{"filters": [manager]}],
        }

    def _timer(self) -> Json:
        """Answers after the delay that a request asks for, a script's way to wait; or whether it is the first for a port."""
        delay = {"delay": {"header_delay": {}, "percentage": {"numerator": 100}}}
        route = {"match": {"prefix": "/"}, "direct_response": {"status": 200}}
        config = {
            "stat_prefix": "timer",
            "route_config": {"virtual_hosts": [{"name": "timer", "domains": ["*"], "routes": [route]}]},
            "http_filters": [
                scripts.fetched(),
                typed("envoy.filters.http.fault", FAULT, delay),
                typed("envoy.filters.http.router", ROUTER),
            ],
        }
        manager = typed("envoy.filters.network.http_connection_manager", MANAGER, config)
        return {
            "name": scripts.TIMER,
            "address": write_inbound.address(private_side(self._ip), TIMER_PORT),
            "filter_chains": [{"filters": [manager]}],
        }

    def _timer_cluster(self) -> Json:
        endpoint = {"endpoint": {"address": write_inbound.address(private_side(self._ip), TIMER_PORT)}}
        return {
            "name": scripts.TIMER,
            "type": "STATIC",
            "connect_timeout": "1s",
            "load_assignment": {"cluster_name": scripts.TIMER, "endpoints": [{"lb_endpoints": [endpoint]}]},
        }


def _passthrough() -> Json:
    return {
        "name": PASSTHROUGH,
        "connect_timeout": "1s",
        "lb_policy": "CLUSTER_PROVIDED",
        "cluster_type": {
            "name": "envoy.clusters.dynamic_forward_proxy",
            "typed_config": {
                "@type": _FORWARD_PROXY.format("clusters", "ClusterConfig"),
                "dns_cache_config": _DNS_CACHE,
            },
        },
    }
