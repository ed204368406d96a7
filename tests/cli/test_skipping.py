"""On a lab: what this mesh cannot do is skipped, and leaves nothing behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.test_commands import meshbdd
from tests.tools import LabUnderTest

FEATURE = '''
Feature: F
  Background:
    Given the request "version":
      """
      GET http://order-service/version
      """

  Scenario: an ordinary one
    When "version" is sent
    Then the response status is 200

  @linkerd
  Scenario: one for Linkerd alone
    Given payment-service fails 100%
    When "version" is sent
    Then the response status is 500

  Scenario: one that no mesh can do, after a fault that no call met
    Given payment-service fails 100%
    When "version" is sent
    Then no mesh can do that
    And the response status is 500
'''

STEPS = """
from behave import step
from meshbdd.errors import NotPossible

@step("no mesh can do that")
def _(context): raise NotPossible("MB0432", "no mesh does that")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / "x.feature").write_text(FEATURE)
    (tmp_path / "steps").mkdir()
    (tmp_path / "steps" / "own_steps.py").write_text(STEPS)
    (tmp_path / "environment.py").write_text("import meshbdd.steps\nfrom meshbdd.hooks import *\n")
    return tmp_path


def test_what_the_mesh_cannot_do_is_skipped_and_undone(lab: LabUnderTest, folder: Path) -> None:
    ran = meshbdd("run", "-f", "plain", cwd=folder, lab=lab)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "1 passed, 2 skipped in" in ran.stdout
    assert "needs Linkerd: tagged @linkerd; this run is on Istio" in ran.stdout
    told = json.loads((folder / "allure-results" / "meshbdd" / "run.json").read_text())["scenarios"]
    assert [(s["status"], s["message"]) for s in told] == [
        ("passed", ""),
        ("skipped", "skipped: needs Linkerd: tagged @linkerd; this run is on Istio"),
        ("skipped", "skipped: no mesh does that"),
    ]
    assert told[1]["seconds"] < 0.1, "nothing was begun"
    assert not lab.cluster.list("VirtualService"), "the fault is undone"
