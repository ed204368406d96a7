"""Which fault a call was hit by, as a log tells it: by kind, answer and route, and what a log without some field leaves open."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meshbdd.intents import Down, Fault, Scope, ServiceRef, Side
from meshbdd.mesh import Plan, Stage
from meshbdd.mesh.base import Through
from meshbdd.scenario.hits import Suspect, is_hit, is_meant, told_apart, took
from meshbdd.telemetry.access_log import Entry
from meshbdd.units import Duration

A = ServiceRef("a", "b")
CAME = Entry("a-1", False, "", "default", 503, frozenset({"FI"}), "r1", started=9.0, path="/charge", method="POST")
WENT = Entry("client-1", True, A.host, "t1-0", 503, frozenset({"FI"}), "r1", started=9.0)


def _fault(*tags: str, side: Side = Side.SERVER, path: str | None = None, delay: Duration | None = None) -> Plan:
    fault = Fault(A, status=None if delay else 503, delay=delay, scope=Scope(path=path))
    return Plan("a fails", (Stage((), tags, ()),), intent=fault, side=side, faulty=(A,))


def test_an_absence_hits_calls_that_met_no_endpoint() -> None:
    down = Plan("a is down", (), intent=Down(A), service=A, faulty=(A,))
    assert is_hit(down, replace(WENT, flags=frozenset({"UH"})))
    assert not is_hit(down, WENT), "another fault answered"
    assert not is_hit(down, replace(WENT, status=200, flags=frozenset()))


def test_a_fault_at_the_caller_hits_calls_that_left_by_a_route_of_its_own() -> None:
    fault = _fault("t1-", "t2-", "", side=Side.CALLER)
    assert took(fault, WENT)
    assert is_hit(fault, WENT)
    for route in ("default", "t3-0"):
        assert not took(fault, replace(WENT, route=route)), "an edit that adds no route has no tag"
        assert not is_hit(fault, replace(WENT, route=route)), "a fault with the same answer in another route"


def test_a_delay_at_the_server_hits_whatever_is_answered() -> None:
    slow = _fault(delay=Duration(1))
    assert is_hit(slow, replace(CAME, flags=frozenset({"DI"}), status=200))
    assert is_hit(slow, replace(CAME, flags=frozenset({"DI"}), status=404))
    assert not is_hit(slow, CAME)


def test_a_fault_in_a_backend_hits_the_calls_that_bear_its_tag_there() -> None:
    backend = Through("mine", ServiceRef("fault", "b"), ServiceRef("twin", "b"))
    fault = replace(_fault(), through=backend)
    assert is_hit(fault, replace(CAME, route="other mine"))
    assert not is_hit(fault, replace(CAME, route="other mine-too"))
    assert not is_hit(fault, replace(CAME, route="mine", flags=frozenset()))


def test_a_grpc_status_answers_plain_http_with_200() -> None:
    exhausted = replace(_fault(), intent=Fault(A, grpc_status="RESOURCE_EXHAUSTED"))
    assert is_hit(exhausted, replace(CAME, status=200, protocol="HTTP/1.1"))
    assert not is_hit(exhausted, replace(CAME, status=503, protocol="HTTP/1.1"))


def test_a_fault_may_be_for_a_call_of_which_the_log_does_not_tell_enough() -> None:
    narrow = replace(_fault(), intent=Fault(A, status=503, scope=Scope(method="POST", path="/charge")))
    assert is_meant(narrow, CAME)
    assert is_meant(narrow, replace(CAME, method="", path=""))
    assert not is_meant(narrow, replace(CAME, method="GET"))
    assert not is_meant(narrow, replace(CAME, path="/health"))


@pytest.mark.parametrize("rivals", [["/charge", "/health"], ["/health", "/charge"]])
def test_one_of_several_faults_beside_it_that_is_for_the_call_leaves_open_which_hit_it(rivals: list[str]) -> None:
    beside = [Suspect(_fault(path=path)) for path in rivals]
    call = ("client-1", CAME)
    assert told_apart(Suspect(_fault()), beside, [call]) == ([], [call])
    assert told_apart(Suspect(_fault()), [Suspect(_fault(path="/health"))] * 2, [call]) == ([call], [])


@pytest.mark.parametrize(("started", "sure"), [(9.9, True), (10.0, False), (11.0, False), (0.0, False)])
def test_a_fault_that_came_later_may_have_hit_calls_that_began_then_or_nobody_knows_when(
    started: float, sure: bool
) -> None:
    call = ("client-1", replace(CAME, started=started))
    late = Suspect(_fault(), since={"a-1": 10.0})
    assert told_apart(Suspect(_fault()), [late], [call]) == (([call], []) if sure else ([], [call]))
