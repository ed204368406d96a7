"""The phrases that no feature of the demo needs, on a lab: true where it is true, and red where it is not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

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


@pytest.mark.parametrize(
    ("steps", "code", "words"),
    [
        (MANIFEST, 0, "1 passed"),
        (MANIFEST.replace("503 or 504", "200 or 201"), 1, "the response status is 200 or 201: it was 503"),
        (QUERIES, 0, "1 passed"),
        (QUERIES.replace("exactly 1\n", "exactly 2\n"), 1, "is exactly 2"),
        (QUERIES.replace("at most 1 within 30s", "at most 0.5 within 1s"), 1, "is at most 0.5 within 1s"),
    ],
)
def test_verdicts(lab: LabUnderTest, folder: Path, project: Path, steps: str, code: int, words: str) -> None:
    if "query" in steps and not lab.info.prometheus:
        pytest.skip("Prometheus is not installed here")
    shutil.copy(project / "manifests/examples/payment-fails-500.yaml", folder / "features")
    (folder / "features" / "x.feature").write_text(f"Feature: F\n  Scenario: S\n{CHECKOUT}{steps}")
    ran = meshbdd("run", "-f", "plain", cwd=folder, lab=lab)
    assert ran.returncode == code, ran.stdout + ran.stderr
    assert words in ran.stdout
    assert not lab.cluster.list("VirtualService"), "the manifest is gone"
