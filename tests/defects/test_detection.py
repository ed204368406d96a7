"""The detection matrix: each seeded defect turns its scenarios red, and no other.

``make detect`` runs, for each defect, its own scenarios and a seeded tenth of the rest; defects that do not disturb each other
are seeded at one time. ``FULL=1 make detect`` runs every scenario with each defect alone. ``LABS`` runs go side by side.
"""

from __future__ import annotations

import itertools
import os
import queue
import random
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import pytest

from tests.defects.catalogue import DEFECTS, MAY_BE_UNANSWERED, MESH, NAMED, PROVED_BY_NOBODY, skipped
from tests.defects.conftest import FULL, Row, Table
from tests.defects.defect import batches
from tests.defects.healthy import run_all
from tests.defects.project import CHECKOUT, LATE, Place, Project
from tests.defects.side_by_side import Batch, Runs, name_of, runs
from tests.tools import LabUnderTest

_SEED = 20260301
_BATCHES = sorted(batches(DEFECTS, apart=FULL), key=lambda batch: -sum(len(defect.told) for defect in batch))
"""The longest first: what is left in the end is short, and no lab waits long for another."""
_BY_STOPWATCH = "features/load/sidecar_overhead.feature"
"""What a sidecar costs in milliseconds is not told by the side of another run: it is none of the rest that is drawn."""
_TIMES = int(os.environ.get("HEALTHY", "20" if FULL else "1"))


def _chosen(places: list[Place], batch: Batch) -> list[Place]:
    """The scenarios that run with a batch."""
    told = frozenset().union(*(defect.told for defect in batch))
    own = [place for place in places if place.name in told]
    rest = [place for place in places if place.name not in told and not place.where.startswith(_BY_STOPWATCH)]
    if FULL:
        return places
    seed = " ".join(map(str, (_SEED, *(defect.name for defect in batch))))
    return own + random.Random(seed).sample(rest, max(1, len(rest) // 10))


@pytest.fixture(scope="module")
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """What the scenarios say of every batch that is to be tested; all of them begin to run with the first."""
    items = (item for item in request.session.items if isinstance(item, pytest.Function))
    wanted = [item.callspec.params["batch"] for item in items if "batch" in getattr(item, "fixturenames", ())]
    projects = tmp_path_factory.mktemp("projects")
    numbers = itertools.count(1)
    with runs(lambda: Project.copy(projects / str(next(numbers))), _chosen) as found:
        found.begin(wanted)
        yield found


def test_names_are_unique_and_expectations_exist() -> None:
    names = [place.name for place in Project(CHECKOUT).scenarios()]
    assert sorted(names) == sorted(set(names))
    assert {name for defect in DEFECTS for name in defect.told} <= set(names)
    assert len({defect.name for defect in DEFECTS}) == len(DEFECTS) >= 20
    assert all(defect.told for defect in DEFECTS), "a defect that nothing sees is a hole in the suite"


def test_what_teams_get_wrong_most_is_seeded() -> None:
    kinds = {defect.name.partition(":")[0] for defect in DEFECTS}
    assert [name for name in NAMED if name not in kinds] == []


def test_only_who_cannot_be_told_anything_may_leave_scenarios_unanswered() -> None:
    kinds = {defect.name.partition(":")[0] for defect in DEFECTS if defect.unanswered}
    assert kinds <= MAY_BE_UNANSWERED


def test_every_scenario_sees_some_defect() -> None:
    """A scenario that no defect turns red might claim nothing; whether it does turn red is what the runs below show."""
    places = Project(CHECKOUT).scenarios()
    seen = frozenset().union(*(defect.seen_by for defect in DEFECTS))
    assert {place.name for place in places} - skipped(places) - seen == PROVED_BY_NOBODY
    assert frozenset().union(*(defect.told for defect in DEFECTS)) >= PROVED_BY_NOBODY


def test_what_is_seeded_at_one_time_can_be_told_apart() -> None:
    for batch in _BATCHES:
        for one, other in itertools.combinations(batch, 2):
            assert not one.told & other.told, f"{one.name} and {other.name}"
        assert len(batch) == 1 or not any(defect.stands_alone for defect in batch)
    assert sorted(defect.name for batch in _BATCHES for defect in batch) == sorted(d.name for d in DEFECTS)


def test_who_says_that_the_machine_was_late_is_asked_once_more() -> None:
    answers = [{"a": "passed", "b": LATE, "c": "inconclusive"}, {"b": LATE}]
    asked = []

    class Said(Project):
        def scenarios(self) -> list[Place]:
            return [Place(name, name) for name in "abc"]

        def run(self, lab: LabUnderTest, places: Iterable[Place], environment: object = None) -> dict[str, str]:
            asked.append([place.name for place in places])
            return answers.pop(0)

    idle: queue.SimpleQueue[LabUnderTest] = queue.SimpleQueue()
    idle.put(cast("LabUnderTest", None))
    with ThreadPoolExecutor(1) as pool:
        found = Runs(pool, idle, lambda: Said(CHECKOUT), lambda places, _: places)
        found.begin([()])
        told = found.of(())
    assert asked == [["a", "b", "c"], ["b"]]
    assert told.statuses == {"a": "passed", "b": LATE, "c": "inconclusive"}
    assert told.asked_twice == {"b"}


@pytest.fixture(scope="module")
def healthy() -> Iterator[LabUnderTest]:
    found = LabUnderTest.up("healthy", mesh=MESH)
    yield found
    found.down()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", range(1, _TIMES + 1))
def test_the_healthy_shop_is_green(
    healthy: LabUnderTest, number: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = run_all(Project.copy(tmp_path / "project"), healthy)
    with capsys.disabled():
        print(f"\nhealthy shop on {MESH}, run {number} of {_TIMES}: {said}")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("batch", _BATCHES, ids=name_of)
def test_a_defect_is_seen(told: Runs, batch: Batch, table: Table) -> None:
    answer = told.of(batch)
    ran = answer.statuses
    left_out = skipped(Project(CHECKOUT).scenarios()) & ran.keys()
    assert {name for name, status in ran.items() if status == "skipped"} == left_out, "what is skipped sees nothing"
    statuses = {name: status for name, status in ran.items() if name not in left_out}
    missing = frozenset().union(*(defect.told for defect in batch)) - ran.keys()
    assert not missing, f"these did not run: {missing}"
    others = statuses.keys() - frozenset().union(*(defect.told for defect in batch))
    rows = []
    for defect in batch:
        its_own = {name: status for name, status in statuses.items() if name in defect.told | others}
        rows.append(Row(defect, its_own, tuple(defect.unexpected(its_own)), answer.asked_twice & its_own.keys()))
    table.rows += rows
    wrong = {row.defect.name: row.unexpected for row in rows if row.unexpected}
    assert not wrong, wrong
