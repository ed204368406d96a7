"""Steps that send load, as a tester runs them on a real lab: many scenarios in one run, each with its sentence."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli.test_commands import meshbdd
from tests.tools import LabUnderTest

BACKGROUND = """
  Background:
    Given the request "checkout":
      '''
      POST http://order-service/checkout

      {"sku": "A1", "quantity": 1}
      '''
    And the request "version":
      '''
      GET http://order-service/version
      '''
""".replace("'''", '"""')

SCENARIOS = {
    # name: (steps, what became of it, words of the sentence)
    "red": (
        """
        Given payment-service fails 100%
        When enough "checkout" requests are sent
        Then more than 95% of requests succeed
        """,
        "failed",
        "0 of 6 did (0.0%, 95% interval 0.0–39.0%); 6 were 503 (payment-service, response flag FI)",
    ),
    "wrong split": (
        """
        Given the manifest "canary.yaml" is applied
        When enough "version" requests are sent
        Then between 40% and 60% of responses have "version" equal to "canary"
        """,
        "failed",
        '× "stable"',
    ),
    "right split": (
        """
        Given the manifest "canary.yaml" is applied
        When enough "version" requests are sent
        Then between 5% and 20% of responses have "version" equal to "canary"
        """,
        "passed",
        "",
    ),
    "limited": (
        """
        When enough "checkout" requests are sent
          | at most | 30 |
        Then more than 95% of requests succeed
        """,
        "inconclusive",
        "30 of 30 did (100.0%, 95% interval 88.6–100.0%); that does not tell, and no more than 30 may be sent",
    ),
    "changed before the claim": (
        """
        When enough "checkout" requests are sent
        And payment-service fails 100%
        Then more than 95% of requests succeed
        """,
        "inconclusive",
        "no request was sent, and the mesh was changed («payment-service.shop fails with 503 for 100% of calls»)",
    ),
    "no claim": ('When enough "checkout" requests are sent', "inconclusive", "no claim follows that asks for any"),
    "vacuous": (
        """
        Given payment-service fails 100%
        When enough "version" requests are sent
        Then at least 95% of requests succeed
        """,
        "inconclusive",
        "no sidecar logged a call to payment-service.shop",
    ),
    "no number can show it": (
        """
        When enough "version" requests are sent
        Then between 10% and 10% of responses have "version" equal to "canary"
        """,
        "not understood",
        "cannot be shown by any number of requests",
    ),
    "unknown option": (
        """
        When enough "version" requests are sent
          | user | 3 |
        """,
        "not understood",
        "did you mean 'users'?",
    ),
    "no percentage": (
        """
        When "version" is sent
        Then about 50% of responses have "version" equal to "canary"
          | within | 3 |
        """,
        "not understood",
        "'3' is not a percentage",
    ),
    "wrong order": (
        """
        When "version" is sent
        Then between 20% and 10% of responses have "version" equal to "canary"
        """,
        "not understood",
        "write the smaller share first",
    ),
}


@pytest.fixture(scope="module")
def ran(shop_lab: LabUnderTest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """The folder of a run of all scenarios, and what it printed of each; under "" what it printed at the end."""
    folder = tmp_path_factory.mktemp("load")
    (folder / "features").mkdir()
    (folder / "environment.py").write_text("import meshbdd.steps\nfrom meshbdd.hooks import *\n")
    (folder / "pyproject.toml").write_text("")
    canary = Path(__file__).resolve().parents[2] / "manifests/examples/canary-90-10.yaml"
    (folder / "canary.yaml").write_text(canary.read_text())
    scenarios = "".join(f"\n  Scenario: {name}\n{steps}\n" for name, (steps, _, _) in SCENARIOS.items())
    (folder / "features" / "x.feature").write_text(f"Feature: F\n{BACKGROUND}{scenarios}")
    done = meshbdd("run", "-f", "plain", cwd=folder, lab=shop_lab)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    body, _, end = done.stdout.partition("\nmeshbdd ")
    told = dict(part.split("\n", 1) for part in re.split(r"\n  Scenario: ", body)[1:])
    return folder, {**told, "": end}


@pytest.mark.parametrize("name", SCENARIOS)
def test_each_scenario_has_its_sentence(ran: tuple[Path, dict[str, str]], name: str) -> None:
    _, outcome, words = SCENARIOS[name]
    told = ran[1][name]
    assert words in told
    shown = {"failed": "ASSERT FAILED", "inconclusive": " inconclusive: "}.get(outcome, "")
    assert shown in told
    if outcome == "passed":
        assert "... failed" not in told
        assert "... error" not in told
        assert "HOOK-ERROR" not in told


def test_the_run_counts_them(ran: tuple[Path, dict[str, str]]) -> None:
    outcomes = [outcome for _, outcome, _ in SCENARIOS.values()]
    for outcome in set(outcomes):
        assert f"{outcomes.count(outcome)} {outcome}" in ran[1][""]


def test_nothing_stays_in_the_cluster(ran: tuple[Path, dict[str, str]], shop_lab: LabUnderTest) -> None:
    assert ran
    assert not shop_lab.cluster.list("VirtualService")
    assert not shop_lab.cluster.list("DestinationRule")


def test_the_evidence_holds_what_a_plot_needs(ran: tuple[Path, dict[str, str]]) -> None:
    texts = [file.read_text() for file in (ran[0] / "allure-results").glob("*-attachment.txt")]
    told = next(text for text in texts if text.startswith("passed: between 5% and 20%"))
    numbers = json.loads(told[told.index("\n{") :])
    assert numbers["design"] == {"share": 0.1, "from": "the share configured in this scenario"}
    assert numbers["edges"] == [0.05, 0.2]
    assert numbers["path"][-1] == [numbers["requests"], numbers["hits"], numbers["hits"]]
    assert len(numbers["boundaries"]) == len(numbers["path"])
    assert 0 < numbers["interval_95"][0] < numbers["interval_95"][1] < 1
