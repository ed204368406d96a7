"""The policies of a service, held by its fault backend as well: who may not call the service is denied, and meets no fault.

The backend answers in the service's place, so whatever lets only some callers of the service pass is copied for its pods.
The copies come and go with the fault; each says what it is a copy of.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from meshbdd.cluster.kinds import KINDS, kind_of
from meshbdd.errors import BadInput, NotPossible
from meshbdd.mesh.base import Left, Object, Plan, Stage, Where
from meshbdd.mesh.catalog import Catalog
from meshbdd.mesh.linkerd.authorizing import (
    AUTHORIZATION,
    SERVER_AUTHORIZATION,
    has_what_it_requires,
    is_at,
    is_for,
)
from meshbdd.mesh.linkerd.backend import FaultBackend
from meshbdd.mesh.linkerd.closing import Closing, closing_at, not_held, refuse_closed_backend
from meshbdd.mesh.linkerd.objects import POLICY, creation
from meshbdd.mesh.linkerd.server_markers import ServerHeld
from meshbdd.mesh.linkerd.servers import ACCESS, DENY, decider
from meshbdd.mesh.linkerd.turning import Turn

HOLDS = "meshbdd.dev/holds"
"""Annotation of a copy: kind and name of what it is a copy of."""
_FIRST = "have what decides who may call it before the step of the fault"


def guard_stages(catalog: Catalog, backend: FaultBackend, tag: str, what: str) -> tuple[Stage, ...]:
    """What lets the fault backend deny whom the service would deny; nothing where the service lets everybody of the mesh pass.

    Args:
        catalog: Reads the cluster.
        backend: The fault backend.
        tag: Names the change.
        what: The fault.

    Raises:
        BadInput: nobody may call the service.
        NotPossible: who may is decided in a way that the backend cannot hold.
    """
    made: list[Object] = []
    markers: list[ServerHeld] = []
    closed: list[Closing] = []
    ports = sorted(set(backend.targets.values()))
    servers = catalog.all("Server", backend.service.namespace)
    for port in ports:
        closing, there = closing_at(catalog, backend, servers, port, what), decider(backend.pod, port, servers)
        held = there is not None and HOLDS in (there["metadata"].get("annotations") or {})
        if closing is None:
            if there is not None and not held:
                refuse_closed_backend(catalog, backend, there, port, what)
            continue
        closed += [closing] if closing.by else []
        if there is not None and there is closing.server:
            continue
        if there is not None and not held:
            raise not_held(
                backend, what, f"Server {there['metadata']['name']} decides at the fault backend's own port {port}"
            )
        name = f"{tag}-guard-{port}"
        copies = [_copied(p, f"{name}-{n}", name) for n, p in enumerate(closing.policies) if not _is_for_all(p)]
        made += [*copies, _server(backend, closing.server, name, port)]
        allowed = [
            p["metadata"]["name"] for p in copies if kind_of(p) == AUTHORIZATION and has_what_it_requires(catalog, p)
        ]
        if there is None:
            where = Where(backend.service.namespace, backend.labels)
            markers.append(ServerHeld(name, DENY, frozenset(allowed), where))
    if closed and len(closed) == len(ports):
        raise _nobody(backend, closed, what)
    return (Stage.of(*(creation(obj) for obj in made), markers=markers),) if made else ()


def _nobody(backend: FaultBackend, closed: Sequence[Closing], what: str) -> BadInput:
    by = " and ".join(dict.fromkeys(why for closing in closed for why in closing.by))
    server = next((name for closing in closed for name in closing.servers), None)
    return BadInput(
        "MB0498",
        f"«{what}» can meet no call: nobody may call {backend.service}, as {by} and no policy lets anybody pass.",
        help=f"add a policy for Server {server} that lets somebody call, before the step"
        if server
        else "let somebody call it first, by a policy for a Server at its port",
    )


def _is_for_all(policy: Mapping[str, Any]) -> bool:
    """Whether a policy is for every Server of its namespace, so also for one that is to be made."""
    return kind_of(policy) == AUTHORIZATION and policy["spec"]["targetRef"]["kind"] == "Namespace"


def _copied(policy: Mapping[str, Any], name: str, server: str) -> Object:
    kind, spec = kind_of(policy), copy.deepcopy(dict(policy["spec"]))
    if kind == AUTHORIZATION:
        spec["targetRef"] = {"group": POLICY, "kind": "Server", "name": server}
    else:
        spec["server"] = {"name": server}
    return _made(kind, name, policy["metadata"]["namespace"], spec, f"{policy['kind']}/{policy['metadata']['name']}")


def _server(backend: FaultBackend, server: Mapping[str, Any] | None, name: str, port: int) -> Object:
    spec = {"podSelector": {"matchLabels": dict(backend.labels)}, "port": port, ACCESS[-1]: DENY}
    return _made(
        "Server", name, backend.service.namespace, spec, f"Server/{server['metadata']['name'] if server else ''}"
    )


def _made(kind: str, name: str, namespace: str, spec: Object, holds: str) -> Object:
    version, word = KINDS[kind].group_version, kind.partition(".")[0]
    meta = {"name": name, "namespace": namespace, "annotations": {HOLDS: holds}}
    return {"apiVersion": version, "kind": word, "metadata": meta, "spec": spec}


# What changes while a fault is in force


def held_by(plan: Plan) -> frozenset[str]:
    """Kind and name of what the fault backend of a plan holds copies of."""
    made = (edit.new for edit in plan.edits if edit.new is not None)
    found = {(new["metadata"].get("annotations") or {}).get(HOLDS, "") for new in made}
    return frozenset(found - {""})


def refuse_changed(turn: Turn, document: Object, plan: Plan) -> None:
    """See that an object leaves who may call a service as the fault backend holds it.

    Args:
        turn: What a manifest makes of the cluster.
        document: One of the objects that say something else then.
        plan: A fault in force.

    Raises:
        NotPossible: it does not.
    """
    service, held = plan.service, held_by(plan)
    if service is None or plan.through is None or document["metadata"].get("namespace") != service.namespace:
        return
    kind, name = kind_of(document), document["metadata"]["name"]
    changed = f"{document['kind']}/{name}" in held
    for server in turn.after.all("Server", service.namespace) if not changed else ():
        if f"Server/{server['metadata']['name']}" not in held:
            continue
        if kind in {AUTHORIZATION, SERVER_AUTHORIZATION}:
            changed |= is_for(document, server, ())
        else:
            changed |= is_at(document, server)
    if changed:
        raise too_late(turn.with_object(document), plan)


def refuse_gone(left: Left, staying: Sequence[Plan]) -> None:
    """See that nothing goes of which a fault backend holds a copy as long as its fault stays.

    Args:
        left: What will be of objects that a manifest changed.
        staying: Those that stay in force.

    Raises:
        NotPossible: some of it does.
    """
    for plan in staying:
        held = held_by(plan)
        for kind, name, namespace in left:
            home, word = plan.service.namespace if plan.service else None, kind.partition(".")[0]
            if namespace == home and f"{word}/{name}" in held:
                raise too_late(f"Without {word} {name} of the manifest", plan)


def too_late(how: str, plan: Plan) -> NotPossible:
    """Why something is not possible that changes who may call a service while its fault backend answers.

    Args:
        how: What would change it.
        plan: The fault.
    """
    return NotPossible(
        "MB0449",
        f"{how} others may call {plan.service}, which is not possible on Linkerd while «{plan.summary}» is in force: the "
        "fault backend answers, and holds the policies that were there when the fault came.",
        help=f"{_FIRST}, or let {plan.service.name if plan.service else 'it'} recover first",
    )
