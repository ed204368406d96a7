"""Figures of the report: the page of 500 scenarios, and what drawing takes. Both of what the demo features really leave."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from meshbdd.report.page import build_page, tools
from tests.cli.test_commands import meshbdd
from tests.tools import LabUnderTest

SCENARIOS = 500


@pytest.fixture(scope="module")
def results(shop_lab: LabUnderTest, project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run of the demo features on a lab leaves."""
    folder = tmp_path_factory.mktemp("suite")
    shutil.copytree(project / "features", folder / "features")
    shutil.copytree(project / "manifests", folder / "manifests")
    (folder / "environment.py").write_text("import meshbdd.steps\nfrom meshbdd.hooks import *\n")
    began = time.monotonic()
    meshbdd("run", "-f", "plain", cwd=folder, lab=shop_lab, seconds=600)
    print(f"\nthe demo features: {time.monotonic() - began:.1f} s with start and end")
    return folder / "allure-results"


def copies(results: Path, folder: Path, number: int) -> None:
    """The results again and again under other names, each with attachments of its own."""
    folder.mkdir()
    for name in ("environment.properties", "categories.json"):
        shutil.copy(results / name, folder)
    tests = sorted(results.glob("*-result.json"))
    for copy in range(number):
        told = json.loads(tests[copy % len(tests)].read_text())
        told |= {"uuid": f"{copy}-{told['uuid']}", "historyId": f"{copy}", "testCaseId": f"{copy}"}
        told["name"] += f" ({copy})"
        _copy_attachments(told, f"{copy}-", results, folder)
        (folder / f"{told['uuid']}-result.json").write_text(json.dumps(told, ensure_ascii=False))


def _copy_attachments(item: dict[str, Any], mark: str, results: Path, folder: Path) -> None:
    """Those of a result and its steps, under names of their own."""
    for attachment in item.get("attachments", ()):
        source = attachment["source"]
        attachment["source"] = mark + source
        shutil.copy(results / source, folder / attachment["source"])
    for step in item.get("steps", ()):
        _copy_attachments(step, mark, results, folder)


@pytest.mark.bench
@pytest.mark.skipif(tools.node_version() is None or shutil.which("npm") is None, reason="Node.js with npm is not here")
@pytest.mark.timeout(900)
def test_a_page_of_500_scenarios(results: Path, tmp_path: Path) -> None:
    copies(results, tmp_path / "results", SCENARIOS)
    files = [file for file in (tmp_path / "results").iterdir() if file.is_file()]
    size = sum(file.stat().st_size for file in files)
    tools.allure_3()  # fetched before the clock runs
    built = build_page(tmp_path / "results", tmp_path / "report")
    page = built.page.stat().st_size
    print(f"\n{SCENARIOS} scenarios of the demo features: {len(files):,} files, {size / 1e6:.1f} MB")
    print(f"page of {SCENARIOS} scenarios: {built.seconds:.1f} s, {page / 1e6:.1f} MB, by {built.tool}")
    assert page < 20e6
    assert not os.environ.get("FULL") or built.seconds < 5, "claimed; told only where this machine is to be quiet"


@pytest.mark.bench
@pytest.mark.timeout(900)
def test_what_drawing_takes_of_the_demo_suite(results: Path) -> None:
    told = json.loads((results / "meshbdd" / "run.json").read_text())
    share = told["drawing_seconds"] / told["seconds"]
    print(f"\n{len(told['scenarios'])} scenarios in {told['seconds']:.1f} s")
    print(f"drawing: {told['drawing_seconds']:.2f} s of these, {share:.1%}, the import of matplotlib included")
    assert not os.environ.get("FULL") or share < 0.05
