"""Steps that send load, as a tester runs them on a real lab: many scenarios in one run, each with its sentence."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_commands import meshbdd
from tests.tools import LabUnderTest, until

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
    "open loop": (
        """
        When "version" is sent at 50/s for 1s
        Then the p99 latency is below 10s
        And every response has status 200
        """,
        "passed",
        "",
    ),
    "load under a fault": (
        """
        When "checkout" keeps being sent at 20/s
        And payment-service fails 100%
        And "checkout" is sent
        Then the response status is 503
        When payment-service recovers
        And "checkout" is sent
        Then the response status is 200
        When the load stops
        Then every response has status 200
        """,
        "failed",
        " × 503",
    ),
    "load left running": (
        """
        When "checkout" keeps being sent at 20/s
        And "version" is sent
        Then the response status is 200
        """,
        "passed",
        "",
    ),
    "load still runs": (
        """
        When "checkout" keeps being sent at 20/s
        Then every response has status 200
        """,
        "not understood",
        '"checkout" is still being sent, so what became of it cannot be judged yet',
    ),
    "two loads": (
        """
        When "checkout" keeps being sent at 20/s
        And "version" keeps being sent at 20/s
        """,
        "not understood",
        '"checkout" is still being sent',
    ),
    "no load": ("When the load stops", "not understood", "There is no load to stop"),
    "load that meets no fault": (
        """
        Given payment-service fails 100%
        When "version" keeps being sent at 50/s
        And "version" is sent 3 times
        Then every response has status 200
        """,
        "inconclusive",
        "Nobody called payment-service.shop while",
    ),
    "load from which a fault is withdrawn at once": (
        """
        Given payment-service fails 100%
        When "version" keeps being sent at 200/s
        And payment-service recovers
        And the load stops
        Then every response has status 200
        """,
        "inconclusive",
        "Nobody called payment-service.shop while",
    ),
    "sent before the change": (
        """
        When "checkout" is sent
        And payment-service fails 100%
        Then the response status is 200
        """,
        "inconclusive",
        "no request was sent since the mesh was changed («payment-service.shop fails with 503 for 100% of calls»)",
    ),
    "no claim": ('When enough "checkout" requests are sent', "inconclusive", "no claim follows that asks for any"),
    "vacuous": (
        """
        Given payment-service fails 100%
        When enough "version" requests are sent
        Then at least 95% of requests succeed
        """,
        "inconclusive",
        "Nobody called payment-service.shop while",
    ),
    "no number can show it": (
        """
        When enough "version" requests are sent
        Then between 10% and 10% of responses have "version" equal to "canary"
        """,
        "not understood",
        "cannot be shown by any number of requests",
    ),
    **{
        f"wrong claim of enough: {claim}": (
            f"""
        When enough "version" requests are sent
        Then {claim}
        """,
            "not understood",
            words,
        )
        for claim, words in (
            ('between 20% and 5% of responses have "version" equal to "canary"', "write the smaller share first"),
            ("more than 100% of requests succeed", "can never be true"),
            ("more than 150% of requests succeed", "150% is not between 0% and 100%"),
            ("at least 0% of requests succeed", "can never be false"),
            ("the p99 latency is below 0s", "'0s' is no time at all"),
        )
    },
    "no number can show it, before a change": (
        """
        Given payment-service fails 30%
        When enough "checkout" requests are sent
        Then between 10% and 10% of responses have "status" equal to "confirmed"
        """,
        "not understood",
        "so nothing was changed: «between 10% and 10%",
    ),
    "refused by Envoy": (
        """
        Given the manifest "ring.yaml" is applied
        When "version" is sent
        Then the response status is 200
        """,
        "inconclusive",
        "DestinationRule ring.shop is not in force: outbound|80||order-service.shop.svc.cluster.local: Proto constraint",
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


def project(folder: Path, scenarios: str) -> None:
    (folder / "features").mkdir()
    (folder / "environment.py").write_text("import meshbdd.steps\nfrom meshbdd.hooks import *\n")
    (folder / "pyproject.toml").write_text("")
    canary = Path(__file__).resolve().parents[2] / "manifests/examples/canary-90-10.yaml"
    (folder / "canary.yaml").write_text(canary.read_text())
    (folder / "ring.yaml").write_text(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: ring}\nspec: {host: order-service, "
        "trafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: true, minimumRingSize: 99999999}}}}\n"
    )
    (folder / "features" / "x.feature").write_text(f"Feature: F\n{BACKGROUND}{scenarios}")


@pytest.fixture(scope="module")
def ran(shop_lab: LabUnderTest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """The folder of a run of all scenarios, and what it printed of each; under "" the line of counts."""
    folder = tmp_path_factory.mktemp("load")
    project(folder, "".join(f"\n  Scenario: {name}\n{steps}\n" for name, (steps, _, _) in SCENARIOS.items()))
    done = meshbdd("run", "-f", "plain", cwd=folder, lab=shop_lab)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    told = dict(part.split("\n", 1) for part in re.split(r"\n  Scenario: ", done.stdout)[1:])
    counts = next(line for line in done.stdout.splitlines() if re.fullmatch(r"\d+ passed.* in [\d.]+ s", line))
    return folder, {**told, "": counts}


@pytest.mark.parametrize("name", SCENARIOS)
def test_each_scenario_has_its_sentence(ran: tuple[Path, dict[str, str]], name: str) -> None:
    _, outcome, words = SCENARIOS[name]
    told = ran[1][name]
    assert words in told
    shown = {"failed": "ASSERT FAILED", "inconclusive": " inconclusive: "}.get(outcome, "")
    assert shown in told
    if outcome in {"passed", "not understood"}:
        assert "HOOK-ERROR" not in told
    if outcome == "passed":
        assert "... failed" not in told
        assert "... error" not in told


def test_the_run_counts_them(ran: tuple[Path, dict[str, str]]) -> None:
    outcomes = [outcome for _, outcome, _ in SCENARIOS.values()]
    for outcome in set(outcomes):
        assert f"{outcomes.count(outcome)} {outcome}" in ran[1][""]


def test_nothing_stays_in_the_cluster(ran: tuple[Path, dict[str, str]], shop_lab: LabUnderTest) -> None:
    assert ran
    assert not shop_lab.cluster.list("VirtualService")
    assert not shop_lab.cluster.list("DestinationRule")


def test_a_fault_is_accounted_for_by_the_load_that_ran_meanwhile(ran: tuple[Path, dict[str, str]]) -> None:
    texts = [file.read_text() for file in (ran[0] / "allure-results").glob("*-attachment.txt")]
    calls = [int(found[2]) for text in texts if (found := re.match(r"the fault hit (\d+) of (\d+) calls", text))]
    assert max(calls) > 10, "six tries of each checkout: that is more than the one that the step sent"


@pytest.mark.parametrize("steps", ['"checkout" is sent at 20/s for 60s', '"checkout" keeps being sent at 20/s'])
def test_ctrl_c_stops_a_load_at_once(lab: LabUnderTest, tmp_path: Path, steps: str) -> None:
    wait = '    And "checkout" is sent 100000 times\n' if "keeps" in steps else ""
    project(tmp_path, f"  Scenario: S\n    Given payment-service fails 100%\n    When {steps}\n{wait}")
    logged = len(lab.log("client"))
    process = subprocess.Popen(
        ["env", "--default-signal=INT", sys.executable, "-m", "meshbdd", "run", "-f", "plain"],
        cwd=tmp_path,
        env={**os.environ, "KUBECONFIG": str(lab.info.kubeconfig)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        until("the load reaching the mesh", lambda: len(lab.log("client")) > logged + 3, seconds=30)
        process.send_signal(signal.SIGINT)
        output = process.communicate(timeout=30)[0]  # the load alone would take 60 s
    finally:
        process.kill()
    assert process.returncode != 0, output
    assert not lab.cluster.list("VirtualService"), "the fault is taken back"
    told = json.loads((tmp_path / "allure-results" / "meshbdd" / "run.json").read_text())
    traffic = [sent for scenario in told["scenarios"] for sent in scenario["evidence"].get("traffic", ())]
    assert sum(sent["requests"] for sent in traffic) >= 3, "what was sent until then is told"


def test_a_denial_is_told_by_the_proxies(lab: LabUnderTest, tmp_path: Path) -> None:
    lab.apply("""
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: deny-client}
spec:
  selector: {matchLabels: {app: order-service}}
  action: DENY
  rules: [{from: [{source: {principals: ["cluster.local/ns/shop/sa/client"]}}]}]
