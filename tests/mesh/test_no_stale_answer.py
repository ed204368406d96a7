"""Callers that keep their connections and are slow to use them never see a change that the gate had let through late."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from meshbdd.intents import Fault, Mirror, Split
from meshbdd.scenario import Environment
from meshbdd.units import Percent
from meshbdd.world import World
from tests.mesh.conftest import Scenario
from tests.mesh.keep_alive import BOTH, CALLERS, TARGET, Callers
from tests.mesh.kinds import KINDS, Kind
from tests.tools import LabUnderTest, until

FULL = bool(os.environ.get("FULL"))
ROUNDS = 100 if FULL else 2
"""Of each kind; a round switches it on and off, so that a whole run has 200 switches of each."""

pytestmark = pytest.mark.timeout(3600 if FULL else 120)


@pytest.fixture(scope="module")
def callers(_own_state: None) -> Iterator[Callers]:
    """On a lab of their own, in which every sidecar is one of theirs."""
    lab = LabUnderTest.up("keepalive", shop=False, clients=False)
    yield Callers.up(lab)
    lab.down()


@pytest.fixture
def lab(callers: Callers) -> Iterator[LabUnderTest]:
    yield callers.lab
    callers.lab.clean()


def _say(kind: str, stale: tuple[int, int], began: float) -> None:
    seconds = time.monotonic() - began
    counted = f"{stale[0]} stale after {ROUNDS} switches on, {stale[1]} after {ROUNDS} switches off"
    print(f"\n{kind}: {counted}, {CALLERS} callers, {seconds:.0f} s")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_no_answer_is_stale(
    kind: Kind, scenario: Scenario, environment: Environment, callers: Callers, lab: LabUnderTest, tmp_path: Path
) -> None:
    gate, began = environment.gate, time.monotonic()
    on, off = _switches(kind, tmp_path)
    for document in yaml.safe_load_all(kind.standing):
        lab.apply(yaml.safe_dump(document))
    until("what holds without the change", lambda: kind.off(callers, gate) == 0, seconds=20)
    stale = [0, 0]
    for number in range(ROUNDS):
        with scenario() as world:
            on(world)
            stale[0] += kind.on(callers, gate)
            off(world, number)
            stale[1] += kind.off(callers, gate)
    _say(kind.name, (stale[0], stale[1]), began)
    assert stale == [0, 0]


def _switches(kind: Kind, folder: Path) -> tuple[Callable[[World], None], Callable[[World, int], None]]:
    """How a kind is switched on and off: as the steps do it, faults by turns as steps and as the end of a scenario do."""
    made = kind.made
    if isinstance(made, str):
        (folder / "own.yaml").write_text(made)
        return lambda world: world.changes.apply_manifest("own.yaml"), lambda world, _: world.changes.remove_manifest(
            "own.yaml"
        )

    def off(world: World, number: int) -> None:
        if isinstance(made, Fault) and number % 2:
            world.changes.recover(TARGET)
        else:
            world.changes.take_back_all()

    return lambda world: world.changes.make(made), off


def test_no_copy_is_stale(scenario: Scenario, callers: Callers) -> None:
    """A mirror's copies: of each request while it is in force, of none when it is not."""
    missing, after, began = 0, [], time.monotonic()
    for _ in range(ROUNDS):
        with scenario() as world:
            world.changes.make(Split(BOTH, (("stable", Percent(100)), ("canary", Percent(0)))))
            world.changes.make(Mirror(BOTH, "canary"))
            asked = callers.ask(service=BOTH)
            callers.logged(asked)
            missing += len(asked) - len(callers.logged(asked, "canary"))
            world.changes.take_back_all()
            after += callers.ask(service=TARGET)
    with scenario() as world:  # what comes last to the canary's log: whatever came before it is there
        world.changes.make(Split(BOTH, (("stable", Percent(0)), ("canary", Percent(100)))))
        callers.logged(callers.ask(service=BOTH), "canary")
    copied = sum(callers.reached(answer.request_id, "canary") for answer in after)
    _say("a mirror", (missing, copied), began)
    assert (missing, copied) == (0, 0)
