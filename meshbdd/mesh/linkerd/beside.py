"""What a manifest would take away from the changes that are in force on Linkerd: told before anything of it is written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from meshbdd.cluster import Edit
from meshbdd.cluster.kinds import kind_of
from meshbdd.errors import BadInput, NotPossible
from meshbdd.intents import EVERY_REQUEST, Fault, Retry, ServiceRef, Side, Timeout
from meshbdd.mesh.base import Context, Left, Object, Plan, Through
from meshbdd.mesh.beside import BEFORE, refuse_replacing
from meshbdd.mesh.catalog import Catalog
from meshbdd.mesh.linkerd.annotations import ACCRUAL
from meshbdd.mesh.linkerd.callers import is_of_a_step
from meshbdd.mesh.linkerd.fault_envoy import CHANGE
from meshbdd.mesh.linkerd.guards import held_by, refuse_changed, too_late
from meshbdd.mesh.linkerd.keeping_out import refuse_let_in
from meshbdd.mesh.linkerd.limits import refuse_limiting
from meshbdd.mesh.linkerd.markers import RouteMarked
from meshbdd.mesh.linkerd.newcomers import refuse_unheld
from meshbdd.mesh.linkerd.objects import ROUTE_KINDS, attached, compete, named, parents, routes_of
from meshbdd.mesh.linkerd.opening import lets_the_mesh_in
from meshbdd.mesh.linkerd.own_words import RETRY, TIMEOUT, has_words_of_its_own
from meshbdd.mesh.linkerd.precedence import covers, matches_of, takes
from meshbdd.mesh.linkerd.rules import headers_of
from meshbdd.mesh.linkerd.servers import ACCESS, DENY, decides_at
from meshbdd.mesh.linkerd.time_limits import refuse_earlier_again, refuse_ending_earlier
from meshbdd.mesh.linkerd.turning import Turn, key

_OWN_WORDS: Mapping[type, str] = {Timeout: TIMEOUT, Retry: RETRY}
"""What a step sets for a Service → the annotations of a route that the Service's do not reach."""
_MISSES = "would miss calls"


def refuse_vain(catalog: Catalog, documents: Sequence[Object], edits: Iterable[Edit], context: Context) -> None:
    """See that a manifest takes no effect of a change in force away, and can have its own.

    Args:
        catalog: Reads the cluster.
        documents: The manifest's.
        edits: What is written of it.
        context: What is in force.

    Raises:
        BadInput: it would write over what a step has changed, take calls to itself that a step's change is for, have some
            that a fault keeps from it and lets go on elsewhere, end calls before a step's time limit does, bring a circuit
            breaker that would never see a fault in force, let callers pass whom a step keeps out, or bring ports or pods at which
            no step would keep them out.
        NotPossible: it would let only some callers pass where a fault backend passes calls on, or answers, or limit their rate.
    """
    written = tuple(edits)
    refuse_replacing(((edit.target, edit.path) for edit in written), context.in_force)
    _refuse_unseen(written, context)
    refuse_ending_earlier(catalog, written, context)
    for document in documents:
        kind = kind_of(document)
        if kind in ROUTE_KINDS:
            for plan in context.in_force:
                _refuse_taking(catalog, document, plan)
    turn = Turn.applied(catalog, documents)
    _refuse_denying(turn, context.in_force)
    refuse_let_in(turn, context.in_force)
    refuse_unheld(turn, context.in_force)


def refuse_vain_return(catalog: Catalog, left: Left, staying: Sequence[Plan]) -> None:
    """See that what is there once a manifest is taken back takes no effect of a change away that stays in force.

    Args:
        catalog: Reads the cluster.
        left: What the manifest's objects will be then.
        staying: What stays in force.

    Raises:
        BadInput: it would take calls to itself that a step's change is for, end calls before a step's time limit does, or let
            callers pass whom a step keeps out.
        NotPossible: it would let only some callers pass where a fault backend passes calls on, or answers, or limit their rate.
    """
    turn = Turn.taken_back(catalog, left)
    refuse_earlier_again(turn.after, left, staying)
    for obj in turn.objects:
        for plan in staying if kind_of(obj) in ROUTE_KINDS else ():
            if key(obj) not in {edit.target for edit in plan.edits}:  # there the step's own words are put back, too
                _refuse_taking(turn.after, obj, plan, back=True)
    _refuse_denying(turn, staying)
    refuse_let_in(turn, staying)


def passes_on(plan: Plan) -> bool:
    """Whether calls go on from the fault backend by which a plan is in force, and bear its identity then."""
    fault = plan.intent
    return isinstance(fault, Fault) and bool(fault.delay or fault.scope.called_by or plan.side is Side.SERVER)


def _refuse_unseen(written: Iterable[Edit], context: Context) -> None:
    for edit in written:
        if edit.kind != "Service" or not edit.path[-1].startswith(ACCRUAL):
            continue
        for plan in context.faults(ServiceRef(edit.name, edit.namespace)):
            if plan.side is Side.CALLER:
                raise BadInput(
                    "MB0429",
                    f"With the manifest Service {edit.name} has failure accrual (a circuit breaker), which would never see the "
                    f"fault in force: {plan.summary} is injected at the caller.",
                    help=f"write | inject at | server | into the fault's table, or {BEFORE}",
                )


def _refuse_taking(catalog: Catalog, route: Object, plan: Plan, *, back: bool = False) -> None:
    taken = next(_taken(catalog, route, plan), None)
    if taken is not None:
        would, how = taken
        meta = route["metadata"]
        raise BadInput(
            "MB0472",
            f"Without the manifest «{plan.summary}» {would}: {route['kind']} {meta['name']} {how}."
            if back
            else f"«{plan.summary}» {would}: {route['kind']} {meta['name']} of the manifest {how}.",
            help="remove the manifest before that step" if back else BEFORE,
        )


