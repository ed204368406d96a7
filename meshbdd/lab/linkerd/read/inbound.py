"""Inbound policies: what a proxy does with connections to one port of its pod.

linkerd2 policy-controller/k8s/index/src/inbound/index.rs and policy-controller/grpc/src/inbound.rs
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from meshbdd.lab.compile.ir import Match
from meshbdd.lab.linkerd.accepted import governing_rate_limit, is_accepted
from meshbdd.lab.linkerd.model import (
    Authorization,
    Default,
    Filter,
    InboundServer,
    Modifier,
    Protocol,
    RateLimit,
    Resource,
    RpcMatch,
    ServerRoute,
    ServerRule,
)
from meshbdd.lab.linkerd.objects import CORE, POLICY, Objects, age, annotations_of, group_of, parents
from meshbdd.lab.linkerd.read import annotations as read_annotations
from meshbdd.lab.linkerd.read.authorizations import EVERYWHERE, Authorizations, of_default
from meshbdd.lab.linkerd.read.matches import http_match, route_filter, rpc_match
from meshbdd.lab.linkerd.read.outbound import EVERYTHING, OPAQUE_PORTS
from meshbdd.lab.linkerd.read.pods import declared_ports, kept_ports, ports_picked, probe_paths, probed_ports
from meshbdd.lab.linkerd.read.targets import canonical, targets
from meshbdd.lab.linkerd.settings import DEFAULT_POLICIES, ControlPlaneSettings, unknown_mode
from meshbdd.lab.linkerd.values import Unreadable

Object = Mapping[str, Any]

DEFAULT_POLICY = "config.linkerd.io/default-inbound-policy"
REQUIRE_IDENTITY = "config.linkerd.io/proxy-require-identity-inbound-ports"
PROTOCOLS: Mapping[str, Protocol] = {
    "unknown": "detect", "HTTP/1": "http1", "HTTP/2": "http2", "gRPC": "grpc", "opaque": "opaque", "TLS": "tls",
}  # fmt: skip
"""What a Server may say of its protocol: linkerd2 policy-controller/k8s/api/src/policy/server.rs."""


class InboundPolicies:
    """Answers for inbound policies.

    Args:
        objects: What the control plane watches.
        settings: How it was installed.
        warn: Takes what the controller would log.
    """

    def __init__(self, objects: Objects, settings: ControlPlaneSettings, warn: Callable[[str], None]) -> None:
        self._objects = objects
        self._settings = settings
        self._warn = warn
        self._authorizations = Authorizations(objects, settings, warn)

    def at_port(self, pod: Object, port: int) -> InboundServer:
        """The policy of one port of a pod."""
        servers = [server for server in self._objects.of("Server") if port in ports_picked(server, pod)]
        for other in servers[1:]:
            self._warn(
                f"WARN Port already matched by another server; skipping port={port} "
                f"server={servers[0]['metadata']['name']} conflict={other['metadata']['name']}"
            )
        return self._of_server(servers[0], pod, port) if servers else self._default(pod, port)

    def before_fetched(self, pod: Object, port: int) -> InboundServer | None:
        """By what a proxy judges the first connection to a port; ``None``: by the policy of the port, as every other one.

        A proxy asks for the policies of the ports that its pod declares or is probed at when it starts, and for that of
        any other port when the first connection comes, which it judges by the default that it was injected with: linkerd2-proxy
        app/inbound/src/policy/store.rs. That one counts as the first also where the two agree when it comes. The kubelet's own
        may come first, which here go past the proxy.
        """
        if port in declared_ports(pod) | probed_ports(pod) | kept_ports(pod):
            return None
        default = self._default(pod, port)
        if default.protocol == "detect":
            return default
        # The bytes of an opaque port pass as they come; what carries them here are routes.
        return replace(default, protocol="detect", routes=tuple(self._built_in(pod, port, "detect")))

    def ports_of(self, pod: Object) -> set[int]:
        """The ports of a pod that something is said about: declared ones and those of Servers."""
        selected = (ports_picked(server, pod) for server in self._objects.of("Server"))
        return set(declared_ports(pod).union(*selected))

    def _default(self, pod: Object, port: int) -> InboundServer:
        annotations = annotations_of(pod)
        policy = self._default_policy(pod)
        if port in (read_annotations.ports(annotations, REQUIRE_IDENTITY, self._warn) or ()):
            policy = {
                "all-unauthenticated": "all-authenticated",
                "cluster-unauthenticated": "cluster-authenticated",
            }.get(policy, policy)
        said = read_annotations.ports(annotations, OPAQUE_PORTS, self._warn)
        # Of the default list the injector writes the ports into the annotation that the pod declares: linkerd2
        # pkg/inject/inject.go, ``CreateOpaquePortsPatch``.
        opaque = self._settings.opaque_ports & declared_ports(pod) if said is None else said
        protocol: Protocol = "opaque" if port in opaque else "detect"
        routes = () if protocol == "opaque" else tuple(self._built_in(pod, port, protocol))
        return InboundServer(Default(policy), protocol, of_default(policy, self._settings), routes)

    def _default_policy(self, pod: Object) -> str:
        policy = annotations_of(pod).get(DEFAULT_POLICY, self._settings.default_policy)
        if policy in DEFAULT_POLICIES:
            return policy
        self._warn(f"WARN Invalid default policy annotation value error={unknown_mode(policy)}")
        return self._settings.default_policy

    def _of_server(self, server: Object, pod: Object, port: int) -> InboundServer:
        meta, spec = server["metadata"], server["spec"]
        protocol = PROTOCOLS[spec.get("proxyProtocol") or "unknown"]
        access = spec.get("accessPolicy") or "deny"
        authorizations = sorted(
            (*self._authorizations.of_server(server), *of_default(access, self._settings)),
            key=lambda a: str(a.meta),
        )
        routes: tuple[ServerRoute, ...] = ()
        limit = None
        if protocol not in {"opaque", "tls"}:
            routes = tuple(self._routes(server, protocol)) or tuple(self._built_in(pod, port, protocol))
            limit = self._rate_limit(server)
        return InboundServer(
            Resource(POLICY, "server", meta["name"]), protocol, tuple(authorizations), routes, limit
        )  # fmt: skip

    def _routes(self, server: Object, protocol: Protocol) -> Iterator[ServerRoute]:
        meta = server["metadata"]
        kind = "GRPCRoute" if protocol == "grpc" else "HTTPRoute"
        for route in sorted(self._objects.of(kind), key=_order):
            for parent in parents(route):
                here = (parent.kind, parent.namespace, parent.name) == ("Server", meta["namespace"], meta["name"])
                if here and is_accepted(self._objects, route, parent, self._settings):
                    # One that cannot be read is left out whole, and logged once for all its parents.
                    with contextlib.suppress(Unreadable):
                        yield self._route(route)
                    break

    def _route(self, route: Object) -> ServerRoute:
        meta = Resource(group_of(route), route["kind"], route["metadata"]["name"])
        hosts = tuple(route["spec"].get("hostnames") or ())
        return ServerRoute(meta, _rules(route), self._authorizations.of_route(route), hosts)

    def unreadable(self) -> None:
        """Log what this side leaves out: Linkerd looks at every pod, rate limit and route, whatever it is for."""
        for pod in self._objects.pods.values():
            self._default_policy(pod)
        for policy in self._objects.of("HTTPLocalRateLimitPolicy"):
            try:
                self._limits(policy)
            except Unreadable as error:
                meta = policy["metadata"]
                self._warn(
                    f"WARN Illegal server ratelimit update ns={meta['namespace']} name={meta['name']} error={error}"
                )
        for route in self._objects.routes():
            if route["kind"] not in {"HTTPRoute", "GRPCRoute"}:
                continue
            try:
                _rules(route)
            except Unreadable as error:
                meta = route["metadata"]
                kind = {"GRPCRoute": "GrpcRoute"}.get(route["kind"], route["kind"])
                self._warn(f"INFO Ignoring {kind} ns={meta['namespace']} name={meta['name']} error={error}")

    def _built_in(self, pod: Object, port: int, protocol: Protocol) -> Iterator[ServerRoute]:
        """The routes of a port that has none: everything, and the pod's own probes without authentication."""
        if protocol == "grpc":
            yield ServerRoute(Default("default"), (ServerRule((RpcMatch(any_rpc=False),)),))
            return
        yield ServerRoute(Default("default"), (ServerRule((EVERYTHING,)),))
        paths = probe_paths(pod, port)
        if paths:
            matches = tuple(Match(uri={"exact": path}, method={"exact": "GET"}) for path in paths)
            allowed = (Authorization(Default("probe"), EVERYWHERE),)
            yield ServerRoute(Default("probe"), (ServerRule(matches),), allowed)

    def _rate_limit(self, server: Object) -> RateLimit | None:
        meta = server["metadata"]
        policy = governing_rate_limit(self._objects, meta["namespace"], meta["name"])
        if policy is None:
            return None
        try:
            return self._limits(policy)
        except Unreadable:
            # It governs nothing, and keeps the younger ones from governing all the same.
            return None

    def _limits(self, policy: Object) -> RateLimit:
        """A rate limit: linkerd2 policy-controller/k8s/index/src/inbound/ratelimit_policy.rs.

        Raises:
            Unreadable: it is for something else than a Server, or a client is no ServiceAccount.
        """
        meta, spec = policy["metadata"], policy["spec"]
        if not targets(spec["targetRef"], POLICY, "Server"):
            raise Unreadable(f"unsupported rate limit target type: {canonical(spec['targetRef'])}")
        overrides = []
        for entry in spec.get("overrides") or []:
            for ref in entry.get("clientRefs") or []:
                if not targets(ref, CORE, "ServiceAccount"):
                    raise Unreadable(f"unsupported client reference: {canonical(ref)}")
            clients = tuple(
                self._settings.identity(ref.get("namespace") or meta["namespace"], ref["name"])
                for ref in entry.get("clientRefs") or []
            )
            overrides.append((entry["requestsPerSecond"], clients))
        return RateLimit(
            meta["name"],
            (spec.get("total") or {}).get("requestsPerSecond"),
            (spec.get("identity") or {}).get("requestsPerSecond"),
            tuple(overrides),
        )


