"""A healthy shop: all of its scenarios pass, but for those that a mesh cannot do, and these are few."""

from __future__ import annotations

from collections import Counter

from tests.defects.catalogue import skipped
from tests.defects.project import Project
from tests.tools import LabUnderTest

LEAST_PASSED = 0.9
"""Of all scenarios, those that are skipped among them: a mesh that can do less is none that runs the same features."""


def run_all(project: Project, lab: LabUnderTest) -> str:
    """Run every scenario; how many there are, and how they came out."""
    places = project.scenarios()
    statuses = project.run(lab, places)
    told = Counter(statuses.values())
    assert statuses.keys() == {place.name for place in places}
    wrong = {name: status for name, status in statuses.items() if status != "passed"}
    assert wrong == dict.fromkeys(skipped(places, lab.info.mesh), "skipped"), wrong
    assert told["passed"] >= LEAST_PASSED * len(statuses), sorted(wrong)
    return f"{len(statuses)} scenarios: {', '.join(f'{number} {word}' for word, number in told.most_common())}"
