"""A healthy shop: all of its scenarios pass, but for those that a mesh cannot do, and these are few."""

from __future__ import annotations

from collections import Counter

from tests.defects.catalogue import skipped
from tests.defects.project import Project
from tests.tools import LabUnderTest

LEAST_PASSED = 0.9
"""Of all scenarios, those that are skipped among them: a mesh that can do less is none that runs the same features."""
_OF_THE_MACHINE = "features/load/"
"""Scenarios about milliseconds: a busy machine leaves them without an answer, and they count as not passed."""


def run_all(project: Project, lab: LabUnderTest) -> str:
    """Run every scenario; how many there are, and how they came out."""
    places = project.scenarios()
    statuses = project.run(lab, places)
    told = Counter(statuses.values())
    assert statuses.keys() == {place.name for place in places}
    unsure = {place.name for place in places if place.where.startswith(_OF_THE_MACHINE)}
    left_out = {name for name, status in statuses.items() if status == "skipped"}
    wrong = {n: s for n, s in statuses.items() if s != "passed" and (n not in unsure or s == "failed")}
    assert wrong.keys() == left_out == skipped(places, lab.info.mesh), wrong
    assert told["passed"] >= LEAST_PASSED * len(statuses), [n for n, s in statuses.items() if s == "skipped"]
    return f"{len(statuses)} scenarios: {', '.join(f'{number} {word}' for word, number in told.most_common())}"
