"""Figures of the report: the page of 500 scenarios, and what drawing takes."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest
from allure_commons import model2

from meshbdd.report.page import build_page, tools
from meshbdd.report.reporter import Reporter
from meshbdd.report.results import ResultsFolder
from meshbdd.report.scene import Scene
from tests.cli.test_commands import meshbdd
from tests.report.evidence import told
from tests.tools import LabUnderTest

SCENARIOS = 500


@pytest.mark.bench
@pytest.mark.skipif(tools.node_version() is None or shutil.which("npm") is None, reason="Node.js with npm is not here")
@pytest.mark.timeout(300)
def test_a_page_of_500_scenarios(tmp_path: Path) -> None:
    """Each with a change, 40 requests, a fault, a query, a verdict and all their pictures; one in five is red."""
    folder = ResultsFolder(tmp_path / "results")
    folder.take()
    reporter, drawing = Reporter(folder), 0.0
    for number in range(SCENARIOS):
        red = number % 5 == 0
        status = model2.Status.FAILED if red else model2.Status.PASSED
        test = model2.TestResult(
            uuid=f"u{number}", name=f"scenario {number}", status=status, testCaseId=str(number), start=1, stop=2
        )
        scene = Scene()
        for event in told():
            step = model2.TestStepResult(name=type(event).__name__, status=model2.Status.PASSED, start=1, stop=2)
            test.steps.append(step)
            scene.add(event, step)
        scene.show(reporter, test, "meshbdd run x")
        reporter.write_test(test)
        drawing += scene.drawing_seconds
    tools.allure_3()  # fetched before the clock runs
    built = build_page(folder.path, tmp_path / "report")
    size = built.page.stat().st_size
    print(f"\npage of {SCENARIOS} scenarios: {built.seconds:.1f} s, {size / 1e6:.1f} MB, by {built.tool}")
    print(f"drawing: {drawing / SCENARIOS * 1000:.1f} ms for a scenario with 3 pictures")
    assert size < 20e6
    assert not os.environ.get("FULL") or built.seconds < 5, "claimed; told only where this machine is to be quiet"


@pytest.mark.bench
def test_what_drawing_takes_of_the_demo_suite(lab: LabUnderTest, tmp_path: Path, project: Path) -> None:
    shutil.copytree(project / "features", tmp_path / "features")
    shutil.copytree(project / "manifests", tmp_path / "manifests")
    shutil.copy(project / "environment.py", tmp_path)
    (tmp_path / "environment.py").write_text("import meshbdd.steps\nfrom meshbdd.hooks import *\n")
    began = time.monotonic()
    meshbdd("run", "-f", "plain", cwd=tmp_path, lab=lab)
    told = json.loads((tmp_path / "allure-results" / "meshbdd" / "run.json").read_text())
    share = told["drawing_seconds"] / told["seconds"]
    print(
        f"\n{len(told['scenarios'])} scenarios in {told['seconds']:.1f} s ({time.monotonic() - began:.1f} s with start and end)"
    )
    print(f"drawing: {told['drawing_seconds']:.2f} s of these, {share:.1%}, the import of matplotlib included")
    assert not os.environ.get("FULL") or share < 0.05
