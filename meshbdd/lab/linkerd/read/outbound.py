"""Outbound policies: what the proxies of a namespace do with connections to one address.

Linkerd looks a policy up by the address that was dialled, never by the Host header.
linkerd2 policy-controller/k8s/index/src/outbound/index.rs and policy-controller/grpc/src/outbound.rs
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from ipaddress import ip_address, ip_network
from typing import Any, TypeVar

from meshbdd.lab.compile.ir import Match
from meshbdd.lab.linkerd.accepted import egress_condition, is_accepted
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
from meshbdd.lab.linkerd.objects import CORE, POLICY, Objects, Parent, age, annotations_of, cluster_addresses
from meshbdd.lab.linkerd.read import annotations as read_annotations
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
        context = self._context(service, meta)
        attached = self._attached(Parent(CORE, "Service", namespace, name, port), client)
        http = self._read(attached, ("HTTPRoute",), http_route, context)
        grpc = self._read(attached, ("GRPCRoute",), http_route, context)
        tls = self._read(attached, ("TLSRoute",), stream_route, context)
        tcp = self._read(attached, ("TCPRoute",), stream_route, context)
        protocol = self._protocol(service, port)
        if protocol is None:
            protocol = "grpc" if grpc else "detect" if http else "tls" if tls else "opaque" if tcp else "detect"
        elif protocol == "http2" and grpc:
            protocol = "grpc"
        plain = Rule((), (context.own_backend(),), timeouts=None)
        accrual = self._accrual(service)
        return OutboundPolicy(
            meta,
            protocol,
            http=grpc if protocol == "grpc" else http or (self._default_http(context),),
            opaque=tcp if protocol == "opaque" and tcp else (Route(Default("opaq"), (plain,)),),
            tls=tls,
            accrual=accrual,
        )

    def _default_http(self, context: Context) -> Route:
        rule = Rule(
            (EVERYTHING,), (context.own_backend(),), timeouts=context.timeouts, retries=context.http_retries
        )  # fmt: skip
        return Route(Default("http"), (rule,))

    def _context(self, parent: Object | None, meta: Resource, forward: Forward | None = None) -> Context:
        return Context(
            objects=self._objects,
            parent=meta,
            biaser=self._parsed(read_annotations.biaser, parent, "load biaser config"),
            timeouts=self._parsed(read_annotations.timeouts, parent, "timeouts") or Timeouts(),
            http_retries=self._parsed(read_annotations.http_retries, parent, "http retry"),
            grpc_retries=self._parsed(read_annotations.grpc_retries, parent, "grpc retry"),
            forward=forward,
            allow_headers=self._settings.allow_request_headers,
        )

    def _accrual(self, parent: Object | None) -> Accrual | None:
        """The circuit breaker; a Retry-After is a hint to the unified one alone."""
        accrual = self._parsed(read_annotations.accrual, parent, "accrual config")
        hinted = self._parsed(read_annotations.honors_retry_after, parent, "honor-retry-after toggle")
        if accrual is None or accrual.success_rate is None or not hinted:
            return accrual
        return dataclasses.replace(accrual, backoff=dataclasses.replace(accrual.backoff, honor_retry_after=True))

    def _parsed(self, read: Callable[[Mapping[str, str]], Value], parent: Object | None, what: str) -> Value | None:
        """An annotation of a Service that cannot be read counts as not said: nothing checks Services at admission."""
        try:
            return read(annotations_of(parent))
        except Unreadable as error:
            meta = (parent or {})["metadata"]
            self._warn(
                f'WARN Failed to parse {what} error={error} service="{meta["name"]}" namespace="{meta["namespace"]}"'
            )
            return None

    def _protocol(self, service: Object | None, number: int) -> Protocol | None:
        """What appProtocol says, which beats the opaque ports; ``None``: to be detected."""
        spec = (service or {"spec": {}})["spec"]
        port: Object = next((p for p in spec.get("ports") or [] if p["port"] == number), {})
        said = port.get("appProtocol")
        if said:
            return _PROTOCOLS.get(said, "opaque")
        return "opaque" if number in self._opaque_ports(service) else None

    def _opaque_ports(self, parent: Object | None) -> frozenset[int]:
        said = read_annotations.ports(annotations_of(parent), OPAQUE_PORTS, self._warn)
        return self._settings.opaque_ports if said is None else said

    def _attached(self, place: Parent, client: str) -> list[Object]:
        """Routes at a parent's port: those of the parent's namespace for everyone, others for their own namespace."""
        return [
            route
            for route, parent in self._objects.attached(place.kind, place.namespace, place.name)
            if route["metadata"]["namespace"] in {place.namespace, client}
            and parent.port in {None, place.port}
            and is_accepted(self._objects, route, parent)
        ]

    def _read(
        self,
        attached: list[Object],
        kinds: tuple[str, ...],
        read: Callable[[Object, Context], Route],
        context: Context,
    ) -> tuple[Route, ...]:
        made = []
        for route in attached:
            if route["kind"] not in kinds:
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
        own = network["metadata"]
        meta = Resource(POLICY, "EgressNetwork", own["name"], own["namespace"], port)
        context = self._context(network, meta, forward)
        denies = network["spec"].get("trafficPolicy") == "Deny"
        word = "deny" if denies else "allow"
        refusal = (FailureInjector(403, "traffic not allowed"),) if denies else ()
        rule = Rule(
            (EVERYTHING,), (context.own_backend(),), filters=refusal, timeouts=context.timeouts,
            retries=context.http_retries,
        )  # fmt: skip
        closing = (Forbidden(),) if denies else ()
        plain = Route(
            Default(f"tcp-egress-{word}"), (Rule((), (context.own_backend(),), filters=closing, timeouts=None),)
        )
        attached = self._attached(Parent(POLICY, "EgressNetwork", own["namespace"], own["name"], port), client)
        http_routes = self._read(attached, ("HTTPRoute",), http_route, context)
        grpc = self._read(attached, ("GRPCRoute",), http_route, context)
        default = Route(Default(f"{'grpc' if grpc else 'http'}-egress-{word}"), (rule,))
        tcp = self._read(attached, ("TCPRoute",), stream_route, context)
        tls = self._read(attached, ("TLSRoute",), stream_route, context)
        protocol: Protocol = (
            "grpc" if grpc else "detect" if http_routes else "tls" if tls else "opaque" if tcp else "detect"
        )
        accrual = self._accrual(network)
        return OutboundPolicy(
            meta, protocol, (*(grpc or http_routes), default), (*tcp, plain), (*tls, plain) if tls else (), accrual
        )

    def _network(self, address: str, client: str) -> Object | None:
        """The egress network of an address: the client namespace's own, and the common namespace's only without any."""
        usable = [
            network
            for network in self._objects.of("EgressNetwork")
            if egress_condition(network, self._settings)["status"] == "True"
        ]
        mine = [network for network in usable if network["metadata"]["namespace"] == client]
        common = [network for network in usable if network["metadata"]["namespace"] == self._settings.egress_namespace]
        fitting = [
            (size, network) for network in mine or common if (size := self._covers(network, address)) is not None
        ]
        if not fitting:
            return None
        return min(fitting, key=lambda found: (-found[0], age(found[1])))[1]

    def _covers(self, network: Object, address: str) -> int | None:
        """The prefix length of the narrowest block of a network that holds an address."""
        where = ip_address(address)
        blocks = network["spec"].get("networks") or [{"cidr": "0.0.0.0/0"}, {"cidr": "::/0"}]
        sizes = [
            ip_network(block["cidr"], strict=False).prefixlen
            for block in blocks
            if where in ip_network(block["cidr"], strict=False)
            and not any(where in ip_network(cidr, strict=False) for cidr in block.get("except") or [])
        ]
        return max(sizes, default=None)
