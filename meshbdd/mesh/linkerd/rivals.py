"""Routes that an older one leaves nothing to: of two rules that match a request equally well Linkerd takes the older route's.

https://gateway-api.sigs.k8s.io/reference/spec/#httproutespec: precedence, and which rule wins a tie.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from meshbdd.errors import BadInput
from meshbdd.intents import ServiceRef
from meshbdd.mesh.linkerd.callers import is_of_a_step
from meshbdd.mesh.linkerd.fault_envoy import CHANGE
from meshbdd.mesh.linkerd.objects import attached, named
from meshbdd.mesh.linkerd.precedence import buried, matches_of

Object = Mapping[str, Any]


def refuse_shadowed(wanted: Object, there: Iterable[Object], service: ServiceRef, port: int) -> None:
    """See that the rules of a manifest's route are reached at a port of a Service.

    Args:
        wanted: The route as it will be.
        there: All routes there are.
        service: The Service.
        port: Its port.

    Raises:
        BadInput: none of them is, whatever the request; or one is not that says something else than what is there.
    """
    own = named(wanted)
    # a caller's proxy has the routes of the Service's namespace and of its own, in one list
    rivals = [route for route in there if named(route)[1] in {own[1], service.namespace}]
    others = [route for route in rivals if named(route) != own]
    live = [{**route, "spec": wanted["spec"]} for route in rivals if named(route) == own]
    in_order = attached([*others, *(live or [dict(wanted)])], service, port)
    place = next((number for number, route in enumerate(in_order) if named(route) == own), None)
    if place is None and in_order:
        raise _in_vain(wanted, in_order[0], service, port, f"beside a {in_order[0]['kind']} Linkerd ignores it")
    older = in_order[:place] if live else [route for route in in_order if named(route) != own]
    rules = _rules(wanted)
    above = [list(_above(wanted, rule, older)) for rule in rules]
    whole = all(above)
    for number, (rule, found) in enumerate(zip(rules, above, strict=True), 1):
        does = _does(rule, service, port)
        if found and (whole or does not in [_does(other, service, port) for _, other in found]):
            part = "" if whole else f"Rule {number} of "
            why = "that one matches the same requests, and the older route wins"
            raise _in_vain(wanted, found[0][0], service, port, why, part)


def _rules(route: Object) -> list[Object]:
    return route["spec"].get("rules") or [{}]


def _above(wanted: Object, rule: Object, older: Iterable[Object]) -> Iterator[tuple[Object, Object]]:
    """The routes, and their rules, that take what a rule is for; nothing where something is left to it."""
    rivals = [(route, other, match) for route in older for other in _rules(route) for match in matches_of(route, other)]
    for match in matches_of(wanted, rule):
        if not any(buried(match, theirs) for _, _, theirs in rivals):
            return
    for match in matches_of(wanted, rule):
        yield from ((route, other) for route, other, theirs in rivals if buried(match, theirs))


def _does(rule: Object, service: ServiceRef, port: int) -> dict[str, Any]:
    """What a rule does with what it matches, with the defaults that the API server would write."""
    refs = rule.get("backendRefs") or [{"name": service.name, "namespace": service.namespace, "port": port}]
    home = {"group": "", "kind": "Service", "namespace": service.namespace, "weight": 1}
    backends = [{**home, **ref} for ref in refs]
    rest = {key: value for key, value in rule.items() if key not in {"name", "matches", "filters", "backendRefs"}}
    return {**rest, "filters": list(_filters(rule)), "backendRefs": backends}


def _filters(rule: Object) -> Iterator[Object]:
    """The filters of a rule without the header by which an earlier manifest's arrival is seen."""
    for found in rule.get("filters") or []:
        modifier = found.get("requestHeaderModifier") or {}
        kept = [header for header in modifier.get("set") or [] if header["name"].lower() != CHANGE]
        if len(kept) == len(modifier.get("set") or []):
            yield found
        elif kept or len(modifier) > 1:
            yield {**found, "requestHeaderModifier": {**modifier, "set": kept}}


def _in_vain(wanted: Object, other: Object, service: ServiceRef, port: int, why: str, part: str = "") -> BadInput:
    kind, namespace, name = named(other)
    step = is_of_a_step(name)
    whose = f"the {kind} of an earlier step" if step else f"{kind} {name}.{namespace}"
    what = f"{wanted['kind']} {wanted['metadata']['name']} of the manifest"
    return BadInput(
        "MB0462",
        f"{part}{what} would do nothing at {service}:{port}, where {whose} is: {why}.",
        help="apply the manifest before that step"
        if step
        else "write its rules into the other route, or take that one away",
    )
