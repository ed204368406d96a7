"""Whether the routes and policies of a manifest are for something that is there: otherwise they do nothing, and nobody says so."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeGuard

from meshbdd.cluster.kinds import KINDS, kind_of
from meshbdd.errors import BadInput, Inconclusive
from meshbdd.mesh.linkerd.authorizing import AUTHENTICATIONS, AUTHORIZATION, RATE_LIMIT, kind_at, required
from meshbdd.mesh.linkerd.objects import GATEWAY, POLICY, ROUTE_KINDS
from meshbdd.mesh.linkerd.selecting import selects
from meshbdd.mesh.linkerd.servers import container_ports

Object = Mapping[str, Any]
Lookup = Callable[[str, str], Iterable[Object]]
"""A kind and a namespace → the objects that will be there."""

_SERVICES = {"", "core"}
_LOOKED_UP = {(GATEWAY, "Gateway"), (POLICY, "Server")}
_TAKEN = {(POLICY, "EgressNetwork"), *((group, "Service") for group in _SERVICES)}
"""Parents that Linkerd knows; whether a Service is there is told where its ports are looked up."""
_IDENTITIES = {"MeshTLSAuthentication", "ServiceAccount"}


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
    elif kind in {AUTHORIZATION, RATE_LIMIT} and _is_reference(target := spec.get("targetRef")):
        _see_target(document, target, after)
        if kind == AUTHORIZATION and all(map(_is_reference, spec.get("requiredAuthenticationRefs") or [])):
            _see_required(document, after)
    elif kind == "Server":
        _see_port(document, after)


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
    kind = kind_at(target)
    home = str(policy["metadata"]["namespace"])
    if kind == "Namespace" or kind not in KINDS or _is_there(target["name"], after(kind, home)):
        return
    raise _for_nothing(
        policy,
        f"its target {target['kind']} {target['name']} does not exist in namespace {home}",
        "correct the name in its targetRef, or write that object into the manifest",
    )


def _see_required(policy: Object, after: Lookup) -> None:
    """Of a policy that requires what is not there, or two of a kind, Linkerd makes none."""
    asked = list(required(policy))
    for kind, home, name in asked:
        if kind in AUTHENTICATIONS and not _is_there(name, after(kind, home)):
            raise _for_nothing(
                policy,
                f"the {kind} {name} that it requires does not exist in namespace {home}",
                "correct the name in its requiredAuthenticationRefs, or write that object into the manifest",
            )
    for kinds in (_IDENTITIES, {"NetworkAuthentication"}):
        if len([kind for kind, _, _ in asked if kind in kinds]) > 1:
            raise _for_nothing(
                policy,
                f"it requires two of {' and '.join(sorted(kinds))}, and Linkerd leaves such a policy out",
                "write the identities, or the networks, into one object",
            )


def _see_port(server: Object, after: Lookup) -> None:
    """A port may go by a name, and counts at each pod that has one of that name; by its number it counts everywhere."""
    selector, port, home = (
        server["spec"].get("podSelector"),
        server["spec"].get("port"),
        server["metadata"]["namespace"],
    )
    if not isinstance(selector, Mapping):
        return
    with contextlib.suppress(Inconclusive):  # a rehearsal may not know the pods
        starting = (deployment["spec"]["template"] for deployment in after("Deployment", home))
        pods = [
            pod
            for pod in (*after("Pod", home), *starting)
            if selects(selector, pod.get("metadata", {}).get("labels") or {})
        ]
        if not pods:
            raise _for_nothing(
                server,
                f"its podSelector selects no pod in namespace {home}",
                "correct its podSelector, or write the Deployment of these pods into the manifest",
            )
        names = sorted({name for pod in pods for name in container_ports(pod)})
        if isinstance(port, str) and port not in names:
            raise _for_nothing(
                server,
                f'no pod that it selects has a port of the name "{port}" (theirs: {", ".join(names) or "none"})',
                "correct its port, or write the number",
            )


def _is_reference(ref: Any) -> TypeGuard[Object]:
    return isinstance(ref, Mapping) and isinstance(ref.get("name"), str)


def _is_there(name: str, objects: Iterable[Object]) -> bool:
    return any(obj["metadata"]["name"] == name for obj in objects)


def _for_nothing(obj: Object, why: str, advice: str) -> BadInput:
    return BadInput(
        "MB0480", f"{obj['kind']} {obj['metadata']['name']} of the manifest would do nothing: {why}.", help=advice
    )
