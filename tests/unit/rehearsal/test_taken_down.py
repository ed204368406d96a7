"""The pods that a step takes down were there, and come back: no subset of them is a mistake of the tester's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import meshbdd.steps  # noqa: F401 - registers the vocabulary
import pytest
from meshbdd.manifests import path as shipped

from meshbdd.mesh.manifest import read_objects
from meshbdd.rehearsal import rehearse
from meshbdd.settings import Settings

WORLD = [obj for file in sorted(shipped("shop").glob("*.yaml")) for obj in read_objects(file, "shop")]
(_CANARY,) = [o for o in WORLD if o["kind"] == "Deployment" and "canary" in str(o["spec"]["template"]["metadata"])]

CANARY = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: order}
spec:
  host: order-service
  subsets: [{name: stable, labels: {version: stable}}, {name: canary, labels: {version: %s}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: order}
spec:
  hosts: [order-service]
  http:
  - route:
    - {destination: {host: order-service, subset: stable}, weight: 90}
    - {destination: {host: order-service, subset: canary}, weight: 10}
"""
EMPTY = [{**o, "spec": {**o["spec"], "replicas": 0}} if o is _CANARY else o for o in WORLD]

FEATURE = """
Feature: F
  Scenario: S
    Given the request "version":
      '''
      GET http://order-service/version
      '''
"""

_DOWN = "Given order-service is down\n"
_RULES, _LOST = 'Given the manifest "canary.yaml" is applied\n', 'Given the manifest "lost.yaml" is applied\n'
_SENT = 'When "version" is sent\nThen the response status is 503\n'


@pytest.mark.parametrize(
    ("world", "steps", "found"),
    [
        (WORLD, _RULES + _DOWN + _SENT, []),
        (WORLD, _DOWN + _RULES + _SENT, []),
        (WORLD, _RULES + _DOWN + _SENT + "When order-service recovers\n" + _SENT, []),
        (WORLD, _DOWN + _LOST + _SENT, ["MB0932 9"]),
        (EMPTY, _RULES + _DOWN + _SENT, ["MB0931 8", "MB0932 8"]),
        (EMPTY, _DOWN + _RULES + _SENT, ["MB0931 9", "MB0932 9"]),
    ],
)
def test_a_subset_is_empty_where_no_step_made_it_so(
    world: list[dict[str, Any]], steps: str, found: list[str], tmp_path: Path
) -> None:
    for name, text in (("canary", CANARY % "canary"), ("lost", CANARY % "lost")):
        (tmp_path / f"{name}.yaml").write_text(text)
    lines = "".join(f"    {line}\n" for line in steps.splitlines())
    (tmp_path / "x.feature").write_text(FEATURE.replace("'''", '"""') + lines)
    report = rehearse(tmp_path / "x.feature", world, Settings(project=tmp_path), "shop", lambda _: None)
    told = [f"{finding.code} {getattr(place, 'line', None)}" for finding, place in report.sorted()]
    assert told == found, report.findings
