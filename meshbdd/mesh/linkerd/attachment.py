"""Whether the routes and policies of a manifest are for something that is there: otherwise they do nothing, and nobody says so."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeGuard

from meshbdd.cluster.kinds import KINDS, kind_of
from meshbdd.errors import BadInput
from meshbdd.mesh.linkerd.objects import GATEWAY, POLICY, ROUTE_KINDS

Object = Mapping[str, Any]
Lookup = Callable[[str, str], Iterable[Object]]
"""A kind and a namespace → the objects that will be there."""

_SERVICES = {"", "core"}
_LOOKED_UP = {(GATEWAY, "Gateway"), (POLICY, "Server")}
_TAKEN = {(POLICY, "EgressNetwork"), *((group, "Service") for group in _SERVICES)}
"""Parents that Linkerd knows; whether a Service is there is told where its ports are looked up."""
_POLICIES = ("AuthorizationPolicy.policy.linkerd.io", "HTTPLocalRateLimitPolicy")


def refuse_unattached(document: Object, after: Lookup) -> None:
    """See that what a manifest's route or policy is for is there.

    Args:
        document: Any object of the manifest. What is not of its kind's shape is left to the API to refuse.
        after: Tells what is there once the whole manifest is written.

    Raises:
        BadInput: it is for nothing, and would do nothing.
    """
    kind, spec = kind_of(document), document.get("spec")
    if not isinstance(spec, Mapping):
        return
    if kind in ROUTE_KINDS:
        refs = spec.get("parentRefs") or []
        if not refs:
            raise _for_nothing(
                document, "it names no parent", "write one with group: core and kind: Service into parentRefs"
            )
        for ref in refs if isinstance(refs, list) else ():
            if _is_reference(ref):
                _see_parent(document, ref, after)
    elif kind in _POLICIES and _is_reference(target := spec.get("targetRef")):
        _see_target(document, target, after)


def _see_parent(route: Object, ref: Object, after: Lookup) -> None:
    """A parent without a group and a kind is a Gateway: the definitions of routes say so."""
    own = POLICY if kind_of(route).endswith(POLICY) else GATEWAY
    group, kind = str(ref.get("group", own)), str(ref.get("kind") or "Gateway")
    home = str(ref.get("namespace") or route["metadata"]["namespace"])
    if (group, kind) in _TAKEN or group not in {*_SERVICES, GATEWAY, POLICY}:
        return
    if (group, kind) in _LOOKED_UP and _is_there(ref["name"], after(kind, home)):
        return
    raise _for_nothing(
        route,
        f"its parent is {kind} {ref['name']} of {group or 'core'} in namespace {home}, which does not exist",
        "correct the parent's name, or write that Server into the manifest"
        if (group, kind) == (POLICY, "Server")
        else "write group: core and kind: Service into its parentRefs, if it is for a Service",
    )


def _see_target(policy: Object, target: Object, after: Lookup) -> None:
    kind = kind_of({"kind": target.get("kind"), "apiVersion": f"{target.get('group') or ''}/"})
    home = str(policy["metadata"]["namespace"])
    if kind == "Namespace" or kind not in KINDS or _is_there(target["name"], after(kind, home)):
        return
    raise _for_nothing(
        policy,
        f"its target {target['kind']} {target['name']} does not exist in namespace {home}",
        "correct the name in its targetRef, or write that object into the manifest",
    )


def _is_reference(ref: Any) -> TypeGuard[Object]:
    return isinstance(ref, Mapping) and isinstance(ref.get("name"), str)


def _is_there(name: str, objects: Iterable[Object]) -> bool:
    return any(obj["metadata"]["name"] == name for obj in objects)


def _for_nothing(obj: Object, why: str, advice: str) -> BadInput:
    return BadInput(
        "MB0480", f"{obj['kind']} {obj['metadata']['name']} of the manifest would do nothing: {why}.", help=advice
    )
