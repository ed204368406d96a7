"""What this mesh cannot do is skipped with its reason: neither passed, nor failed, nor passed over in silence."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from behave.parser import parse_feature

from meshbdd.skipping import other_mesh
from tests.report.toy import Toy

CANNOT = "Feature: F\n  Scenario: the mesh cannot\n    Given it passes\n    And this mesh cannot\n    And it passes\n"


def test_a_scenario_that_the_mesh_cannot_do_costs_the_others_nothing(tmp_path: Path) -> None:
    toy = Toy(tmp_path, {"a.feature": CANNOT + "  Scenario: another\n    Given it passes\n"})
    ran = toy.run("-f", "plain")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "Traceback" not in ran.stdout + ran.stderr
    assert "1 passed, 1 skipped in" in ran.stdout
    told = ran.stdout[ran.stdout.index("skipped  the mesh cannot") :].splitlines()
    assert [line.strip() for line in told[1:4]] == [
        "Linkerd mirrors no traffic", "help: run this on Istio", "features/a.feature:2",
    ]  # fmt: skip
    scenarios = json.loads((toy.results / "meshbdd" / "run.json").read_text())["scenarios"]
    assert [(s["name"], s["status"], s["behave"]) for s in scenarios] == [
        ("the mesh cannot", "skipped", "skipped"), ("another", "passed", "passed"),
    ]  # fmt: skip
    suite = ET.parse(toy.results / "meshbdd" / "junit.xml").getroot()[0]
    (skipped,) = suite.iter("skipped")
    assert "Linkerd mirrors no traffic" in skipped.attrib["message"]


def test_a_run_in_which_everything_was_skipped_is_not_green(tmp_path: Path) -> None:
    ran = Toy(tmp_path, {"a.feature": CANNOT}).run("-f", "plain")
    assert ran.returncode == 2, ran.stdout + ran.stderr
    assert "MB0222 error: The one scenario that was selected was skipped, so nothing was tested." in ran.stderr


def test_what_was_not_selected_is_not_among_the_skipped(tmp_path: Path) -> None:
    ran = Toy(tmp_path, {"a.feature": CANNOT + "  Scenario: another\n    Given it passes\n"}).run("-n", "another")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "skipped  the mesh cannot" not in ran.stdout


TAGGED = """
@istio
Feature: F
  Scenario: of the feature
    Given it passes
  @linkerd
  Rule: R
    Scenario: of either
      Given it passes
    Scenario Outline: rows
      Given it <n>
      @critical
      Examples:
        | n |
        | 1 |
"""


def test_a_tag_on_a_feature_or_a_rule_is_for_all_below() -> None:
    scenarios = list(parse_feature(TAGGED).walk_scenarios())
    told = [other_mesh(scenario.effective_tags, "linkerd") for scenario in scenarios]
    assert told == ["needs Istio: tagged @istio; this run is on Linkerd", None, None]


@pytest.mark.parametrize(
    ("tags", "mesh", "reason"),
    [
        ((), "istio", None),
        (("critical", "istio"), "istio", None),
        (("istio",), "linkerd", "needs Istio: tagged @istio; this run is on Linkerd"),
        (("Linkerd",), "istio", "needs Linkerd: tagged @linkerd; this run is on Istio"),
        (("istio", "linkerd"), "linkerd", None),
    ],
)
def test_a_tag_demands_a_mesh(tags: tuple[str, ...], mesh: str, reason: str | None) -> None:
    assert other_mesh(tags, mesh) == reason
