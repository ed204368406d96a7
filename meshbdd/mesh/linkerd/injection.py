"""Which calls a fault backend takes: a share of those that a route would send to the service, or all of them in its place.

A route to the fault backend does for most: its answers come from an endpoint, so the callers' proxies try them again, time
them out and count them as of any other. A circuit, though, is an endpoint's. Were the failing endpoint one of another
Service, the circuit to the service would never open; and once the route were gone nobody would ask whether it closes. So
where failure accrual is to be seen, the fault backend becomes the service's only endpoint for the scenario, and what a
route says decides whether it fails.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from meshbdd.errors import BadInput
from meshbdd.intents import CircuitBreaker, Fault, Side, Topic
from meshbdd.mesh.base import Context
from meshbdd.mesh.linkerd.annotations import ACCRUAL

_AT_CALLER = (
    "by a fault backend beside {service}, to which the callers' proxies are routed: its answers are retried, timed out and "
    "counted as those of the service would be"
)
_AT_SERVER = (
    "by a fault backend in the place of {service}'s endpoints, so that failure accrual counts its answers: {why}"
)


@dataclass(frozen=True, slots=True)
class Choice:
    """Where, and why.

    Attributes:
        side: Beside the service as its callers see it, or in its place.
        reason: A sentence for the evidence.
    """

    side: Side
    reason: str


def choose(fault: Fault, context: Context, service: Mapping[str, Any]) -> Choice:
    """Choose how a fault meets its calls.

    Args:
        fault: The fault; its own ``at`` decides, where it does not make a claim of the scenario vacuous.
        context: What else the scenario does and says.
        service: The Service.

    Raises:
        BadInput: ``at`` says the caller, and the scenario's circuit breaker could then never see the fault.
    """
    said = next(_said(fault, context), None)
    if fault.at is Side.CALLER and said is not None:
        raise BadInput(
            "MB0427",
            f"{fault} cannot be injected at the caller: {said}, which would count the failures of another Service's "
            "endpoint, so the scenario would prove nothing.",
            help="write | inject at | server |, or leave that option out",
        )
    stands = None
    if (service["metadata"].get("annotations") or {}).get(ACCRUAL):
        stands = f"Service {service['metadata']['name']} has failure accrual (a circuit breaker)"
    why = "the step says so" if fault.at is Side.SERVER else said or (None if fault.at else stands)
    if why is not None:
        return Choice(Side.SERVER, _AT_SERVER.format(service=fault.service, why=why))
    return Choice(Side.CALLER, _AT_CALLER.format(service=fault.service))


def _said(fault: Fault, context: Context) -> Iterator[str]:
    """What the scenario itself has that must see the failing endpoint."""
    for plan in context.in_force:
        if isinstance(plan.intent, CircuitBreaker) and plan.service == fault.service:
            yield f"«{plan.intent}» is in force"
    for mention in context.said:
        if mention.topic is Topic.BREAKER and mention.service == fault.service:
            yield f"the step «{mention.step}» is about its {mention.topic}"
