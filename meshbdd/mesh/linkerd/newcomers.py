"""Ports and pods that come, by a manifest or with a service that recovers, at which a step in force would not hold as it does elsewhere.

A step makes Servers for what is there: for the ports to which Services lead then, and for the pods that these select.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from meshbdd.errors import BadInput
from meshbdd.intents import Access, ServiceRef
from meshbdd.mesh.base import Plan
from meshbdd.mesh.catalog import Catalog, account_of, has_ended, selected
from meshbdd.mesh.linkerd.arriving import arrived
from meshbdd.mesh.linkerd.keeping_out import refuse_policies
from meshbdd.mesh.linkerd.kept import Kept, Object, accounts_of, holds, kept_out
from meshbdd.mesh.linkerd.servers import decider, skipped
from meshbdd.mesh.linkerd.turning import Turn, key
from meshbdd.mesh.linkerd.undeclared import refuse_late
from meshbdd.sidecars import LINKERD


def refuse_unheld(turn: Turn, in_force: Sequence[Plan]) -> None:
    """See that a step that keeps callers out does so at what comes after it, too.

    Pods without a proxy are none of a namespace's that the step was about, as those that were there before it.

    Args:
        turn: What a manifest makes of the cluster as it is applied, or a service as it recovers.
        in_force: The plans that are in force.

    Raises:
        BadInput: it would not at some port, or pods come that show the identity of the only caller that may pass, or are its own
            and show another one.
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
        refuse_late(kept.intent, kept.pod, kept.port, f"{turn.how} «{kept.plan.summary}»")
        if server is not None:
            refuse_policies(turn, kept, None, server)
    there = {key(kept.pod) for kept in kept_out(turn.before, in_force, past=True)}
    for kept in kept_out(then, in_force, past=True):
        # of a namespace such ports are left alone, of pods that are there already as well as of these
        if kept.intent.service is not None and key(kept.pod) not in there and _meshed(kept.pod):
            raise skipped(f"{turn.how} «{kept.plan.summary}»", kept.pod, kept.port)
    for plan in in_force:
        _see_identities(turn, then, plan)


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
        help=turn.action,
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


def _see_identities(turn: Turn, then: Catalog, plan: Plan) -> None:
    """See that the pods that come are told from the only caller that a step lets pass, and that its own ones are taken for it.

    Raises:
        BadInput: some are not.
    """
    intent = plan.intent
    if not isinstance(intent, Access):
        return
    caller, home = intent.caller, intent.caller.namespace
    accounts = {name for name, namespace in accounts_of(plan) if namespace == home}
    known = {key(pod) for pod in turn.before.pods({}, home)}
    coming = [pod for pod in then.pods({}, home) if key(pod) not in known]
    wanted = _labels_of(turn, then, caller) if coming else {}
    for pod in coming:
        own = bool(wanted) and selected(wanted, pod["metadata"].get("labels") or {})
        if own:
            _see_own(turn, plan, caller, pod, accounts)
        elif _meshed(pod) and account_of(pod) in accounts:
            raise BadInput(
                "MB0423",
                f"{turn.how} «{plan.summary}» would let pod {pod['metadata']['name']} pass as well, which has the service account "
                f"{account_of(pod)} of {caller}, so no proxy can tell the two apart.",
                help=f"give the pods{turn.whose} a service account of their own",
            )


def _labels_of(turn: Turn, then: Catalog, caller: ServiceRef) -> Mapping[str, str]:
    """The labels by which a caller is known; none where it went with the manifest that brought it."""
    names = {("Service", caller.name, caller.namespace), ("Deployment", caller.name, caller.namespace)}
    if not any(then.find(*name) for name in names):
        made = next((obj for obj in turn.objects if key(obj) in names), None)
        return dict(made["spec"]["selector"].get("matchLabels") or {}) if made is not None else {}
    return then.caller_labels(caller)


def _see_own(turn: Turn, plan: Plan, caller: ServiceRef, pod: Object, accounts: Collection[str]) -> None:
    """See that a pod that comes to the only caller that a step lets pass shows an identity of that caller.

    Raises:
        BadInput: it shows none, or another one.
    """
    name, account = pod["metadata"]["name"], account_of(pod)
    if turn.before.without_sidecar([dict(pod)], caller.namespace):
        raise BadInput(
            "MB0474",
            f"{turn.how} «{plan.summary}» would not let pod {name} pass, which is one of {caller}: it has no sidecar, so it shows no "
            "identity.",
            help="give it one, or take what needs it out of the scenario",
        )
    if _meshed(pod) and account not in accounts:
        told = ", ".join(sorted(accounts))
        raise BadInput(
            "MB0471",
            f"{turn.how} «{plan.summary}» would not let pod {name} pass, which is one of {caller}: it has the service account "
            f"{account}, and the step lets {told} pass.",
            help=f"give it the service account {told}, or {turn.action}",
        )
