"""Whatever is wrong with a step is told in a sentence, with its file and line, before anything is changed."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_commands import meshbdd
from tests.tools import LabUnderTest

pytestmark = pytest.mark.timeout(300)

BAD = [
    ("payment-service fails 50", "'50' is not a percentage"),
    ("payment-service fails 150%", "150% is not between 0% and 100%"),
    ("payment-service is slowed by 2", "'2' has no unit"),
    ("payment-service is slowed by soon", "'soon' is not a duration"),
    ("payment-service is slowed by 0s", "'0s' is no time at all"),
    ("payment-service is slowed by 999999h", "nobody waits for that"),
    ("the p50 latency is below 0s", "'0s' is no time at all"),
    ("the certificate of payment-service rotates within 0s", "'0s' is no time at all"),
    ('the query "sum(istio_requests_total{" is at least 3', "'{' is not closed"),
    ('the query "sum(rate(istio_requests_total[1x]))" is at least 3', "'1x' is no duration"),
    ('the query "sum(istio_requests_total) by le" is at least 3', "Prometheus does not take the query"),
    ('the query "summe(istio_requests_total)" is at least 3', "unknown function"),
    ("payment-service fails 10% with status 999", "'999' is not an HTTP status"),
    ("payment-service fails 10% with status 200", "cannot fail with status 200"),
    ("payment-service fails 10% with gRPC status UNAVAILIBLE", "Write UNAVAILABLE"),
    ("paymnt-service fails 10%", 'did you mean "payment-service"?'),
    ("payment-service.nowhere fails 10%", 'Namespace "nowhere" does not exist'),
    ("Payment_Service fails 10%", "is not the name of a service"),
    ("payment-service fials 10%", "did you mean «{service} fails {percent}»?"),
    ("payment-service fails 10%\n| stauts | 503 |", "did you mean 'status'?"),
    ("payment-service fails 10%\n| status |", "The options have 1 columns"),
    ("payment-service fails 10%\n| inject at | sidecar |", "'sidecar' is no place for a fault"),
    ("payment-service fails 10%\n| called by | nobody |", 'Service "nobody" does not exist'),
    ("payment-service fails 10%\n| path | charge |", "write /charge"),
    ("payment-service fails 10%\n| path | /charge?a=b |", "'/charge?a=b' is no path of a request"),
    ("payment-service fails 10%\n| method | post |", "write POST"),
    ("payment-service fails 10%\n| method | FETCH ME |", "'FETCH ME' is no HTTP method"),
    ("payment-service fails 10%\n| header x user | qa |", "'x user' is no name of a header"),
    ("payment-service fails 10%\n| method | PSOT |", "write POST"),
    ("payment-service fails 10%\n| called by | |", "The option 'called by' says nothing"),
    ("payment-service fails 10% with status 503\n| status | 500 |", "'status' is no option of this step"),
    ("payment-service is slowed by 1s\n| status | 500 |", "'status' is no option of this step"),
    ("payment-service is down\n| called by | order-service |", "This step takes no table"),
    ("calls to payment-service time out after 1s\n| called by | order-service |", "This step takes no table"),
    ("every response has status 200\n| within | 3% |", "This step takes no table"),
    ("payment-service recovers", "cannot recover: no step let it fail, slowed it or took it down"),
    ('the manifest "nope.yaml" is applied', 'There is no manifest "nope.yaml"'),
    ('the manifest "broken.yaml" is applied', "broken.yaml is not valid"),
    ('the manifest "kind.yaml" is applied', "kind.yaml holds a Nonsense"),
    ('the manifest "field.yaml" is applied', 'nobody knows: spec.http[0].retrys.\nhelp: did you mean "retries"?'),
    ('the manifest "type.yaml" is applied', "The API refuses VirtualService a"),
    (
        'the manifest "elsewhere.yaml" is applied',
        'the namespace "shopp", which does not exist.\nhelp: did you mean "shop"?',
    ),
    ('the manifest "whole.yaml" is removed', "was not applied in this scenario"),
    ("calls to payment-service time out after 0s", "'0s' is no time at all"),
    ("calls to payment-service are retried up to -1 times", "'-1' is not a count"),
    ("calls to payment-service are retried up to 101 times", "retried up to 101 times: nothing in a test gets there"),
    ("calls to payment-service are retried up to ² times", "'²' is not a count"),
    (f"calls to payment-service are retried up to {'9' * 5000} times", "999…' is not a count"),
    ("calls to payment-service time out after 2h", "is 2h: nobody waits for that"),
    ("calls to payment-service time out after 1.5ms", "proxies are told whole milliseconds"),
    ("payment-service has a circuit breaker that opens after 1001 consecutive errors for 5s", "nothing in a test gets"),
    ("payment-service has a circuit breaker that opens after 5 consecutive errors for 61m", "nobody waits for that"),
    ("payment-service accepts at most 100001 concurrent requests", "nothing in a test gets there"),
    ("payment-service has a circuit breaker that opens after 0 consecutive errors for 5s", "'0' is not a count"),
    ("payment-service accepts at most 0 concurrent requests", "'0' is not a count"),
    ("traffic to order-service is split 90% to stabel and 10% to canary", 'no subset "stabel"'),
    ("traffic to order-service is split 90% to stable and 20% to canary", "sum to 110%"),
    ("traffic to payment-service is mirrored to shadow", 'no subset "shadow"'),
    ("mutual TLS is Strict", "'Strict' is no mode of mutual TLS"),
    ("mutual TLS is strict for paymnt-service", 'did you mean "payment-service"?'),
    ("only nobody may call payment-service", 'Service "nobody" does not exist'),
    ('the request "r":\n"""\nGET\n"""', "'GET' is no request line"),
    ('the request "r":\n"""\nGET http://order-service/\nno colon\n"""', "'no colon' is no header"),
    ('the request "r":\n"""\nGET ftp://order-service/\n"""', "is no address inside the mesh"),
    ('"chekout" is sent', 'There is no request "chekout"'),
    ('"checkout" is sent 0 times', "'0' is not a count"),
    ('"checkout" is sent 100001 times', "every single one is kept for the claims"),
    ('"checkout" is sent at 1000001/s for 30s', "No machine sends 1000001/s"),
    (f'"checkout" is sent at 200/s for {"9" * 400}h', "is longer than ten years"),
    ('a slow payment-service does not slow "checkout"\n| by at most | 0ms |', "'0ms' is no time at all"),
    ("order-service calls payment-service at most 4 times per request\n| apart | 0s |", "'0s' is no time at all"),
    ('"checkout" is sent 5 times by no users', "'no' is not a count"),
    ('"checkout" is sent at 200 for 30s', "'200' is not a rate"),
    ('"checkout" is sent at 200/s for 30', "'30' has no unit"),
    ('"checkout" keeps being sent at 10/m', "'10/m' is not a rate"),
    ("the load stops", "There is no load to stop"),
    ("the response status is 99", "'99' is not an HTTP status"),
    ("the p98 latency is below 3s", "'p98' is not a latency quantile"),
    ('between 20% and 5% of responses have "version" equal to "x"', "no share lies between"),
    ("more than 100% of requests succeed", "can never be true"),
    ("at least 0% of requests succeed", "can never be false"),
    ("at most 100% of requests fail", "can never be false"),
    ('between 0% and 100% of responses have "version" equal to "x"', "can never be false"),
    ('about 10% of responses have "version" equal to "x"\n| within | lots |', "'lots' is not a percentage"),
    ('the response field "a" of "nothing" is unchanged', 'There is no request "nothing"'),
    ('a slow payment-service does not slow "nothing"', 'There is no request "nothing"'),
    ("every pod of paymnt-service has a sidecar", 'Service "paymnt-service" does not exist'),
    ('the query "up" is at least many', "'many' is not a number"),
    ("the certificate of payment-service is valid for at least 1x", "'1x' is not a duration"),
    ("order-service calls payment-service at most lots times per request", "'lots' is not a count"),
    ("the sidecar adds less than 2s to the cold start of nobody", 'Service "nobody" does not exist'),
]
HEAD = "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
MANIFESTS = {
    "field.yaml": "metadata: {name: a}\nspec: {hosts: [elsewhere], http: [{retrys: {attempts: 3}, route: []}]}\n",
    "type.yaml": "metadata: {name: a}\nspec: {hosts: [elsewhere], http: [{timeout: {seconds: 3}, route: []}]}\n",
    "elsewhere.yaml": "metadata: {name: a, namespace: shopp}\nspec: {hosts: [elsewhere], http: []}\n",
}
FIRST = "inventory-service fails 100%"
"""What the scenario begins with: it is never done."""


