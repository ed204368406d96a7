"""A rehearsal on a live cluster reads it, and does nothing else to it."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import meshbdd.steps  # noqa: F401 - registers the vocabulary
import pytest
from behave.parser import parse_feature
from behave.step_registry import registry

from meshbdd.cluster import Cluster
from meshbdd.rehearsal import first_refusal
from meshbdd.scenario.vantages import OUTBOUND_ANNOTATION
from meshbdd.settings import Settings

FEATURE = '''
Feature: F
  Scenario: S
    Given the request "checkout":
      """
      POST http://order-service/checkout
      """
    And {sends}
    And no-such-service fails 100%
'''


@pytest.mark.parametrize(
    "sends",
    ['"checkout" is sent', '"checkout" is sent 5 times by 2 users', '"checkout" keeps being sent at 50/s',
     '"checkout" is sent at 50/s for 1s', 'enough "checkout" requests are sent'],
)  # fmt: skip
def test_a_rehearsal_sends_nothing(sends: str, tmp_path: Path) -> None:
    """The client pod is there, runs, and can be entered; the step behind shows that the rehearsal came past."""
    with socket.create_server(("127.0.0.1", 0)) as way_in:
        way_in.setblocking(False)
        address = f"127.0.0.1:{way_in.getsockname()[1]}"
        client = {
            "apiVersion": "v1", "kind": "Pod", "status": {"phase": "Running"}, "spec": {"containers": []},
            "metadata": {"name": "client-1", "namespace": "shop", "labels": {"app": "client"}, "annotations": {OUTBOUND_ANNOTATION: address}},
        }  # fmt: skip
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
        service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "order-service", "namespace": "shop"},
                   "spec": {"selector": {"app": "order-service"}, "ports": [{"port": 80}]}}  # fmt: skip
        objects = [client, namespace, service]

        def listed(kind: str, *_: Any, **__: Any) -> list[Any]:
            return [obj for obj in objects if obj["kind"] == kind]

        live = cast("Cluster", SimpleNamespace(namespace="shop", context="live", list=listed))
        feature = parse_feature(FEATURE.format(sends=sends), filename=str(tmp_path / "a.feature"))
        (scenario,) = feature.walk_scenarios()
        refusal = first_refusal(tuple(scenario.all_steps), live, Settings(project=tmp_path, mesh="istio"), registry)
        assert "no-such-service" in str(refusal)
        with pytest.raises(BlockingIOError):
            way_in.accept()


def test_a_rehearsal_waits_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No log, no ejection comes in a rehearsal; each of these claims would wait for seconds."""
    pauses: list[float] = []
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + sum(pauses), sleep=pauses.append)
    monkeypatch.setattr("meshbdd.waiting.time", clock)
    meta = {"name": "order-1", "namespace": "shop", "uid": "1", "labels": {"app": "order-service", "security.istio.io/tlsMode": "istio"}}  # fmt: skip
    objects = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}},
        {"apiVersion": "v1", "kind": "Pod", "status": {"phase": "Running"}, "spec": {"containers": []}, "metadata": meta},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "order-service", "namespace": "shop"},
         "spec": {"selector": {"app": "order-service"}, "ports": [{"port": 80}]}},
    ]  # fmt: skip
    claims = [
        "the access log of order-service has at least 5 requests with status 500",
        "the circuit to order-service opens within 60s",
        "the circuit to order-service is half-open within 60s",
        "no-such-service fails 100%",
    ]
    live = cast(
        "Cluster",
        SimpleNamespace(
            namespace="shop", context="live", list=lambda kind, *_, **__: [o for o in objects if o["kind"] == kind]
        ),
    )
    text = "Feature: F\n  Scenario: S\n" + "".join(f"    * {claim}\n" for claim in claims)
    (scenario,) = parse_feature(text, filename=str(tmp_path / "a.feature")).walk_scenarios()
    refusal = first_refusal(tuple(scenario.all_steps), live, Settings(project=tmp_path, mesh="istio"), registry)
    assert "no-such-service" in str(refusal)
    assert pauses == []
