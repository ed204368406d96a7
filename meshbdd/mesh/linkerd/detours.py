"""Rules that lead to other Services than the one that is called: what a fault is for would not come to it, or not stay as it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from meshbdd.errors import NotPossible
from meshbdd.intents import Fault, ServiceRef
from meshbdd.mesh.linkerd.backend import backend_of
from meshbdd.mesh.linkerd.fault_envoy import CALLER, DELAY, PERCENTAGE

Rule = Mapping[str, Any]


def backends(rule: Rule, home: str) -> Iterator[tuple[ServiceRef, Rule]]:
    """The Services to which a rule leads, each with the words that say so.

    Args:
        rule: The rule.
        home: The namespace of the Service that is called, wherever the route is: in it a backend is that names none, since
            Linkerd looks it up in its index of that namespace (policy-controller/k8s/index/src/outbound/index/http.rs).
    """
    for ref in rule.get("backendRefs") or []:
        yield ServiceRef(str(ref["name"]), ref.get("namespace") or home), ref


def refuse_detour(headers: Mapping[str, str], rule: Rule, service: ServiceRef) -> None:
    """See that calls which a fault backend passes on come where its rule leads: it knows the service's own pods alone.

    Args:
        headers: What tells the fault backend what to do.
        rule: Where calls go without the fault.
        service: The service beside which it stands.

    Raises:
        NotPossible: they would go to all of the service's pods, whatever the rule's weights are.
    """
    goes_on = DELAY in headers or CALLER in headers or any(name.endswith(PERCENTAGE) for name in headers)
    elsewhere = _elsewhere(rule, service)
    if goes_on and elsewhere:
        raise NotPossible(
            "MB0460",
            f"On Linkerd calls to {service} that are slowed, or that a fault leaves alone because of their caller, go on from the "
            f"fault backend to all of its pods; the route leads to {elsewhere}, so its shares would not hold.",
            help="let the calls fail instead, or have the delay and the split in different scenarios",
        )


def refuse_past(rule: Rule, fault: Fault) -> None:
    """See that calls come to the endpoint that fails, which is that of the service itself.

    Raises:
        NotPossible: a rule leads to another Service.
    """
    elsewhere = _elsewhere(rule, fault.service)
    if elsewhere:
        raise NotPossible(
            "MB0461",
            f"«{fault}» is not possible on Linkerd where a circuit breaker of {fault.service} is to see it: the route leads to "
            f"{elsewhere}, past the endpoint that fails.",
            help="have the breaker and that route, or split, in different scenarios",
        )


def _elsewhere(rule: Rule, service: ServiceRef) -> str:
    """The Services beside the service itself, and its fault backend, to which a rule leads; empty where it leads to none."""
    led = {ref for ref, _ in backends(rule, service.namespace)} - {service, backend_of(service)}
    return ", ".join(sorted(ref.name if ref.namespace == service.namespace else str(ref) for ref in led))
