"""What Linkerd's validating webhooks deny: linkerd2 policy-controller/runtime/src/admission.rs; of ServiceProfiles what
their type cannot hold.

Services are not looked at: a bad annotation of a Service silently counts as not said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)
from typing import Any

from meshbdd.lab.admission import http_route
from meshbdd.lab.api.errors import ApiError, Cause, invalid
from meshbdd.lab.api.schema import prune, validate
from meshbdd.lab.api.store import clone
from meshbdd.lab.api.structural import drop_nulls
from meshbdd.lab.linkerd.admission.definitions import spec_schema
from meshbdd.lab.linkerd.admission.identities import identity_fault
from meshbdd.lab.linkerd.objects import CORE, GATEWAY, POLICY, Parent, annotations_of, group_of, parents, with_defaults
from meshbdd.lab.linkerd.read import annotations as read_annotations
from meshbdd.lab.linkerd.read import regexes
from meshbdd.lab.linkerd.read.authorizations import AUTHENTICATIONS, target_of
from meshbdd.lab.linkerd.read.destinations import weight_of
from meshbdd.lab.linkerd.read.inbound import PROTOCOLS
from meshbdd.lab.linkerd.read.matches import http_match, rpc_match, see_filter
from meshbdd.lab.linkerd.read.targets import canonical, targets
from meshbdd.lab.linkerd.settings import DEFAULT_POLICIES, unknown_mode
from meshbdd.lab.linkerd.values import Unreadable, debugged, k8s_duration

Object = Mapping[str, Any]
WEBHOOK = "linkerd-policy-validator.linkerd.io"


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision on an object.

    Attributes:
        denied: The webhook's sentence; ``None``: allowed.
        schema: Where the object breaks its kind's definition: path and reason.
        unreadable: Whether its kind's type cannot hold it: no controller would see it either.
    """

    denied: str | None = None
    schema: tuple[tuple[str, str], ...] = ()
    unreadable: bool = False


class _NoValue(Unreadable):
    """A text that the type of its field cannot hold."""


def _parents(route: Object) -> list[Parent]:
    attached = parents(route)
    if any(parent.kind == "EgressNetwork" and parent.port is None for parent in attached):
        raise Unreadable("cannot target an EgressNetwork without specifying a port")
    return attached


def _route(route: Object) -> None:
    """An HTTPRoute or a GRPCRoute: its rules are looked at whatever its parents, its annotations for some of them."""
    grpc = route["kind"] == "GRPCRoute"
    if any(parent.kind in {"Service", "EgressNetwork"} for parent in _parents(route)):
        annotations = annotations_of(route)
        if grpc:
            read_annotations.grpc_retries(annotations)
        else:
            read_annotations.http_retries(annotations)
        read_annotations.timeouts(annotations)
    read = rpc_match if grpc else http_match
    for rule in route["spec"].get("rules") or []:
        for match in rule.get("matches") or []:
            read(match)
        for block in rule.get("filters") or []:
            see_filter(block)
        if group_of(route) == GATEWAY:
            _backends(rule)


def _policy_route(route: Object) -> None:
    _route(route)
    for rule in route["spec"].get("rules") or []:
        _timeouts(rule.get("timeouts") or {})


def _timeouts(said: Object) -> None:
    try:
        backend, request = (
            k8s_duration(said[name]) if name in said else None for name in ("backendRequest", "request")
        )
    except Unreadable as error:
        raise _NoValue(str(error)) from None
    for name, duration in (("backendRequest", backend), ("request", request)):
        if duration is not None and str(said[name]).startswith("-"):
            raise Unreadable(f"{name} timeout must not be negative")
    if backend is not None and request is not None and backend > request:
        raise Unreadable(
            f"backendRequest timeout ({debugged(backend)}) must not be greater than request timeout "
            f"({debugged(request)})"
        )


def _backends(rule: Object) -> None:
    for ref in rule.get("backendRefs") or []:
        service = (ref.get("group") or CORE, ref.get("kind") or "Service") == (CORE, "Service")
        if service and not ref.get("port"):
            raise Unreadable("invalid backendRef")


