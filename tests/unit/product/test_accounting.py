"""Fault accounting: what it tells is plain data."""

from __future__ import annotations

import json
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any, cast

from meshbdd.evidence import FaultAccounted
from meshbdd.intents import ServiceRef
from meshbdd.scenario import Accounting, Environment
from meshbdd.sidecars import ISTIO
from meshbdd.telemetry.access_log import Entry


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
