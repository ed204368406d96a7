"""Whom steps in force keep out: no manifest that comes or goes after them may let these pass, by a policy or by a Server.

What counts is which Server decides at each port of each pod, before and after, whoever's it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from meshbdd.errors import BadInput
from meshbdd.intents import Access, MutualTls, ServiceRef, TlsMode
from meshbdd.mesh.base import Plan
from meshbdd.mesh.catalog import Catalog
from meshbdd.mesh.linkerd.adding_up import Accounts, adds_up, undoing
from meshbdd.mesh.linkerd.backend import DEFAULT_POLICY
from meshbdd.mesh.linkerd.behind import behind
from meshbdd.mesh.linkerd.security import OPEN, services_of
from meshbdd.mesh.linkerd.servers import ACCESS, DENY, decider, skips
from meshbdd.mesh.linkerd.turning import Turn, key

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Kept:
    """A step that is in force at a port of a pod.

    Attributes:
        intent: The step's.
        plan: Its plan.
        service: The service by which the step is about the pod.
        pod: The pod.
        port: Its port.
    """

    intent: Access | MutualTls
    plan: Plan
    service: ServiceRef
    pod: Object
    port: int


def refuse_let_in(turn: Turn, in_force: Sequence[Plan]) -> None:
    """See that a manifest lets nobody pass whom a step in force keeps out.

    Args:
        turn: What it makes of the cluster.
        in_force: The plans that are in force.

    Raises:
        BadInput: with it, or without it, somebody would pass, or nobody decides any more as the step wants it.
    """
    seen = set[tuple[Any, ...]]()
    for kept in _kept_out(turn.lasting, in_force):
        home = kept.service.namespace
        before, then = (decider(kept.pod, kept.port, there.all("Server", home)) for there in (turn.before, turn.after))
        case = (id(kept.plan), kept.service, before and key(before), then and key(then), _default_of(kept.pod))
        if case in seen:
            continue
        seen.add(case)
        if _holds(kept, before) and not _holds(kept, then):
            raise _lost(turn, kept, before, then)
        if then is not None:
            _refuse_policies(turn, kept, before, then)


def _holds(kept: _Kept, server: Object | None) -> bool:
    """Whether a step is in force where a Server decides, or the default of a pod: ``only`` is by policies for one of its own."""
    if server is None:
        return isinstance(kept.intent, MutualTls) and _default_of(kept.pod) not in {None, *OPEN}
    access = server["spec"].get(ACCESS[-1], DENY)
    if isinstance(kept.intent, MutualTls):
        return access not in OPEN
    return access == DENY and key(server) in {edit.target for edit in kept.plan.edits}


def _default_of(pod: Object) -> str | None:
    """What a pod itself says of who may call it where no Server decides; ``None``: the mesh's default counts."""
    return (pod["metadata"].get("annotations") or {}).get(DEFAULT_POLICY)


def _lost(turn: Turn, kept: _Kept, before: Object | None, then: Object | None) -> BadInput:
    pods, server = (
        f"pods of {kept.service}",
        f"Server {before['metadata']['name']}" if before else "their default policy",
    )
    if then is None:
        applied, back = f"take {server} away from {pods}", f"{server} does not decide at {pods}"
    elif before is not None and key(then) == key(before):
        applied, back = f"open {server}", f"{server} is open"
    else:
        other = f"Server {then['metadata']['name']}"
        applied, back = (
            f"have {other} decide at {pods} instead of {server}",
            f"{other} decides at {pods} instead of {server}",
        )
    what = f"{turn.how} {back}" if turn.back else f"The manifest would {applied}"
    return BadInput(
        "MB0471",
        f"{what}, by which «{kept.plan.summary}» is in force, so that would be lost.",
        help=turn.action,
    )


def _refuse_policies(turn: Turn, kept: _Kept, before: Object | None, then: Object) -> None:
    """See that no policy lets somebody pass by the Server that decides then who did not pass by the one before.

    Raises:
        BadInput: one does.
    """
    own = {edit.target for edit in kept.plan.edits}
    accounts = _accounts_of(kept.plan) if isinstance(kept.intent, Access) else None
    already = [key(policy) for policy in undoing(turn.before, before, accounts)] if before is not None else []
    for found in undoing(turn.after, then, accounts):
        if key(found) not in own and key(found) not in already:
            whose = turn.whose if turn.has_turned(found) else ""
            what = f"{turn.how} «{kept.plan.summary}» would not be true any more"
            raise adds_up(kept.intent, found, what, whose)


def refuse_other_mode(catalog: Catalog, intent: MutualTls, in_force: Sequence[Plan]) -> None:
    """See that a mode of mutual TLS for a service undoes none that a step has set for another one with the same pods.

    Of a namespace's mode it is an exception, as a later one for the same service, or for the namespace, is meant.

    Args:
        catalog: Reads the cluster.
        intent: The step's.
        in_force: What is in force.

    Raises:
        BadInput: it would.
    """
    if intent.service is None:
        return
    modes = _modes(catalog, in_force)
    for pod, port in _ports_at(catalog, intent.service):
        there = modes.get((*key(pod), port))
        if there is None or not isinstance(there.intent, MutualTls) or there.intent.mode is intent.mode:
            continue
        if there.intent.service not in {None, intent.service}:
            raise BadInput(
                "MB0448",
                f"«{intent}» would undo «{there.intent}», which is in force: {there.service} and {intent.service} share pods.",
                help="have the two steps in different scenarios",
            )


def _kept_out(catalog: Catalog, in_force: Sequence[Plan]) -> Iterator[_Kept]:
    """Where steps in force keep callers out; of modes for a port of a pod the latest is in force."""
    for plan in in_force:
        intent = plan.intent
        if isinstance(intent, Access) and catalog.find("Service", intent.service.name, intent.service.namespace):
            for pod, port in _ports_at(catalog, intent.service):
                yield _Kept(intent, plan, intent.service, pod, port)
    for kept in _modes(catalog, in_force).values():
        if isinstance(kept.intent, MutualTls) and kept.intent.mode is TlsMode.STRICT:
            yield kept


def _modes(catalog: Catalog, in_force: Sequence[Plan]) -> Mapping[tuple[str, str, str, int], _Kept]:
    """The mode of mutual TLS that is in force at each port of pods, as steps have set it."""
    modes: dict[tuple[str, str, str, int], _Kept] = {}
    for plan in in_force:
        intent = plan.intent
        if not isinstance(intent, MutualTls):
            continue
        services = (intent.service,) if intent.service else services_of(catalog, intent.namespace)
        for service in services:
            if catalog.find("Service", service.name, service.namespace) is None:
                continue  # it went with the manifest that brought it
            for pod, port in _ports_at(catalog, service):
                modes[(*key(pod), port)] = _Kept(intent, plan, service, pod, port)
    return modes


def _ports_at(catalog: Catalog, service: ServiceRef) -> Iterator[tuple[Object, int]]:
    """The ports of the pods behind a service that their proxies see; where there is none, those of one that may come."""
    for part in behind(catalog, service):
        meta = {"name": service.name, "namespace": service.namespace, "labels": dict(part.labels)}
        to_come: dict[str, Any] = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {}}
        for port in part.ports:
            for pod in part.pods or [to_come]:
                if not skips(pod, port):
                    yield pod, port


def _accounts_of(plan: Plan) -> Accounts:
    """The service accounts of the caller whom a step lets pass, as it wrote them: by now its pods may be gone."""
    made = (edit.new["spec"].get("identityRefs") or () for edit in plan.edits if edit.new is not None)
    return frozenset((ref["name"], ref["namespace"]) for refs in made for ref in refs)
