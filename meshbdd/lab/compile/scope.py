"""What a kind of workload sees of the mesh: Services, virtual services, and what becomes of unknown hosts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from meshbdd.lab.compile.ir import Service, VirtualService
from meshbdd.lab.compile.names import covers, outbound_cluster, specificity
from meshbdd.lab.compile.read.sidecar import Imports

Object = Mapping[str, Any]
PASSTHROUGH = "PassthroughCluster"
"""The cluster of calls that go to the address that they were made to."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What the sidecars of a namespace, or those that one Sidecar selects, see.

    Attributes:
        services: Those that callers may name; ``aliases``: those of type ExternalName, which are other names of some.
        reachable: Those, and the ones that virtual services lead to.
        virtual_services: In the order in which they count: of two for one host the first.
        wildcards: Host of a Service → the one virtual service whose pattern is the most specific for it.
        unknown_hosts: The cluster that takes calls to hosts that nobody knows; ``None`` where nobody does.
        inbound_pool: The limits of every own port, which go before those of a DestinationRule.
    """

    services: tuple[Service, ...]
    aliases: tuple[Service, ...]
    reachable: tuple[Service, ...]
    virtual_services: tuple[VirtualService, ...]
    wildcards: Mapping[str, VirtualService]
    unknown_hosts: str | None = PASSTHROUGH
    inbound_pool: Object | None = None

    def http_ports(self) -> list[int]:
        """The ports at which there are route tables, in order."""
        return sorted({port.number for service in self.services for port in service.ports if port.protocol != "tcp"})


def make_scope(
    sidecar: Object | None, namespace: str, services: Sequence[Service], virtual_services: Sequence[VirtualService]
) -> Scope:
    """The scope of a namespace's workloads.

    Args:
        sidecar: What governs them; ``None``: they see everything.
        namespace: Their namespace.
        services: All Services, in Istio's order, and all that are other names.
        virtual_services: All virtual services, oldest first.
    """
    spec = (sidecar or {}).get("spec") or {}
    egress = (spec.get("egress") or [{"hosts": ["*/*"]}])[0]
    imports = Imports(egress["hosts"], namespace)
    visible = [service for service in services if service.visible_to(namespace)]
    imported = [found for service in visible if (found := imports.service(service)) is not None]
    own = tuple(service for service in imported if not service.alias_of)
    aliases = tuple(service for service in imported if service.alias_of)
    chosen = tuple(item for item in _in_order(virtual_services, namespace) if imports.virtual_service(item))
    return Scope(
        services=own,
        aliases=aliases,
        reachable=(*own, *_led_to(chosen, own, visible, namespace)),
        virtual_services=chosen,
        wildcards=_wildcards(chosen, imported),
        unknown_hosts=_taker(spec.get("outboundTrafficPolicy")),
        inbound_pool=spec.get("inboundConnectionPool"),
    )


def _taker(policy: Object | None) -> str | None:
    """Who takes calls to unknown hosts: as the mesh has it, the address itself; a Sidecar may name a proxy, or nobody."""
    if policy is None:
        return PASSTHROUGH
    if policy.get("mode") != "ALLOW_ANY":
        return None  # REGISTRY_ONLY is protobuf's default
    proxy = policy.get("egressProxy")
    if proxy is None:
        return PASSTHROUGH
    return outbound_cluster((proxy.get("port") or {}).get("number") or 0, proxy["host"], proxy.get("subset") or "")


def _in_order(items: Iterable[VirtualService], namespace: str) -> list[VirtualService]:
    """Those of the namespace alone, those exported to it, the public ones; of each an own HTTPRoute goes first."""

    def rank(item: VirtualService) -> tuple[int, bool]:
        seen = item.exported_to
        kind = 2 if "*" in seen else 0 if item.namespace == namespace else 1
        return kind, not (item.gateway_api and item.namespace == namespace)

    return sorted((item for item in items if item.exported_to & {"*", namespace}), key=rank)


def _led_to(
    items: Iterable[VirtualService], own: Iterable[Service], visible: Iterable[Service], namespace: str
) -> Iterator[Service]:
    """Services that are not imported, but that a virtual service sends to, with the ports that it names."""
    known = {service.host for service in own}
    others = {s.host: s for s in visible if s.host not in known and not s.alias_of}
    wanted: dict[str, set[int]] = defaultdict(set)
    for item in items if others else ():
        for rule in item.rules:
            for target in _targets(rule, namespace):
                if target.get("host") in others:
                    wanted[target["host"]].add((target.get("port") or {}).get("number") or 0)
    for host, numbers in wanted.items():
        service = others[host]
        ports = tuple(port for port in service.ports if 0 in numbers or port.number in numbers)
        if ports:
            yield replace(service, ports=ports)


def _targets(rule: Object, namespace: str) -> Iterator[Object]:
    callers = [m["sourceNamespace"] for m in rule.get("match") or [] if m.get("sourceNamespace")]
    if callers and namespace not in callers:
        return
    for entry in (*(rule.get("route") or ()), *(rule.get("mirrors") or ())):
        yield entry["destination"]
    if rule.get("mirror"):
        yield rule["mirror"]


def _wildcards(items: Iterable[VirtualService], services: Iterable[Service]) -> dict[str, VirtualService]:
    claims: dict[str, VirtualService] = {}
    for item in items:
        for host in item.hosts:
            claims.setdefault(host, item)
    patterns = sorted((host for host in claims if host.startswith("*")), key=specificity)
    found = {}
    for service in services:
        if service.host in claims:
            found[service.host] = claims[service.host]
        elif pattern := next((pattern for pattern in patterns if covers(pattern, service.host)), None):
            found[service.host] = claims[pattern]
    return found