""")
    # Two pods serve it in turn, and each learns of the policy by itself.
    until("the denial", lambda: all(lab.get("http://order-service/version").status_code == 403 for _ in range(8)))
    project(tmp_path, '  Scenario: S\n    When "version" is sent\n    Then the request is denied\n')
    ran = meshbdd("run", "-f", "plain", cwd=tmp_path, lab=lab)
    assert ran.returncode == 0, ran.stdout
    texts = [file.read_text() for file in (tmp_path / "allure-results").glob("*-attachment.txt")]
    assert any('told by: "the proxies\' logs"' in text for text in texts)


def test_the_evidence_holds_what_a_plot_needs(ran: tuple[Path, dict[str, str]]) -> None:
    told = json.loads((ran[0] / "allure-results" / "meshbdd" / "run.json").read_text())
    claims = [claim for scenario in told["scenarios"] for claim in scenario["evidence"].get("claims", ())]
    numbers = next(
        c["numbers"] for c in claims if c["sentence"].startswith("between 5% and 20%") and c["outcome"] == "passed"
    )
    assert numbers["design"] == {"share": 0.1, "from": "the share configured in this scenario"}
    assert numbers["edges"] == [0.05, 0.2]
    assert numbers["path"][-1] == [numbers["requests"], numbers["hits"], numbers["hits"]]
    assert len(numbers["boundaries"]) == len(numbers["path"])
    assert 0 < numbers["interval_95"][0] < numbers["interval_95"][1] < 1
