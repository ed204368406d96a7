"""Fault accounting: what it tells is plain data."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any, cast

import pytest

from meshbdd.errors import BadInput, Inconclusive
from meshbdd.evidence import FaultAccounted
from meshbdd.intents import Down, Fault, Scope, ServiceRef
from meshbdd.scenario import Accounting, Environment
from meshbdd.scenario.accounting import _check
from meshbdd.scenario.changes import InForce
from meshbdd.sidecars import ISTIO
from meshbdd.telemetry.access_log import Entry
from meshbdd.units import Percent


class _Cluster:
    def get(self, *_name: str) -> dict[str, Any]:
        return {"spec": {"selector": {"app": "payment-service"}}}

    def list(self, *_what: str, **_labels: str) -> list[dict[str, Any]]:
        return [{"metadata": {"name": "payment-1"}, "status": {"podIP": "127.1.0.1"}}]


def test_calls_past_every_proxy_are_plain_data_for_the_report() -> None:
    environment = cast(
        "Environment", type("_Environment", (), {"cluster": _Cluster(), "mesh": SimpleNamespace(sidecars=ISTIO)})()
    )
    arrived = [Entry("payment-1", False, "", "", 200, frozenset(), f"r{n}", downstream="127.9.9.9:1") for n in range(3)]
    bypassed = Accounting(environment)._bypassed(arrived, ServiceRef("payment-service", "shop"), {"r0"})
    told = asdict(FaultAccounted("a fault", "payment-service.shop", 2, 0, bypassed=bypassed))
    assert json.loads(json.dumps(told))["bypassed"] == {"127.9.9.9": 2}


@pytest.mark.parametrize(
    ("event", "aside"),
    [
        (
            FaultAccounted("a is down", "a.b", 0, 0, sent=3, seen=0),
            "3 of the 3 requests of this scenario, as those from outside",
        ),
        (
            FaultAccounted("a is down", "a.b", 0, 0, sent=3, seen=2),
            "1 of the 3 requests of this scenario, as those from outside",
        ),
        (
            FaultAccounted("a is down", "a.b", 0, 0, sent=3, seen=0, bypassed={"p": 3}),
            "past every proxy went 3 calls from p.",
        ),
        (FaultAccounted("a is down", "a.b", 0, 0, sent=3, seen=3), "as far as the proxies tell."),
    ],
)
def test_who_went_past_every_proxy_is_named(event: FaultAccounted, aside: str) -> None:
    item = cast("InForce", SimpleNamespace(plan=SimpleNamespace(intent=Down(ServiceRef("a", "b")))))
    with pytest.raises(Inconclusive, match=re.escape(aside)):
        _check(item, event)


def _in_force(fault: Fault) -> InForce:
    return cast("InForce", SimpleNamespace(plan=SimpleNamespace(intent=fault)))


def test_a_fault_that_by_chance_hit_nobody_proves_nothing() -> None:
    fault = Fault(ServiceRef("a", "b"), Percent(1), status=503)
    _check(_in_force(fault), FaultAccounted("a fails", "a.b", 3, 1))
    with pytest.raises(Inconclusive, match="by chance hit none of 3 calls") as caught:
        _check(_in_force(fault), FaultAccounted("a fails", "a.b", 3, 0))
    assert "of 700 calls" in str(caught.value.help)


def test_calls_outside_of_a_faults_scope_are_a_claim_about_everybody_else() -> None:
    fault = Fault(ServiceRef("a", "b"), Percent(1), status=503, scope=Scope(headers={"x-user": "qa"}))
    _check(_in_force(fault), FaultAccounted("a fails", "a.b", 3, 0))


def test_a_fault_of_no_call_is_refused() -> None:
    with pytest.raises(BadInput, match="0% of the calls"):
        Fault(ServiceRef("a", "b"), Percent(0), status=503)
