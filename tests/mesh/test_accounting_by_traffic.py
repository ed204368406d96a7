"""A fault that met nobody proves nothing, and only this scenario's calls count."""

from __future__ import annotations

import time
from threading import Thread

import pytest

from meshbdd.claims import responses, shares
from meshbdd.errors import BadInput, Inconclusive
from meshbdd.evidence import Event, FaultAccounted
from meshbdd.intents import Down, Fault, Scope, ServiceRef, Side
from meshbdd.units import Duration, Percent
from tests.mesh.conftest import Scenario
from tests.tools import LabUnderTest

PAYMENT, ORDER = ServiceRef("payment-service", "shop"), ServiceRef("order-service", "shop")


@pytest.mark.parametrize("side", list(Side))
def test_a_fault_that_nobody_met_is_inconclusive(scenario: Scenario, side: Side) -> None:
    with pytest.raises(Inconclusive, match="Nobody called inventory-service"):
        with scenario() as world:
            world.changes.make(Fault(ServiceRef("inventory-service", "shop"), status=503, at=side))
            world.traffic.send("charge")
            world.judge(responses.status_is([200]))


def test_a_service_that_is_down_and_that_nobody_called_is_inconclusive(scenario: Scenario) -> None:
    with pytest.raises(Inconclusive, match="Nobody called notification-service"):
        with scenario() as world:
            world.changes.make(Down(ServiceRef("notification-service", "shop")))
            world.traffic.send("charge")
            world.judge(responses.status_is([200]))


def test_what_went_past_every_calling_proxy_is_named(scenario: Scenario) -> None:
    with pytest.raises(Inconclusive, match="past every proxy went 3 calls from client-plain-"):
        with scenario() as world:
            world.changes.make(Fault(PAYMENT, status=503, at=Side.CALLER))
            world.traffic.send("charge", count=3, outside=True)
            world.judge(shares.every_status_is(200))


def test_a_fault_at_the_server_meets_those_outside_the_mesh_too(scenario: Scenario, told: list[Event]) -> None:
    with scenario() as world:
        world.changes.make(Fault(PAYMENT, status=503, at=Side.SERVER))
        world.traffic.send("charge", count=3, outside=True)
        world.judge(shares.every_status_is(503))
    [accounted] = [e for e in told if isinstance(e, FaultAccounted)]
    assert (accounted.calls, accounted.hit) == (3, 3)


@pytest.mark.parametrize("side", list(Side))
def test_a_grpc_status_for_plain_http_is_no_failure_that_anybody_saw(scenario: Scenario, side: Side) -> None:
    with pytest.raises(
        Inconclusive, match=r"answers gRPC calls; 3 of the 3 calls that it hit were plain HTTP \(HTTP/1.1\)"
    ):
        with scenario() as world:
            world.changes.make(Fault(PAYMENT, grpc_status="UNAVAILABLE", at=side))
            world.traffic.send("charge", count=3)
            world.judge(shares.every_status_is(200))


def test_a_fault_that_another_one_hides_is_inconclusive(scenario: Scenario) -> None:
    with pytest.raises(Inconclusive, match="and yet none of 4 calls was hit"):
        with scenario() as world:
            world.changes.make(Fault(PAYMENT, status=503, at=Side.SERVER, scope=Scope(path="/charge")))
            world.changes.make(Fault(PAYMENT, status=500, at=Side.SERVER))
            world.traffic.send("charge", count=4)
            world.judge(shares.every_status_is(503))


def test_a_fault_that_another_one_leaves_no_call_is_refused(scenario: Scenario) -> None:
    with scenario() as world:
        world.changes.make(Fault(PAYMENT, status=503, at=Side.SERVER))
        with pytest.raises(BadInput, match="would hit no call"):
            world.changes.make(Fault(PAYMENT, status=500, at=Side.SERVER))
        world.traffic.send("charge")
        world.judge(responses.status_is([503]))


@pytest.mark.parametrize("side", list(Side))
def test_a_fault_for_one_caller(scenario: Scenario, told: list[Event], side: Side) -> None:
    with scenario() as world:
        world.changes.make(Fault(PAYMENT, status=503, at=side, scope=Scope(called_by=ORDER)))
        world.traffic.send("charge")
        world.judge(responses.status_is([200]))
        world.traffic.send("checkout")
        world.judge(responses.status_is([503]))
    accounted = [e for e in told if isinstance(e, FaultAccounted)][-1]
    assert accounted.calls == accounted.hit > 0
    assert [caller.split("-")[0] for caller in accounted.callers] == ["order"]


def test_a_fault_for_a_caller_that_never_came_is_inconclusive_in_the_end(scenario: Scenario) -> None:
    with pytest.raises(Inconclusive, match=r"order-service\.shop did not call payment-service\.shop"):
        with scenario() as world:
            world.changes.make(Fault(PAYMENT, status=503, scope=Scope(called_by=ORDER)))
            world.traffic.send("charge")
            world.judge(responses.status_is([200]))


@pytest.mark.parametrize("side", list(Side))
def test_a_scope_of_method_path_and_header(lab: LabUnderTest, scenario: Scenario, side: Side) -> None:
    scope = Scope(method="POST", path="/charge", headers={"X-User": "qa"})
    with scenario() as world:
        world.changes.make(Fault(PAYMENT, status=555, at=side, scope=scope))
        url = "http://payment-service/charge"
        assert lab.post(f"{url}?a=1", headers={"x-user": "qa"}).status_code == 555
        assert lab.post(url).status_code == 200
        assert lab.post(f"{url}2", headers={"x-user": "qa"}).status_code == 404
        assert lab.get(url, headers={"x-user": "qa"}).status_code in {404, 405}


@pytest.mark.parametrize("side", list(Side))
def test_a_share_hits_a_share(scenario: Scenario, told: list[Event], side: Side) -> None:
    with scenario() as world:
        world.changes.make(Fault(PAYMENT, Percent(50), status=503, at=side))
        world.traffic.send("charge", count=200, users=5)
        world.judge(responses.status_is([200, 503]))
        failed = sum(sample.status == 503 for sample in world.samples)
    [accounted] = [e for e in told if isinstance(e, FaultAccounted)]
    assert (accounted.calls, accounted.hit) == (200, failed)
    assert 60 <= failed <= 140, "p < 1e-8 for half of 200"


def test_a_request_of_an_earlier_scenario_does_not_count(lab: LabUnderTest, scenario: Scenario) -> None:
    """It is still held by the fault of the scenario that it belongs to when the next one begins."""
    slow = Thread(target=lambda: lab.post("http://order-service/checkout"))
    with scenario() as world:
        world.changes.make(Fault(PAYMENT, delay=Duration(1), at=Side.SERVER))
        slow.start()
        began = time.monotonic()
        world.traffic.send("charge")
    try:
        with pytest.raises(Inconclusive, match="Nobody called payment-service"):
            with scenario() as world:
                world.changes.make(Fault(PAYMENT, status=503, at=Side.CALLER))
                assert not slow.is_alive(), "a scenario begins when nothing is under way"
                world.traffic.define("version", "GET http://order-service/version", None)
                world.traffic.send("version")
                world.judge(responses.status_is([200]))
    finally:
        slow.join()
    assert time.monotonic() - began > 1
