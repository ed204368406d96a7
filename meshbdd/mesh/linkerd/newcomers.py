"""Ports and pods that a manifest brings, at which a step in force would not keep callers out as it does elsewhere.

A step makes Servers for what is there: for the ports to which Services lead then, and for the pods that these select.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from meshbdd.errors import BadInput
from meshbdd.intents import Access
from meshbdd.mesh.base import Plan
from meshbdd.mesh.beside import BEFORE
from meshbdd.mesh.catalog import Catalog, has_ended, selected
from meshbdd.mesh.linkerd.arriving import arrived
from meshbdd.mesh.linkerd.keeping_out import refuse_policies
from meshbdd.mesh.linkerd.kept import Kept, Object, accounts_of, holds, kept_out
from meshbdd.mesh.linkerd.servers import decider
from meshbdd.mesh.linkerd.turning import Turn, key
from meshbdd.sidecars import LINKERD


def refuse_unheld(turn: Turn, in_force: Sequence[Plan]) -> None:
    """See that a step that keeps callers out does so at what a manifest brings, too.

    Pods without a proxy are none of a namespace's that the step was about, as those that were there before it.

    Args:
        turn: What the manifest makes of the cluster, as it is applied.
        in_force: The plans that are in force.

    Raises:
        BadInput: it would not at some port, or pods come that show the identity of the only caller that may pass.
    """
    then = arrived(turn.before, turn.objects)
    known = {_place(kept) for kept in kept_out(turn.before, in_force)}
    for kept in kept_out(then, in_force):
        if _place(kept) in known or has_ended(kept.pod):
            continue
        known.add(_place(kept))
        if not _meshed(kept.pod):
            _see_proxy(turn, kept)
            continue
        server = decider(kept.pod, kept.port, turn.after.all("Server", kept.service.namespace))
        if not holds(kept, server):
            raise _unheld(turn, kept, server)
        if server is not None:
            refuse_policies(turn, kept, None, server)
    for plan in in_force:
        _refuse_same_identity(turn, then, plan)


def _place(kept: Kept) -> tuple[Any, ...]:
    return id(kept.plan), key(kept.pod), kept.port


def _meshed(pod: Object) -> bool:
    return LINKERD.label in (pod["metadata"].get("labels") or {})


def _unheld(turn: Turn, kept: Kept, server: Object | None) -> BadInput:
    if server is None:
        why = "no Server decides there"
    elif isinstance(kept.intent, Access):
        why = f"Server {server['metadata']['name']} decides there, which is none of that step's"
    else:
        why = f"Server {server['metadata']['name']} decides there and is open"
    return BadInput(
        "MB0471",
        f"{turn.how} «{kept.plan.summary}» would not hold for every call to {kept.service}: it would not at port {kept.port} of "
        f"pod {kept.pod['metadata']['name']}, since {why}.",
        help=BEFORE,
    )


def _see_proxy(turn: Turn, kept: Kept) -> None:
    """See that a service that a step is about gets no pod without a proxy.

    Raises:
        BadInput: it does.
    """
    intent, pod = kept.intent, kept.pod["metadata"]
    if intent.service is not None and turn.before.without_sidecar([dict(kept.pod)], pod["namespace"]):
        raise BadInput(
            "MB0428",
            f"{turn.how} «{kept.plan.summary}» would not hold for every call to {kept.service}: pod {pod['name']} has no sidecar.",
            help="give its pods sidecars, or take what needs them out of the scenario",
        )


def _refuse_same_identity(turn: Turn, then: Catalog, plan: Plan) -> None:
    """See that no pods come that proxies cannot tell from the only caller that a step lets pass.

    Raises:
        BadInput: some do.
    """
    intent = plan.intent
    if not isinstance(intent, Access):
        return
    home = intent.caller.namespace
    accounts = {name for name, namespace in accounts_of(plan) if namespace == home}
    known = {key(pod) for pod in turn.before.pods({}, home)}
    for pod in then.pods({}, home):
        labels, account = pod["metadata"].get("labels") or {}, str(pod["spec"].get("serviceAccountName") or "default")
        if key(pod) in known or account not in accounts or not _meshed(pod):
            continue
        if not selected(then.caller_labels(intent.caller), labels):
            raise BadInput(
                "MB0423",
                f"{turn.how} «{plan.summary}» would let pod {pod['metadata']['name']} pass as well, which has the service account "
                f"{account} of {intent.caller}, so no proxy can tell the two apart.",
                help="give the pods of the manifest a service account of their own",
            )
