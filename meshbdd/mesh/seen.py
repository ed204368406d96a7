"""Whether what a policy does can be seen at all, whatever the mesh."""

from __future__ import annotations

from meshbdd.errors import BadInput
from meshbdd.intents import Policy, Side
from meshbdd.mesh.base import Context


def check_seen(intent: Policy, context: Context) -> None:
    """A policy for calls that a fault at the caller answers beforehand would be tested by nothing.

    Raises:
        BadInput: such a fault is in force.
    """
    for plan in context.faults(intent.service):
        if plan.side is Side.CALLER:
            raise BadInput(
                "MB0429",
                f"«{intent}» would never see the fault in force: {plan.summary} is injected at the caller.",
                help="write | inject at | server | into the fault's table",
            )
