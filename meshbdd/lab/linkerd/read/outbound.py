"""Outbound policies: what the proxies of a namespace do with connections to one address.

Linkerd looks a policy up by the address that was dialled, never by the Host header.
linkerd2 policy-controller/k8s/index/src/outbound/index.rs and policy-controller/grpc/src/outbound.rs
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any, TypeVar

from meshbdd.lab.compile.ir import Match
from meshbdd.lab.linkerd.accepted import is_accepted
from meshbdd.lab.linkerd.model import (
    Accrual,
    Backend,
    Default,
    FailureInjector,
    Forbidden,
    Forward,
    OutboundPolicy,
    Protocol,
    Resource,
    Route,
    Rule,
    Timeouts,
)
from meshbdd.lab.linkerd.objects import CORE, POLICY, Objects, Parent, annotations_of, cluster_addresses
from meshbdd.lab.linkerd.read import annotations as read_annotations
from meshbdd.lab.linkerd.read import egress
from meshbdd.lab.linkerd.read.routes import Context, http_route, stream_route
from meshbdd.lab.linkerd.settings import ControlPlaneSettings
from meshbdd.lab.linkerd.values import Unreadable

Object = Mapping[str, Any]
Value = TypeVar("Value")

EVERYTHING = Match(uri={"path_prefix": "/"})
OPAQUE_PORTS = "config.linkerd.io/opaque-ports"
_PROTOCOLS: Mapping[str, Protocol] = {"http": "http1", "kubernetes.io/h2c": "http2"}


class NotFound(LookupError):
    """An address that Linkerd has no policy for."""


@dataclass(frozen=True, slots=True)
class _Attached:
    """The routes at a parent's port."""

    http: tuple[Route, ...]
    grpc: tuple[Route, ...]
    tls: tuple[Route, ...]
    tcp: tuple[Route, ...]


