"""The detection matrix: each seeded defect turns its scenarios red, and no other.

``make detect`` runs, for each defect, its own scenarios and a seeded tenth of the rest; ``FULL=1 make detect`` all.
"""

from __future__ import annotations

import contextlib
import functools
import os
import random
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.defects.catalogue import DEFECTS, MESH, Defect
from tests.defects.conftest import FULL, Table
from tests.defects.project import Place, Project
from tests.tools import LabUnderTest, until

_SEED = 20260301


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


def _chosen(places: list[Place], defect: Defect) -> list[Place]:
    told = defect.seen_by | defect.unanswered
    own = [place for place in places if place.name in told]
    rest = [place for place in places if place.name not in told]
    if FULL:
        return places
    return own + random.Random(f"{_SEED} {defect.name}").sample(rest, max(1, len(rest) // 10))


def test_names_are_unique_and_expectations_exist(tmp_path: Path) -> None:
    names = [place.name for place in Project.copy(tmp_path / "project").scenarios()]
    assert sorted(names) == sorted(set(names))
    assert {name for defect in DEFECTS for name in defect.seen_by | defect.unanswered} <= set(names)
    assert len({defect.name for defect in DEFECTS}) == len(DEFECTS) >= 20
    assert all(defect.seen_by for defect in DEFECTS), "a defect that nothing sees is a hole in the suite"


@pytest.mark.timeout(600)
def test_the_healthy_shop_is_green(lab: LabUnderTest, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = Project.copy(tmp_path / "project")
    times = int(os.environ.get("HEALTHY", "20" if FULL else "1"))
    for number in range(1, times + 1):
        statuses = project.run(lab, project.scenarios())
        with capsys.disabled():
            print(
                f"\nhealthy shop, run {number} of {times}: {len(statuses)} scenarios, {sum(s == 'passed' for s in statuses.values())} green"
            )
        assert set(statuses.values()) == {"passed"}, {n: s for n, s in statuses.items() if s != "passed"}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name.replace(" ", "-"))
def test_a_defect_is_seen(lab: LabUnderTest, tmp_path: Path, defect: Defect, table: Table) -> None:
    project = Project.copy(tmp_path / "project")
    chosen = _chosen(project.scenarios(), defect)
    with seeded(lab, project, defect):
        statuses = project.run(lab, chosen)
    red = {name: status for name, status in statuses.items() if status != "passed"}
    table.rows[defect.name] = statuses
    assert defect.seen_by <= set(red), f"{sorted(defect.seen_by - set(red))} should have seen it; {red} did"
    if defect.blind:
        assert set(red.values()) <= {"failed", "inconclusive"}, red
    else:
        assert red == dict.fromkeys(defect.seen_by, "failed") | dict.fromkeys(defect.unanswered, "inconclusive")
