"""Where a fault goes: to the caller's route, or to the server's inbound side; whichever lets the scenario's claims mean something.

A fault at the caller answers before the caller's router: no retry, timeout, limit, mirror or outlier detection of that
hop ever sees it (and Istio takes retries and timeout off a route with a fault). Nor does the service's own proxy, which
judges who may call it, and has the logs and counters of what came.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from meshbdd.errors import BadInput
from meshbdd.intents import EVERY_REQUEST, CircuitBreaker, Fault, Limit, Mirror, Retry, ServiceRef, Side, Timeout, Topic
from meshbdd.mesh.base import Context
from meshbdd.mesh.catalog import Catalog, selected
from meshbdd.mesh.istio.hosts import ROOT_NAMESPACE, Object, governing, governing_rule, http_route_before, rulings
from meshbdd.mesh.istio.own_calls import routes_of

AT_CALLER = (
    "at the callers' sidecars (a VirtualService fault): nothing in this scenario or in the rules of {service} needs a "
    "proxy that sees the failed call"
)
_AT_SERVER = "at the server's sidecars (an armed fault filter): {why}, and a fault at the caller would never reach that"
BESIDE_ANOTHER = (
    "at the server's sidecars (an armed fault filter): at the callers another fault of this kind is in force for some of the same "
    "calls, and a route of Istio's has room for one"
)
_DELEGATED = (
    "at the server's sidecars (an armed fault filter): VirtualService {name} delegates routes of {service}, and a route that "
    "delegates can carry no fault at the callers"
)
_POLICIES = (Timeout, Retry, CircuitBreaker, Limit, Mirror)
_SEES_FAULTS = {Topic.RETRIES, Topic.TIMEOUT, Topic.BREAKER, Topic.LIMIT, Topic.MIRROR}
_SEES_CALLS = {Topic.ACCESS, Topic.REPORTS}
"""What the service's own proxy does with each call that comes; where a step asks for a fault at the caller it has the others."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Where, and why.

    Attributes:
        side: The side.
        reason: A sentence for the evidence.
    """

    side: Side
    reason: str


@dataclass(frozen=True, slots=True)
class Objects:
    """The resources that say what becomes of calls.

    Attributes:
        virtual_services: All VirtualServices.
        rules: All DestinationRules.
        http_routes: All HTTPRoutes.
        policies: All AuthorizationPolicies.
        pods: Gives the labels of each pod of a service that has a sidecar; asked only where a policy stands.
        services: Gives all Services; asked only where a VirtualService is for several hosts.
        callers: Gives the namespaces with callers; asked only where a VirtualService delegates.
    """

    virtual_services: Sequence[Any] = ()
    rules: Sequence[Any] = ()
    http_routes: Sequence[Any] = ()
    policies: Sequence[Any] = ()
    pods: Callable[[ServiceRef], Sequence[Mapping[str, str]]] = lambda _service: ()
    services: Callable[[], Sequence[Any]] = lambda: ()
    callers: Callable[[], Sequence[str]] = lambda: ()

    @classmethod
    def read(cls, catalog: Catalog) -> Objects:
        """Those that are there."""
        return cls(
            catalog.all("VirtualService"),
            catalog.all("DestinationRule"),
            catalog.readable("HTTPRoute"),
            catalog.readable("AuthorizationPolicy"),
            catalog.meshed_labels,
            partial(catalog.readable, "Service"),
            catalog.calling_namespaces,
        )


def choose(fault: Fault, context: Context, objects: Objects) -> Choice:
    """Choose the side of a fault.

    Args:
        fault: The fault; its own ``at`` decides, where it does not make a claim of the scenario vacuous.
        context: What else the scenario does and says.
        objects: What stands in the cluster.

    Raises:
        BadInput: ``at`` says the caller, and a step of the scenario could then never see the fault.
    """
    said = next(_said(fault.service, context), None)
    standing = next(stands(fault.service, objects), None)
    if fault.at is Side.CALLER:
        if said is not None:
            raise BadInput(
                "MB0427",
                f"{fault} cannot be injected at the caller: {said}, which a fault at the caller would never reach, so the "
                "scenario would prove nothing.",
                help="write | inject at | server |, or leave that option out",
            )
        aside = f"; meanwhile {standing} does not see it" if standing else ""
        return Choice(Side.CALLER, f"at the callers' sidecars (a VirtualService fault), as the step says{aside}")
    if fault.at is Side.SERVER:
        return Choice(Side.SERVER, "at the server's sidecars (an armed fault filter), as the step says")
    why = said or next(_mentioned(fault.service, context, _SEES_CALLS), None) or standing
    if why is not None:
        return Choice(Side.SERVER, _AT_SERVER.format(why=why))
    delegating = next(_delegating(fault, objects), None)
    if delegating is not None:
        name = delegating["metadata"]["name"]
        return Choice(Side.SERVER, _DELEGATED.format(name=name, service=fault.service))
    return Choice(Side.CALLER, AT_CALLER.format(service=fault.service))


def refuse_hidden(fault: Fault, context: Context, side: Side) -> None:
    """See that no failure in force answers each call that a further fault is for: that one would hit nobody.

    Calls meet the callers' sidecars first, and at the server the faults in the order of their steps. At the callers one
    filter delays a call before it fails it.

    Args:
        fault: The further fault.
        context: What is in force.
        side: Where the further fault goes.

    Raises:
        BadInput: one in force does.
    """
    for plan in context.faults(fault.service):
        first = plan.intent
        if (
            isinstance(first, Fault)
            and _meets_first(plan.side, fault, side)
            and first.delay is None
            and first.share == EVERY_REQUEST
            and first.scope.covers(fault.scope)
        ):
            instead = "slow it before it fails" if fault.delay else "let the first one recover"
            raise BadInput(
                "MB0477",
                f"«{fault}» would hit no call: «{first}» is in force, and answers each of them before.",
                help=f"{instead}, or give the first one a share below 100% or a scope of its own",
            )


def _meets_first(in_force: Side | None, fault: Fault, side: Side) -> bool:
    if in_force is Side.CALLER:
        return side is Side.SERVER or fault.delay is None
    return in_force is side is Side.SERVER


def _said(service: ServiceRef, context: Context) -> Iterator[str]:
    """What the scenario itself has that must see the fault."""
    for plan in context.in_force:
        if isinstance(plan.intent, _POLICIES) and plan.service == service:
            yield f"«{plan.intent}» is in force"
    yield from _mentioned(service, context, _SEES_FAULTS)


def _mentioned(service: ServiceRef, context: Context, topics: Container[Topic]) -> Iterator[str]:
    for mention in context.said:
        if mention.topic in topics and mention.service == service:
            yield f"the step «{mention.step}» is about its {mention.topic}"


def _delegating(fault: Fault, objects: Objects) -> Iterator[Object]:
    """The VirtualServices by which callers that a fault is for go, and that leave routes of the service to others."""
    if not any(_has_delegates(obj["spec"].get("http")) for obj in objects.virtual_services):
        return
    by = fault.scope.called_by
    for ruling in rulings(fault.service, objects.virtual_services, (by.namespace,) if by else objects.callers()):
        if ruling.obj is not None and _has_delegates(routes_of(fault.service, ruling.obj, objects.services)):
            yield ruling.obj


def _has_delegates(routes: Iterable[Mapping[str, Any]] | None) -> bool:
    return any(route.get("delegate") for route in routes or ())


def stands(service: ServiceRef, objects: Objects) -> Iterator[str]:
    """What the rules that stand in the cluster have that would see a fault at the server, and none at the callers."""
    ruling = governing(service, objects.virtual_services)
    other = http_route_before(service, ruling, objects.http_routes)
    if other is not None:
        yield f"HTTPRoute {other['metadata']['name']} routes its calls, beside which Istio ignores a VirtualService"
    elif ruling is not None:
        own = routes_of(service, ruling, objects.services)
        yield from _routes(f"VirtualService {ruling['metadata']['name']}", own)
    rule = governing_rule(service, objects.rules)
    if rule is not None:
        name = f"DestinationRule {rule['metadata']['name']}"
        for policy in _policies(rule["spec"]):
            if policy.get("outlierDetection") is not None:  # an empty one detects by Envoy's defaults
                yield f"{name} has outlier detection (a circuit breaker)"
            if policy.get("connectionPool"):
                yield f"{name} limits its connections"
    yield from _judges(service, objects)


def _judges(service: ServiceRef, objects: Objects) -> Iterator[str]:
    """The policies that the service's own proxies ask; one that only audits, or is for gateways, denies nobody here."""
    for policy in objects.policies:
        spec, meta = policy.get("spec") or {}, policy["metadata"]
        wanted = (spec.get("selector") or {}).get("matchLabels") or {}
        if (
            meta["namespace"] in (service.namespace, ROOT_NAMESPACE)
            and spec.get("action") != "AUDIT"
            and not (spec.get("targetRef") or spec.get("targetRefs"))
            and any(selected(wanted, labels) for labels in objects.pods(service))
        ):
            yield f"AuthorizationPolicy {meta['name']} says who may call it"


def _routes(name: str, routes: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for route in routes:
        if (route.get("retries") or {}).get("attempts"):
            yield f"{name} retries its calls"
        if route.get("timeout") not in (None, "0s"):
            yield f"{name} gives its calls a timeout"
        if route.get("mirror") or route.get("mirrors"):
            yield f"{name} mirrors its calls"


def _policies(spec: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    outers = [spec.get("trafficPolicy") or {}, *(s.get("trafficPolicy") or {} for s in spec.get("subsets") or [])]
    for outer in outers:
        yield outer
        yield from outer.get("portLevelSettings") or []
