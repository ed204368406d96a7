"""Whatever a scenario piled up, nothing of it stays: changes on objects that manifests made, in any order."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.cli.test_commands import folder, meshbdd
from tests.tools import LabUnderTest

__all__ = ["folder"]

BACKGROUND = """
  Background:
    Given the request "version":
      '''
      GET http://order-service/version
      '''
    And the request "charge":
      '''
      POST http://payment-service/charge

      {"sku": "A1", "quantity": 1}
      '''
""".replace("'''", '"""')

_AFTER = """
    When "version" is sent 3 times
    Then every response has status 200
    When "charge" is sent 3 times
    Then every response has status 200
"""
SCENARIOS = {
    "a fault on a manifest's route": (
        """
    Given the manifest "canary.yaml" is applied
    And order-service fails 100%
    When "version" is sent 3 times
    Then every response has status 503
""",
        "passed",
    ),
    "a policy on a manifest's route": (
        """
    Given the manifest "canary.yaml" is applied
    And calls to order-service time out after 2s
    When "version" is sent 3 times
    Then every response has status 200
""",
        "passed",
    ),
    "strict mutual TLS on a manifest's policy": (
        """
    Given the manifest "both.yaml" is applied
    And mutual TLS is strict
    When "charge" is sent 3 times
    Then every response has status 200
""",
        "passed",
    ),
    "the later one of two manifests is removed": (
        """
    Given the manifest "teapot.yaml" is applied
    And the manifest "broken.yaml" is applied
    When the manifest "broken.yaml" is removed
    And "charge" is sent
    Then the response status is 418
""",
        "passed",
    ),
    "the earlier one, on which the other stands": (
        """
    Given the manifest "teapot.yaml" is applied
    And the manifest "broken.yaml" is applied
    When the manifest "teapot.yaml" is removed
    And "charge" is sent
    Then the response status is 500
""",
        "broken",
    ),
}
ROUTE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: pay}}
spec:
  hosts: [payment-service]
  http:
  - fault: {{abort: {{httpStatus: {status}, percentage: {{value: 100}}}}}}
    route: [{{destination: {{host: payment-service}}}}]
"""
BOTH = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: pay}
spec: {host: payment-service, trafficPolicy: {connectionPool: {tcp: {maxConnections: 100}}}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default}
spec: {mtls: {mode: PERMISSIVE}}
"""
KINDS = ("VirtualService", "DestinationRule", "PeerAuthentication")


def test_nothing_of_a_scenario_stays(lab: LabUnderTest, folder: Path, project: Path) -> None:
    shutil.copy(project / "manifests" / "examples" / "canary-90-10.yaml", folder / "canary.yaml")
    (folder / "teapot.yaml").write_text(ROUTE.format(status=418))
    (folder / "broken.yaml").write_text(ROUTE.format(status=500))
    (folder / "both.yaml").write_text(BOTH)
    text = f"Feature: F\n{BACKGROUND}"
    for name, (steps, _) in SCENARIOS.items():
        text += f"\n  Scenario: {name}\n{steps}\n  Scenario: after {name}\n{_AFTER}"
    (folder / "features" / "x.feature").write_text(text)
    before = {kind: lab.cluster.list(kind) for kind in KINDS}
    ran = meshbdd("run", "-f", "plain", cwd=folder, lab=lab)
    told = json.loads((folder / "allure-results/meshbdd/run.json").read_text())
    outcomes = {scenario["name"]: (scenario["status"], scenario["message"]) for scenario in told["scenarios"]}
    for name, (_, outcome) in SCENARIOS.items():
        assert outcomes[name][0] == outcome, ran.stdout
        assert outcomes[f"after {name}"][0] == "passed", ran.stdout
    assert "another change of this scenario stands on it" in outcomes["the earlier one, on which the other stands"][1]
    assert {kind: lab.cluster.list(kind) for kind in KINDS} == before
    assert ran.returncode == 2, "a manifest that cannot be removed is the feature's mistake"


def test_what_a_scenario_leaves_behind_all_the_same_is_restored_and_told(lab: LabUnderTest, folder: Path) -> None:
    """As a mistake of meshbdd's own would: here the project takes the hook away that undoes."""
    (folder / "environment.py").write_text(
        "import meshbdd.steps\nfrom meshbdd.hooks import *\n\ndef after_scenario(context, scenario):\n    pass\n"
    )
    steps = '    Given payment-service fails 100%\n    When "charge" is sent\n    Then the response status is 503\n'
    (folder / "features" / "x.feature").write_text(f"Feature: F\n{BACKGROUND}\n  Scenario: S\n{steps}")
    before = {kind: lab.cluster.list(kind) for kind in KINDS}
    ran = meshbdd("run", "-f", "plain", cwd=folder, lab=lab)
    assert ran.returncode == 3, ran.stdout + ran.stderr
    assert "MB0319" in ran.stdout + ran.stderr
    assert {kind: lab.cluster.list(kind) for kind in KINDS} == before
