"""HTTPRoute, GRPCRoute, TLSRoute and TCPRoute → outbound routes.

linkerd2 policy-controller/k8s/index/src/outbound/index/{http,grpc,tls,tcp}.rs; what a proxy is told of a backend it
cannot use: policy-controller/grpc/src/outbound/http.rs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from meshbdd.lab.linkerd.model import (
    Backend,
    Balancer,
    Biaser,
    Default,
    FailureInjector,
    Forbidden,
    Forward,
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
        biaser: The parent's load biaser.
        timeouts: The parent's.
        http_retries: The parent's, for HTTP routes.
        grpc_retries: The parent's, for gRPC routes.
        forward: Where connections to an EgressNetwork go.
        allow_headers: Whether requests may override timeouts and retries.
    """

    objects: Objects
    parent: Resource
    biaser: Biaser | None = None
    timeouts: Timeouts = Timeouts()
    http_retries: Retries | None = None
    grpc_retries: Retries | None = None
    forward: Forward | None = None
    allow_headers: bool = False

    def own_backend(self) -> Backend:
        """The parent itself."""
        if self.forward is not None:
            return Backend(self.parent, self.forward)
        balancer = Balancer(self.parent.name, self.parent.namespace, self.parent.port, self.biaser)
        return Backend(self.parent, balancer)


def meta_of(route: Object) -> Resource:
    """The route as a policy names it."""
    meta = route["metadata"]
    return Resource(group_of(route), route["kind"], meta["name"], meta["namespace"])


def _invalid(meta: Meta, weight: int, message: str) -> Backend:
    return Backend(meta, None, weight, (FailureInjector(500, message),))


def _backend(ref: Object, context: Context, *, policy_route: bool) -> Backend:
    group, kind, name = ref.get("group") or CORE, ref.get("kind") or "Service", ref["name"]
    weight = ref.get("weight", 1)
    # Not the route's namespace: linkerd2 resolves it in the index of the parent's namespace.
    namespace = ref.get("namespace") or context.parent.namespace
    broken = Default("invalid")
    if (group, kind) not in {(CORE, "Service"), (POLICY, "EgressNetwork")}:
        return _invalid(broken, weight, f"unsupported backend type {group} {kind}")
    port = ref.get("port")
    if kind == "Service" and port is None:
        return _invalid(broken, weight, f"missing port for backend Service {name}")
    try:
        filters = tuple(route_filter(f, response_as_request=policy_route) for f in ref.get("filters") or [])
    except Unreadable as error:
        return _invalid(broken, weight, f"unsupported backend filter: {error}")
    meta = Resource(group, kind, name, namespace, port or context.parent.port)
    if kind == "EgressNetwork":
        if (namespace, name) not in context.objects.egress_networks or context.forward is None:
            return _invalid(meta, weight, f"EgressNetwork not found {name}")
        return Backend(meta, context.forward, weight, filters)
    if (namespace, name) not in context.objects.services:
        return _invalid(meta, weight, f"Service not found {name}")
    return Backend(meta, Balancer(name, namespace, meta.port, context.biaser), weight, filters)


def _backends(rule: Object, context: Context, *, policy_route: bool) -> tuple[tuple[Backend, ...], bool]:
    refs = rule.get("backendRefs") or []
    if not refs:
        return (context.own_backend(),), False
    return tuple(_backend(ref, context, policy_route=policy_route) for ref in refs), True


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
        backends, split = _backends(rule, context, policy_route=policy_route)
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
    """A TLSRoute or a TCPRoute: its rules know no matches."""
    rules = []
    for rule in route["spec"].get("rules") or []:
        backends, split = _backends(rule, context, policy_route=False)
        rules.append(Rule((), tuple(_for_stream(b) for b in backends), split, timeouts=None))
    return Route(meta_of(route), tuple(rules), tuple(route["spec"].get("hostnames") or ()))


def _for_stream(backend: Backend) -> Backend:
    """A backend that cannot be used closes the connection: there is no answer to give."""
    return dataclasses.replace(backend, filters=(Forbidden(),)) if backend.failure else backend
