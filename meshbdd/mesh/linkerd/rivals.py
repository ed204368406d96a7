"""Routes that an older one leaves nothing to: of two rules that match a request equally well Linkerd takes the older route's.

https://gateway-api.sigs.k8s.io/reference/spec/#httproutespec: precedence, and which rule wins a tie.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from meshbdd.errors import BadInput
from meshbdd.intents import ServiceRef
from meshbdd.mesh.linkerd.objects import attached, named

Object = Mapping[str, Any]
_OURS = "meshbdd-"


def refuse_shadowed(wanted: Object, there: Iterable[Object], service: ServiceRef, port: int) -> None:
    """See that the rules of a manifest's route are reached at a port of a Service.

    Args:
        wanted: The route as it will be.
        there: All routes there are.
        service: The Service.
        port: Its port.

    Raises:
        BadInput: a rule of it is not, whatever the request.
    """
    own = named(wanted)
    # a route in its callers' namespace is for these alone, and there it comes before the service's own
    rivals = [route for route in there if named(route)[1] == own[1]]
    others = [route for route in rivals if named(route) != own]
    live = [{**route, "spec": wanted["spec"]} for route in rivals if named(route) == own]
    in_order = attached([*others, *(live or [dict(wanted)])], service, port)
    place = next((number for number, route in enumerate(in_order) if named(route) == own), None)
    if place is None and in_order:
        raise _in_vain(wanted, in_order[0], service, port, f"beside a {in_order[0]['kind']} Linkerd ignores it")
    older = in_order[:place] if live else [route for route in in_order if named(route) != own]
    for route in older:
        taken = {match for rule in _rules(route) for match in _matches(rule)}
        if any(set(_matches(rule)) <= taken for rule in _rules(wanted)):
            raise _in_vain(wanted, route, service, port, "that one matches the same requests, and the older route wins")


def _rules(route: Object) -> Iterable[Object]:
    return route["spec"].get("rules") or ([{}] if route["kind"] == "HTTPRoute" else [])


def _matches(rule: Object) -> Iterable[str]:
    """What a rule matches, each in one form only: with the defaults that the API server would write."""
    for match in rule.get("matches") or [{}]:
        whole = {"path": {}, **match}
        if "method" not in match or isinstance(match["method"], str):  # an HTTPRoute's; a GRPCRoute has no path
            whole["path"] = {"type": "PathPrefix", "value": "/", **(match.get("path") or {})}
        for field in ("headers", "queryParams"):
            entries = [{"type": "Exact", **entry} for entry in match.get(field) or []]
            whole[field] = sorted(entries, key=lambda entry: str(entry.get("name")).lower())
        yield json.dumps(whole, sort_keys=True)


def _in_vain(wanted: Object, other: Object, service: ServiceRef, port: int, why: str) -> BadInput:
    kind, namespace, name = named(other)
    step = name.startswith(_OURS)
    whose = f"the {kind} of an earlier step" if step else f"{kind} {name}.{namespace}"
    return BadInput(
        "MB0462",
        f"{wanted['kind']} {wanted['metadata']['name']} of the manifest would do nothing at {service}:{port}, where "
        f"{whose} is: {why}.",
        help="apply the manifest before that step"
        if step
        else "write its rules into the other route, or take that one away",
    )
