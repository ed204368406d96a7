"""The outbound side of a sidecar: clusters, endpoints and routes.

It is the same for all workloads of a namespace but for labels that some resource selects by (a match on
``sourceLabels``, a workload selector). So it is compiled once for each such kind of caller and shared: whoever takes a
part of it must not change it in place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from meshbdd.lab.compile import names
from meshbdd.lab.compile.envoy import clusters as write_clusters
from meshbdd.lab.compile.envoy.localities import preference
from meshbdd.lab.compile.envoy.patches import patch_clusters, patch_routes
from meshbdd.lab.compile.ir import Endpoint, Port, Service, Workload
from meshbdd.lab.compile.mesh import Mesh
from meshbdd.lab.compile.policies import ClusterPlace, RoutePlace, Rule, Subset, TrafficPolicy
from meshbdd.lab.compile.read.destination_rule import endpoint_tls_mode, policy_for
from meshbdd.lab.compile.scope import PASSTHROUGH
from meshbdd.lab.compile.virtual_hosts import Tables

Config = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Outbound:
    """What callers of one kind get; the attributes are those of ``Compiled``."""

    clusters: Config
    endpoints: Config
    behind: Config
    hidden: Config
    routes: Config
    warnings: tuple[str, ...]


def outbound_side(mesh: Mesh, workload: Workload) -> Outbound:
    """The outbound side of a workload's sidecar, compiled once for every workload that cannot be told apart from it."""
    seen = {name: value for name, value in workload.labels.items() if name in mesh.asked_labels}
    key = (workload.namespace, workload.locality, tuple(sorted(seen.items())))
    if key not in mesh.outbound_sides:
        # Of the workload only that is handed on which is in the key.
        caller = replace(workload, name="", labels=seen, address="", ports={})
        mesh.outbound_sides[key] = _Compilation(mesh, caller).run()
    made: Outbound = mesh.outbound_sides[key]
    return made


def _panics(policy: TrafficPolicy) -> bool:
    """Whether Envoy may send to endpoints that are not ready: below a share of healthy ones. Then Istio leaves them out.

    Since Istio 1.31 (``PILOT_AUTO_SEND_UNHEALTHY_ENDPOINTS``); before, it left them out always.
    """
    return bool((policy.outlier_detection or {}).get("minHealthPercent"))


class _Compilation:
    def __init__(self, mesh: Mesh, caller: Workload) -> None:
        self._mesh = mesh
        self._me = caller
        self._scope = mesh.scope(caller)
        self._named = {service.host: service for service in (*self._scope.reachable, *self._scope.aliases)}

    def run(self) -> Outbound:
        clusters: Config = write_clusters.fixed()
        endpoints: Config = {}
        behind: Config = {}
        for service in self._scope.reachable:
            for port in service.ports:
                for name, cluster, assignment in self._port(service, port):
                    clusters[name] = cluster
                    (endpoints if cluster["type"] == "EDS" else behind)[name] = assignment
        patches, _ = self._mesh.envoy_filters.patches(self._me.namespace, self._me.labels)
        patch_clusters(clusters, (patch for patch in patches if isinstance(patch.place, ClusterPlace)))
        tables = Tables(self._scope, self._me, self._rule)
        routes = {str(port): tables.table(port) for port in self._scope.http_ports()}
        patch_routes(routes, (patch for patch in patches if isinstance(patch.place, RoutePlace)))
        return Outbound(clusters, endpoints, behind, self._hidden(tables), routes, tuple(self._warnings()))

    def _hidden(self, tables: Tables) -> Config:
        """The ports of Services that this caller does not see, and may call by their addresses."""
        if self._scope.unknown_hosts != PASSTHROUGH:
            return {}
        seen = {service.host for service in self._scope.services}
        return {
            name: {
                "domains": tables.domains(service),
                "endpoints": write_clusters.endpoints(name, [(p, False) for p in places if p.healthy], None, self._me),
            }
            for service in self._mesh.services
            for number, places in service.endpoints.items()
            if service.host not in seen
            for name in (f"{service.host}:{number}",)
        }

    def _rule(self, host: str) -> Rule | None:
        """The DestinationRule for calls to a host."""
        service = self._named.get(host)
        if service is None:
            return None
        return self._mesh.destination_rules.rule(host, service.namespace, self._me.namespace, self._me.labels)

    def _port(self, service: Service, port: Port) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
        rule = self._rule(service.host)
        subsets: list[Subset | None] = [None, *(rule.subsets if rule else ())]
        for subset in subsets:
            policy = policy_for(rule, port.number, subset)
            label = subset.name if subset else ""
            name = names.outbound_cluster(port.number, service.host, label)
            plain = self._is_plain(service, port, rule, subset)
            tls_mode = endpoint_tls_mode(rule, port.number, subset)
            original = service.headless or policy.passthrough or policy_for(rule, port.number).passthrough
            cluster = write_clusters.outbound(
                service, port, policy, rule=rule, subset=label, plain=plain, original=original
            )
            places = [
                (place, self._takes_mutual_tls(place, tls_mode))
                for place in service.endpoints.get(port.number, ())
                if (place.healthy or service.prefers or not _panics(policy))
                and (subset is None or all(place.labels.get(k) == v for k, v in subset.labels.items()))
            ]
            yield name, cluster, write_clusters.endpoints(name, places, preference(service, policy), self._me)

    def _is_plain(self, service: Service, port: Port, rule: Rule | None, subset: Subset | None) -> bool:
        """Whether automatic mutual TLS is off: for a namespace, and for endpoints that cannot be told apart in advance."""
        said = (subset.policy if subset else rule.policy if rule else None) or {}
        if service.headless or (said.get("loadBalancer") or {}).get("simple") == "PASSTHROUGH":
            places = service.endpoints.get(port.number, ())
            if not places or not all(place.meshed for place in places):
                return True
        return self._mesh.authentication.of_namespace(service.namespace) == "DISABLE"

    def _takes_mutual_tls(self, place: Endpoint, mode: str | None) -> bool:
        """Whether a caller is told that an endpoint takes mutual TLS; ``mode``: what a DestinationRule says of it."""
        if mode is not None or not place.meshed:
            return place.meshed and mode == "ISTIO_MUTUAL"
        return self._mesh.authentication.of_port(place.namespace, place.labels, place.port) != "DISABLE"

    def _warnings(self) -> Iterator[str]:
        for service in self._scope.services:
            where = f"Service {service.name}.{service.namespace}"
            for port in service.ports:
                if port.detected:
                    yield (
                        f"port {port.number} of {where} names no protocol; Istio would "
                        f"look at the bytes, the lab takes it for HTTP (name it http-… or set appProtocol)"
                    )
                elif port.protocol == "tcp":
                    yield (
                        f"port {port.number} of {where} speaks TCP: it has its cluster and its inbound chains, and no outbound "
                        f"listener; sidecars of the lab send HTTP alone"
                    )
            for number in service.past_the_mesh:
                yield f"port {number} of {where} is UDP, which passes by every sidecar, on Istio too"
            if service.headless:
                yield (
                    f"{where} is headless: where Istio keeps to the pod that the caller chose, sidecars of the lab choose one "
                    f"for each request"
                )
            rule = self._rule(service.host)
            for policy in (rule.policy, *(subset.policy for subset in rule.subsets)) if rule else ():
                if (policy or {}).get("tunnel") is not None:
                    yield f"the tunnel of the DestinationRule for {service.host} is for TCP and TLS routes, which the lab has not"
        for host, name in self._mesh.unknown_aliases.items():
            yield f"{host} is another name of {name}, which no Service has: calls to it leave the mesh as to any unknown host"
