"""Route tables: which virtual hosts a sidecar has at a port, by istio/istio ``pilot/pkg/networking/core/httproute.go``."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from meshbdd.lab.compile.envoy.routes import write_route
from meshbdd.lab.compile.ir import Destination, Route, Service, VirtualService, Workload
from meshbdd.lab.compile.names import covers, outbound_cluster
from meshbdd.lab.compile.policies import Rule
from meshbdd.lab.compile.read.destination_rule import hash_settings
from meshbdd.lab.compile.read.virtual_service import read_routes
from meshbdd.lab.compile.scope import Scope

RuleOf = Callable[[str], Rule | None]
_CATCH_ALL_PORT = 80
"""The port at which hosts exist that are no Service's."""


class Tables:
    """The route tables of one sidecar.

    Args:
        scope: What it sees.
        workload: Whose it is.
        rule_of: The DestinationRule for calls to a host.
    """

    def __init__(self, scope: Scope, workload: Workload, rule_of: RuleOf) -> None:
        self._scope = scope
        self._me = workload
        self._rule_of = rule_of

    def table(self, port: int) -> dict[str, Any]:
        """The route configuration of a port."""
        hosts: list[dict[str, Any]] = []
        seen: set[str] = set()
        known = (*self._scope.services, *self._scope.aliases)
        here = {service.host: service for service in known if service.port(port) is not None}
        for host, domains, routes in self._entries(port, here):
            name = f"{host}:{port}"
            free = [domain for domain in domains if domain.lower() not in seen]
            if name in seen or not free:
                continue
            seen |= {name, *(domain.lower() for domain in free)}
            hosts.append(self._virtual_host(name, free, routes, port, here))
        hosts.sort(key=lambda item: str(item["name"]))
        taker = self._scope.unknown_hosts
        hosts.append(_allow_any(taker) if taker else _block_all())
        return {
            "name": str(port),
            "ignore_port_in_host_matching": True,
            "max_direct_response_body_size_bytes": 1048576,
            "validate_clusters": False,
            "virtual_hosts": hosts,
        }

    def _entries(self, port: int, here: Mapping[str, Service]) -> Iterator[tuple[str, list[str], list[Route]]]:
        """Hosts with their domains and routes: those of virtual services first, in their order, then bare Services.

        ``here``: the Services that have the port, and the other names that have it: a virtual service may govern these.
        """
        governed: set[str] = set()
        for item in self._candidates(port, here):
            routes = read_routes(item, self._me, port)
            if not routes:
                continue
            others, services = self._split(item, here)
            if item.gateway_api:
                near = [s for s in services if item.namespace in {s.namespace, self._me.namespace}]
                if not near:
                    continue
            http = [service for service in services if _speaks_http(service, port)]
            if not http and port != _CATCH_ALL_PORT:
                continue
            for host in others:
                yield host, [host], routes
            for service in http:
                governed.add(service.host)
                yield service.host, self.domains(service), routes
        for service in here.values():
            if service.host not in governed and not service.alias_of and _speaks_http(service, port):
                plain = Route(match=None, name="default", destinations=(Destination(service.host),))
                yield service.host, self.domains(service), [plain]

    def _candidates(self, port: int, here: Mapping[str, Service]) -> Iterator[VirtualService]:
        """The virtual services that may have a say at a port; at 80 those of hosts that nobody else knows, too."""
        for item in self._scope.virtual_services:
            if port == _CATCH_ALL_PORT or any(
                host in here or (host.startswith("*") and any(covers(host, known) for known in here))
                for host in item.hosts
            ):
                yield item

    def _split(self, item: VirtualService, here: Mapping[str, Service]) -> tuple[list[str], list[Service]]:
        """A virtual service's hosts: those that are no Service's at this port, and the Services."""
        others: list[str] = []
        services: list[Service] = []
        for host in item.hosts:
            if not host.startswith("*"):
                if host in here:
                    services.append(here[host])
                else:
                    others.append(host)
        for pattern in (host for host in item.hosts if host.startswith("*")):
            fitting = [service for known, service in here.items() if covers(pattern, known)]
            if item.gateway_api or not fitting:
                others.append(pattern)
            else:
                services += [s for s in fitting if self._scope.wildcards.get(s.host) is item]
        return others, services

    def _virtual_host(
        self, name: str, domains: list[str], routes: list[Route], port: int, here: Mapping[str, Service]
    ) -> dict[str, Any]:
        def cluster_of(destination: Destination) -> str:
            if not destination.host:
                return "UnknownService"
            # Another name leads to what it stands for, by one step alone, and only if it has the port that is called:
            # else to a cluster that there is not (GetDestinationCluster in pilot/pkg/networking/core/route/route.go).
            known = here.get(destination.host)
            host = known.alias_of if known and known.alias_of else destination.host
            return outbound_cluster(destination.port or port, host, destination.subset)

        def hash_of(route: Route) -> Callable[[Destination], Mapping[str, Any] | None]:
            def of(destination: Destination) -> Mapping[str, Any] | None:
                # A bare Service is asked at the port that is called, a destination at the port that it names.
                asked = destination.port if route.origin is not None else port
                return hash_settings(self._rule_of(destination.host), destination.subset, asked)

            return of

        return {
            "name": name,
            "domains": domains,
            "include_request_attempt_count": True,
            "routes": [write_route(route, name, cluster_of, hash_of(route), port) for route in routes],
        }

    def domains(self, service: Service) -> list[str]:
        """The names by which this caller may call a Service."""
        domains: list[str] = []
        for host in (service.host, *service.aliases):
            name, namespace, *_ = host.split(".")
            dotted = f"{name}.{namespace}"
            ours = namespace == self._me.namespace
            short = [name, f"{dotted}.svc", dotted] if ours else [dotted, f"{dotted}.svc"]
            domains += [host, f"{host}.", *short]
        if service.headless:
            # Pods of a headless Service have names of their own under it.
            domains += [f"*.{domain}" for domain in domains]
        try:
            ipaddress.ip_address(service.address)
        except ValueError:
            return domains
        return [*domains, service.address]


def _speaks_http(service: Service, port: int) -> bool:
    held = service.port(port)
    return held is not None and held.protocol != "tcp"


def _allow_any(cluster: str) -> dict[str, Any]:
    route = {"cluster": cluster, "timeout": "0s", "max_grpc_timeout": "0s"}
    return _rest("allow_any", {"route": route})


def _block_all() -> dict[str, Any]:
    return _rest("block_all", {"direct_response": {"status": 502}})


def _rest(name: str, action: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "domains": ["*"],
        "include_request_attempt_count": True,
        "routes": [{"name": name, "match": {"prefix": "/"}, **action}],
    }
