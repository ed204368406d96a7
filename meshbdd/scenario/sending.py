"""Carrying a plan out: a load, and how far it is where that takes long."""

from __future__ import annotations

from collections.abc import Callable

from meshbdd.load import Load, Plan, Result
from meshbdd.load.watching import watch
from meshbdd.load.workers import Workers
from meshbdd.scenario.vantages import check_entry


def carry_out(plan: Plan, interrupted: Callable[[Result], None]) -> Result:
    """Carry a plan out, and show how far it is where that takes long.

    Args:
        plan: It.
        interrupted: Told what was sent until Ctrl-C, which ends it at once.

    Raises:
        EnvironmentBroken: requests did not get into the mesh.
    """
    # A rate is held by a process of its own: one with other work, a bar to draw for instance, would start requests late.
    with Workers.start(plan) if plan.pace else Load.start(plan) as load:
        try:
            result = watch(load, f'"{plan.message.name}"')
        except KeyboardInterrupt:
            interrupted(load.stop(at_once=True))
            raise
    check_entry(result)
    return result