def _order(route: Object) -> tuple[str, ...]:
    """The order of a Server's routes: by age, name and group: linkerd2 policy-controller/core/src/routes.rs."""
    return *age(route), group_of(route)


def _rules(route: Object) -> tuple[ServerRule, ...]:
    """The rules of a route on a Server.

    Raises:
        Unreadable: something that Linkerd does not take; it then leaves the whole route out.
    """
    _see_parents(route)
    read = rpc_match if route["kind"] == "GRPCRoute" else http_match
    return tuple(
        ServerRule(
            tuple(read(match) for match in rule.get("matches") or []),
            _filters(rule.get("filters") or []),
        )
        for rule in route["spec"].get("rules") or []
    )


def _filters(blocks: list[Object]) -> tuple[Filter, ...]:
    """The filters of a rule; those for responses are read and not told: linkerd2 policy-controller/grpc/src/inbound/http.rs."""
    found = [route_filter(block) for block in blocks]
    return tuple(entry for entry in found if not (isinstance(entry, Modifier) and entry.side == "response"))


def _see_parents(route: Object) -> None:
    """See that a route names Servers by their names alone: linkerd2 policy-controller/k8s/index/src/inbound/routes.rs.

    Raises:
        Unreadable: it does not; the whole route is then left out on this side.
    """
    for parent in parents(route):
        if parent.kind != "Server" or not parent.name:
            continue
        if parent.namespace != route["metadata"]["namespace"]:
            raise Unreadable("route resource may not reference a parent Server in an other namespace")
        if parent.port is not None:
            raise Unreadable("route resource may not reference a parent by port")
        if parent.section is not None:
            raise Unreadable("route resource may not reference a parent by section name")
