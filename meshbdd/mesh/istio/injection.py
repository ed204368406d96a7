"""Where a fault goes: to the caller's route, or to the server's inbound side; whichever lets the scenario's claims mean something.

A fault at the caller answers before the caller's router: no retry, timeout, limit, mirror or outlier detection of that
hop ever sees it (and Istio takes retries and timeout off a route with a fault). Nor does the service's own proxy, which
judges who may call it, and has the logs and counters of what came.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass

from meshbdd.errors import BadInput
from meshbdd.intents import EVERY_REQUEST, CircuitBreaker, Fault, Limit, Mirror, Retry, ServiceRef, Side, Timeout, Topic
from meshbdd.mesh.base import Context
from meshbdd.mesh.istio.standing import Objects, delegating, instead_of_server, stands

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
        instead: What may be written where the server cannot have it; empty where nothing would help.
    """

    side: Side
    reason: str
    instead: str = ""


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
    if fault.at is Side.CALLER:
        if said is not None:
            raise BadInput(
                "MB0427",
                f"{fault} cannot be injected at the caller: {said}, which a fault at the caller would never reach, so the "
                "scenario would prove nothing.",
                help="write | inject at | server |, or leave that option out",
            )
        standing = next(stands(fault, objects), None)
        aside = f"; meanwhile {standing} does not see it" if standing else ""
        return Choice(Side.CALLER, f"at the callers' sidecars (a VirtualService fault), as the step says{aside}")
    if fault.at is Side.SERVER:
        return Choice(Side.SERVER, "at the server's sidecars (an armed fault filter), as the step says")
    if said is not None:
        return Choice(Side.SERVER, _AT_SERVER.format(why=said))
    why = next(_mentioned(fault.service, context, _SEES_CALLS), None) or next(stands(fault, objects), None)
    if why is not None:
        return Choice(Side.SERVER, _AT_SERVER.format(why=why), instead_of_server(fault, objects))
    root = next(delegating(fault, objects), None)
    if root is not None:
        name = root["metadata"]["name"]
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
