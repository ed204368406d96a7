"""Whom steps in force keep out: no manifest that comes or goes after them may let these pass, by a policy or by a Server.

What counts is which Server decides at each port of each pod, before and after, whoever's it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from meshbdd.errors import BadInput
from meshbdd.intents import Access, MutualTls
from meshbdd.mesh.base import Plan
from meshbdd.mesh.catalog import Catalog
from meshbdd.mesh.linkerd.adding_up import adds_up, undoing
from meshbdd.mesh.linkerd.kept import Kept, accounts_of, default_of, holds, kept_out, modes_at, ports_at
from meshbdd.mesh.linkerd.servers import decider
from meshbdd.mesh.linkerd.turning import Turn, key

Object = Mapping[str, Any]


def refuse_let_in(turn: Turn, in_force: Sequence[Plan]) -> None:
    """See that a manifest lets nobody pass whom a step in force keeps out.

    Args:
        turn: What it makes of the cluster.
        in_force: The plans that are in force.

    Raises:
        BadInput: with it, or without it, somebody would pass, or nobody decides any more as the step wants it.
    """
    seen = set[tuple[Any, ...]]()
    for kept in kept_out(turn.lasting, in_force):
        home = kept.service.namespace
        before, then = (decider(kept.pod, kept.port, there.all("Server", home)) for there in (turn.before, turn.after))
        case = (id(kept.plan), kept.service, before and key(before), then and key(then), default_of(kept.pod))
        if case in seen:
            continue
        seen.add(case)
        if holds(kept, before) and not holds(kept, then):
            raise _lost(turn, kept, before, then)
        if then is not None:
            refuse_policies(turn, kept, before, then)


def _lost(turn: Turn, kept: Kept, before: Object | None, then: Object | None) -> BadInput:
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


def refuse_policies(turn: Turn, kept: Kept, before: Object | None, then: Object) -> None:
    """See that no policy lets somebody pass by the Server that decides then who did not pass by the one before.

    Raises:
        BadInput: one does.
    """
    own = {edit.target for edit in kept.plan.edits}
    accounts = accounts_of(kept.plan) if isinstance(kept.intent, Access) else None
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
    modes = modes_at(catalog, in_force)
    for pod, port in ports_at(catalog, intent.service):
        there = modes.get((*key(pod), port))
        if there is None or not isinstance(there.intent, MutualTls) or there.intent.mode is intent.mode:
            continue
        if there.intent.service not in {None, intent.service}:
            raise BadInput(
                "MB0448",
                f"«{intent}» would undo «{there.intent}», which is in force: {there.service} and {intent.service} share pods.",
                help="have the two steps in different scenarios",
            )
