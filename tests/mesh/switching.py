"""Switching a kind of change on and off, as the steps do it, while callers keep their connections."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import yaml

from meshbdd.intents import Fault
from meshbdd.mesh import Gate
from meshbdd.world import World
from tests.mesh.conftest import Scenario
from tests.mesh.keep_alive import CALLERS, TARGET, Callers
from tests.mesh.kinds import Kind
from tests.tools import until

FULL = bool(os.environ.get("FULL"))
ROUNDS = 100 if FULL else 2
"""Of each kind; a round switches it on and off, so that a whole run has 200 switches of each."""
SECONDS = 3600 if FULL else 120
"""How long the rounds of one kind may take."""


def stale_answers(kind: Kind, scenario: Scenario, gate: Gate, callers: Callers, folder: Path) -> tuple[int, int]:
    """How many answers were stale after switching on, and after switching off; also printed."""
    began = time.monotonic()
    on, off = _switches(kind, folder)
    for document in yaml.safe_load_all(kind.standing):
        callers.lab.apply(yaml.safe_dump(document))
    until("what holds without the change", lambda: kind.off(callers, gate) == 0, seconds=20)
    after_on = after_off = 0
    for number in range(ROUNDS):
        with scenario() as world:
            on(world)
            after_on += kind.on(callers, gate)
            off(world, number)
            after_off += kind.off(callers, gate)
    say(kind.name, after_on, after_off, began)
    return after_on, after_off


def say(kind: str, after_on: int, after_off: int, began: float) -> None:
    """Print a line of what was counted."""
    seconds = time.monotonic() - began
    counted = f"{after_on} stale after {ROUNDS} switches on, {after_off} after {ROUNDS} switches off"
    print(f"\n{kind}: {counted}, {CALLERS} callers, {seconds:.0f} s")


def _switches(kind: Kind, folder: Path) -> tuple[Callable[[World], None], Callable[[World, int], None]]:
    """How a kind is switched on and off; faults end by turns as by a step and as by the end of a scenario."""
    made = kind.made
    if isinstance(made, str):
        (folder / "own.yaml").write_text(made)
        return (
            lambda world: world.changes.apply_manifest("own.yaml"),
            lambda world, _: world.changes.remove_manifest("own.yaml"),
        )

    def off(world: World, number: int) -> None:
        if isinstance(made, Fault) and number % 2:
            world.changes.recover(TARGET)
        else:
            world.changes.take_back_all()

    return lambda world: world.changes.make(made), off
