"""The exit code of a run: what needs attention first wins."""

from __future__ import annotations

import pytest

from meshbdd.errors import (
    BadInput,
    ClaimFailed,
    EnvironmentBroken,
    Inconclusive,
    MeshbddError,
    Refused,
    RestoreIncomplete,
)
from meshbdd.report.outcome import Problem, category_of
from meshbdd.report.record import RunRecord

KINDS: dict[type[MeshbddError], int] = {
    RestoreIncomplete: 3, ClaimFailed: 1, Refused: 5, BadInput: 2, Inconclusive: 4, EnvironmentBroken: 4,
}  # fmt: skip


def _code(*kinds: type[MeshbddError]) -> int:
    problems = [Problem(category_of(kind("MB0000", "so it is")), "so it is") for kind in kinds]
    return RunRecord(problems=problems).exit_code


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_each_kind_of_error_has_its_code(kind: type[MeshbddError]) -> None:
    """A refusal by a guard rail used to end as a broken environment."""
    assert _code(kind) == KINDS[kind] == kind.exit_code


def test_the_gravest_wins() -> None:
    order = [RestoreIncomplete, ClaimFailed, Refused, BadInput, Inconclusive]
    for number, gravest in enumerate(order):
        assert _code(*reversed(order[number:])) == KINDS[gravest]


def test_nothing_that_passed_is_bad_input() -> None:
    assert RunRecord().exit_code == 2
