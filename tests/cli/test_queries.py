"""Queries of Prometheus are about their own scenario: what an earlier one did makes none of them true or false."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.test_commands import CHECKOUT, folder, meshbdd
from tests.tools import LabUnderTest

__all__ = ["folder"]

CALLS = 'istio_requests_total{reporter="destination",destination_service_name="payment-service"}'
LATENCY = 'istio_request_duration_milliseconds_bucket{destination_service_name="payment-service"}'
SENT = '    When "checkout" is sent 3 times\n'
QUIET = '    When "version" is sent\n'
TO_ORDER = f'    Then the query "sum({CALLS.replace("payment", "order")})" is exactly %d\n'
UNCHANGED = '    And the response field "count" of "orders" is unchanged\n'
QUANTILE = f'    Then the query "histogram_quantile(0.5, sum by (le) ({LATENCY}))" is at most 5000\n'


def _none_of(*labels: str, service: str = "order-service") -> str:
    selector = ",".join([f'destination_service_name="{service}"', *labels])
    return f'{SENT}    Then the query "sum(istio_requests_total{{{selector}}}) or vector(0)" is at most 0\n'


OWN = f"""{SENT}
    Then the query "sum({CALLS})" is at most 3
    And the query "sum({CALLS})" is exactly 3 within 9s
    And the query "count(count by (destination_service_name) ({CALLS}))" is exactly 1
{QUANTILE}"""
SCENARIOS = {
    "earlier traffic": (f'{SENT}    Then the query "sum({CALLS})" is at least 3\n', "passed"),
    "fed by the earlier one": (f'{QUIET}    Then the query "sum({CALLS})" is at least 1\n', "Product defect"),
    "no more than its own": (OWN, "passed"),
    "a quantile of nothing": (QUIET + QUANTILE, "Inconclusive"),
    "a wrong label made a number": (
        f'{SENT}    Then the query "sum(istio_requests_total{{destination_service="payment-service"}}) or vector(0)" is at most 0\n',
        "Inconclusive",
    ),
    "an outcome that no call had": (_none_of('response_code="599"'), "passed"),
    "no failure of any kind": (_none_of('response_code=~"5.."', 'response_flags!="-"'), "passed"),
    "an outcome that there cannot be": (_none_of('response_code="5O3"'), "Inconclusive"),
    "an outcome of calls that nobody makes": (_none_of('grpc_response_status="14"'), "Inconclusive"),
    "an outcome that this side does not know": (
        _none_of('reporter="source"', 'connection_security_policy="none"'),
        "Inconclusive",
    ),
    "an outcome of a service that is not there": (
        _none_of('response_code="599"', service="oder-service"),
        "Inconclusive",
    ),
    "before a claim that sends requests of its own": (
        f"    Given payment-service fails 100%\n{SENT}{TO_ORDER % 3}{UNCHANGED}",
        "passed",
    ),
    "after a claim that sends requests of its own": (
        f'{SENT}    Then the sidecar adds less than 9s to the median latency\n    And the query "sum({CALLS})" is at least 3\n',
        "Inconclusive",
    ),
    "a window of before": (f'{SENT}    Then the query "sum(increase({CALLS}[5m]))" is at least 1\n', "Inconclusive"),
    "a window that it waits for": (
        f'{SENT}    Then the query "sum(increase({CALLS}[4s]))" is at most 0 within 25s\n',
        "passed",
    ),
}


def test_a_counter_counts_from_the_scenarios_beginning(lab: LabUnderTest, folder: Path) -> None:
    if not lab.info.prometheus:
        pytest.skip("Prometheus is not installed here")
    others = "".join(
        f'    Given the request "{name}":\n      """\n      GET http://order-service/{path}\n      """\n'
        for name, path in (("version", "version"), ("orders", "orders/count"))
    )
    body = "".join(f"  Scenario: {name}\n{CHECKOUT}{others}{steps}" for name, (steps, _) in SCENARIOS.items())
    (folder / "features" / "x.feature").write_text(f"Feature: F\n{body}")
    ran = meshbdd("run", "-f", "plain", cwd=folder, lab=lab)
    told = json.loads((folder / "allure-results/meshbdd/run.json").read_text())
    outcomes = {scenario["name"]: scenario["category"] or scenario["status"] for scenario in told["scenarios"]}
    assert outcomes == {name: outcome for name, (_, outcome) in SCENARIOS.items()}, ran.stdout
