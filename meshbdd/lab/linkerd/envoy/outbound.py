"""The outbound side of a sidecar: for each Service's port a virtual host, its routes in order, and their clusters."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from meshbdd.lab.compile.ir import Match
from meshbdd.lab.linkerd.envoy import backend_headers, route_metadata, scripts
from meshbdd.lab.linkerd.envoy.clusters import Part, assignment, balancer
from meshbdd.lab.linkerd.envoy.matches import answer_of, direct, header, modifiers, write_match
from meshbdd.lab.linkerd.envoy.order import Entry, ordered
from meshbdd.lab.linkerd.envoy.profiles import write_routes
from meshbdd.lab.linkerd.envoy.retries import action, statuses_filter
from meshbdd.lab.linkerd.model import (
    MAX_RETRY_BODY,
    Backend,
    Balancer,
    Forbidden,
    Forward,
    OutboundPolicy,
    Resource,
    Route,
    Rule,
)
from meshbdd.lab.linkerd.read.destinations import Destinations, Place, Profile

Json = dict[str, Any]

METADATA = "linkerd"
PASSTHROUGH = "PassthroughCluster"
"""Where requests to hosts go that are no Service's."""
_MILLION = 1_000_000


@dataclass(slots=True)
class Outbound:
    """What the outbound side of one sidecar is made of."""

    hosts: list[Json] = field(default_factory=list)
    clusters: dict[str, Json] = field(default_factory=dict)
    endpoints: dict[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Target:
    route: Route
    rule: Rule
    index: int


def _everything(rule: Rule) -> Iterable[Any]:
    return rule.matches or (Match(),)


class OutboundWriter:
    """Writes the policies of the Services that a sidecar calls.

    Args:
        destinations: Knows endpoints.
        made: Where everything goes.
    """

    def __init__(self, destinations: Destinations, made: Outbound) -> None:
        self._destinations = destinations
        self._made = made

    def service(self, policy: OutboundPolicy, logical: str, domains: list[str]) -> None:
        """Write one Service's port.

        Args:
            policy: Its policy.
            logical: Its address and port, for the proxy's error messages.
            domains: Under which authorities it is called.
        """
        routes = policy.opaque if policy.protocol in {"opaque", "tls"} else policy.http
        entries = [
            Entry(host, match, _Target(route, rule, index))
            for route in routes
            for index, rule in enumerate(route.rules)
            for match in _everything(rule)
            for host in (route.hosts if policy.protocol != "tls" else ()) or (None,)
        ]
        written: list[Json] = []
        for entry in ordered(entries):
            written += self._route(entry, policy, logical)
        written.append(
            {"match": {"prefix": "/"}, "name": "no-route", **direct(404, f"logical service {logical}: no route")}
        )
        self._made.hosts.append({"name": str(policy.meta), "domains": domains, "routes": written})

    def profile(self, policy: OutboundPolicy, profile: Profile, logical: str, domains: list[str]) -> None:
        """Write one Service's port that a ServiceProfile governs: neither its routes nor its annotations count."""
        own = Resource("linkerd.io", "ServiceProfile", profile.name, profile.namespace)
        parts = [self._override(authority, weight) for authority, weight in profile.overrides]
        name = f"{policy.meta}/{own}"
        if not parts and isinstance(policy.meta, Resource):
            meta = policy.meta
            parts = [Part(str(meta), 1, self._destinations.endpoints(meta.name, meta.namespace, meta.port))]
            name = f"{meta}/{meta}/{own}"  # they are the Service's own, as the second part tells of a route's
        self._made.clusters[name] = balancer(name, parts, None)
        self._made.endpoints[name] = assignment(name, parts)
        host = {"name": str(policy.meta), "domains": domains, "include_attempt_count_in_response": True}
        self._made.hosts.append({**host, "routes": write_routes(profile, policy, logical, name)})

    def _override(self, authority: str, weight: int) -> Part:
        host, _, port = authority.rpartition(":")
        name, _, rest = host.partition(".")
        known = port.isdigit() and rest  # else it is no Service's, and the destination service has nothing for it
        places = self._destinations.endpoints(name, rest.partition(".")[0], int(port)) if known else ()
        return Part(authority, weight, places)

    def _route(self, entry: Entry[_Target], policy: OutboundPolicy, logical: str) -> list[Json]:
        target = entry.target
        route, rule = target.route, target.rule
        match, name = write_match(entry), str(route.meta)
        grpc = policy.protocol == "grpc"
        metadata = {METADATA: route_metadata.told(policy.meta, route.meta, rule, logical, grpc=grpc)}
        metadata[scripts.ANSWERS] = {"http2": grpc, **route_metadata.overrides(rule)}
        # Shown also where no request leaves with it: nothing else of a redirect would tell that a rule of these words is there.
        shown = {key: value for key, value in modifiers(rule.filters).items() if key == "request_headers_to_add"}
        common: Json = {"name": name, "metadata": {"filter_metadata": metadata}, **shown}
        if any(isinstance(found, Forbidden) for found in rule.filters) or not rule.backends:
            return [_dropped(match, common)]
        answer = answer_of(rule.filters, informs=True)
        if answer is not None:
            return [{"match": match, **common, **answer}]
        total = sum(b.weight for b in rule.backends) if rule.split else 1
        if total == 0:
            return [_dropped(match, common)]
        if rule.timeouts is not None and rule.timeouts.request == 0:
            return [{"match": match, **common, **direct(504, "request timeout: 0ns")}]
        made: list[Json] = []
        rest = total
        for backend in rule.backends:
            failure = answer_of(backend.filters, informs=True)
            if failure is None or not (backend.weight or not rule.split):
                continue
            share = backend.weight if rule.split else 1
            made.append({"match": _share(match, share, rest), **common, **failure})
            rest -= share
        usable = [b for b in rule.backends if answer_of(b.filters, informs=True) is None]
        if rest and usable:
            made += self._forwarding(match, common, policy, target, usable, rest)
        return made

    def _forwarding(
        self, match: Json, common: Json, policy: OutboundPolicy, target: _Target, usable: list[Backend], rest: int
    ) -> list[Json]:
        """The routes to the backends that can be used, which share what is left of a split.

        Those that have an endpoint are one cluster. One that has none draws its share by a route of its own: its
        requests wait, and when the first of them has waited in vain it is passed over (``scripts``).
        """
        bare = [b for b in usable if target.rule.split and b.weight and self._is_bare(b)]
        full = [b for b in usable if b not in bare]
        if not any(backend.weight for backend in full):
            full = [bare.pop()] if bare else full
        told = {
            "bare": [{"cluster": self._cluster(policy, target, [b]), "backend": str(b.meta)} for b in bare],
            "full": [f"{policy.meta}/{backend.meta}{_suffix(policy, target.rule)}" for backend in full],
        }
        if len(usable) > 1:
            metadata = common["metadata"]["filter_metadata"]
            metadata = {**metadata, scripts.ANSWERS: {**metadata[scripts.ANSWERS], **told}}
            common = {**common, "metadata": {"filter_metadata": metadata}}
        made = []
        for backend in bare:
            passed = {
                "name": scripts.PASSED_OVER,
                "string_match": {"contains": f"<{backend.meta}>"},
                "invert_match": True,
                "treat_missing_header_as_empty": True,
            }
            drawn = _share(match, backend.weight, rest)
            drawn = {**drawn, "headers": [*drawn.get("headers", []), passed]}
            route = self._forward(drawn, copy.deepcopy(common), policy, target, [backend])
            answers = route["metadata"]["filter_metadata"][scripts.ANSWERS]
            answers |= {"drawn": route["route"]["cluster"], "again": route_metadata.retries_504(target.rule)}
            made.append(route)
            rest -= backend.weight
        return [*made, self._forward(match, common, policy, target, full)]

    def _forward(
        self, match: Json, common: Json, policy: OutboundPolicy, target: _Target, backends: list[Backend]
    ) -> Json:
        rule = target.rule
        drawn = _drawn(rule, backends)
        own = drawn[0].filters if len(drawn) == 1 else ()
        return {
            "match": match,
            **common,
            **(
                {"per_request_buffer_limit_bytes": MAX_RETRY_BODY}
                if rule.retries or rule.request_headers_allowed
                else {}
            ),
            "route": action(rule, self._cluster(policy, target, backends)),
            **_with_reached(modifiers((*rule.filters, *own))),
        }

    def _cluster(self, policy: OutboundPolicy, target: _Target, usable: list[Backend]) -> str:
        if any(isinstance(backend.target, Forward) for backend in usable):
            return PASSTHROUGH
        parts = [self._part(backend, split=target.rule.split) for backend in usable]
        parts = [part for part in parts if part.weight] or parts
        of = parts[0].name if len(parts) == 1 else f"{target.route.meta}/{target.index}"
        name = f"{policy.meta}/{of}"
        filters = statuses_filter(policy.accrual, target.rule.retries)
        if len(parts) > 1:
            filters = [*backend_headers.upstream(usable), *filters]
        name += _suffix(policy, target.rule)
        self._made.clusters[name] = balancer(name, parts, policy.accrual, filters)
        self._made.endpoints[name] = assignment(name, parts)
        return name

    def _is_bare(self, backend: Backend) -> bool:
        return isinstance(backend.target, Balancer) and not self._part(backend, split=True).places

    def _part(self, backend: Backend, *, split: bool) -> Part:
        places: tuple[Place, ...] = ()
        if isinstance(backend.target, Balancer):
            target = backend.target
            places = self._destinations.endpoints(target.name, target.namespace, target.port)
        return Part(str(backend.meta), backend.weight if split else 1, places)


def _drawn(rule: Rule, backends: list[Backend]) -> list[Backend]:
    """Those of a route's backends that get any of its requests."""
    return [backend for backend in backends if backend.weight or not rule.split] or backends


def _suffix(policy: OutboundPolicy, rule: Rule) -> str:
    """What tells a cluster whose script marks gRPC statuses from one of the same backends that does not."""
    marks = statuses_filter(policy.accrual, rule.retries) and rule.retries is not None and rule.retries.grpc
    return "/grpc-retries" if marks else ""


def _dropped(match: Json, common: Json) -> Json:
    """A route whose callers get no answer: the connection ends (``scripts``)."""
    metadata = {**common["metadata"]["filter_metadata"], scripts.ANSWERS: {"drop": True}}
    return {"match": match, **common, "metadata": {"filter_metadata": metadata}, **direct(502, None)}


def _with_reached(operations: Json) -> Json:
    """The header operations of a route, and the mark of an answer that came from an endpoint."""
    mark = header(scripts.REACHED, "%UPSTREAM_CLUSTER_RAW%")
    return {**operations, "response_headers_to_add": [*operations.get("response_headers_to_add", []), mark]}


def _share(match: Json, share: int, of: int) -> Json:
    """A match that takes a share of what reaches it."""
    if share >= of:
        return match
    fraction = {"default_value": {"numerator": round(share * _MILLION / of), "denominator": "MILLION"}}
    return {**match, "runtime_fraction": fraction}
