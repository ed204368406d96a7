"""The calls that a fault is about, by the logs of both sides: whose they are, and what came to the same pods beside them."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from meshbdd.intents import Down, Fault, ServiceRef, Side
from meshbdd.mesh import Plan
from meshbdd.mesh.base import Through
from meshbdd.scenario.fault_calls import FaultCalls
from meshbdd.scenario.in_force import InForce
from meshbdd.scenario.known_pods import KnownPods
from meshbdd.sidecars import LINKERD, Sidecars
from meshbdd.telemetry.access_log import Entry

A, OTHER = ServiceRef("a", "b"), ServiceRef("other", "b")
BACKEND, TWIN, STAND_IN = (ServiceRef(f"a-{what}", "b") for what in ("fault", "twin", "stand-in"))
SELECTS = {A: "a", OTHER: "other", BACKEND: "fault", TWIN: "a", STAND_IN: "stand-in"}
ADDRESSES = {"client": "1.0.0.1", "a": "1.0.0.2", "other": "1.0.0.3", "fault": "1.0.0.4", "stand-in": "1.0.0.5"}
NO_ENDPOINT = "response flag UH: no healthy endpoint, all are ejected or there are none"
THROUGH = Through("t", BACKEND, TWIN)


def _pod(app: str) -> dict[str, Any]:
    meta = {"name": f"{app}-1", "uid": app, "namespace": "b", "labels": {"app": app}}
    spec = {"containers": [{"name": LINKERD.container}]}
    return {"metadata": meta, "spec": spec, "status": {"podIP": ADDRESSES[app], "phase": "Running"}}


def _find(sidecars: Sidecars = LINKERD, *injections: Entry) -> FaultCalls:
    by_name = {service.name: app for service, app in SELECTS.items()}
    cluster = SimpleNamespace(
        list=lambda kind, *_where: [_pod(app) for app in ADDRESSES] if kind == "Pod" else [],
        get=lambda _kind, name, _namespace: {"spec": {"selector": {"app": by_name[name]}}},
    )
    pods = KnownPods(cast("Any", cluster), sidecars)
    pods.look()
    return FaultCalls(cast("Any", SimpleNamespace(injections=list(injections))), pods)


def _went(request: str, service: ServiceRef, to: str, *, who: str = "client", authority: str = "") -> Entry:
    upstream = f"{ADDRESSES[to]}:8080"
    return Entry(f"{who}-1", True, service.host, "", 200, frozenset(), request, upstream=upstream, authority=authority)


def _came(request: str, to: str, *, who: str = "client", authority: str = "") -> Entry:
    downstream = f"{ADDRESSES[who]}:999"
    return Entry(f"{to}-1", False, "", "", 200, frozenset(), request, downstream=downstream, authority=authority)


def _at_server() -> InForce:
    fault = Fault(A, status=503)
    return InForce(Plan("a fails", (), intent=fault, side=Side.SERVER, faulty=(A,), authority=r"a(\.b)?"))


def _through() -> InForce:
    return InForce(Plan("a fails", (), intent=Fault(A, status=503), side=Side.SERVER, faulty=(A,), through=THROUGH))


def test_calls_at_a_server_under_another_name_are_the_services_where_their_callers_log_says_so() -> None:
    logged = [
        _came("own-name", "a", authority="a.b"),
        _came("by-address", "a", authority="10.0.0.9"),
        _came("led", "a", authority="shop.example"),
        _went("led", A, "a", authority="shop.example"),
        _came("others", "a", authority="other.example"),
        _went("others", OTHER, "a", authority="other.example"),
    ]
    item = _at_server()
    assert [entry.request_id for _, entry in _find().calls(item, logged, A)] == ["own-name", "led"]
    item.requests.append("by-address")
    assert [entry.request_id for _, entry in _find().calls(item, logged, A)] == ["own-name", "by-address", "led"]


def test_calls_that_are_led_past_a_fault_are_those_that_came_to_the_service() -> None:
    logged = [
        _went("led", OTHER, "a"),
        _came("led", "a"),
        _went("own", A, "a"),
        _came("own", "a"),
        _went("elsewhere", OTHER, "other"),
        _came("elsewhere", "other"),
        _went("passed-on", TWIN, "a", who="fault"),
        _came("passed-on", "a", who="fault"),
    ]
    assert _find().led(_through(), logged, A) == {"other.b": 1}


def test_tries_past_a_fault_backend_are_those_that_came_to_the_services_own_pods() -> None:
    """By a proxy that knows the routes; what the pods themselves send, and what comes to others, is none."""
    logged = [
        _came("own", "a"),
        _came("elsewhere", "other"),
        _went("onward", OTHER, "other", who="a"),
        _came("passed-on", "a", who="fault"),
    ]
    assert [(who, e.request_id) for who, e in _find().calls(_through(), logged, A)] == [("client-1", "own")]


def test_a_call_is_hit_that_went_to_what_stands_in_for_a_service() -> None:
    route = InForce(Plan("the manifest", (), side=Side.CALLER, faulty=(A,), stand_ins=(STAND_IN,)))
    calls = [("client-1", _went("own", A, "a")), ("client-1", _went("replaced", A, "stand-in"))]
    hit, doubtful = _find().told_apart(route, calls)
    assert [entry.request_id for _, entry in hit] == ["replaced"]
    assert doubtful == []


@pytest.mark.parametrize(
    ("plan", "told"),
    [
        (_at_server().plan, {NO_ENDPOINT: 1, "status 404": 1}),
        (replace(_at_server().plan, side=Side.CALLER), {"status 404": 1}),
        (Plan("a is down", (), intent=Down(A), side=Side.SERVER, service=A, faulty=(A,)), {"status 404": 1}),
    ],
)
def test_calls_that_met_no_endpoint_did_not_reach_a_fault_at_the_service(plan: Plan, told: dict[str, int]) -> None:
    """At the caller they met the fault's own route before, and a service that is down they were to miss."""
    nowhere = replace(_went("r1", A, "a"), status=503, flags=frozenset({"UH"}), upstream="")
    no_rule = replace(nowhere, service="", status=404, flags=frozenset({"NR"}), authority="a.b")
    logged = [nowhere, replace(nowhere, service=OTHER.host), no_rule, _went("r2", A, "a")]
    assert _find().unreached(InForce(plan), logged, A) == told
