"""HTTPRoute, GRPCRoute, TLSRoute and TCPRoute → outbound routes.

linkerd2 policy-controller/k8s/index/src/outbound/index/{http,grpc,tls,tcp}.rs; what a proxy is told of a backend it
cannot use: policy-controller/grpc/src/outbound/http.rs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from meshbdd.lab.linkerd.model import (
    Backend,
    Balancer,
    Biaser,
    Default,
    FailureInjector,
    Filter,
    Forward,
    Invalid,
    Meta,
    Resource,
    Retries,
    Route,
    Rule,
    Timeouts,
)
from meshbdd.lab.linkerd.objects import CORE, POLICY, Objects, annotations_of, group_of
from meshbdd.lab.linkerd.read import annotations as read_annotations
from meshbdd.lab.linkerd.read.matches import http_match, route_filter, rpc_match
from meshbdd.lab.linkerd.values import Unreadable, gateway_duration, policy_duration

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Context:
    """What a route's rules fall back to.

    Attributes:
        objects: For looking up backends.
        parent: The Service or EgressNetwork that the route is attached to.
        biaser: The parent's load biaser, for backends of HTTP and gRPC routes.
        own_biaser: That of the parent as a backend itself.
        timeouts: The parent's.
        http_retries: The parent's, for HTTP routes.
        grpc_retries: The parent's, for gRPC routes.
        forward: Where connections to an EgressNetwork go.
        allow_headers: Whether requests may override timeouts and retries.
    """

    objects: Objects
    parent: Resource
    biaser: Biaser | None = None
    own_biaser: Biaser | None = None
    timeouts: Timeouts = Timeouts()
    http_retries: Retries | None = None
    grpc_retries: Retries | None = None
    forward: Forward | None = None
    allow_headers: bool = False

    def own_backend(self) -> Backend:
        """The parent itself."""
        if self.forward is not None:
            return Backend(self.parent, self.forward)
        balancer = Balancer(self.parent.name, self.parent.namespace, self.parent.port, self.own_biaser)
        return Backend(self.parent, balancer)


def meta_of(route: Object) -> Resource:
    """The route as a policy names it."""
    meta = route["metadata"]
    return Resource(group_of(route), route["kind"], meta["name"], meta["namespace"])


def _invalid(meta: Meta, weight: int, message: str) -> Backend:
    return Backend(meta, None, weight, (FailureInjector(500, message),))


def _backend(ref: Object, context: Context, filters: Iterable[Object]) -> Backend:
    # The shipped definitions fill in the empty group, which is the core one.
    group, kind, name = ref.get("group") or "", ref.get("kind") or "Service", ref["name"]
    weight = ref.get("weight", 1)
    # Not the route's namespace: linkerd2 resolves it in the index of the parent's namespace.
    namespace = ref.get("namespace") or context.parent.namespace
    broken = Default("invalid")
    is_service = (group.lower() or CORE, kind.lower()) == (CORE, "service")
    if not is_service and (group.lower(), kind.lower()) != (POLICY, "egressnetwork"):
        return _invalid(broken, weight, f"unsupported backend type {group} {kind}")
    try:
        read = tuple(route_filter(block) for block in filters)
    except Unreadable as error:
        return _invalid(broken, weight, f"unsupported backend filter: {error}")
    port = ref.get("port")
    if not is_service:
        return _egress_backend(Resource(POLICY, "EgressNetwork", name, namespace, port or 0), context, weight, read)
    if not port:
        return _invalid(broken, weight, f"missing port for backend Service {name}")
    meta = Resource(CORE, "Service", name, namespace, port)
    if (namespace, name) not in context.objects.services:
        return _invalid(meta, weight, f"Service not found {name}")
    return Backend(meta, Balancer(name, namespace, port, context.biaser), weight, read)


def _egress_backend(meta: Resource, context: Context, weight: int, filters: tuple[Filter, ...]) -> Backend:
    """An EgressNetwork as a backend: only of routes that have the same one as a parent."""
    if context.forward is not None and not meta.port:
        meta = dataclasses.replace(meta, port=context.forward.port)
    if (meta.namespace, meta.name) not in context.objects.egress_networks:
        return _invalid(meta, weight, f"EgressNetwork not found {meta.name}")
    if context.forward is None:
        return _invalid(meta, weight, "EgressNetwork backends attach to EgressNetwork parents only")
    if (meta.namespace, meta.name) != (context.parent.namespace, context.parent.name):
        same = "Route with EgressNetwork backend needs to have the same EgressNetwork as a parent"
        return _invalid(meta, weight, same)
    return Backend(meta, context.forward, weight, filters)


def _backends(rule: Object, context: Context) -> tuple[tuple[Backend, ...], bool]:
    refs = rule.get("backendRefs") or []
    if not refs:
        return (context.own_backend(),), False
    return tuple(_backend(ref, context, ref.get("filters") or []) for ref in refs), True


def http_route(route: Object, context: Context) -> Route:
    """An HTTPRoute or a GRPCRoute for clients of its parent.

    Raises:
        Unreadable: something in it that Linkerd does not take; it then leaves the whole route out.
    """
    grpc = route["kind"] == "GRPCRoute"
    policy_route = group_of(route) == POLICY
    annotations = annotations_of(route)
    read = read_annotations.grpc_retries if grpc else read_annotations.http_retries
    retries = read(annotations) or (context.grpc_retries if grpc else context.http_retries)
    asked = read_annotations.timeouts(annotations)
    duration = policy_duration if policy_route else gateway_duration
    rules = []
    for rule in route["spec"].get("rules") or []:
        backends, split = _backends(rule, context)
        in_rule = (rule.get("timeouts") or {}).get("request")
        timeouts = asked
        if timeouts.request is None and in_rule and not grpc:
            timeouts = dataclasses.replace(timeouts, request=duration(in_rule))
        matches = rule.get("matches") or []
        rules.append(
            Rule(
                matches=tuple((rpc_match if grpc else http_match)(match) for match in matches),
                backends=backends,
                split=split,
                filters=tuple(route_filter(f, response_as_request=policy_route) for f in rule.get("filters") or []),
                timeouts=timeouts if timeouts.said else context.timeouts,
                retries=retries,
                request_headers_allowed=context.allow_headers,
            )
        )
    return Route(meta_of(route), tuple(rules), tuple(route["spec"].get("hostnames") or ()))


def stream_route(route: Object, context: Context) -> Route:
    """A TLSRoute or a TCPRoute: its one rule knows no matches, its backends no filters and no load biaser.

    linkerd2 policy-controller/k8s/index/src/outbound/index/tcp.rs; policy-controller/grpc/src/outbound/tcp.rs

    Raises:
        Unreadable: it has not one rule; Linkerd then leaves the whole route out.
    """
    rules = route["spec"].get("rules") or []
    if len(rules) != 1:
        raise Unreadable(f"{route['kind']} needs to have one rule")
    plain = dataclasses.replace(context, biaser=None)
    refs = rules[0].get("backendRefs") or []
    backends = tuple(_for_stream(_backend(ref, plain, ())) for ref in refs)
    rule = Rule((), backends or (context.own_backend(),), split=bool(refs), timeouts=None)
    return Route(meta_of(route), (rule,), tuple(route["spec"].get("hostnames") or ()))


def _for_stream(backend: Backend) -> Backend:
    """A backend that cannot be used closes the connection: there is no answer to give."""
    failure = backend.failure
    return dataclasses.replace(backend, filters=(Invalid(failure.message),)) if failure else backend
