"""Compiling for one pod: which services, routes and policies its sidecar gets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from meshbdd.lab.compile import names
from meshbdd.lab.compile.envoy import clusters as write_clusters
from meshbdd.lab.compile.envoy import inbound as write_inbound
from meshbdd.lab.compile.envoy import listeners as write_listeners
from meshbdd.lab.compile.envoy import rbac
from meshbdd.lab.compile.envoy.patches import extensions, patch_clusters, patch_filters
from meshbdd.lab.compile.ir import Port, Service, Workload
from meshbdd.lab.compile.mesh import Mesh
from meshbdd.lab.compile.outbound import outbound_side
from meshbdd.lab.compile.policies import ChainPlace, ClusterPlace
from meshbdd.lab.compile.read.destination_rule import policy_for
from meshbdd.lab.compile.read.services import workload_of

Config = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Compiled:
    """The configuration of one sidecar, as Istio would deliver it.

    Attributes:
        listeners: By name, without their filter chains.
        filter_chains: By ``<listener> / <index> <name>``.
        routes: Route configurations by name.
        clusters: By name.
        endpoints: By cluster name.
        extensions: Filter settings that are delivered apart, by name.
        warnings: What is not as written, in sentences.
        behind: What a connection to the address of a Service may come to, by the cluster that keeps to the address;
            no part of what Istio delivers, for those who have no such addresses.
        hidden: Services that the sidecar does not see, by ``host:port``: ``domains``, and ``endpoints`` to which a connection to
            their address may come; no part either.
    """

    listeners: Config
    filter_chains: Config
    routes: Config
    clusters: Config
    endpoints: Config
    extensions: Config = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    behind: Config = field(default_factory=dict)
    hidden: Config = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """What ``meshbdd lab compile --json`` prints."""
        hosts = {
            f"{name} / {host['name']}": host for name, table in self.routes.items() for host in table["virtual_hosts"]
        }
        return {
            "virtual_hosts": dict(sorted(hosts.items())),
            "clusters": dict(sorted(self.clusters.items())),
            "endpoints": dict(sorted(self.endpoints.items())),
            "filter_chains": dict(sorted(self.filter_chains.items())),
            "listeners": dict(sorted(self.listeners.items())),
            "extensions": dict(sorted(self.extensions.items())),
            "warnings": list(self.warnings),
        }


def compile_pod(mesh: Mesh, pod: str, namespace: str) -> Compiled:
    """Compile for the sidecar of a pod.

    Raises:
        KeyError: there is no such pod.
    """
    return _Compilation(mesh, workload_of(mesh.pods[namespace, pod], mesh.nodes)).run()


class _Compilation:
    def __init__(self, mesh: Mesh, workload: Workload) -> None:
        self._mesh = mesh
        self._me = workload
        self._scope = mesh.scope(workload)

    def run(self) -> Compiled:
        outbound = outbound_side(self._mesh, self._me)
        inbound = self._inbound_ports()
        own = {names.inbound_cluster(item.port): self._inbound_cluster(item) for item in inbound}
        listeners, chains = self._listeners(inbound)
        patches, warnings = self._mesh.envoy_filters.patches(self._me.namespace, self._me.labels)
        if filters := [patch for patch in patches if isinstance(patch.place, ChainPlace)]:
            chains, idle = patch_filters(chains, filters)
            warnings += idle
        patch_clusters(own, (patch for patch in patches if isinstance(patch.place, ClusterPlace)))
        delivered = extensions(chains, (patch for patch in patches if patch.place is None))
        warnings = list(dict.fromkeys([*warnings, *outbound.warnings]))
        clusters = {**outbound.clusters, **own}
        return Compiled(
            listeners,
            chains,
            outbound.routes,
            clusters,
            outbound.endpoints,
            delivered,
            tuple(warnings),
            outbound.behind,
            outbound.hidden,
        )

    def _inbound_cluster(self, item: write_inbound.InboundPort) -> dict[str, Any]:
        behind = [service for service, port in self._own_services() if self._target(service, port) == item.port]
        home = item.service.namespace
        rule = self._mesh.destination_rules.rule(item.service.host, home, home)
        policy = policy_for(rule, item.service_port)
        pool = self._scope.inbound_pool if self._scope.inbound_pool is not None else policy.connection_pool
        port = item.service.port(item.service_port)
        http2 = port is not None and port.protocol == "http2"
        return write_clusters.inbound(item.port, behind, pool, rule.origin if rule else None, http2=http2)

    # Listeners

    def _own_services(self) -> Iterator[tuple[Service, Port]]:
        for service in self._mesh.services:
            selected = service.selector and all(self._me.labels.get(k) == v for k, v in service.selector.items())
            if selected and service.namespace == self._me.namespace:
                for port in service.ports:
                    yield service, port

    def _target(self, service: Service, port: Port) -> int | None:
        target = service.target_ports[port.number]
        if isinstance(target, int) or str(target).isdigit():
            return int(target)
        return self._me.ports.get(str(target))

    def _inbound_ports(self) -> list[write_inbound.InboundPort]:
        found: dict[int, write_inbound.InboundPort] = {}
        authentication = self._mesh.authentication
        for service, port in self._own_services():
            target = self._target(service, port)
            if target is None or target in found:
                continue
            mode = authentication.of_port(self._me.namespace, self._me.labels, target)
            http = port.protocol != "tcp"
            found[target] = write_inbound.InboundPort(target, port.number, service, http, mode)
        return [found[port] for port in sorted(found)]

    def _listeners(self, inbound: list[write_inbound.InboundPort]) -> tuple[Config, Config]:
        rest = self._scope.unknown_hosts or "BlackHoleCluster"
        made: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
        for port in self._scope.http_ports():
            listener, chain = write_listeners.outbound(port, rest)
            made.append((listener, [chain]))
        made.append(write_listeners.virtual_outbound(rest))
        authentication = self._mesh.authentication
        mode = authentication.of_workload(self._me.namespace, self._me.labels)
        named = authentication.named_ports(self._me.namespace, self._me.labels)
        others = {number: mtls for number, mtls in named.items() if number not in {item.port for item in inbound}}
        policies = self._mesh.authorization.of_workload(self._me.namespace, self._me.labels)
        access = write_listeners.Access(rbac.http_filters(policies), rbac.network_filters(policies))
        made.append(write_inbound.virtual_inbound(inbound, mode, others, access))
        listeners: Config = {}
        chains: Config = {}
        for listener, own in made:
            listeners[listener["name"]] = listener
            for index, chain in enumerate(own):
                chains[f"{listener['name']} / {index:02d} {chain.get('name', '')}".rstrip()] = chain
        return listeners, chains
