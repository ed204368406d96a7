"""Whom a manifest would lead past the routes and rules by which a change is in force: told before anything of it is written."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from meshbdd.errors import BadInput
from meshbdd.intents import ServiceRef
from meshbdd.mesh.base import Object, Plan, Where
from meshbdd.mesh.beside import BEFORE
from meshbdd.mesh.istio.hosts import Govern, concerns, governing, governing_rule, http_route_before, is_for_some
from meshbdd.mesh.istio.named_routes import roots_of
from meshbdd.mesh.istio.standing import Objects

Target = tuple[str, str, str]
"""Kind, name and namespace of an object."""
Callers = Callable[[], Sequence[str]]
"""Gives the namespaces with callers."""
APART = "have the manifest and that step in different scenarios"


@dataclass(frozen=True, slots=True)
class Rules:
    """All objects of a kind.

    Attributes:
        kind: The kind.
        govern: Finds the one that callers take.
        before: Those that stand.
        after: Those that will stand with the manifest.
    """

    kind: str
    govern: Govern
    before: Sequence[Object]
    after: Sequence[Object]


def target_of(kind: str, obj: Mapping[str, Any]) -> Target:
    """The key of an object as an API lists it: without its kind."""
    return kind, obj["metadata"]["name"], obj["metadata"]["namespace"]


def refuse_overruling(plan: Plan, there: Objects, then: Objects, callers: Callers) -> None:
    """See that no caller takes another route or rule than the one by which a change is in force for it.

    Of a step that is its service's, of a manifest only the calls that it makes fail: for the rest its words are the tester's own.

    Args:
        plan: What is in force.
        there: What stands in the cluster.
        then: What will stand there with the manifest.
        callers: Asked only where the manifest brings something for the same service.

    Raises:
        BadInput: some caller would.
    """
    for service in (plan.service,) if plan.service is not None else plan.faulty:
        if any(plan.tags):
            _refuse_http_routes(plan, service, there, then, callers)
        if plan.intent is not None:
            rules = Rules("DestinationRule", governing_rule, there.rules, then.rules)
            _refuse_kind(plan, service, rules, callers)
        routes = Rules("VirtualService", governing, there.virtual_services, then.virtual_services)
        _refuse_kind(plan, service, routes, callers)


def _refuse_http_routes(plan: Plan, service: ServiceRef, there: Objects, then: Objects, callers: Callers) -> None:
    """See that no HTTPRoute comes to stand before a plan's routes; where one did already, the manifest takes nothing away."""
    if not any(concerns(route, service) for route in _brought("HTTPRoute", there.http_routes, then.http_routes)):
        return
    changed = _changed("VirtualService", plan, there.virtual_services)
    for namespace in _spaces(plan, service, callers):
        was, other = (_leading(service, objects, namespace) for objects in (there, then))
        ruling = governing(service, there.virtual_services, namespace)
        if was is None and other is not None and ruling is not None and target_of("VirtualService", ruling) in changed:
            instead = "; then a fault goes to the server, and a policy has to be written into the HTTPRoute"
            raise BadInput(
                "MB0472",
                f"«{plan.summary}» would have no effect any more: HTTPRoute {other['metadata']['name']} then routes the calls to "
                f"{service}, beside which Istio ignores a VirtualService.",
                help=f"{BEFORE}{instead}" if plan.intent is not None else APART,
            )


def _leading(service: ServiceRef, objects: Objects, namespace: str) -> Mapping[str, Any] | None:
    ruling = governing(service, objects.virtual_services, namespace)
    return http_route_before(service, ruling, objects.http_routes, namespace)


def _refuse_kind(plan: Plan, service: ServiceRef, rules: Rules, callers: Callers) -> None:
    changed, brought = _changed(rules.kind, plan, rules.before), _brought(rules.kind, rules.before, rules.after)
    if not changed or not any(concerns(obj, service) for obj in brought):
        return
    for namespace in _spaces(plan, service, callers):
        was, now = (rules.govern(service, objects, namespace) for objects in (rules.before, rules.after))
        if was is None or target_of(rules.kind, was) not in changed:
            continue
        for_some = (obj for obj in brought if is_for_some(obj, service, namespace))
        taken = now if now is not None and target_of(rules.kind, now) != target_of(rules.kind, was) else None
        other = next(for_some, taken)
        if other is not None:
            meta = other["metadata"]
            raise BadInput(
                "MB0497",
                f"With the manifest callers in namespace {namespace} take what {rules.kind} {meta['name']}.{meta['namespace']} "
                f"says of {service}, and «{plan.summary}» would hold no more for their calls.",
                help=APART if other["spec"].get("workloadSelector") else BEFORE,
            )


def _changed(kind: str, plan: Plan, objects: Sequence[Object]) -> Collection[Target]:
    """What a plan has written of a kind, and whoever delegates to that."""
    written = {edit.target for edit in plan.edits if edit.kind == kind}
    led = (obj for obj in objects if target_of(kind, obj) in written and kind == "VirtualService")
    roots = (root for obj in led if not obj["spec"].get("hosts") for root in roots_of(obj, objects))
    return written | {target_of(kind, root) for root in roots}


def _brought(kind: str, before: Iterable[Object], after: Iterable[Object]) -> list[Object]:
    """What stands there only with the manifest, or says something else then."""
    known = {target_of(kind, obj): obj["spec"] for obj in before}
    return [obj for obj in after if known.get(target_of(kind, obj)) != obj["spec"]]


def _spaces(plan: Plan, service: ServiceRef, callers: Callers) -> Sequence[str]:
    """The namespaces whose callers a plan is for."""
    if plan.callers is not None and plan.callers.namespace is not None:
        return (plan.callers.namespace,)
    meant = next((aim.callers for aim in plan.aims if aim.service == service), (Where(),))
    return [name for name in callers() or (service.namespace,) if any(_in(name, where) for where in meant)]


def _in(namespace: str, where: Where) -> bool:
    """Whether pods of a namespace may be meant."""
    whole = {but.namespace for but in where.but if but == Where(but.namespace)}
    return where.namespace in {None, namespace} and not whole & {None, namespace}
