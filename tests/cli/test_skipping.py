"""On a lab: what this mesh cannot do is skipped, and leaves nothing behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.test_commands import CHECKOUT, meshbdd
from tests.cli.test_mesh_steps import BARE
from tests.tools import LabUnderTest, until

_AMBIENT = 'sidecar.istio.io/inject: "false", istio.io/dataplane-mode: ambient'

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
    assert not told[1]["evidence"], "nothing was begun"
    assert not lab.cluster.list("VirtualService"), "the fault is undone"


LATER = """
    Given payment-service fails 100%
    When "checkout" is sent
    Then the access log of bare has at least 1 requests with status 503
"""


def test_ambient_mode_without_a_waypoint_is_refused_before_anything_is_written(lab: LabUnderTest, folder: Path) -> None:
    for document in BARE.replace('sidecar.istio.io/inject: "false"', _AMBIENT).split("---"):
        lab.apply(document)
    until("the pod running", lambda: [p["status"].get("phase") for p in lab.pods("bare")] == ["Running"])
    (folder / "features" / "x.feature").write_text(f"Feature: F\n  Scenario: S\n{CHECKOUT}{LATER}")
    ran = meshbdd("run", "-f", "plain", cwd=folder, lab=lab)
    assert ran.returncode == 2, ran.stdout + ran.stderr
    assert "MB0433 error: bare.shop is in Istio's ambient mode and has no waypoint" in ran.stdout
    assert "features/x.feature:13" in ran.stdout, "the step that could never be judged"
    assert "help: istioctl waypoint apply -n shop --enroll-namespace" in ran.stdout
    told = json.loads((folder / "allure-results" / "meshbdd" / "run.json").read_text())["scenarios"]
    assert [(s["status"], s["category"]) for s in told] == [("broken", "Mesh configuration")]
    assert "Traceback" not in ran.stdout + ran.stderr
    assert not told[0]["evidence"], "nothing was written and nothing sent"
