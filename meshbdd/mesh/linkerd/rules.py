"""What becomes of a route's rules: marked copies before the tester's own. Pure functions on dicts.

Of two rules that match a request equally well Linkerd takes the first of the oldest route, so a copy has to stand in the
route that it changes, before what it is a copy of.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from math import gcd
from typing import Any

from meshbdd.cluster.record import ROUTE_PREFIX
from meshbdd.errors import BadInput, NotPossible
from meshbdd.intents import Fault, ServiceRef
from meshbdd.mesh.linkerd.backend import backend_of
from meshbdd.mesh.linkerd.detours import backends, refuse_detour, refuse_past
from meshbdd.mesh.linkerd.fault_envoy import (
    ABORT,
    ABORT_GRPC,
    CALLER,
    CHANGE,
    DELAY,
    MILLION,
    PERCENTAGE,
    fault_headers,
)
from meshbdd.mesh.linkerd.scopes import Place, narrowed_rules

Rule = dict[str, Any]
Rules = list[Rule]
_MODIFIER = "RequestHeaderModifier"
_HEAVIEST = 1_000_000
"""The largest weight of a backend: Gateway API, BackendRef.weight."""


def backend_ref(service: ServiceRef, port: int) -> dict[str, Any]:
    """A service as a backend, with all that the API server would add: what it adds looks like somebody's change."""
    named = {"group": "", "kind": "Service", "name": service.name, "namespace": service.namespace}
    return {**named, "port": port, "weight": 1}


def plain_rule(service: ServiceRef, port: int, *, grpc: bool) -> Rule:
    """What a service gets that has no route: everything. The definition of GRPCRoutes adds no match of its own."""
    everything = {} if grpc else {"matches": [{"path": {"type": "PathPrefix", "value": "/"}}]}
    return {**everything, "backendRefs": [backend_ref(service, port)]}


def set_headers(rule: Rule, headers: Mapping[str, str]) -> None:
    """Let a rule set request headers, in place; a rule may have one filter of this kind, so theirs is made use of."""
    filters = rule.setdefault("filters", [])
    found = next((f for f in filters if f.get("type") == _MODIFIER), None)
    if found is None:
        found = {"type": _MODIFIER, "requestHeaderModifier": {}}
        filters.append(found)
    modifier = found["requestHeaderModifier"]
    kept = [header for header in modifier.get("set") or [] if header["name"].lower() not in headers]
    modifier["set"] = [*kept, *({"name": name, "value": value} for name, value in headers.items())]


def headers_of(rule: Mapping[str, Any]) -> dict[str, str]:
    """The request headers that a rule sets."""
    return {
        header["name"].lower(): header["value"]
        for f in rule.get("filters") or []
        if f.get("type") == _MODIFIER
        for header in f["requestHeaderModifier"].get("set") or []
    }


def redirects(rule: Mapping[str, Any]) -> bool:
    """Whether the callers' own proxies answer what a rule takes: then it may lead nowhere, and no fault meets it."""
    return any(f.get("type") == "RequestRedirect" for f in rule.get("filters") or [])


def marked(rule: Mapping[str, Any], tag: str) -> Rule:
    """A copy that says of itself which changes it is made of."""
    made: Rule = copy.deepcopy(dict(rule))
    below = headers_of(made).get(CHANGE)
    set_headers(made, {CHANGE: f"{below} {tag}" if below else tag})
    made.pop("name", None)
    return made


def faulted_rules(
    rules: Iterable[Rule], fault: Fault, place: Place, callers: Iterable[str], tag: str, *, stands_in: bool
) -> Rules:
    """A faulted copy of each rule that the fault can hit, narrowed to its scope.

    Args:
        rules: The rules that are there.
        fault: The fault.
        place: Where they stand.
        callers: ``account.namespace`` of the only callers that it is for.
        tag: Names the change.
        stands_in: Whether every call of the service comes to the fault backend anyway, which then draws by itself.

    Raises:
        NotPossible: a fault of the same kind is in force for some of the same calls, those that go on would miss the
            backends that the rules lead to, or all the endpoint that fails, or the copies would share calls out otherwise.
    """
    told, share = tuple(callers), round(fault.share.value * MILLION / 100)
    made = []
    theirs = list(rules)
    for rule, matches in zip(theirs, narrowed_rules(theirs, fault.scope, str(fault), place), strict=True):
        if not matches:
            continue
        copied = marked(rule, tag)
        if any(matches):
            copied["matches"] = matches
        made.append(copied)
        if redirects(rule):
            continue
        other = _check_free(rule, fault, told)
        draws = stands_in or other is not None
        headers = fault_headers(fault, told, share if draws else None)
        if other is not None and not stands_in:
            headers[f"{other}{PERCENTAGE}"] = str(_sent(rule, fault.service))
        set_headers(copied, headers)
        if stands_in:
            refuse_past(rule, fault)
        else:
            refuse_detour(headers_of(copied), rule, fault.service)
            _send(copied, fault.service, place, MILLION if draws else share)
    return made