def _taken(catalog: Catalog, route: Object, plan: Plan) -> Iterator[tuple[str, str]]:
    """What a step's change would do, or might, beside a route that takes calls from it or gets some by the route's words."""
    service, prefix = plan.service, _OWN_WORDS.get(type(plan.intent))
    if service is None or plan.intent is None or not any(_is_of(ref, service) for ref in parents(route)):
        return
    if prefix is not None:  # the rules that such a step marks do nothing themselves
        if has_words_of_its_own(route, prefix):
            yield _MISSES, f"has words of its own for that, which those of Service {service.name} do not reach"
        return
    routes = routes_of(catalog)
    live = next((there for there in routes if named(there) == named(route)), None)
    for marker in plan.markers:
        if not isinstance(marker, RouteMarked) or not any(
            _is_of(ref, service) and ref.get("port") in {None, marker.port} for ref in parents(route)
        ):
            continue
        there = attached([r for r in routes if named(r) != named(route)], service, marker.port)
        if there and _beats(route, there[0]):
            yield _MISSES, f"comes before the {there[0]['kind']} in which that is"
        for other in there:
            if compete(route, other, service):
                yield from _past(route, live, other, marker, shares=_leaves_some_alone(plan))


def _past(
    route: Object, live: Mapping[str, Any] | None, other: Mapping[str, Any], marker: RouteMarked, *, shares: bool
) -> Iterator[tuple[str, str]]:
    """How a route leads calls past the rules of another one that bear a step's mark, or those lead calls past the route.

    Args:
        route: The route.
        live: What is there by its name.
        other: The other one.
        marker: The mark.
        shares: Whether those rules let calls go on.
    """
    as_written = {**route, "metadata": live["metadata"]} if live else None
    older = as_written is not None and attached([other, as_written], marker.service, marker.port)[0] is as_written
    name, its_name = route["metadata"]["name"], other["metadata"]["name"]
    racing = live is None and name < its_name and is_of_a_step(its_name)
    own = [match for rule in route["spec"].get("rules") or [{}] for match in matches_of(route, rule)]
    place = f"the route at {marker.service}:{marker.port} in which that is"
    rules = other["spec"].get("rules") or []
    made = [rule for rule in rules if marker.tag in headers_of(rule).get(CHANGE, "").split()]
    below = [match for rule in rules if rule not in made for match in matches_of(other, rule)]
    for mine, theirs in product(own, [match for rule in made for match in matches_of(other, rule)]):
        if takes(mine, theirs, older=older):
            unsure = mine.expressed or theirs.expressed
            verb = "may lead" if unsure else "leads"
            yield "might miss calls" if unsure else _MISSES, f"{verb} them past {place}"
        elif racing and takes(mine, theirs, older=True):
            why = "of routes that are made within one second the one whose name comes first wins"
            yield "might miss calls", f"matches some as well as {place}, and {why}"
        elif shares and takes(theirs, mine, older=not older):
            before = [match for match in below if covers(match, theirs)]
            if all(takes(mine, match, older=older) for match in before):
                yield "would lead calls astray that it leaves alone", f"is for some that {place} then takes before it"


def _leaves_some_alone(plan: Plan) -> bool:
    """Whether calls that a fault's rules take go on."""
    fault = plan.intent
    return isinstance(fault, Fault) and bool(fault.delay or fault.scope.called_by or fault.share != EVERY_REQUEST)


def _is_of(parent: Mapping[str, Any], service: ServiceRef) -> bool:
    return (parent["name"], parent["namespace"]) == (service.name, service.namespace)


def _beats(route: Object, other: Mapping[str, Any]) -> bool:
    """Whether beside a route of its kind one of another's is ignored."""
    return (route["kind"], other["kind"]) == ("GRPCRoute", "HTTPRoute")


def _refuse_denying(turn: Turn, in_force: Sequence[Plan]) -> None:
    """See that a manifest leaves whoever decides about a fault's calls as its backend needs it.

    Where calls go on from there, everybody has to be let in; where it answers, it holds the policies of before.
    """
    refuse_limiting(turn, in_force)
    for plan in in_force:
        if plan.through is None:
            continue
        for document in turn.objects:
            refuse_changed(turn, document, plan)
        held, home = held_by(plan), plan.through.twin.namespace
        for server in turn.after.all("Server", home):
            name = server["metadata"]["name"]
            denied = _denied(turn.after, server, plan.through)
            before = next((it for it in turn.before.all("Server", home) if it["metadata"]["name"] == name), None)
            if (
                not denied
                or f"Server/{name}" in held
                or (before and denied == _denied(turn.before, before, plan.through))
            ):
                continue
            if not passes_on(plan):
                raise too_late(turn.with_object(server), plan)
            raise NotPossible(
                "MB0449",
                f"{turn.how} Server {name} lets only some callers of {plan.service} pass, which is "
                f"not possible on Linkerd while «{plan.summary}» is in force: the calls that go on come from the fault backend.",
                help="have faults and the policy in different scenarios",
            )


def _denied(catalog: Catalog, server: Mapping[str, Any], through: Through) -> frozenset[ServiceRef]:
    """At whose pods a Server lets only some callers pass: at those of a service, at its fault backend's, at both or at none."""
    if server["spec"].get(ACCESS[-1], DENY) != DENY or lets_the_mesh_in(catalog, server):
        return frozenset()
    home, ports = through.twin.namespace, catalog.target_ports(through.twin)
    there = catalog.all("Server", home)
    return frozenset(
        ref
        for ref in (through.twin, through.backend)
        if any(decides_at(server, pod, there) in ports for pod in catalog.pods(catalog.labels_of(ref), home))
    )
