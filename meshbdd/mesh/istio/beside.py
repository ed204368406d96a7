"""What a manifest would take away from the changes that are in force on Istio: told before anything of it is written."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from meshbdd.errors import BadInput, Inconclusive
from meshbdd.intents import Fault, ServiceRef, Side
from meshbdd.mesh.base import Context, Object, Plan, Where
from meshbdd.mesh.beside import BEFORE, refuse_replacing
from meshbdd.mesh.istio.hosts import (
    Ruling,
    covers,
    has_host,
    hosts_of,
    is_http_route,
    routing,
    ruled_host,
    same_rule,
)
from meshbdd.mesh.istio.named_routes import exported, with_every_host_of
from meshbdd.mesh.istio.overruling import APART, refuse_overruling, target_of
from meshbdd.mesh.istio.standing import Objects, stands

MadeBy = Mapping[tuple[str, str, str], Plan]
"""Kind, name and namespace of an object → the plan of a step that has changed it."""

_LAST = "9999"
"""A creation time that makes an object the youngest: one that is still to be made."""


def refuse_vain(
    documents: Sequence[Object], there: Objects, context: Context, callers: Callable[[], Sequence[str]]
) -> None:
    """See that a manifest takes no effect of a change in force away, and can have its own.

    Args:
        documents: The manifest's.
        there: What stands in the cluster.
        context: What is in force.
        callers: Gives the namespaces with callers; asked only where a step has changed rules, or some callers may have others.

    Raises:
        BadInput: it would replace an object that a step has changed, Istio would ignore one of its routes, it has a rule that some
            callers take before a step's, or it brings what would never see a fault in force at the callers.
    """
    made_by: MadeBy = {edit.target: plan for plan in context.in_force if plan.intent is not None for edit in plan.edits}
    refuse_replacing(((target_of(document["kind"], document), ("spec",)) for document in documents), context.in_force)
    for document in documents:
        _refuse_ignored(document, there, made_by, callers)
        _refuse_beside(document, there.rules, context.in_force)
    then = with_manifest(there, documents)
    for plan in context.in_force:
        refuse_overruling(plan, there, then, callers)
        if isinstance(plan.intent, Fault) and plan.side is Side.CALLER:
            _refuse_unseen(plan, plan.intent, there, then)


def _refuse_unseen(plan: Plan, fault: Fault, there: Objects, then: Objects) -> None:
    known = set(stands(fault, there))
    brought = next((word for word in stands(fault, then) if word not in known), None)
    if brought is not None:
        raise BadInput(
            "MB0429",
            f"With the manifest {brought}, which would never see the fault in force: {plan.summary} is injected at the caller.",
            help=f"write | inject at | server | into the fault's table, or {BEFORE}",
        )


def with_manifest(there: Objects, documents: Sequence[Object]) -> Objects:
    """What will stand in the cluster once the manifest is applied."""

    def laid(kind: str, objects: Iterable[Object]) -> list[Object]:
        ours = {target_of(kind, document): document for document in documents if document["kind"] == kind}
        known = {target_of(kind, obj): {"kind": kind, **obj} for obj in objects}
        kept = [obj for key, obj in known.items() if key not in ours]
        for key, document in ours.items():
            created = (known.get(key) or {"metadata": {}})["metadata"].get(
                "creationTimestamp", "" if key in known else _LAST
            )
            kept.append({**document, "metadata": {**document["metadata"], "creationTimestamp": created}})
        return kept

    return replace(
        there,
        virtual_services=laid("VirtualService", there.virtual_services),
        rules=laid("DestinationRule", there.rules),
        http_routes=laid("HTTPRoute", there.http_routes),
        policies=laid("AuthorizationPolicy", there.policies),
    )


def _refuse_ignored(document: Object, there: Objects, made_by: MadeBy, callers: Callable[[], Sequence[str]]) -> None:
    """See that nothing older leads the calls that a resource of the manifest is for: a private one comes before those of others."""
    meta, kind = document["metadata"], document["kind"]
    if kind not in {"VirtualService", "HTTPRoute"} or "mesh" not in (document["spec"].get("gateways") or ["mesh"]):
        return
    hosts = {host: _before(document, host, there, callers) for host in hosts_of(document)}
    led = {host: ruling.obj for host, ruling in hosts.items() if ruling.obj is not None and is_http_route(ruling.obj)}
    if led and len(led) == len(hosts) and _is_for_sidecars(document):
        _refuse_led(document, led)
    for host, ruling in hosts.items():
        if ruling.obj is None or host in led:
            continue
        other = ruling.obj["metadata"]
        maker = made_by.get(target_of("VirtualService", ruling.obj))
        whose = f", by which «{maker.summary}» is in force," if maker else " already,"
        merged = "merge the two, or give the manifest the other's name" if kind == "VirtualService" else "merge the two"
        raise BadInput(
            "MB0409",
            f'Host "{host}" is routed by VirtualService {other["name"]}.{other["namespace"]}{whose} so Istio would ignore '
            f"{meta['name']}{''.join(f' for callers in namespace {name}' for name in ruling.namespaces)} (IST0109).",
            help=BEFORE if maker else merged,
        )


def _is_for_sidecars(document: Object) -> bool:
    """Whether a resource says something of HTTP calls, and only of those of sidecars."""
    spec = document["spec"]
    return is_http_route(document) or (bool(spec.get("http")) and set(spec.get("gateways") or ["mesh"]) == {"mesh"})


def _refuse_led(document: Object, led: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse what HTTPRoutes leave without any call."""
    meta, kind = document["metadata"], document["kind"]
    host, other = next(iter(led.items()))
    faulty = any(route.get("fault") for route in document["spec"].get("http") or [])
    beside = ", beside which Istio ignores a VirtualService" if kind == "VirtualService" else ""
    raise BadInput(
        "MB0472",
        f"{kind} {meta['name']}.{meta['namespace']} would have no effect: HTTPRoute {other['metadata']['name']}."
        f"{other['metadata']['namespace']} routes the calls to {host} of all who would go by it{beside}.",
        help="inject the fault by a step" if faulty else "write it into that HTTPRoute",
    )