def _stream_route(route: Object) -> None:
    """A TLSRoute or a TCPRoute."""
    if len(route["spec"].get("rules") or []) != 1:
        raise Unreadable(f"{'TlsRoute' if route['kind'] == 'TLSRoute' else 'TcpRoute'} supports a single rule only")
    _parents(route)


def _server(server: Object) -> None:
    protocol = server["spec"].get("proxyProtocol")
    if protocol is not None and protocol not in PROTOCOLS:
        known = ", ".join(f"`{name}`" for name in PROTOCOLS)
        raise _NoValue(f"unknown variant `{protocol}`, expected one of {known}")
    policy = server["spec"].get("accessPolicy")
    if policy is not None and policy not in DEFAULT_POLICIES:
        raise Unreadable(f"Invalid 'accessPolicy' field: {unknown_mode(policy)}")


def _authorization_policy(policy: Object) -> None:
    spec = policy["spec"]
    target, refs = spec["targetRef"], spec.get("requiredAuthenticationRefs") or []
    if targets(target, CORE, "Namespace") and target["name"] != (policy["metadata"].get("namespace") or ""):
        raise Unreadable(f"cannot target another namespace: {target['name']}")
    tls, networks, accounts = (sum(targets(ref, *kind) for ref in refs) for kind in AUTHENTICATIONS)
    for (_group, kind), count in zip(AUTHENTICATIONS, (tls, 0, accounts), strict=True):
        if count > 1:
            raise Unreadable(f"only a single {kind} may be set")
    if tls + accounts > 1:
        raise Unreadable("a MeshTLSAuthentication and ServiceAccount may not be set together")
    if networks > 1:
        raise Unreadable("only a single NetworkAuthentication may be set")
    strange = [canonical(ref) for ref in refs if not any(targets(ref, *kind) for kind in AUTHENTICATIONS)]
    if strange:
        raise Unreadable(f"unsupported authentication kind(s): {', '.join(strange)}")
    target_of(target)


def _mesh_tls(authentication: Object) -> None:
    for text in authentication["spec"].get("identities") or []:
        why = identity_fault(text)
        if why is not None:
            raise Unreadable(f"id {text} is invalid: {why}")
    for ref in authentication["spec"].get("identityRefs") or []:
        if targets(ref, CORE, "ServiceAccount"):
            continue
        if not targets(ref, CORE, "Namespace"):
            raise Unreadable(f"invalid identity target kind: {canonical(ref)}")
        if ref.get("namespace") is not None:
            raise Unreadable("Namespace identity_ref is cluster-scoped and cannot have a namespace")


def _blocks(entries: list[Object] | None) -> None:
    for entry in entries or []:
        block = _block(entry["cidr"])
        for text in entry.get("except") or []:
            hole = _block(text)
            if _within(block, hole):
                raise Unreadable(f"cidr '{block}' is completely negated by exception '{hole}'")
            if not _within(hole, block):
                raise Unreadable(f"cidr '{block}' does not include exception '{hole}'")


def _block(text: str) -> IPv4Address | IPv6Address | IPv4Interface | IPv6Interface:
    """An address, or a block of them that keeps its host bits: linkerd2 policy-controller/k8s/api/src/policy/network.rs."""
    _address, slash, length = text.partition("/")
    if slash and not (length.isascii() and length.isdigit()):
        raise _NoValue(f"invalid CIDR: {text!r} has no length of a prefix")
    try:
        return ip_interface(text) if slash else ip_address(text)
    except ValueError as error:
        raise _NoValue(f"invalid CIDR: {error}") from None


def _within(
    inner: IPv4Address | IPv6Address | IPv4Interface | IPv6Interface,
    outer: IPv4Address | IPv6Address | IPv4Interface | IPv6Interface,
) -> bool:
    small, large = ip_network(str(inner), strict=False), ip_network(str(outer), strict=False)
    if isinstance(small, IPv4Network) and isinstance(large, IPv4Network):
        return small.subnet_of(large)
    if isinstance(small, IPv6Network) and isinstance(large, IPv6Network):
        return small.subnet_of(large)
    return False


