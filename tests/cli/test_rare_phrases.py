"""The phrases that no feature of the demo needs, on a lab: true where it is true, and red where it is not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.cli.test_commands import CHECKOUT, folder, meshbdd
from tests.tools import LabUnderTest

__all__ = ["folder"]

MANIFEST = """
    Given the manifest "payment-fails-500.yaml" is applied
    When "checkout" is sent
    Then the response status is 503 or 504
    When the manifest "payment-fails-500.yaml" is removed
    And "checkout" is sent
    Then the response status is 200 or 201
"""
QUERIES = """
    When "checkout" is sent 2 times
    Then the query "count(count(up))" is exactly 1
    And the query "count(count(up))" is exactly 1 within 30s
    And the query "count(count(up))" is at least 1 within 30s
    And the query "count(count(up))" is at most 1 within 30s
"""
SCENARIOS = [
    (MANIFEST, "passed", ""),
    (MANIFEST.replace("503 or 504", "200 or 201"), "failed", "the response status is 200 or 201: it was 503"),
    (QUERIES, "passed", ""),
    (QUERIES.replace("exactly 1\n", "exactly 2\n"), "failed", 'the query "count(count(up))" is exactly 2'),
    (QUERIES.replace("at most 1 w", "at most 0.5 w").replace("0.5 within 30s", "0.5 within 1s"), "failed", 'the query "count(count(up))" is at most 0.5 within 1s'),
]  # fmt: skip


def test_verdicts(lab: LabUnderTest, folder: Path, project: Path) -> None:
    wanted = [row for row in SCENARIOS if lab.info.prometheus or "query" not in row[0]]
    shutil.copy(project / "manifests/examples/payment-fails-500.yaml", folder / "features")
    scenarios = "".join(f"  Scenario: S{number}{steps}" for number, (steps, _, _) in enumerate(wanted))
    (folder / "features" / "x.feature").write_text(f"Feature: F\n  Background:{CHECKOUT}\n{scenarios}")
    ran = meshbdd("run", "-f", "plain", cwd=folder, lab=lab)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    told = json.loads((folder / "allure-results" / "meshbdd" / "run.json").read_text())["scenarios"]
    assert [scenario["status"] for scenario in told] == [status for _, status, _ in wanted], ran.stdout
    for scenario, (_, _, words) in zip(told, wanted, strict=True):
        assert scenario["message"].startswith(words)
    assert not lab.cluster.list("VirtualService"), "the manifest is gone"
