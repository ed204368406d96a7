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
from meshbdd.lab.compile.envoy.patches import patch_clusters
from meshbdd.lab.compile.ir import Endpoint, Port, Service, Workload
from meshbdd.lab.compile.mesh import Mesh
from meshbdd.lab.compile.policies import ClusterPlace, Rule, Subset, TrafficPolicy
from meshbdd.lab.compile.read.destination_rule import policy_for
from meshbdd.lab.compile.virtual_hosts import Tables

Config = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Outbound:
    """What callers of one kind get; the attributes are those of ``Compiled``."""

    clusters: Config
    endpoints: Config
    routes: Config
    warnings: tuple[str, ...]


def outbound_side(mesh: Mesh, workload: Workload) -> Outbound:
    """The outbound side of a workload's sidecar, compiled once for every workload that cannot be told apart from it."""
    seen = {name: value for name, value in workload.labels.items() if name in mesh.asked_labels}
    key = (workload.namespace, tuple(sorted(seen.items())))
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
        self._reachable = {service.host: service for service in self._scope.reachable}

    def run(self) -> Outbound:
        clusters: Config = write_clusters.fixed()
        endpoints: Config = {}
        for service in self._scope.reachable:
            for port in service.ports:
                for name, cluster, assignment in self._port(service, port):
                    clusters[name] = cluster
                    endpoints[name] = assignment
        patches, _ = self._mesh.envoy_filters.patches(self._me.namespace, self._me.labels)
        patch_clusters(clusters, (patch for patch in patches if isinstance(patch.place, ClusterPlace)))
        tables = Tables(self._scope, self._me, self._rule)
        routes = {str(port): tables.table(port) for port in self._scope.http_ports()}
        return Outbound(clusters, endpoints, routes, tuple(self._warnings()))

    def _rule(self, host: str) -> Rule | None:
        """The DestinationRule for calls to a host."""
        service = self._reachable.get(host)
        if service is None:
            return None
        return self._mesh.destination_rules.rule(host, service.namespace, self._me.namespace, self._me.labels)

    def _port(self, service: Service, port: Port) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
        rule = self._rule(service.host)
        origin = rule.origin if rule else None
        plain = self._mesh.authentication.of_namespace(service.namespace) == "DISABLE"
        subsets: list[Subset | None] = [None, *(rule.subsets if rule else ())]
        for subset in subsets:
            policy = policy_for(rule, port.number, subset)
            label = subset.name if subset else ""
            name = names.outbound_cluster(port.number, service.host, label)
            cluster = write_clusters.outbound(service, port, policy, subset=label, origin=origin, plain=plain)
            places = [
                (place, self._takes_mutual_tls(place, policy, plain=plain))
                for place in service.endpoints.get(port.number, ())
                if (place.healthy or not _panics(policy))
                and (subset is None or all(place.labels.get(k) == v for k, v in subset.labels.items()))
            ]
            yield name, cluster, write_clusters.endpoints(name, places)

    def _takes_mutual_tls(self, place: Endpoint, policy: TrafficPolicy, *, plain: bool) -> bool:
        mode = (policy.tls or {}).get("mode")
        if not place.meshed or mode == "DISABLE" or (plain and mode is None):
            return False
        return self._mesh.authentication.of_port(place.namespace, place.labels, place.port) != "DISABLE"

    def _warnings(self) -> Iterator[str]:
        for service in self._scope.services:
            for port in service.ports:
                if port.detected:
                    yield (
                        f"port {port.number} of Service {service.name}.{service.namespace} names no protocol; Istio would "
                        f"look at the bytes, the lab takes it for HTTP (name it http-… or set appProtocol)"
                    )