class OutboundPolicies:
    """Answers for outbound policies.

    Args:
        objects: What the control plane watches.
        settings: How it was installed.
        warn: Takes what the controller would log.
    """

    def __init__(self, objects: Objects, settings: ControlPlaneSettings, warn: Callable[[str], None]) -> None:
        self._objects = objects
        self._settings = settings
        self._warn = warn
        self._by_address = {
            address: key for key, service in objects.services.items() for address in cluster_addresses(service)
        }

    def at_address(self, address: str, port: int, client: str) -> OutboundPolicy:
        """The policy for connections that clients in namespace ``client`` make to an address.

        Raises:
            NotFound: an address of the cluster that is no Service's.
        """
        place = self._by_address.get(address)
        if place is not None:
            namespace, name = place
            if any(p["port"] == port for p in self._objects.services[place]["spec"].get("ports") or []):
                return self.of_service(name, namespace, port, client)
            return self.undefined_port(name, namespace, port)
        where = ip_address(address)
        if any(where in ip_network(cidr) for cidr in self._settings.cluster_networks):
            raise NotFound("No such service")
        return self._egress(address, port, client)

    def undefined_port(self, name: str, namespace: str, port: int = 0) -> OutboundPolicy:
        """The policy for a port that a Service does not have."""
        meta = Resource(CORE, "Service", name, namespace, port)
        rule = Rule((), (), filters=(Forbidden(),), timeouts=None)
        return OutboundPolicy(meta, "opaque", opaque=(Route(Default("undefined-port"), (rule,)),))

    def elsewhere(self, client: str) -> OutboundPolicy:
        """The policy for addresses outside of the cluster that no egress network names one by one."""
        return self._egress("0.0.0.0", 80, client)  # noqa: S104 - an address that only "everything" covers

    def of_service(self, name: str, namespace: str, port: int, client: str) -> OutboundPolicy:
        """The policy for a Service's port, whether or not the Service has it."""
        service = self._objects.services.get((namespace, name))
        meta = Resource(CORE, "Service", name, namespace, port)
        said = self._protocol(service, port)
        biaser = self._parsed(read_annotations.biaser, service, "load biaser config")
        # What is opaque by its own word has no failures that could be penalized.
        context = self._context(service, meta, biaser=biaser, own_biaser=None if said == "opaque" else biaser)
        attached = self._attached(Parent(CORE, "Service", namespace, name, port), client, context)
        protocol = _spoken(said, attached)
        plain = Rule((), (context.own_backend(),), timeouts=None)
        return OutboundPolicy(
            meta,
            protocol,
            http=attached.grpc if protocol == "grpc" else attached.http or (self._default_http(context),),
            opaque=(attached.tcp if protocol == "opaque" else ()) or (Route(Default("opaq"), (plain,)),),
            tls=attached.tls,
            accrual=self._accrual(service),
        )

    def _default_http(self, context: Context) -> Route:
        rule = Rule(
            (EVERYTHING,), (context.own_backend(),), timeouts=context.timeouts, retries=context.http_retries
        )  # fmt: skip
        return Route(Default("http"), (rule,))

    def _context(self, parent: Object | None, meta: Resource, **more: Any) -> Context:
        return Context(
            objects=self._objects,
            parent=meta,
            timeouts=self._parsed(read_annotations.timeouts, parent, "timeouts") or Timeouts(),
            http_retries=self._parsed(read_annotations.http_retries, parent, "http retry"),
            grpc_retries=self._parsed(read_annotations.grpc_retries, parent, "grpc retry"),
            allow_headers=self._settings.allow_request_headers,
            **more,
        )

    def _accrual(self, parent: Object | None) -> Accrual | None:
        """The circuit breaker; a Retry-After is a hint to the unified one alone."""
        accrual = self._parsed(read_annotations.accrual, parent, "accrual config")
        hinted = self._parsed(read_annotations.honors_retry_after, parent, "honor-retry-after toggle")
        if accrual is None or accrual.success_rate is None or not hinted:
            return accrual
        return dataclasses.replace(accrual, backoff=dataclasses.replace(accrual.backoff, honor_retry_after=True))

    def _parsed(self, read: Callable[[Mapping[str, str]], Value], parent: Object | None, what: str) -> Value | None:
        """An annotation of a parent that cannot be read counts as not said: nothing checks it at admission."""
        try:
            return read(annotations_of(parent))
        except Unreadable as error:
            meta = (parent or {})["metadata"]
            kind = "egress_network" if (parent or {}).get("kind") == "EgressNetwork" else "service"
            self._warn(
                f'WARN Failed to parse {what} error={error} {kind}="{meta["name"]}" namespace="{meta["namespace"]}"'
            )
            return None

    def _protocol(self, service: Object | None, number: int) -> Protocol | None:
        """What appProtocol says, which beats the opaque ports; ``None``: to be detected."""
        spec = (service or {"spec": {}})["spec"]
        port: Object = next((p for p in spec.get("ports") or [] if p["port"] == number), {})
        said = port.get("appProtocol")
        if said:
            return _PROTOCOLS.get(said.lower(), "opaque")
        return "opaque" if number in self._opaque_ports(service) else None

    def _opaque_ports(self, parent: Object | None) -> frozenset[int]:
        said = read_annotations.ports(annotations_of(parent), OPAQUE_PORTS, self._warn)
        return self._settings.opaque_ports if said is None else said

    def _attached(self, place: Parent, client: str, context: Context) -> _Attached:
        """Routes at a parent's port: those of the parent's namespace for everyone, others for their own namespace.

        A parentRef without a port means all ports of a Service, and none of an EgressNetwork.
        """
        anywhere = {None} if place.kind == "Service" else set()
        found = [
            route
            for route, parent in self._objects.attached(place.kind, place.namespace, place.name)
            if route["metadata"]["namespace"] in {place.namespace, client}
            and parent.port in {place.port} | anywhere
            and is_accepted(self._objects, route, parent, self._settings)
        ]
        return _Attached(
            http=self._read(found, "HTTPRoute", http_route, context),
            grpc=self._read(found, "GRPCRoute", http_route, context),
            tls=self._read(found, "TLSRoute", stream_route, context),
            # There is no way to choose between several: linkerd2 policy-controller/grpc/src/outbound/tcp.rs.
            tcp=self._read(found, "TCPRoute", stream_route, context)[:1],
        )

    def _read(
        self,
        attached: list[Object],
        kind: str,
        read: Callable[[Object, Context], Route],
        context: Context,
    ) -> tuple[Route, ...]:
        made = []
        for route in attached:
            if route["kind"] != kind:
                continue
            try:
                made.append(read(route, context))
            except Unreadable as error:
                self._warn(f"WARN Failed to convert route error={error}")
        return tuple(made)

    # Addresses outside of the cluster

    def _egress(self, address: str, port: int, client: str) -> OutboundPolicy:
        forward = Forward(address, port)
        network = self._network(address, client)
        if network is None:
            fallback = Default("egress-fallback")
            backend = Backend(fallback, forward)
            http = Route(fallback, (Rule((Match(),), (backend,), timeouts=None),))
            plain = Route(fallback, (Rule((), (backend,), timeouts=None),))
            return OutboundPolicy(fallback, "detect", http=(http,), opaque=(plain,))
        return self.of_egress_network(network, forward, client)

    def of_egress_network(self, network: Object, forward: Forward, client: str) -> OutboundPolicy:
        """The policy for an address of an EgressNetwork. Its load biaser does not count: nothing is balanced there."""
        own = network["metadata"]
        meta = Resource(POLICY, "EgressNetwork", own["name"], own["namespace"], forward.port)
        self._parsed(read_annotations.penalizes_failures, network, "penalize-failures toggle")
        context = self._context(network, meta, forward=forward)
        attached = self._attached(Parent(POLICY, meta.kind, meta.namespace, meta.name, meta.port), client, context)
        opaque: Protocol | None = "opaque" if forward.port in self._opaque_ports(network) else None
        protocol = _spoken(opaque, attached)
        denies = network["spec"].get("trafficPolicy") == "Deny"
        return OutboundPolicy(
            meta,
            protocol,
            http=(
                *(attached.grpc if protocol == "grpc" else attached.http),
                _default_egress(context, grpc=protocol == "grpc", denies=denies),
            ),
            opaque=(attached.tcp if protocol == "opaque" else ()) or (_default_stream("tcp", context, denies=denies),),
            tls=(*attached.tls, _default_stream("tls", context, denies=denies)) if protocol == "tls" else (),
            accrual=self._accrual(network),
        )

    def _network(self, address: str, client: str) -> Object | None:
        """The egress network of an address: the client namespace's own, and the common namespace's only without any."""
        known = self._objects.of("EgressNetwork")
        mine = [network for network in known if network["metadata"]["namespace"] == client]
        common = [network for network in known if network["metadata"]["namespace"] == self._settings.egress_namespace]
        return egress.picked(mine or common, address, self._settings.cluster_networks)