def _before(document: Object, host: str, there: Objects, callers: Callable[[], Sequence[str]]) -> Ruling:
    """What leads calls before a manifest's resource does: those of all who see it, or a VirtualService those made beside the service."""
    then = with_every_host_of(document, with_manifest(there, [document]).routing)
    rivals = [obj for obj in then if has_host(obj, host)]
    home = ServiceRef.parse(host.removesuffix(".svc.cluster.local"), document["metadata"]["namespace"]).namespace
    spaces: Sequence[str] = ()
    if rivals[1:] and any(is_http_route(obj) or exported(obj["spec"], obj["metadata"]) != [Where()] for obj in rivals):
        with contextlib.suppress(Inconclusive):  # a rehearsal may not know the pods
            spaces = callers()
    seen = [name for name in spaces or (home,) if routing(host, [document], name) is not None]
    found = {name: routing(host, rivals, name) for name in seen}
    others = {name: obj for name, obj in found.items() if obj is not None and not same_rule(obj, document)}
    if len(others) < len(found):
        other = others.get(home)
        apart = other is None or is_http_route(other) or is_http_route(document)
        return Ruling(None if apart else other, (home,))
    return Ruling(next(iter(others.values()), None))


def _refuse_beside(document: Object, rules: Sequence[Object], in_force: Iterable[Plan]) -> None:
    """See that no rule which a step has made or changed for a service hides what a DestinationRule of the manifest says of it."""
    if document["kind"] != "DestinationRule" or document["spec"].get("workloadSelector"):
        return
    own = target_of("DestinationRule", document)
    standing = {target_of("DestinationRule", rule): ruled_host(rule) for rule in rules}
    for plan in in_force:
        for edit in plan.edits if plan.intent is not None else ():
            if edit.target == own or edit.target[::2] != own[::2]:
                continue
            if edit.new:
                host, hidden = edit.new["spec"]["host"], covers(ruled_host(document), edit.new["spec"]["host"])
            else:  # of what is for a pattern the step took nothing: the rule was for the host before it
                host, hidden = standing.get(edit.target), ruled_host(document) == standing.get(edit.target)
            if hidden:
                name, to_some = document["metadata"]["name"], document["spec"].get("exportTo")
                takes_over = bool(to_some) and ruled_host(document) == host
                raise BadInput(
                    "MB0409",
                    f"{host} is governed by DestinationRule {edit.name}.{edit.namespace}, by which «{plan.summary}» is in force, so "
                    + (
                        f"callers that see both would take {name} in its place."
                        if takes_over
                        else f"Istio would ignore what {name} says of it."
                    ),
                    help=APART if to_some else BEFORE if edit.new else f"write it into {edit.name}, before that step",
                )


def see_copies_stand(going: Iterable[Plan], staying: Iterable[Plan]) -> None:
    """See that no change that stays has the words of an object that goes with a manifest.

    Args:
        going: The manifest's plans.
        staying: What else is in force.

    Raises:
        BadInput: one has.
    """
    targets = {edit.target for plan in going for edit in plan.edits}
    for plan in staying:
        for edit in plan.edits:
            if edit.of is not None and edit.of in targets:
                raise BadInput(
                    "MB0316",
                    f"The manifest cannot be removed: «{plan.summary}» is in force by a copy of its {edit.of[0]} {edit.of[1]}.",
                    help="leave it to the scenario's end, where all is taken back",
                )
