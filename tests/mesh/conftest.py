"""Scenarios as the steps make them, without behave: a world of its own on the shared lab."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from meshbdd.errors import Place
from meshbdd.evidence import Event
from meshbdd.mesh import Gate, Istio
from meshbdd.settings import Settings
from meshbdd.units import Duration
from meshbdd.world import Environment, StepText, World
from tests.tools import LabUnderTest

CHARGE = 'POST http://payment-service/charge\nContent-Type: application/json\n\n{"sku": "A1", "quantity": 1}'
CHECKOUT = CHARGE.replace("payment-service/charge", "order-service/checkout")
FEATURE = Path("here.feature")

Scenario = Callable[..., contextlib.AbstractContextManager[World]]


@pytest.fixture
def told() -> list[Event]:
    """What scenarios told."""
    return []


@pytest.fixture
def environment(lab: LabUnderTest, told: list[Event], tmp_path: Path) -> Iterator[Environment]:
    """One run, which leaves nothing behind."""
    settings = Settings(project=tmp_path, undo_budget=Duration(20), gate_timeout=Duration(20))
    run = "r" + tmp_path.name.replace("_", "")[-20:].lower()
    gate = Gate(lab.cluster, settings.gate_timeout)
    environment = Environment(settings, lab.cluster, Istio(lab.cluster, run), gate, run, "lab", told.append)
    yield environment
    environment.close()
    assert lab.cluster.list("EnvoyFilter") == [], "a run leaves no standing object behind"


def begin(environment: Environment, folder: Path) -> Scenario:
    """Begins scenarios with these steps in their text; each is undone at its end."""

    @contextlib.contextmanager
    def one(*steps: str) -> Iterator[World]:
        world = World(environment, folder / FEATURE, [StepText(step, Place(FEATURE, 1)) for step in steps])
        world.traffic.define("charge", CHARGE, None)
        world.traffic.define("checkout", CHECKOUT, None)
        try:
            yield world
        finally:
            world.close()

    return one


@pytest.fixture
def scenario(environment: Environment, tmp_path: Path) -> Scenario:
    """Begin a scenario with these steps in its text; it is undone at its end."""
    return begin(environment, tmp_path)
