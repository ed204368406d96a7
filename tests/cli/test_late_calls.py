"""A client that goes away ends nothing: calls of an earlier scenario that come late make no claim of a later one true."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.test_commands import CHECKOUT, folder, meshbdd
from tests.tools import LabUnderTest

__all__ = ["folder"]

VERSION = '    Given the request "version":\n      """\n      GET http://order-service/version\n      """\n'
LEAVES_CALLS = """    Given inventory-service is slowed by 1200ms
    When "checkout" keeps being sent at 20/s
    Then a slow inventory-service does not slow "version"
"""
COUNTS = {
    "counted": ("the mesh reports at least 1 requests from order-service to payment-service", "failed"),
    "queried": (
        'the query "sum(istio_requests_total{reporter="destination",destination_service_name="payment-service"})" is at least 1',
        "broken",
    ),
    "logged": ("the access log of payment-service has at least 1 requests with status 200", "broken"),
}


def test_late_calls_of_an_earlier_scenario_count_in_none(lab: LabUnderTest, folder: Path) -> None:
    body = ""
    for name, (claim, _) in COUNTS.items():
        body += f"  Scenario: before {name}\n{CHECKOUT}{VERSION}{LEAVES_CALLS}"
        body += f'  Scenario: {name}\n{VERSION}    When "version" is sent\n    Then {claim}\n'
    (folder / "features" / "x.feature").write_text(f"Feature: F\n{body}")
    ran = meshbdd("run", "-f", "plain", cwd=folder, lab=lab)
    told = json.loads((folder / "allure-results/meshbdd/run.json").read_text())
    outcomes = {scenario["name"]: scenario["status"] for scenario in told["scenarios"]}
    for name, (_, outcome) in COUNTS.items():
        assert outcomes[f"before {name}"] == "passed", ran.stdout
        assert outcomes[name] == outcome, ran.stdout
