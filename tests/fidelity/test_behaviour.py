"""Each rule of the compiler that a client can see, by requests through real sidecars."""

from __future__ import annotations

import os

import pytest

from tests.fidelity.rows import Row, run
from tests.fidelity.table import ROWS
from tests.fidelity.world import World

FULL = bool(os.environ.get("FULL"))
SAMPLE = 16
"""Without ``FULL=1`` each n-th mutant is run; `make fidelity` runs them all."""


def _name(row: Row) -> str:
    return f"{row.topic}: {row.rule}"


@pytest.mark.parametrize("row", ROWS, ids=_name)
def test_the_lab_behaves_as_istio_does(world: World, row: Row) -> None:
    outcome = run(world, row)
    assert outcome.good, "\n".join([outcome.verdict, f"seen: {outcome.seen}", *outcome.contradictions])


@pytest.mark.parametrize("row", ROWS if FULL else ROWS[::SAMPLE], ids=_name)
def test_a_row_fails_where_the_resources_say_something_else(world: World, row: Row) -> None:
    """No row is green by itself: without its resources, or with one word of them changed, it contradicts."""
    assert run(world, row, mutated=True).contradictions


def test_rules_are_told_once() -> None:
    names = [_name(row) for row in ROWS]
    assert len(set(names)) == len(names)
