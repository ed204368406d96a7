"""Where a fault goes: to the caller's route, or to the server's inbound side; whichever lets the scenario's claims mean something.

A fault at the caller answers before the caller's router: no retry, timeout, limit, mirror or outlier detection of that
hop ever sees it (and Istio takes retries and timeout off a route with a fault).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from meshbdd.errors import BadInput
from meshbdd.intents import CircuitBreaker, Fault, Limit, Mirror, Retry, ServiceRef, Side, Timeout, Topic
from meshbdd.mesh.base import Context
from meshbdd.mesh.istio.hosts import governing, governing_rule

AT_CALLER = (
    "at the callers' sidecars (a VirtualService fault): nothing in this scenario or in the rules of {service} needs a "
    "proxy that sees the failed call"
)
_AT_SERVER = "at the server's sidecars (an armed fault filter): {why}, and a fault at the caller would never reach that"
BESIDE_ANOTHER = (
    "at the server's sidecars (an armed fault filter): at the callers another fault of this kind is in force for some of the same "
    "calls, and a route of Istio's has room for one"
)
_POLICIES = (Timeout, Retry, CircuitBreaker, Limit, Mirror)
_SEES_FAULTS = {Topic.RETRIES, Topic.TIMEOUT, Topic.BREAKER, Topic.LIMIT, Topic.MIRROR}


@dataclass(frozen=True, slots=True)
class Choice:
    """Where, and why.

    Attributes:
        side: The side.
        reason: A sentence for the evidence.
    """

    side: Side
    reason: str


def choose(fault: Fault, context: Context, virtual_services: Sequence[Any], rules: Sequence[Any]) -> Choice:
    """Choose the side of a fault.

    Args:
        fault: The fault; its own ``at`` decides, where it does not make a claim of the scenario vacuous.
        context: What else the scenario does and says.
        virtual_services: All VirtualServices.
        rules: All DestinationRules.

    Raises:
        BadInput: ``at`` says the caller, and a step of the scenario could then never see the fault.
    """
    said = next(_said(fault.service, context), None)
    stands = next(_stands(fault.service, virtual_services, rules), None)
    if fault.at is Side.CALLER:
        if said is not None:
            raise BadInput(
                "MB0427",
                f"{fault} cannot be injected at the caller: {said}, which a fault at the caller would never reach, so the "
                "scenario would prove nothing.",
                help="write | inject at | server |, or leave that option out",
            )
        aside = f"; meanwhile {stands} does not see it" if stands else ""
        return Choice(Side.CALLER, f"at the callers' sidecars (a VirtualService fault), as the step says{aside}")
    if fault.at is Side.SERVER:
        return Choice(Side.SERVER, "at the server's sidecars (an armed fault filter), as the step says")
    why = said or stands
    if why is not None:
        return Choice(Side.SERVER, _AT_SERVER.format(why=why))
    return Choice(Side.CALLER, AT_CALLER.format(service=fault.service))


def _said(service: ServiceRef, context: Context) -> Iterator[str]:
    """What the scenario itself has that must see the fault."""
    for plan in context.in_force:
        if isinstance(plan.intent, _POLICIES) and plan.service == service:
            yield f"«{plan.intent}» is in force"
    for mention in context.said:
        if mention.topic in _SEES_FAULTS and mention.service == service:
            yield f"the step «{mention.step}» is about its {mention.topic}"


def _stands(service: ServiceRef, virtual_services: Sequence[Any], rules: Sequence[Any]) -> Iterator[str]:
    """What the rules that stand in the cluster have that would see the fault."""
    ruling = governing(service, virtual_services)
    if ruling is not None:
        name = f"VirtualService {ruling['metadata']['name']}"
        for route in ruling["spec"].get("http") or []:
            if (route.get("retries") or {}).get("attempts"):
                yield f"{name} retries its calls"
            if route.get("timeout") not in (None, "0s"):
                yield f"{name} gives its calls a timeout"
    rule = governing_rule(service, rules)
    if rule is not None:
        name = f"DestinationRule {rule['metadata']['name']}"
        for policy in _policies(rule["spec"]):
            if policy.get("outlierDetection"):
                yield f"{name} has outlier detection (a circuit breaker)"
            if policy.get("connectionPool"):
                yield f"{name} limits its connections"


def _policies(spec: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    outers = [spec.get("trafficPolicy") or {}, *(s.get("trafficPolicy") or {} for s in spec.get("subsets") or [])]
    for outer in outers:
        yield outer
        yield from outer.get("portLevelSettings") or []
