"""Callers that keep their connections and are slow to use them never see a change that the gate had let through late."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshbdd.intents import Mirror, Split
from meshbdd.scenario import Environment
from meshbdd.units import Percent
from tests.mesh.conftest import Scenario
from tests.mesh.keep_alive import BOTH, TARGET, Callers
from tests.mesh.kinds import KINDS, Kind
from tests.mesh.switching import ROUNDS, SECONDS, say, stale_answers
from tests.tools import LabUnderTest

pytestmark = pytest.mark.timeout(SECONDS)


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


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_no_answer_is_stale(
    kind: Kind, scenario: Scenario, environment: Environment, callers: Callers, tmp_path: Path
) -> None:
    assert stale_answers(kind, scenario, environment.gate, callers, tmp_path) == (0, 0)


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
    say("a mirror", missing, copied, began)
    assert (missing, copied) == (0, 0)
