"""Pods that went away took with them what they had logged and counted of a scenario."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from meshbdd.claims import Outcome, Verdict
from meshbdd.intents import ServiceRef
from meshbdd.scenario.witnesses import Witnesses

PAYMENT, ORDER = ServiceRef("payment-service", "shop"), ServiceRef("order-service", "shop")


def _pod(name: str) -> dict[str, Any]:
    labels = {"app": name.rpartition("-")[0], "version": "stable"}
    return {"metadata": {"name": name, "uid": name, "namespace": "shop", "labels": labels}}


class Proxies:
    def __init__(self, *names: str) -> None:
        self.names = set(names)
        self.restarts = 0

    def every(self) -> list[dict[str, Any]]:
        statuses = [{"name": "istio-proxy", "restartCount": self.restarts}, {"name": "app", "restartCount": 7}]
        return [_pod(name) | {"status": {"containerStatuses": statuses}} for name in sorted(self.names)]

    def pods(self, service: ServiceRef) -> list[dict[str, Any]]:
        return [pod for pod in self.every() if pod["metadata"]["labels"]["app"] == service.name]

    def fault_backends(self, _service: ServiceRef) -> list[dict[str, Any]]:
        return []

    def selector(self, service: ServiceRef) -> dict[str, str]:
        return {"app": service.name}


def _stage(*, asked: bool = True) -> tuple[Witnesses, Proxies, SimpleNamespace]:
    traffic, proxies = SimpleNamespace(has_sent=False), Proxies("payment-service-1", "order-service-1")
    return Witnesses(cast("Any", traffic), cast("Any", proxies), asked=asked), proxies, traffic


def test_a_pod_that_was_replaced_after_requests_is_missed() -> None:
    witnesses, proxies, traffic = _stage()
    traffic.has_sent = True
    witnesses.look()
    proxies.names -= {"payment-service-1"}
    witnesses.mesh_changed()
    proxies.names |= {"payment-service-2"}
    assert witnesses.gone(PAYMENT) == witnesses.gone(ORDER, PAYMENT) == ["payment-service-1"]
    assert witnesses.gone(ORDER) == []
    witnesses.look()
    proxies.names -= {"payment-service-2"}
    assert witnesses.gone(PAYMENT) == ["payment-service-1", "payment-service-2"]


def test_a_proxy_that_was_started_anew_has_lost_what_it_logged() -> None:
    witnesses, proxies, traffic = _stage()
    traffic.has_sent = True
    assert witnesses.gone(PAYMENT) == []
    proxies.restarts += 1
    assert witnesses.gone(PAYMENT) == ["payment-service-1"]
    seen = witnesses.whole(Verdict(Outcome.PASSED, "it is so"), PAYMENT)
    assert (seen.outcome, "or its proxy went away in this scenario" in seen.sentence) == (Outcome.INCONCLUSIVE, True)


def test_who_went_away_before_the_first_request_has_seen_none() -> None:
    witnesses, proxies, traffic = _stage()
    witnesses.look()
    proxies.names -= {"payment-service-1"}
    witnesses.mesh_changed()
    traffic.has_sent = True
    assert witnesses.gone(PAYMENT) == []


def test_where_nothing_is_asked_nobody_is_looked_for() -> None:
    witnesses, proxies, _ = _stage(asked=False)
    proxies.names.clear()
    assert witnesses.gone(PAYMENT) == []


@pytest.mark.parametrize(
    ("outcome", "unless", "expected"),
    [
        ("passed", "passed", "passed"),
        ("passed", "failed", "inconclusive"),
        ("failed", "passed", "inconclusive"),
        ("failed", "failed", "failed"),
        ("passed", None, "inconclusive"),
    ],
)
def test_a_verdict_that_others_could_have_changed_is_none(outcome: str, unless: str | None, expected: str) -> None:
    witnesses, proxies, _ = _stage()
    verdict = Verdict(Outcome(outcome), "at least 10: it has 1")
    assert witnesses.whole(verdict, PAYMENT) is verdict
    proxies.names -= {"payment-service-1"}
    found = witnesses.whole(verdict, PAYMENT, unless=Outcome(unless) if unless else None)
    assert found.outcome == expected
    assert ("pod payment-service-1 or its proxy went away" in found.sentence) == (expected == "inconclusive")
    unknown = Verdict.cannot_tell("nobody counts", "let somebody")
    assert witnesses.whole(unknown, PAYMENT) is unknown