def _network_authentication(authentication: Object) -> None:
    if not authentication["spec"].get("networks"):
        raise Unreadable("at least one network must be specified")
    _blocks(authentication["spec"]["networks"])


def _server_authorization(authorization: Object) -> None:
    client = authorization["spec"]["client"]
    tls = client.get("meshTLS")
    if tls is not None:
        if client.get("unauthenticated"):
            raise Unreadable("`unauthenticated` must be false if `mesh_tls` is specified")
        if tls.get("unauthenticatedTLS") and (tls.get("identities") or tls.get("serviceAccounts")):
            raise Unreadable("`unauthenticatedTLS` be false if any `identities` or `service_accounts` is specified")
    _blocks(client.get("networks"))


def _egress(network: Object) -> None:
    networks = network["spec"].get("networks")
    if networks is not None and not networks:
        raise Unreadable("at least one network must be specified")
    _blocks(networks)


def _rate_limit(policy: Object) -> None:
    spec, target = policy["spec"], policy["spec"]["targetRef"]
    if not targets(target, POLICY, "Server"):
        raise Unreadable(f"invalid targetRef kind: {canonical(target)}")
    identity, total = (_per_second(spec.get(name)) for name in ("identity", "total"))
    overrides = [(_per_second(entry) or 0, entry["clientRefs"]) for entry in spec.get("overrides") or []]
    if total is not None:
        if total == 0:
            raise Unreadable("total.requestsPerSecond must be greater than 0")
        if identity is not None and identity > total:
            raise Unreadable("identity.requestsPerSecond must be less than or equal to total.requestsPerSecond")
        if any(most > total for most, _refs in overrides):
            raise Unreadable("override.requestsPerSecond must be less than or equal to total.requestsPerSecond")
    if identity == 0:
        raise Unreadable("identity.requestsPerSecond must be greater than 0")
    for most, refs in overrides:
        if most == 0:
            raise Unreadable("override.requestsPerSecond must be greater than 0")
        if not all(targets(ref, CORE, "ServiceAccount") for ref in refs):
            raise Unreadable("overrides.clientRefs must target a ServiceAccount")


def _per_second(limit: Object | None) -> int | None:
    if limit is None:
        return None
    said = limit["requestsPerSecond"]
    if not 0 <= said < 2**32:
        raise _NoValue(f"invalid value: integer `{said}`, expected u32")
    return int(said)


_CONDITION: Mapping[str, type] = {"pathRegex": str, "method": str, "status": dict, "isFailure": bool}


def _condition(said: object) -> None:
    """A condition of a ServiceProfile: linkerd2 controller/gen/apis/serviceprofile/v1alpha2/types.go."""
    if not isinstance(said, dict):
        raise _NoValue(f"{said!r} is no condition")
    for name, value in said.items():
        if name in {"all", "any"} and isinstance(value, list):
            for inner in value:
                _condition(inner)
        elif name == "not":
            _condition(value)
        elif name in {"all", "any"} or not isinstance(value, _CONDITION.get(name, object)):
            raise _NoValue(f"{name}: {value!r} makes no condition")
    limits = (said.get("status") or {}).values()
    if not all(isinstance(limit, int) for limit in limits):
        raise _NoValue(f"status: {said['status']!r} makes no condition")


def _profile(profile: Object) -> None:
    for route in profile["spec"].get("routes") or []:
        _condition(route["condition"])
        for answers in route.get("responseClasses") or []:
            _condition(answers["condition"])
    for entry in profile["spec"].get("dstOverrides") or []:
        try:
            weight_of(entry)
        except ValueError:
            raise _NoValue(f"the weight {entry['weight']!r} is no quantity") from None


_RULES: dict[tuple[str, str], Callable[[Object], None]] = {
    (GATEWAY, "HTTPRoute"): _route, (GATEWAY, "GRPCRoute"): _route, (POLICY, "HTTPRoute"): _policy_route,
    (GATEWAY, "TLSRoute"): _stream_route, (GATEWAY, "TCPRoute"): _stream_route,
    (POLICY, "Server"): _server, (POLICY, "AuthorizationPolicy"): _authorization_policy,
    (POLICY, "MeshTLSAuthentication"): _mesh_tls, (POLICY, "NetworkAuthentication"): _network_authentication,
    (POLICY, "ServerAuthorization"): _server_authorization, (POLICY, "EgressNetwork"): _egress,
    (POLICY, "HTTPLocalRateLimitPolicy"): _rate_limit, ("linkerd.io", "ServiceProfile"): _profile,
}  # fmt: skip


