"""Which calls count as such that met a fault: neither those that a policy denied before, nor those of before it arrived."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from meshbdd.errors import Inconclusive
from meshbdd.evidence import FaultAccounted
from meshbdd.intents import Down, Fault, ServiceRef, Side
from meshbdd.mesh import Plan
from meshbdd.mesh.base import Where
from meshbdd.mesh.looking import Arrival
from meshbdd.scenario.in_force import InForce, Written
from meshbdd.scenario.vantages import PLAIN_CLIENT
from meshbdd.telemetry.access_log import DENIED, Entry
from meshbdd.units import Duration
from tests.unit.product.test_accounting import A, B, _logged_by

PODS = [("a-1", "b", "a", "1.0.0.1"), ("order-1", "b", "order", "1.0.0.2"), ("client-1", "b", "client", "1.0.0.3")]
HIT = Entry("a-1", False, "", "default", 503, frozenset({"FI"}), "r1", 9.0, downstream="1.0.0.3:9", namespace="b")
DENIED_BEFORE = replace(HIT, status=403, flags=frozenset(), details=f"{DENIED}_matched_policy[none]", request_id="r2")


@pytest.fixture(autouse=True)
def _logs_are_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshbdd.scenario.accounting._LOG_SECONDS", Duration(0.05))


def _at_server(**more: Any) -> InForce:
    fault = Fault(A, **({"status": 503} | more))
    return InForce(Plan("a fails", (), intent=fault, side=Side.SERVER, faulty=(A,)), requests=["r1", "r2"])


def _told(item: InForce, *entries: Entry, final: bool = True) -> list[FaultAccounted]:
    accounting, told = _logged_by(PODS, *entries), list[FaultAccounted]()
    accounting._environment.tell = cast("Any", told.append)  # type: ignore[method-assign]
    accounting.account([item], final=final)
    return told


def test_calls_that_a_policy_denied_before_met_no_fault() -> None:
    [event] = _told(_at_server(), HIT, DENIED_BEFORE)
    assert (event.calls, event.hit) == (1, 1)
    with pytest.raises(Inconclusive, match=r"No call came to «a fails»: the proxies of a\.b denied") as caught:
        _told(_at_server(), DENIED_BEFORE, replace(DENIED_BEFORE, request_id="r1"))
    assert caught.value.code == "MB0609"
    with pytest.raises(Inconclusive, match=r"Nobody called a\.b"):
        _told(_at_server())


def test_a_fault_for_one_caller_waits_for_it_while_more_may_come() -> None:
    item = _at_server()
    item.plan = replace(item.plan, callers=Where("b", {"app": "order"}))
    assert _told(item, replace(HIT, flags=frozenset(), status=200), final=False) == []
    assert not item.accounted, "it is asked again"
    [event] = _told(item, replace(HIT, downstream="1.0.0.2:9"), final=False)
    assert event.callers == {"order-1": (1, 1)}


def test_a_grpc_status_that_answered_plain_http_failed_nobody() -> None:
    plain = replace(HIT, status=200, protocol="HTTP/1.1")
    with pytest.raises(Inconclusive) as caught:
        _told(_at_server(status=None, grpc_status="UNAVAILABLE"), plain)
    assert caught.value.code == "MB0606"
    [event] = _told(_at_server(status=None, grpc_status="UNAVAILABLE"), replace(plain, protocol="HTTP/2", grpc=14))
    assert event.hit == 1


@pytest.mark.parametrize(("asked", "met"), [(A, True), (B, False)])
def test_a_client_outside_the_mesh_misses_the_service_that_it_asked_for(asked: ServiceRef, met: bool) -> None:
    down = InForce(Plan("a is down", (), intent=Down(A), service=A, faulty=(A,)), requests=["r1"], unseen={"r1": asked})
    if not met:
        with pytest.raises(Inconclusive, match=r"Nobody called a\.b"):
            _told(down)
        return
    [event] = _told(down)
    assert (event.calls, event.hit, event.callers) == (1, 1, {PLAIN_CLIENT: (1, 1)})


@pytest.mark.parametrize(
    ("entry", "counts"),
    [
        (replace(HIT, started=10.0), True),
        (replace(HIT, started=9.9), False),
        (replace(HIT, started=0.0), True),  # nobody knows when
        (replace(HIT, started=10.0, probe=True), False),
        (replace(HIT, started=10.0, request_id="of-before"), False),
    ],
)
def test_what_began_before_the_fault_or_belongs_to_nobodys_claim_did_not_meet_it(entry: Entry, counts: bool) -> None:
    item = _at_server()
    item.written.append(Written(cast("Any", None), cast("Any", None), arrival=Arrival({}, {"a-1": 10.0})))
    accounting, told = _logged_by(PODS, entry), list[FaultAccounted]()
    accounting._environment.tell = cast("Any", told.append)  # type: ignore[method-assign]
    accounting._environment.sent.are_earlier = lambda request: request == "of-before"  # type: ignore[method-assign]
    if counts:
        accounting.account([item], final=True)
        assert [event.hit for event in told] == [1]
        return
    with pytest.raises(Inconclusive, match=r"Nobody called a\.b"):
        accounting.account([item], final=True)


def test_whether_a_request_was_denied_is_told_by_any_proxy_that_logged_it() -> None:
    accounting = _logged_by(PODS, HIT, DENIED_BEFORE, replace(HIT, request_id="r2", pod="client-1"))
    found = {request: accounting.denied(request) for request in ("r1", "r2", "unknown")}
    assert found == {"r1": False, "r2": True, "unknown": None}
