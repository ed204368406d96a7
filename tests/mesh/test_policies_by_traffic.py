"""What the policies do to real requests, with faults that the policies see."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from threading import Event, Thread
from typing import Any

import pytest

from meshbdd.claims import responses
from meshbdd.errors import BadInput
from meshbdd.evidence import ChangeArrived, FaultAccounted
from meshbdd.intents import (
    Access,
    CircuitBreaker,
    Fault,
    Limit,
    Mirror,
    MutualTls,
    Retry,
    ServiceRef,
    Side,
    Split,
    Timeout,
    TlsMode,
)
from meshbdd.scenario import Environment
from meshbdd.units import Duration, Percent
from tests.mesh.conftest import Scenario
from tests.tools import LabUnderTest, until

PAYMENT, ORDER = ServiceRef("payment-service", "shop"), ServiceRef("order-service", "shop")
BROKEN = Fault(PAYMENT, status=503)


def _inbound(lab: LabUnderTest, app: str, request_ids: set[str]) -> list[dict[str, Any]]:
    return [e for e in lab.log(app) if e["request_id"] in request_ids and e["upstream_cluster"] != "outbound"]


def test_retries_multiply_a_call_and_the_evidence_says_where_and_why(
    lab: LabUnderTest, scenario: Scenario, told: list[Any]
) -> None:
    with scenario("calls to payment-service are retried up to 3 times") as world:
        world.changes.make(BROKEN)
        world.changes.make(Retry(PAYMENT, 3))
        world.traffic.send("charge")
        [sample] = world.samples
        world.judge(responses.status_is([503]))
    assert len(_inbound(lab, "payment-service", {sample.request_id})) == 4
    arrived = next(e for e in told if isinstance(e, ChangeArrived) and e.summary == str(BROKEN))
    assert "at the server's sidecars" in arrived.reason
    assert "are retried up to 3 times" in arrived.reason
    [accounted] = [e for e in told if isinstance(e, FaultAccounted)]
    assert (accounted.calls, accounted.hit, accounted.sent, accounted.seen) == (4, 4, 1, 1)
    [(caller, counts)] = accounted.callers.items()
    assert caller.startswith("client-")
    assert counts == (4, 4)


def test_a_timeout_ends_a_call_that_is_slow_at_the_server(scenario: Scenario) -> None:
    with scenario("calls to payment-service time out after 300ms") as world:
        world.changes.make(Fault(PAYMENT, delay=Duration(5)))
        world.changes.make(Timeout(PAYMENT, Duration(0.3)))
        world.traffic.send("charge")
        world.judge(responses.status_is([504]))
        world.judge(responses.arrives_within(Duration(2)))


def test_a_limit_lets_so_many_in_and_turns_the_rest_away(scenario: Scenario) -> None:
    with scenario("payment-service accepts at most 2 concurrent requests") as world:
        world.changes.make(Limit(PAYMENT, 2))
        world.changes.make(Fault(PAYMENT, delay=Duration(1)))
        world.traffic.send("charge", count=6, users=6)
        statuses = sorted(str(sample.status) for sample in world.samples)
    assert statuses == ["200"] * 2 + ["503"] * 4


def test_a_mirror_gets_a_copy_of_each_request(lab: LabUnderTest, scenario: Scenario) -> None:
    with scenario() as world:
        world.traffic.define("version", "GET http://order-service/version", None)
        world.changes.make(Split(ORDER, (("stable", Percent(100)), ("canary", Percent(0)))))
        world.changes.make(Mirror(ORDER, "canary"))
        world.traffic.send("version", count=5)
        assert {json.loads(sample.body)["version"] for sample in world.samples} == {"stable"}
        canary = lab.cluster.list("Pod", "shop", labels="app=order-service,version=canary")[0]["metadata"]
        ids = {sample.request_id for sample in world.samples}

        def copies() -> bool:
            text = lab.cluster.log(canary["name"], "shop", "istio-proxy").decode()
            return all(request_id in text for request_id in ids)

        until("a copy of each request at the canary", copies)


def test_a_mode_and_its_exception_are_taken_back_together(scenario: Scenario) -> None:
    """Taken back at once, the exception seemed to be there still, because it looks like what was before both."""
    for _ in range(3):
        with scenario() as world:
            world.changes.make(MutualTls(TlsMode.STRICT, "shop"))
            world.changes.make(MutualTls(TlsMode.PERMISSIVE, "shop", PAYMENT))


def test_strict_refuses_plaintext_and_disabled_speaks_it(lab: LabUnderTest, scenario: Scenario) -> None:
    with scenario() as world:
        world.changes.make(MutualTls(TlsMode.STRICT, "shop"))
        world.traffic.send("charge")
        world.judge(responses.status_is([200]))
        world.traffic.send("charge", outside=True)
        world.judge(responses.is_refused())
    with scenario() as world:
        world.changes.make(MutualTls(TlsMode.DISABLED, "shop", PAYMENT))
        world.traffic.send("charge")
        world.judge(responses.status_is([200]))
        [sample] = world.samples
        assert lab.last_logged("payment-service", sample.request_id)["requested_server_name"] is None


def test_only_one_may_call(scenario: Scenario) -> None:
    with scenario() as world:
        world.changes.make(Access(ORDER, PAYMENT))
        world.traffic.send("charge")
        world.claim_denied()
        world.traffic.send("checkout")
        world.judge(responses.status_is([200]))


def test_a_choice_that_would_prove_nothing_is_refused_before_anything_is_written(
    lab: LabUnderTest, scenario: Scenario
) -> None:
    with scenario("calls to payment-service are retried up to 3 times") as world:
        with pytest.raises(BadInput, match="would never reach"):
            world.changes.make(Fault(PAYMENT, status=503, at=Side.CALLER))
        assert lab.cluster.list("VirtualService") == []


# The breaker, through its whole cycle

OPEN, BROKEN_ANSWER = "503 no healthy upstream", "503 fault filter abort"
"""What Envoy answers when every endpoint is ejected, and what its fault filter answers."""


@contextmanager
def _stream(lab: LabUnderTest) -> Iterator[list[tuple[float, str, float]]]:
    """Charges without end, one after the other: (time, status with the proxy's words, seconds)."""
    seen: list[tuple[float, str, float]] = []
    stop = Event()

    def run() -> None:
        with lab.session() as session:
            while not stop.is_set():
                began = time.monotonic()
                answer = session.post("http://payment-service/charge", json={"sku": "A1"}, timeout=10)
                told = "200" if answer.status_code == 200 else f"{answer.status_code} {answer.text}"
                seen.append((began, told, time.monotonic() - began))
                stop.wait(0.02)

    thread = Thread(target=run)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def test_a_breaker_opens_is_half_open_and_closes(lab: LabUnderTest, scenario: Scenario) -> None:
    """Closed → open → half-open (still broken, so open again) → recovered → closed."""
    with scenario("payment-service fails 100%") as world, _stream(lab) as seen:

        def states() -> list[str]:
            return [told for told, _ in groupby(told for _, told, _ in list(seen))]

        world.changes.make(CircuitBreaker(PAYMENT, 5, Duration(1)))
        until("it works", lambda: states() == ["200"])
        world.changes.make(BROKEN)
        until("open, half-open, open again", lambda: states()[1:5] == [BROKEN_ANSWER, OPEN] * 2, seconds=30)
        world.changes.recover(PAYMENT)
        until("the circuit closing", lambda: [told for _, told, _ in seen[-10:]] == ["200"] * 10, seconds=30)
    errors = [told for _, told, _ in seen if told != "200"]
    assert errors[:6] == [BROKEN_ANSWER] * 5 + [OPEN], "it opens after exactly so many errors"
    fast = sorted(seconds for _, told, seconds in seen if told == OPEN)
    assert fast[len(fast) // 2] < 0.1, "an open circuit fails fast"


def test_a_recovery_is_proved_from_configuration_and_touches_no_ejection(
    scenario: Scenario, environment: Environment
) -> None:
    with scenario("payment-service fails 100%") as world:
        world.changes.make(CircuitBreaker(PAYMENT, 3, Duration(120)))
        world.changes.make(BROKEN)
        world.traffic.send("charge", count=5)
        assert environment.gate.ejected()
        world.changes.recover(PAYMENT)
        assert environment.gate.ejected(), "the service works again, and its breaker is still open"
        world.traffic.send("charge")
        world.judge(responses.status_is([503]))
    assert environment.gate.ejected() == {}


def test_no_ejection_outlasts_its_scenario(lab: LabUnderTest, scenario: Scenario, environment: Environment) -> None:
    """Also where the breaker is the tester's own and stays."""
    lab.apply("""
        apiVersion: networking.istio.io/v1
        kind: DestinationRule
        metadata: {name: payment}
        spec:
          host: payment-service
          trafficPolicy:
            outlierDetection: {consecutive5xxErrors: 3, interval: 1s, baseEjectionTime: 60s, maxEjectionPercent: 100}
        """)
    lab.in_effect("client", '"base_ejection_time": "60s"')
    with scenario() as world:
        world.changes.make(BROKEN)
        world.traffic.send("charge", count=6)
        assert environment.gate.ejected()
    assert environment.gate.ejected() == {}
    assert lab.post("http://payment-service/charge").status_code == 200