UNKNOWN_FIELD = "unknown field"
"""The reason where a kind does not have a field."""
_EXPRESSIONS = {(GATEWAY, "HTTPRoute"): http_route.problems, (GATEWAY, "GRPCRoute"): http_route.grpc_problems}


def _schema_faults(obj: Object) -> Iterator[tuple[str, str]]:
    schema = spec_schema(group_of(obj), obj["kind"], str(obj.get("apiVersion") or "").rpartition("/")[2])
    if schema is None:
        return
    spec = clone(obj.get("spec") or {})
    if isinstance(spec, dict):
        drop_nulls(schema, spec)
    for cause in validate(schema, spec, "spec"):
        yield cause.field, cause.message
    for path in prune(schema, spec, "spec") if isinstance(spec, dict) else ():
        yield path, UNKNOWN_FIELD


def _expressions(obj: Object) -> Iterator[tuple[str, str]]:
    """Where a route breaks the expressions of its kind's definition (CEL), which the API server looks at after its schema."""
    expressions = _EXPRESSIONS.get((group_of(obj), obj["kind"]))
    if expressions is not None:
        yield from expressions(obj.get("spec") or {}, "")


def decide(obj: Object) -> Decision:
    """Decide as Linkerd's webhook does, and say where the object breaks its definition."""
    faults = tuple(_schema_faults(obj))
    rule = _RULES.get((group_of(obj), obj["kind"]))
    if rule is None or not isinstance(obj.get("spec") or {}, Mapping):
        return Decision(schema=faults, unreadable=rule is not None)
    try:
        rule(with_defaults(obj))
    except Unreadable as error:
        return Decision(str(error), faults, unreadable=isinstance(error, _NoValue))
    except (KeyError, TypeError, AttributeError):
        # The definition refuses what is not of its shape before a webhook is asked.
        return Decision(None, faults, unreadable=bool(faults))
    return Decision(None, faults)


def _unplayable(route: Object) -> str | None:
    """What of a route that Linkerd takes the lab's Envoy cannot play; ``None``: it can."""
    for rule in (route.get("spec") or {}).get("rules") or []:
        for match in rule.get("matches") or []:
            parts = [match.get("path") or {}, *(match.get("headers") or ()), *(match.get("queryParams") or ())]
            for text in (part.get("value", "/") for part in parts if part.get("type") == "RegularExpression"):
                why = regexes.unplayable(text)
                if why is not None:
                    return (
                        f'the lab cannot play the regular expression "{text}" of this route: linkerd-proxy would take it, but '
                        f"the lab's Envoy has RE2's syntax ({why}); write it in what both have."
                    )
    return None


def admission_hook(operation: str, _resource: str, new: Object | None, _old: Object | None) -> list[str]:
    """The API's admission for Linkerd's kinds.

    Raises:
        ApiError: 400 in the words of a denied admission request; or in the lab's own, for what it cannot play; 422 for what
            breaks an expression of its definition.
    """
    if (
        operation == "DELETE"
        or new is None
        or "apiVersion" not in new
        or spec_schema(group_of(new), new["kind"]) is None
    ):
        return []
    broken = [Cause("FieldValueInvalid", f"Invalid value: {why}", path) for path, why in _expressions(new)]
    if broken:
        raise invalid(new["kind"], group_of(new), new["metadata"].get("name", ""), broken)
    decision = decide(new)
    if decision.denied is not None:
        raise ApiError(400, "BadRequest", f'admission webhook "{WEBHOOK}" denied the request: {decision.denied}')
    unplayable = _unplayable(new) if new["kind"] in {"HTTPRoute", "GRPCRoute"} else None
    if unplayable is not None:
        raise ApiError(400, "BadRequest", unplayable)
    return []