def split_rules(
    rules: Iterable[Rule], service: ServiceRef, weights: Mapping[ServiceRef, int], place: Place, tag: str
) -> Rules:
    """A copy of each rule with other backends. A fault that it has keeps its share of the calls.

    Args:
        rules: The rules that are there.
        service: Whose they are.
        weights: Backend → its weight.
        place: Where they stand: its port is that of each backend, where a rule does not say another.
        tag: Names the change.

    Raises:
        NotPossible: a rule has a fault after which calls go on, and would miss these backends.
    """
    made = []
    for rule in rules:
        copied, share, own = marked(rule, tag), _sent(rule, service), _leads_to(rule, service, place)
        made.append(copied)
        if redirects(rule):
            continue
        copied["backendRefs"] = [{**backend_ref(ref, own), "weight": weight} for ref, weight in weights.items()]
        if share:
            refuse_detour(headers_of(copied), copied, service)
            _send(copied, service, place, share)
    return made


def _check_free(rule: Rule, fault: Fault, callers: Iterable[str]) -> str | None:
    """The kind of the fault that a rule has already; ``None`` where it has none.

    Raises:
        NotPossible: it has one that cannot be had beside this one.
    """
    theirs = headers_of(rule)
    kinds = [kind for kind in (ABORT, DELAY) if any(name.startswith(kind) for name in theirs)]
    if ABORT_GRPC in theirs:
        kinds.append(ABORT)
    own = DELAY if fault.delay is not None else ABORT
    if not kinds:
        return None
    other = theirs.get(CALLER, "")
    if other != ",".join(callers):
        raise NotPossible(
            "MB0443",
            f"{fault} would be in a route by which another fault is in force for {_named(other)}; on Linkerd a route does not tell "
            "who calls, and the fault backend behind it has one failure and one delay, both for the same callers.",
            help="let the first one recover, or give the two methods, paths or headers that exclude each other",
        )
    if own in kinds:
        raise NotPossible(
            "MB0443",
            f"{fault} meets calls for which another fault is in force already; on Linkerd the same calls can have one "
            "failure and one delay at a time.",
            help="let the first one recover, or give the two methods, paths or headers that exclude each other",
        )
    return kinds[0]


def _named(callers: str) -> str:
    """Callers as a fault's header names them, in words."""
    return f"calls of {callers.replace(',', ', ')} alone" if callers else "every caller"


def _sent(rule: Rule, service: ServiceRef) -> int:
    """How many of a million calls a rule of a route sends to the fault backend."""
    weights: list[tuple[ServiceRef, int]] = [
        (backend, ref.get("weight", 1)) for backend, ref in backends(rule, service.namespace)
    ]
    sent = sum(weight for backend, weight in weights if backend == backend_of(service))
    return round(sent * MILLION / (sum(weight for _, weight in weights) or 1))


def _leads_to(rule: Rule, service: ServiceRef, place: Place) -> int:
    """The port of a service that a rule leads to: the one that was called, unless the rule names one.

    What a run made beside the service (the fault backend, subsets) has the same ports.
    """
    named = [
        int(ref["port"])
        for backend, ref in backends(rule, service.namespace)
        if backend.namespace == service.namespace and ref.get("port")
        if backend == service or backend.name.startswith(ROUTE_PREFIX)
    ]
    return named[0] if named else place.port


def _send(rule: Rule, service: ServiceRef, place: Place, share: int) -> None:
    """Let a share (of a million) of what a rule takes go to the fault backend, in place."""
    fault = backend_ref(backend_of(service), _leads_to(rule, service, place))
    theirs = rule.get("backendRefs") or [backend_ref(service, place.port)]
    if share >= MILLION:
        rule["backendRefs"] = [fault]
        return
    total = sum(ref.get("weight", 1) for ref in theirs)
    weights = [ref.get("weight", 1) * (MILLION - share) for ref in theirs] + [total * share]
    divisor = gcd(*weights) or 1
    weights = [weight // divisor for weight in weights]
    if max(weights) > _HEAVIEST:
        raise BadInput(
            "MB0444",
            f"The weights of the route to {service} leave no room for a share of {share / 10_000:g}%.",
            help="give the route smaller weights, or the fault a rounder share",
        )
    refs = [*theirs, fault]
    rule["backendRefs"] = [{**ref, "weight": weight} for ref, weight in zip(refs, weights, strict=True)]