def _spoken(said: Protocol | None, attached: _Attached) -> Protocol:
    """The protocol of a parent's port: what is said of it, else that of its most specific routes."""
    if said == "http2" and attached.grpc:
        return "grpc"
    if said is not None:
        return said
    if attached.grpc:
        return "grpc"
    if attached.http:
        return "detect"
    if attached.tls:
        return "tls"
    return "opaque" if attached.tcp else "detect"


def _default_egress(context: Context, *, grpc: bool, denies: bool) -> Route:
    """What becomes of requests that no route of an EgressNetwork takes."""
    rule = Rule(
        () if grpc else (EVERYTHING,),
        (context.own_backend(),),
        filters=(FailureInjector(403, "traffic not allowed", code=7),) if denies else (),
        timeouts=context.timeouts,
        retries=context.grpc_retries if grpc else context.http_retries,
    )
    return Route(Default(f"{'grpc' if grpc else 'http'}-egress-{'deny' if denies else 'allow'}"), (rule,))


def _default_stream(kind: str, context: Context, *, denies: bool) -> Route:
    rule = Rule((), (context.own_backend(),), filters=(Forbidden(),) if denies else (), timeouts=None)
    return Route(Default(f"{kind}-egress-{'deny' if denies else 'allow'}"), (rule,))