def _feature() -> tuple[str, dict[str, int]]:
    """The feature, and the line of each bad step."""
    lines = ["Feature: bad steps", "  Background:", '    Given the request "checkout":', '      """']
    lines += ["      POST http://order-service/checkout", "", '      {"sku": "A1", "quantity": 1}', '      """', ""]
    places = {}
    for number, (step, _) in enumerate(BAD):
        text, *more = step.split("\n")
        lines += [f"  Scenario: {number}", f"    Given {FIRST}", f"    And {text}"]
        places[str(number)] = len(lines)
        lines += [f"      {line}" for line in more] + [""]
    return "\n".join(lines), places


def _places(number: int) -> list[str]:
    """The lines of a bad step, and the first one of a manifest that it names."""
    first = _feature()[1][str(number)]
    step = BAD[number][0]
    manifest = re.search(r'the manifest "(.+)" is', step)
    lines = [rf"bad.feature:{line}(?!\d)" for line in range(first, first + len(step.split("\n")))]
    return [*lines, *([rf"\b{manifest[1]}(:\d+)?\n"] if manifest else [])]


@pytest.fixture(scope="module")
def told(shop_lab: LabUnderTest, project: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder: Path = tmp_path_factory.mktemp("bad")
    (folder / "environment.py").write_text("import meshbdd.steps\nfrom meshbdd.hooks import *\n")
    (folder / "features").mkdir()
    (folder / "features" / "bad.feature").write_text(_feature()[0])
    (folder / "broken.yaml").write_text("a: [\n")
    shutil.copy(project / "manifests" / "examples" / "payment-fails-500.yaml", folder / "whole.yaml")
    (folder / "kind.yaml").write_text("apiVersion: v1\nkind: Nonsense\nmetadata: {name: a}\n")
    for name, content in MANIFESTS.items():
        (folder / name).write_text(HEAD + content)
    ran = meshbdd("run", "-f", "plain", cwd=folder, lab=shop_lab, seconds=300)
    assert ran.returncode == 2, ran.stdout + ran.stderr
    assert "Traceback" not in ran.stdout + ran.stderr
    run = json.loads((folder / "allure-results" / "meshbdd" / "run.json").read_text("utf-8"))
    return {scenario["name"]: scenario for scenario in run["scenarios"]} | {"output": {"text": ran.stdout}}


@pytest.mark.parametrize("number", range(len(BAD)), ids=[step.replace("\n", " ") for step, _ in BAD])
def test_a_bad_step_is_told_and_nothing_is_changed(told: dict[str, dict[str, Any]], number: int) -> None:
    scenario, words = told[str(number)], BAD[number][1]
    assert words in scenario["message"], scenario["message"]
    assert scenario["status"] == "broken"
    assert not scenario.get("evidence", {}).get("changes"), "the fault before it was injected"
    assert any(re.search(place, told["output"]["text"]) for place in _places(number))
