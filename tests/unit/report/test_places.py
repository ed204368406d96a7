"""The places of an error: a line of a manifest, say, and the step that applies it."""

from __future__ import annotations

from pathlib import Path

import pytest
from behave.parser import parse_feature

from meshbdd.errors import BadInput, Place
from meshbdd.report.outcome import _guilty

FEATURE, MANIFEST = Path("x.feature"), Place(Path("m/a.yaml"), 3)


@pytest.mark.parametrize(
    ("own", "steps", "told"),
    [
        (None, [4], ["x.feature:4"]),
        (Place(FEATURE, 5), [4], ["x.feature:5"]),  # a step further on, known to the one under way
        (MANIFEST, [5, 4], ["m/a.yaml:3", "x.feature:5"]),
        (MANIFEST, [], ["m/a.yaml:3"]),
    ],
)
def test_both_are_told_where_they_lie_in_two_files(own: Place | None, steps: list[int], told: list[str]) -> None:
    error = BadInput("MB0320", "It has a field that nobody knows.", help="take it out", place=own)
    for line in steps:
        error.met_at(Place(FEATURE, line))
    error.met_at(None)
    shown = "".join(f"  --> {place}\n" for place in told)
    assert str(error) == f"MB0320 error: It has a field that nobody knows.\n{shown}  help: take it out"


def test_a_step_further_on_is_the_guilty_one_also_where_a_manifest_is_at_fault() -> None:
    text = "Feature: F\n  Scenario: S\n    Given a\n    And b\n    And c\n"
    (scenario,) = parse_feature(text, filename=str(FEATURE)).walk_scenarios()
    first, second, _ = scenario.all_steps
    first.exception = BadInput("MB0320", "It has a field that nobody knows.", place=MANIFEST)
    assert _guilty(first, scenario) is first
    first.exception.met_at(Place(FEATURE, 4))
    assert _guilty(first, scenario) is second
    assert first.exception.is_of(Place(FEATURE, 4))
    assert not first.exception.is_of(Place(FEATURE, 3))
