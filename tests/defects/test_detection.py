"""The detection matrix: each seeded defect turns its scenarios red, and no other.

``make detect`` runs, for each defect, its own scenarios and a seeded tenth of the rest; ``FULL=1 make detect`` all.
Defects that do not disturb each other are seeded at one time.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest
import yaml

from tests.defects.catalogue import DEFECTS, MESH, skipped
from tests.defects.conftest import FULL, Table
from tests.defects.defect import Defect, batches
from tests.defects.healthy import run_all
from tests.defects.project import Place, Project
from tests.tools import LabUnderTest, until

_SEED = 20260301
_BATCHES = batches(DEFECTS)
_SEEN = {"failed", "inconclusive"}


@pytest.fixture(scope="module")
def lab() -> Iterator[LabUnderTest]:
    found = LabUnderTest.up("defects", mesh=MESH)
    try:
        yield found
    finally:
        found.down()


@contextlib.contextmanager
def seeded(lab: LabUnderTest, project: Project, defect: Defect) -> Iterator[None]:
    """The lab and the project with a defect, and without it again."""
    for file, old, new in defect.edits:
        project.change(file, old, new)
    if defect.installed:
        lab.kubectl("apply", "-f", "-", stdin=defect.installed)
    changed = {name for table in (defect.shop, defect.labels, defect.annotations) for name in table}
    for name in changed:
        _patch(lab, name, defect)
    for document in yaml.safe_load_all(defect.objects):
        lab.apply(yaml.safe_dump(document))
    _settle(lab, changed)
    try:
        yield
    finally:
        lab.clean()
        if defect.installed:
            lab.kubectl("delete", "-f", "-", stdin=defect.installed)
        for name in changed:
            lab.kubectl("rollout", "undo", f"deployment/{name}")
        _settle(lab, changed)


def _patch(lab: LabUnderTest, deployment: str, defect: Defect) -> None:
    template: dict[str, object] = {}
    if deployment in defect.shop:
        env = [{"name": "SHOP_DEFECT", "value": defect.shop[deployment]}]
        template["spec"] = {"containers": [{"name": "app", "env": env}]}
    template["metadata"] = {
        "labels": dict(defect.labels.get(deployment, {})),
        "annotations": dict(defect.annotations.get(deployment, {})),
    }
    patch = yaml.safe_dump({"spec": {"template": template}})
    lab.kubectl("patch", f"deployment/{deployment}", "--type=strategic", "-p", patch)


def _settle(lab: LabUnderTest, changed: Iterable[str]) -> None:
    """Old pods are gone and new ones are ready."""
    for name in changed:
        lab.kubectl("rollout", "status", f"deployment/{name}", "--timeout=30s")
        until(f"pods of {name} made from its template", functools.partial(_rolled, lab, name), seconds=30)
    until(
        "old pods going",
        lambda: all(not pod["metadata"].get("deletionTimestamp") for pod in lab.pods()),
        seconds=30,
    )


def _rolled(lab: LabUnderTest, name: str) -> bool:
    """Whether every pod of a deployment has the environment and the marks of its template, and there is one."""
    template = lab.cluster.get("Deployment", name, "shop")["spec"]["template"]
    wanted = template["metadata"]
    pods = [pod for pod in lab.pods() if pod["metadata"]["name"].rsplit("-", 2)[0] == name]
    return bool(pods) and all(
        pod["spec"]["containers"][0].get("env") == template["spec"]["containers"][0].get("env")
        and (pod["metadata"].get("labels") or {}).items() >= (wanted.get("labels") or {}).items()
        and (pod["metadata"].get("annotations") or {}).items() >= (wanted.get("annotations") or {}).items()
        for pod in pods
    )


def _chosen(places: list[Place], batch: Sequence[Defect]) -> list[Place]:
    told = frozenset().union(*(defect.told for defect in batch))
    own = [place for place in places if place.name in told]
    rest = [place for place in places if place.name not in told]
    if FULL:
        return places
    seed = " ".join(map(str, (_SEED, *(defect.name for defect in batch))))
    return own + random.Random(seed).sample(rest, max(1, len(rest) // 10))


def test_names_are_unique_and_expectations_exist(tmp_path: Path) -> None:
    names = [place.name for place in Project.copy(tmp_path / "project").scenarios()]
    assert sorted(names) == sorted(set(names))
    assert {name for defect in DEFECTS for name in defect.told} <= set(names)
    assert len({defect.name for defect in DEFECTS}) == len(DEFECTS) >= 20
    assert all(defect.seen_by | defect.unsure for defect in DEFECTS), (
        "a defect that nothing sees is a hole in the suite"
    )


def test_every_scenario_sees_some_defect(tmp_path: Path) -> None:
    """A scenario that no defect turns red might claim nothing; whether it does turn red is what the runs below show."""
    places = Project.copy(tmp_path / "project").scenarios()
    seen = frozenset().union(*(defect.seen_by | defect.unsure for defect in DEFECTS))
    assert sorted({place.name for place in places} - skipped(places) - seen) == []


def test_what_is_seeded_at_one_time_can_be_told_apart() -> None:
    for batch in _BATCHES:
        for one, other in itertools.combinations(batch, 2):
            assert not one.told & other.told, f"{one.name} and {other.name}"
        assert len(batch) == 1 or not any(defect.stands_alone for defect in batch)
    assert [defect for batch in _BATCHES for defect in batch] != []
    assert sorted(defect.name for batch in _BATCHES for defect in batch) == sorted(d.name for d in DEFECTS)


@pytest.mark.timeout(600)
def test_the_healthy_shop_is_green(lab: LabUnderTest, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = Project.copy(tmp_path / "project")
    times = int(os.environ.get("HEALTHY", "20" if FULL else "1"))
    for number in range(1, times + 1):
        told = run_all(project, lab)
        with capsys.disabled():
            print(f"\nhealthy shop on {MESH}, run {number} of {times}: {told}")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("batch", _BATCHES, ids=lambda batch: "+".join(d.name.replace(" ", "-") for d in batch))
def test_a_defect_is_seen(lab: LabUnderTest, tmp_path: Path, batch: tuple[Defect, ...], table: Table) -> None:
    project = Project.copy(tmp_path / "project")
    with contextlib.ExitStack() as stack:
        for defect in batch:
            stack.enter_context(seeded(lab, project, defect))
        chosen = _chosen(project.scenarios(), batch)  # where they stand with the defects in their files
        ran = project.run(lab, chosen)
    left_out = skipped(chosen)
    assert {name for name, status in ran.items() if status == "skipped"} == left_out, "what is skipped sees nothing"
    statuses = {name: status for name, status in ran.items() if name not in left_out}
    red = {name: status for name, status in statuses.items() if status != "passed"}
    others = statuses.keys() - frozenset().union(*(defect.told for defect in batch))
    for defect in batch:
        table.rows[defect.name] = {n: s for n, s in statuses.items() if n in defect.told or n in others}
        missing = sorted((defect.seen_by | defect.unsure) - left_out - set(red))
        assert not missing, f"{missing} should have seen «{defect.name}»; {red} did"
    wanted: dict[str, str] = {}
    for defect in batch:
        wanted |= dict.fromkeys(defect.seen_by, "failed") | dict.fromkeys(defect.unanswered, "inconclusive")
        wanted |= {name: red[name] for name in defect.unsure - left_out if red[name] in _SEEN}
    wanted = {name: status for name, status in wanted.items() if name not in left_out}
    if any(defect.blind for defect in batch):
        # Broken: refused before anything was changed, by a sentence that names what is missing.
        assert set(red.values()) <= _SEEN | {"broken"}, red
    else:
        assert red == wanted
