"""Steps that let only one caller pass, beside fault backends: these answer in a service's place, or pass calls on as their own."""

from __future__ import annotations

from collections.abc import Iterable

from meshbdd.errors import NotPossible
from meshbdd.intents import Access, Fault
from meshbdd.mesh.base import Plan
from meshbdd.mesh.catalog import Catalog
from meshbdd.mesh.linkerd.behind import share_pods
from meshbdd.mesh.linkerd.beside import passes_on
from meshbdd.mesh.linkerd.limits import takes_the_place


def refuse_beside_backends(catalog: Catalog, intent: Access, in_force: Iterable[Plan]) -> None:
    """See that no fault backend gets calls to the pods of a service that only one caller is to call.

    Args:
        catalog: Reads the cluster.
        intent: The step's.
        in_force: What is in force.

    Raises:
        NotPossible: one does, by a fault of a service that has some of these pods, or in the place of its endpoints.
    """
    backends = [plan for plan in in_force if isinstance(plan.intent, Fault) or takes_the_place(plan)]
    for plan in sorted(backends, key=takes_the_place):  # a fault is what the scenario names
        service = plan.service
        if service is None or not share_pods(catalog, service, intent.service):
            continue
        goes_on = takes_the_place(plan) or passes_on(plan)
        how = (
            "the calls that go on come from the fault backend"
            if goes_on
            else "the fault backend answers, and holds the policies that were there when the fault came"
        )
        shared = f"; {service} and {intent.service} share pods" if service != intent.service else ""
        raise NotPossible(
            "MB0449",
            f"«{intent}» is not possible on Linkerd while {_what(plan)}: {how}{shared}.",
            help="have faults and the policy in different scenarios"
            if goes_on
            else "have this step before the one of the fault",
        )


def _what(plan: Plan) -> str:
    return plan.summary if takes_the_place(plan) else f"«{plan.intent}» is in force"
