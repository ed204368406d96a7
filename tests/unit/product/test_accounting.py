"""Fault accounting: what it tells is plain data."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from meshbdd.cluster import Cluster
from meshbdd.errors import BadInput, EnvironmentBroken, Inconclusive
from meshbdd.evidence import FaultAccounted
from meshbdd.intents import Down, Fault, Scope, ServiceRef, Side
from meshbdd.mesh import Context, Istio, Linkerd, Plan, Stage
from meshbdd.mesh.base import Aim, Draw, Object, Where
from meshbdd.rehearsal.stage import StageCluster
from meshbdd.report.overview import overview
from meshbdd.scenario import Accounting, Environment
from meshbdd.scenario.hits import Suspect, is_hit, told_apart
from meshbdd.scenario.in_force import InForce
from meshbdd.scenario.vacuity import Unmet, chances, see_met
from meshbdd.sidecars import ISTIO
from meshbdd.telemetry.access_log import Entry, read_entries
from meshbdd.units import Duration, Percent
from meshbdd.waiting import asked_once

A, B = ServiceRef("a", "b"), ServiceRef("b", "b")


class _Cluster:
    def get(self, *_name: str) -> dict[str, Any]:
        return {"spec": {"selector": {"app": "payment-service"}}}

    def list(self, *_what: str, **_labels: str) -> list[dict[str, Any]]:
        meta = {"name": "payment-1", "uid": "u1", "namespace": "shop", "labels": {"app": "payment-service"}}
        return [{"metadata": meta, "status": {"podIP": "127.1.0.1"}}]


def test_calls_past_every_proxy_are_plain_data_for_the_report() -> None:
    environment = cast("Environment", SimpleNamespace(cluster=_Cluster(), mesh=SimpleNamespace(sidecars=ISTIO)))
    arrived = [Entry("payment-1", False, "", "", 200, frozenset(), f"r{n}", downstream="127.9.9.9:1") for n in range(3)]
    accounting = Accounting(environment)
    accounting._pods.look()
    bypassed = accounting._found.bypassed(arrived, ServiceRef("payment-service", "shop"), {"r0"})
    told = asdict(FaultAccounted("a fault", "payment-service.shop", 2, 0, bypassed=bypassed))
    assert json.loads(json.dumps(told))["bypassed"] == {"127.9.9.9": 2}


def test_where_the_end_of_the_logs_is_not_seen_it_is_said_what_helps() -> None:
    """Looked at so seldom that nobody can tell whether they still grow."""
    [entry] = read_entries("client-1", json.dumps(_LOG).encode() + b"\n")
    accounting = _accounting(_Cluster(), [entry], [])
    item = InForce(Plan("payment-service fails", (), intent=Fault(ServiceRef("payment-service", "shop"), Percent(100))))
    with asked_once(), pytest.raises(EnvironmentBroken) as caught:
        accounting._entries(item, lambda _: True)
    assert caught.value.code == "MB0605"
    assert "1 entry so far" in caught.value.sentence
    assert "less other work" in (caught.value.help or "")


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
    with pytest.raises(Inconclusive, match=re.escape(aside)):
        see_met(event, [])


def _fault(share: float = 1, *, side: Side = Side.CALLER, **headers: str) -> Plan:
    fault = Fault(A, Percent(share), status=503, scope=Scope(headers=headers))
    return Plan("a fails", (Stage((), ("t1-",), ()),), intent=fault, side=side, faulty=(A,))


def _call(route: str = "t1-0.default") -> Entry:
    return Entry("caller-1", True, A.host, route, 200, frozenset(), "r1")


def _met(calls: int, hit: int = 0) -> FaultAccounted:
    return FaultAccounted("a fails", "a.b", calls, hit)


def test_a_fault_that_by_chance_hit_nobody_proves_nothing() -> None:
    likely = chances(_fault(1), [_call()] * 3)
    see_met(_met(3, 1), likely)
    with pytest.raises(Inconclusive, match="by chance hit none of 3 calls") as caught:
        see_met(_met(3), likely)
    assert "of 700 calls" in str(caught.value.help)
    with pytest.raises(Inconclusive, match="and yet none of 3 calls was hit"):
        see_met(_met(3), chances(_fault(100), [_call()] * 3))


def test_calls_outside_of_a_faults_scope_are_a_claim_about_everybody_else() -> None:
    plan = _fault(1, **{"x-user": "qa"})
    see_met(_met(3), chances(plan, [_call("default")] * 3))
    with pytest.raises(Inconclusive, match="by chance hit none of 1 call:"):
        see_met(_met(3), chances(plan, [_call("default"), _call("default"), _call()]))
    at_server = _fault(1, side=Side.SERVER, **{"x-user": "qa"})
    see_met(_met(3), chances(at_server, [_call()] * 3))


@pytest.mark.parametrize(
    ("fault", "match", "words"),
    [
        ({"abort": {"httpStatus": 503, "percentage": {"value": 0.1}}}, None, "by chance hit none of 3 calls"),
        ({"delay": {"fixedDelay": "5s", "percent": 1}}, None, "of 700 calls one is hit"),
        ({"abort": {"httpStatus": 503}}, None, "is for 0% of the calls"),
        ({"abort": {"httpStatus": 503, "percentage": {"value": 100}}}, None, "and yet none of 3 calls was hit"),
        ({"abort": {"httpStatus": 503, "percentage": {"value": 1}}}, [{"headers": {"x-user": {"exact": "qa"}}}], ""),
    ],
)
def test_a_manifests_own_fault_that_hit_nobody_proves_nothing(fault: Object, match: Any, words: str) -> None:
    routes = [{"route": [{"destination": {"host": "a"}}]}]
    routes.insert(0, {**routes[0], "fault": fault, **({"match": match} if match else {})})
    document = {
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "a", "namespace": "b"},
        "spec": {"hosts": ["a"], "http": routes},
    }  # fmt: skip
    service = {"kind": "Service", "metadata": {"name": "a", "namespace": "b"}, "spec": {}}
    cluster = cast("Cluster", StageCluster([service], "b", lambda _: None))
    plan = Istio(cluster, "r1").plan_manifest([document], Context())
    assert plan.faulty == (A,)
    taken = [f"{plan.tags[0]}{int(bool(match))}"] * 3  # a header that no call has leads past the faulted route
    likely = chances(plan, [_call(route) for route in taken])
    see_met(_met(3, 1), likely)
    if not words:
        see_met(_met(3), likely)
        return
    with pytest.raises(Inconclusive) as caught:
        see_met(_met(3), likely)
    assert words in f"{caught.value.sentence} {caught.value.help}"


@pytest.mark.parametrize(
    ("context", "selector", "faulty"),
    [
        ("SIDECAR_INBOUND", {"app": "a"}, (A,)),
        ("SIDECAR_OUTBOUND", {"app": "a"}, ()),
        ("SIDECAR_INBOUND", {"app": "z"}, ()),
        ("SIDECAR_INBOUND", None, ()),
    ],
)
def test_a_fault_filter_that_a_manifest_brings_is_to_meet_a_call(context: str, selector: Any, faulty: Any) -> None:
    typed = {"@type": "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault", "abort": {}}
    patch = {"operation": "INSERT_BEFORE", "value": {"name": "own", "typed_config": typed}}
    spec: Object = {"configPatches": [{"applyTo": "HTTP_FILTER", "match": {"context": context}, "patch": patch}]}
    if selector:
        spec["workloadSelector"] = {"labels": selector}
    document = {
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": {"name": "own", "namespace": "b"},
        "spec": spec,
    }
    service = {
        "kind": "Service",
        "metadata": {"name": "a", "namespace": "b"},
        "spec": {"selector": {"app": "a"}, "ports": [{"port": 80}]},
    }
    labels = {"app": "a", "security.istio.io/tlsMode": "istio"}
    pod = {"kind": "Pod", "metadata": {"name": "a-1", "namespace": "b", "labels": labels}, "spec": {}}
    cluster = cast("Cluster", StageCluster([service, pod], "b", lambda _: None))
    plan = Istio(cluster, "r1").plan_manifest([document], Context())
    assert plan.faulty == faulty
    if faulty:
        assert plan.side is Side.SERVER
        assert is_hit(plan, Entry("a-1", False, "", "default", 503, frozenset({"FI"}), "r1"))
        assert not is_hit(plan, Entry("a-1", False, "", "default", 503, frozenset(), "r1"))


@pytest.mark.parametrize(
    ("status", "protocol", "flags", "hit"),
    [
        (503, "HTTP/1.1", "FI", True),
        (200, "HTTP/2", "FI", True),  # a gRPC call: the failure stands in its gRPC status
        (200, "HTTP/1.1", "FI", False),  # a fault with a gRPC status that met plain HTTP
        (500, "HTTP/2", "FI", False),
        (200, "HTTP/2", "DI", False),
    ],
)
def test_an_http_fault_at_the_server_hits_grpc_calls_too(status: int, protocol: str, flags: str, hit: bool) -> None:
    came = Entry("a-1", False, "", "default", status, frozenset({flags}), "r1", protocol=protocol)
    assert is_hit(_fault(100, side=Side.SERVER), came) is hit


@pytest.mark.parametrize(
    ("grpc", "hit", "by_grpc"),
    [(14, True, False), (8, False, True), (2, False, False)],
)
def test_the_grpc_status_tells_which_of_two_faults_answered_a_call(grpc: int, hit: bool, by_grpc: bool) -> None:
    came = Entry("a-1", False, "", "default", 200, frozenset({"FI"}), "r1", protocol="HTTP/2", grpc=grpc)
    assert is_hit(_fault(100, side=Side.SERVER), came) is hit
    exhausted = replace(_fault(100, side=Side.SERVER), intent=Fault(A, grpc_status="RESOURCE_EXHAUSTED"))
    assert is_hit(exhausted, came) is by_grpc


@pytest.mark.parametrize("flags", [{"FI"}, {"DI"}, {"DI", "FI"}])
def test_a_delay_and_a_failure_on_one_route_are_told_apart(flags: set[str]) -> None:
    went = Entry("client-1", True, A.host, "t1-0", 503, frozenset(flags), "r1")
    assert is_hit(_fault(100), went) is ("FI" in flags)
    slow = Plan("a is slow", (Stage((), ("t1-",), ()),), intent=Fault(A, delay=Duration(1)), side=Side.CALLER)
    assert is_hit(slow, went) is ("DI" in flags)


def test_a_service_that_nobody_missed_because_a_fault_answered_was_not_met() -> None:
    down = Plan("a is down", (), intent=Down(A), service=A, faulty=(A,))
    answered = Entry("client-1", True, A.host, "t1-0", 500, frozenset({"FI"}), "r1")
    with pytest.raises(Inconclusive, match=r"«a is down» was in force at every proxy, and yet none of 2 calls was hit"):
        see_met(FaultAccounted("a is down", "a.b", 2, 0), chances(down, [answered] * 2))
    missed = Entry("client-1", True, A.host, "default", 503, frozenset({"UH"}), "r1")
    assert is_hit(down, missed)
    see_met(FaultAccounted("a is down", "a.b", 2, 1), chances(down, [answered, missed]))


def test_a_call_that_its_own_caller_answered_is_no_call_that_nobody_made() -> None:
    with pytest.raises(Unmet, match=r"No call reached a\.b .* 3 with response flag FI ended at their callers' proxies"):
        see_met(FaultAccounted("a fails", "a.b", 0, 0, sent=3, seen=3, unreached={"response flag FI": 3}), [])
    with pytest.raises(Unmet, match=r"Nobody called a\.b"):
        see_met(FaultAccounted("a fails", "a.b", 0, 0, sent=3, seen=3), [])


def test_a_fault_of_no_call_is_refused() -> None:
    with pytest.raises(BadInput, match="0% of the calls"):
        Fault(A, Percent(0), status=503)


def _logged_by(pods: list[tuple[str, str, str, str]], *entries: Entry) -> Accounting:
    """Of what these pods (name, namespace, label ``app``, address) logged."""
    there = [
        {
            "metadata": {"name": name, "uid": address, "namespace": namespace, "labels": {"app": app}},
            "status": {"podIP": address},
        }
        for name, namespace, app, address in pods
    ]
    environment = SimpleNamespace(
        cluster=SimpleNamespace(
            list=lambda *_what, **_labels: there, get=lambda *_name: {"spec": {"selector": {"app": "a"}}}
        ),
        mesh=SimpleNamespace(sidecars=ISTIO),
        target="lab",
        sent=SimpleNamespace(are_earlier=lambda _id: False),
        tell=lambda _event: None,
    )
    accounting = Accounting(cast("Environment", environment))
    accounting._logs = accounting._found._logs = cast(
        "Any", SimpleNamespace(since_mark=lambda: list(entries), injections=[])
    )
    return accounting


@pytest.mark.parametrize("namesake", ["order-2", "order-1"])
@pytest.mark.parametrize("side", list(Side))
def test_who_has_the_labels_of_the_only_caller_of_a_fault_in_another_namespace_is_somebody_else(
    side: Side, namesake: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meshbdd.scenario.accounting._LOG_SECONDS", Duration(0.1))
    pods = [("a-1", "b", "a", "1.0.0.1"), ("order-1", "b", "order", "1.0.0.2"), (namesake, "other", "order", "1.0.0.3")]
    went = Entry(namesake, True, A.host, "default", 200, frozenset(), "r1", started=9.0, namespace="other")
    came = Entry(
        "a-1", False, "", "default", 200, frozenset(), "r1", started=9.0, downstream="1.0.0.3:9", namespace="b"
    )
    for_order = replace(_fault(100, side=side), callers=Where("b", {"app": "order"}))
    with pytest.raises(Inconclusive, match=r"Nobody whom it is for called a\.b while"):
        _logged_by(pods, went, came).account([InForce(for_order, requests=["r1"])], final=True)


@pytest.mark.parametrize("side", list(Side))
def test_whom_a_fault_is_for_is_named_where_only_others_called(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshbdd.scenario.accounting._LOG_SECONDS", Duration(0.1))
    pods = [("a-1", "b", "a", "1.0.0.1"), ("order-1", "b", "order", "1.0.0.2"), ("client-1", "b", "client", "1.0.0.3")]
    went = Entry("client-1", True, A.host, "default", 200, frozenset(), "r1", started=9.0, namespace="b")
    came = Entry(
        "a-1", False, "", "default", 200, frozenset(), "r1", started=9.0, downstream="1.0.0.3:9", namespace="b"
    )
    fault = Fault(A, status=503, scope=Scope(called_by=ServiceRef("order", "b")))
    for_order = replace(_fault(100, side=side), intent=fault, summary=str(fault), callers=Where("b", {"app": "order"}))
    told = (
        "order.b did not call a.b while «a.b fails with 503 for 100% of calls from order.b» was in force, as far as the proxies "
        "tell; others did, for whom the fault is not: 1 call from client-1"
    )
    with pytest.raises(Inconclusive, match=re.escape(told)) as caught:
        _logged_by(pods, went, came).account([InForce(for_order, requests=["r1"])], final=True)
    assert caught.value.help == "send requests that make order.b call it; a fault that meets no call proves nothing"
    nowhere = replace(went, upstream="", service="", authority="a", status=404)
    with pytest.raises(Inconclusive, match=r"order\.b did not call a\.b"):
        _logged_by(pods, nowhere).account([InForce(for_order, requests=["r1"])], final=True)


def test_a_fault_is_told_with_the_calls_that_it_is_for() -> None:
    scope = Scope(ServiceRef("order", "b"), "POST", "/charge", {"x-user": "qa"})
    told = " from order.b with method POST and path /charge and header x-user"
    assert str(Fault(A, Percent(30), status=503, scope=scope)) == f"a.b fails with 503 for 30% of calls{told}"
    assert str(Fault(A, delay=Duration(1), scope=Scope(path="/x"))).endswith("of calls with path /x")


@pytest.mark.parametrize(
    ("authority", "status", "told"),
    [
        ("a", 404, "No call reached a.b .*: 1 with status 404 ended at their callers' proxies"),
        ("a.b:80", 301, "No call reached a.b .*: 1 with status 301 ended at their callers' proxies"),
        ("ab", 404, "Nobody called a.b"),
        ("a.other", 404, "Nobody called a.b"),
    ],
)
@pytest.mark.parametrize("side", list(Side))
def test_calls_that_no_rule_led_to_a_service_are_told_as_such(
    side: Side, authority: str, status: int, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meshbdd.scenario.accounting._LOG_SECONDS", Duration(0.1))
    pods = [("a-1", "b", "a", "1.0.0.1"), ("order-1", "b", "order", "1.0.0.2")]
    answered = Entry(
        "order-1", True, "", "no-route", status, frozenset(), "r1", started=9.0, authority=authority, namespace="b"
    )
    with pytest.raises(Inconclusive, match=told):
        _logged_by(pods, answered).account([InForce(_fault(100, side=side), requests=["r1"])], final=True)
    elsewhere = replace(answered, namespace="other")
    with pytest.raises(Inconclusive, match="No call reached" if authority == "a.b:80" else "Nobody called"):
        _logged_by(pods, elsewhere).account([InForce(_fault(100, side=side), requests=["r1"])], final=True)


def test_calls_that_came_to_a_namesake_of_a_services_pod_met_no_fault_of_the_service(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("meshbdd.scenario.accounting._LOG_SECONDS", Duration(0.1))
    pods = [("a-0", "b", "a", "1.0.0.1"), ("a-0", "other", "a", "1.0.0.3")]
    for_qa = [InForce(_fault(100, side=Side.SERVER, **{"x-user": "qa"}), requests=["r1"])]
    came = Entry("a-0", False, "", "default", 200, frozenset(), "r1", started=9.0, namespace="other")
    with pytest.raises(Inconclusive, match=r"Nobody called a\.b while"):
        _logged_by(pods, came).account(for_qa)
    for_qa[0].accounted = False
    _logged_by(pods, replace(came, namespace="b")).account(for_qa)


def _accounting(cluster: _Cluster, entries: list[Entry], told: list[FaultAccounted]) -> Accounting:
    environment = SimpleNamespace(
        cluster=cluster,
        mesh=SimpleNamespace(sidecars=ISTIO),
        target="lab",
        sent=SimpleNamespace(are_earlier=lambda _id: False),
        tell=told.append,
    )
    accounting = Accounting(cast("Environment", environment))
    accounting._logs = accounting._found._logs = cast(
        "Any", SimpleNamespace(since_mark=lambda: list(entries), injections=[])
    )
    return accounting


def test_a_fault_may_wait_for_requests_to_come_where_those_so_far_met_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshbdd.scenario.accounting._LOG_SECONDS", Duration(0.1))
    told: list[FaultAccounted] = []
    entries = [Entry("client-1", True, A.host, "t1-0", 503, frozenset({"FI"}), "r1", started=9.0)]
    accounting = _accounting(_Cluster(), entries, told)
    other = Fault(B, Percent(100), status=500)
    waits = InForce(Plan("b fails", (Stage((), ("t2-",), ()),), intent=other, side=Side.CALLER, faulty=(B,)))
    in_force = [waits, InForce(_fault(100))]

    def sent(*requests: str) -> None:
        for item in in_force:
            item.requests += requests
            item.accounted = False

    sent("r1")
    accounting.account(in_force, more=True)
    assert [(event.service, event.hit) for event in told] == [(str(A), 1)]
    accounting.account(in_force, more=True)
    assert len(told) == 1, "what it met is told once"
    accounting.account(in_force[:1], more=True)  # the one that was met is withdrawn
    with pytest.raises(Inconclusive, match=r"Nobody called b\.b while «b fails» was in force"):
        accounting.account(in_force)
    sent("r2")
    entries.append(Entry("client-1", True, B.host, "t2-0", 500, frozenset({"FI"}), "r2", started=9.0))
    accounting.account(in_force, final=True)
    assert {event.service for event in told[-2:]} == {str(A), str(B)}


def test_where_none_was_met_a_fault_waits_only_while_claims_hold_and_requests_follow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("meshbdd.scenario.accounting._LOG_SECONDS", Duration(0.1))
    environment = SimpleNamespace(
        cluster=_Cluster(),
        mesh=SimpleNamespace(sidecars=ISTIO),
        target="lab",
        sent=SimpleNamespace(are_earlier=lambda _id: False),
    )
    accounting = Accounting(cast("Environment", environment))
    accounting._logs = accounting._found._logs = cast("Any", SimpleNamespace(since_mark=list, injections=[]))
    unmet = [InForce(_fault(100), requests=["r1"])]
    accounting.account(unmet, more=True, holds=True)
    for nothing_more in ({"more": True}, {"holds": True}, {"final": True}):  # it is false, the last one, or all is over
        unmet[0].accounted = False
        with pytest.raises(Inconclusive, match=r"Nobody called a\.b"):
            accounting.account(unmet, **nothing_more)


@pytest.mark.parametrize("together", [True, False])
def test_what_one_object_makes_fail_is_met_where_one_of_its_services_is_called(
    together: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meshbdd.scenario.accounting._LOG_SECONDS", Duration(0.1))
    entries = [Entry("client-1", True, A.host, "t1-0", 503, frozenset({"FI"}), "r1", started=9.0)]
    as_one = (frozenset({A, B}),) if together else ()
    plan = Plan("the manifest", (Stage((), ("t1-",), ()),), side=Side.CALLER, faulty=(A, B), as_one=as_one)
    accounting = _accounting(_Cluster(), entries, [])
    if together:
        accounting.account([InForce(plan, requests=["r1"])], final=True)
        entries.clear()
    with pytest.raises(Inconclusive, match="Nobody called"):
        accounting.account([InForce(plan, requests=["r1"])], final=True)


def test_what_one_service_of_a_change_met_is_told_once_while_another_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshbdd.scenario.accounting._LOG_SECONDS", Duration(0.1))
    told: list[FaultAccounted] = []
    entries = [Entry("client-1", True, A.host, "t1-0", 503, frozenset({"FI"}), "r1", started=9.0)]
    plan = Plan("the manifest", (Stage((), ("t1-",), ()),), side=Side.CALLER, faulty=(A, B))
    accounting, item = _accounting(_Cluster(), entries, told), InForce(plan, requests=["r1"])
    for _ in range(2):
        accounting.account([item], more=True)
        assert [event.service for event in told] == [str(A)]
    with pytest.raises(Unmet, match=r"Nobody called b\.b"):
        accounting.account([item])
    item.requests.append("r2")
    item.accounted = False
    entries += [replace(entries[0], service=ref.host, request_id="r2") for ref in (A, B)]
    accounting.account([item], final=True)
    assert [event.service for event in told] == [str(A), str(A), str(B)], "further requests are told, too"


def _at_server(status: int = 503, share: float = 100, **scope: Any) -> Plan:
    fault = Fault(A, Percent(share), status=status, scope=Scope(**scope))
    return Plan(str(fault), (), intent=fault, side=Side.SERVER, faulty=(A,))


def _came(path: str = "/x", method: str = "GET", started: float = 9.0) -> Entry:
    return Entry("a-1", False, "", "default", 503, frozenset({"FI"}), "r1", started, path=path, method=method)


CHARGE, HEALTH = _came("/charge?sku=1", "POST"), _came("/healthz")


@pytest.mark.parametrize(
    ("own", "other", "sure", "doubtful"),
    [
        (_at_server(path="/charge"), _at_server(path="/healthz"), [CHARGE], []),
        (_at_server(method="GET"), _at_server(method="POST"), [HEALTH], []),
        (_at_server(share=1), _at_server(path="/charge"), [HEALTH], [CHARGE]),
        (_at_server(path="/charge"), _at_server(share=1), [], [CHARGE]),
        (_at_server(headers={"x": "qa"}), _at_server(headers={"x": "dev"}), [], [CHARGE, HEALTH]),
        (_at_server(path="/a"), _at_server(path="/b"), [], [CHARGE, HEALTH]),  # rewritten on the way
        (_at_server(path="/a"), _at_server(500, path="/b"), [CHARGE, HEALTH], []),
        (_at_server(path="/charge"), replace(_at_server(), intent=None), [], [CHARGE]),  # a manifest's own filter
    ],
)
def test_two_faults_at_one_server_with_one_answer_are_told_apart_by_the_request(
    own: Plan, other: Plan, sure: list[Entry], doubtful: list[Entry]
) -> None:
    calls = [("client-1", CHARGE), ("client-1", HEALTH)]
    found = told_apart(Suspect(own), [Suspect(other)], calls)
    assert [[entry for _, entry in some] for some in found] == [sure, doubtful]


def test_two_faults_at_one_server_are_told_apart_by_the_caller_and_by_their_time() -> None:
    mine, other = ("client-1", CHARGE), ("order-1", HEALTH)
    for_client, for_all = Suspect(_at_server(), others={"order-1"}), Suspect(_at_server(share=1))
    assert told_apart(for_client, [Suspect(_at_server(), others={"client-1"})], [mine]) == ([mine], [])
    assert told_apart(for_all, [for_client], [mine, other]) == ([other], [mine])
    slow, both = (
        Suspect(replace(_at_server(), intent=Fault(A, delay=Duration(1)))),
        replace(CHARGE, flags=frozenset({"DI", "FI"})),
    )
    assert told_apart(for_all, [slow], [("client-1", both)]) == told_apart(slow, [for_all], [("client-1", both)])
    assert told_apart(for_all, [slow], [("client-1", both)]) == ([("client-1", both)], [])
    late = Suspect(_at_server(), since={"a-1": 10.0})
    assert told_apart(for_all, [late], [mine, ("client-1", _came(started=11.0))])[0] == [mine]


def test_a_fault_that_another_one_may_have_answered_for_proves_nothing() -> None:
    see_met(_met(3, 1), [0.5] * 3, doubtful=2)
    with pytest.raises(Inconclusive, match=r"of 2 calls either it or another fault at a\.b with the same answer did"):
        see_met(_met(3), [0.5] * 3, doubtful=2)
    see_met(_met(3), [], doubtful=2)  # it was for others, as far as the logs tell


def test_a_fault_at_the_server_for_one_path_is_expected_to_hit_the_calls_of_that_path() -> None:
    few = _at_server(share=1, path="/charge")
    assert chances(few, [CHARGE, HEALTH]) == [0.01]
    with pytest.raises(Inconclusive, match="by chance hit none of 1 call:"):
        see_met(_met(2), chances(few, [CHARGE, HEALTH]))


class _Shop(_Cluster):
    """A service with one pod, which can be replaced."""

    def __init__(self) -> None:
        self.uid = 1

    def list(self, *_what: str, **_labels: str) -> list[dict[str, Any]]:
        meta = {
            "name": f"payment-{self.uid}",
            "uid": f"u{self.uid}",
            "namespace": "b",
            "labels": {"app": "payment-service"},
        }
        status = {"podIP": f"127.1.0.{self.uid}", "phase": "Running"}
        return [{"metadata": meta, "spec": {"containers": [{"name": "istio-proxy"}]}, "status": status}]


def test_a_pod_that_was_replaced_is_not_taken_for_one_that_nobody_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshbdd.scenario.accounting._LOG_SECONDS", Duration(0.1))
    shop, entries, told = _Shop(), list[Entry](), list[FaultAccounted]()
    accounting = _accounting(shop, entries, told)
    item = InForce(_at_server())
    accounting.arrived(item, [item])
    item.requests.append("r1")
    with pytest.raises(Unmet, match=r"Nobody called a\.b"):
        accounting.account([item])
    shop.uid, item.accounted = 2, False
    with pytest.raises(Unmet, match=r"cannot be told: pod payment-1 or its proxy went away meanwhile"):
        accounting.account([item])
    item.accounted = False
    entries.append(replace(_came(), pod="payment-1"))  # what it logged was read before it went
    accounting.account([item])
    assert [(event.calls, event.hit) for event in told] == [(1, 1)]
    later = InForce(_at_server(), requests=["r2"])
    accounting.arrived(later, [later])
    with pytest.raises(Unmet, match=r"Nobody called a\.b"):
        accounting.account([later])


def test_faults_at_one_server_know_of_each_other_while_they_are_in_force() -> None:
    accounting = _accounting(_Shop(), [], [])
    first, second, third = (InForce(_at_server(share=share)) for share in (1, 2, 3))
    accounting.arrived(first, [first])
    accounting.arrived(second, [first, second])
    accounting.arrived(third, [second, third])  # the first one was withdrawn meanwhile
    assert [item.beside for item in (first, second, third)] == [[second], [first, third], [second]]


@pytest.mark.parametrize(("ids", "said"), [(("r1", "x"), False), (("x", "y"), True)])
def test_calls_that_may_all_be_somebody_elses_are_told_as_such(
    ids: tuple[str, str], said: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meshbdd.scenario.accounting._LOG_SECONDS", Duration(0.1))
    pods = [("a-1", "b", "a", "1.0.0.1"), ("poller-1", "b", "poller", "1.0.0.2")]
    calls = [
        Entry("poller-1", True, A.host, "t1-0", 503, frozenset({"FI"}), request, started=9.0, namespace="b")
        for request in ids
    ]
    told: list[FaultAccounted] = []
    accounting = _logged_by(pods, *calls)
    accounting._environment.tell = told.append  # type: ignore[method-assign]
    accounting.account([InForce(_fault(100), requests=["r1"])], final=True)
    [event] = told
    assert bool(event.others) == said
    assert ("others made them" in overview([event])) == said


def test_an_absence_is_met_by_calls_that_another_services_rule_leads_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is about the endpoints, whoever was called."""
    monkeypatch.setattr("meshbdd.scenario.accounting._LOG_SECONDS", Duration(0.1))
    down = InForce(Plan("a is down", (), intent=Down(A), service=A, faulty=(A,)), requests=["r1"])
    went = Entry(
        "client-1", True, B.host, "r", 504, frozenset({"UH"}), "r1", started=9.0, authority="b", backend=A.host
    )
    _logged_by([], went).account([down])
    down.accounted = False
    down.told.clear()
    with pytest.raises(Inconclusive, match=r"Nobody called a\.b"):
        _logged_by([], replace(went, backend=B.host)).account([down])


def _labelled(kind: str, name: str, spec: dict[str, Any], **labels: str) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": name, "namespace": "b", "labels": labels}, "spec": spec}


def _with_pods(name: str, **labels: str) -> dict[str, Any]:
    template = {"metadata": {"labels": labels}, "spec": {"containers": []}}
    return _labelled("Deployment", name, {"selector": {"matchLabels": labels}, "template": template})


@pytest.mark.parametrize("mesh", [Istio, Linkerd])
def test_an_absence_is_met_by_calls_to_another_service_that_has_no_pod_either(
    mesh: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meshbdd.scenario.accounting._LOG_SECONDS", Duration(0.1))
    world = [
        _labelled("Service", "a", {"selector": {"app": "a"}}),
        _labelled("Service", "a-alt", {"selector": {"app": "a", "version": "v1"}}),
        _labelled("Service", "all", {"selector": {"part-of": "shop"}}),
        _labelled("Service", "elsewhere", {}),
        _with_pods("a-1", **{"app": "a", "version": "v1", "part-of": "shop"}),
        _with_pods("c-1", **{"app": "c", "part-of": "shop"}),
    ]
    plan = mesh(cast("Cluster", StageCluster(world, "b", lambda _: None)), "r1").plan(Down(A), Context())
    assert [str(service) for service in plan.missed_with] == ["a-alt.b"]
    alt = ServiceRef("a-alt", "b")
    went = Entry("client-1", True, alt.host, "r", 503, frozenset({"UH"}), "r1", started=9.0, authority="a-alt")
    _logged_by([], went).account([InForce(plan, requests=["r1"])])
    _logged_by([]).account([InForce(plan, requests=["r1"], unseen={"r1": alt})])
    with pytest.raises(Inconclusive, match=r"Nobody called a\.b"):
        _logged_by([], replace(went, service="all.b.svc.cluster.local")).account([InForce(plan, requests=["r1"])])


_LOG = {"response_code": 504, "response_flags": "UH", "request_id": "r1"}


@pytest.mark.parametrize(
    ("cluster", "called", "backend"),
    [
        ("Service.b.b:80/Service.b.a:80", B.host, A.host),
        ("Service.b.b:80/Service.b.a:80/grpc-retries", B.host, A.host),
        ("Service.b.b:80/HTTPRoute.b.r/0", B.host, ""),
        ("outbound|80|v1|a.b.svc.cluster.local", A.host, A.host),
        ("inbound|80||", "", ""),
    ],
)
def test_a_cluster_tells_who_was_called_and_who_was_to_answer(cluster: str, called: str, backend: str) -> None:
    [entry] = read_entries("client-1", json.dumps({**_LOG, "upstream_cluster": cluster}).encode() + b"\n")
    assert (entry.service, entry.backend) == (called, backend)


def test_calls_to_another_service_are_outside_of_a_fault_in_the_route_of_this_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Istio: the cluster is this one's, the authority the other's."""
    monkeypatch.setattr("meshbdd.scenario.accounting._LOG_SECONDS", Duration(0.1))
    led = Entry("client-1", True, A.host, "other", 200, frozenset(), "r1", started=9.0, authority="b", backend=A.host)
    fault = InForce(_fault(100), requests=["r1"])
    with pytest.raises(Inconclusive, match=r"Nobody called a\.b .* \(1 to b\) were made to another service") as caught:
        _logged_by([], led).account([fault])
    assert caught.value.code == "MB0616"
    for own in (replace(led, authority="a"), replace(led, authority="1.0.0.9:80")):
        fault.accounted = False
        with pytest.raises(Inconclusive, match="none of 1 call was hit"):
            _logged_by([], own).account([fault])
    fault.accounted = False
    _logged_by([], replace(led, route="t1-0", status=503, flags=frozenset({"FI"}))).account([fault])


@pytest.mark.parametrize("authority", ["a", "a.b:80", "A.b.svc.cluster.local."])
def test_a_fault_in_the_route_of_a_service_meets_the_calls_that_the_route_leads_to_another_one(
    authority: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Istio: the cluster is the other's, the authority this one's."""
    monkeypatch.setattr("meshbdd.scenario.accounting._LOG_SECONDS", Duration(0.1))
    met = Entry(
        "client-1", True, B.host, "t1-0", 503, frozenset({"FI"}), "r1", started=9.0, authority=authority,
        backend=B.host, namespace="b",
    )  # fmt: skip
    told: list[FaultAccounted] = []
    for entries in ([met], [met, replace(met, authority="b", route="default", flags=frozenset())]):
        accounting = _logged_by([], *entries)
        accounting._environment.tell = told.append  # type: ignore[method-assign]
        accounting.account([InForce(_fault(100), requests=["r1"])], final=True)
        assert [(event.calls, event.hit) for event in told] == [(1, 1)], "calls to the other one are none of its"
        told.clear()
    _logged_by([], replace(met, authority="1.0.0.9:80")).account([InForce(_fault(100), requests=["r1"])])


def test_a_call_that_the_copy_of_a_redirect_answered_reached_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshbdd.scenario.accounting._LOG_SECONDS", Duration(0.1))
    sent_on = Entry("client-1", True, "", "t1-0", 301, frozenset(), "r1", started=9.0, authority="a.b")
    with pytest.raises(Unmet, match=r"No call reached a\.b .* 1 with status 301"):
        _logged_by([], sent_on).account([InForce(_fault(100), requests=["r1"])])


@pytest.mark.parametrize("other", [{"authority": "b"}, {"namespace": "c"}, {"authority": "1.0.0.9:80"}])
def test_calls_that_are_led_elsewhere_and_that_nothing_ties_to_a_service_are_none_of_its(
    other: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meshbdd.scenario.accounting._LOG_SECONDS", Duration(0.1))
    led = Entry("client-1", True, B.host, "x", 200, frozenset(), "r1", started=9.0, authority="a", namespace="b")
    with pytest.raises(Unmet, match=r"Nobody called a\.b"):
        _logged_by([], replace(led, **cast("Any", other))).account([InForce(_fault(100), requests=["r1"])])


def test_calls_that_the_route_of_a_manifest_leads_to_another_service_meet_its_own_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("meshbdd.scenario.accounting._LOG_SECONDS", Duration(0.1))
    met = Entry(
        "client-1", True, B.host, "t1-0", 200, frozenset({"DI"}), "r1", started=9.0, authority="a", namespace="b"
    )
    stage = Stage((), ("t1-",))
    plan = Plan("the manifest's VirtualService a", (stage,), side=Side.CALLER, faulty=(A,), draws=(Draw("t1-0", 1.0),))
    _logged_by([], met).account([InForce(plan, requests=["r1"])])
    with pytest.raises(Unmet, match=r"Nobody called a\.b"):
        _logged_by([], replace(met, authority="b")).account([InForce(plan, requests=["r1"])])


def test_a_manifests_fault_for_certain_callers_is_met_by_their_calls_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshbdd.scenario.accounting._LOG_SECONDS", Duration(0.1))
    pods = [("order-1", "b", "order", "1.0.0.2"), ("client-1", "b", "client", "1.0.0.3")]
    plan = Plan(
        "the manifest's VirtualService a", (Stage((), ("t1-",)),), side=Side.CALLER, faulty=(A,),
        draws=(Draw("t1-0", 1.0),), aims=(Aim(A, (Where(labels={"app": "order"}),)),),
    )  # fmt: skip
    others = Entry("client-1", True, A.host, "t1-1", 200, frozenset(), "r1", started=9.0, namespace="b")
    own = replace(others, pod="order-1", route="t1-0", status=503, flags=frozenset({"FI"}))
    elsewhere = replace(own, route="t1-1", status=200, flags=frozenset())
    told = "Nobody whom it is for called a.b while .*; others did, for whom the fault is not: 1 call from client-1"
    with pytest.raises(Unmet, match=told):
        _logged_by(pods, others).account([InForce(plan, requests=["r1"])], final=True)
    events: list[FaultAccounted] = []
    for entries in ([others, own], [own], [others, elsewhere]):
        accounting = _logged_by(pods, *entries)
        accounting._environment.tell = events.append  # type: ignore[method-assign]
        accounting.account([InForce(plan, requests=["r1"])], final=True)
    assert [(event.calls, event.hit) for event in events] == [(1, 1), (1, 1), (1, 0)]
    with pytest.raises(
        Unmet, match=r"fail for callers of whom there is no pod.*others called.*: 1 call from client-1\."
    ):
        _logged_by(pods[1:], others).account([InForce(plan, requests=["r1"])], final=True)


@pytest.mark.parametrize("caller", [None, ServiceRef("order", "b")])
def test_mirrored_copies_are_no_calls_past_every_proxy(
    caller: ServiceRef | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meshbdd.scenario.accounting._LOG_SECONDS", Duration(0.1))
    pods = [("a-1", "b", "a", "1.0.0.1"), ("client-1", "b", "client", "1.0.0.3")]
    made = Entry("client-1", True, B.host, "default", 200, frozenset(), "r1", started=9.0, authority="b", namespace="b")
    copy = Entry(
        "a-1", False, "", "default", 200, frozenset(), "r1", started=9.0, downstream="1.0.0.3:0", authority="b",
        namespace="b", copied=True,
    )  # fmt: skip
    plan = replace(_fault(100), intent=Fault(A, status=503, scope=Scope(caller)))
    told = (
        f"{'order.b did not call' if caller else 'Nobody called'} a.b while «a fails» was in force: 1 mirrored copy came to its "
        "pods (1 of calls of client-1 to another service), and a fault in the route of a.b meets no copy."
    )
    plan = replace(plan, summary="a fails")
    with pytest.raises(Unmet, match=re.escape(told)) as caught:
        _logged_by(pods, made, copy).account([InForce(plan, requests=["r1"])], final=True)
    assert caught.value.code == "MB0617"
    assert ("| inject at | server |" in caught.value.help) == (caller is None)
    past = replace(copy, copied=False, request_id="r2")
    with pytest.raises(Unmet, match=r"past every proxy went 1 call from client-1\."):
        _logged_by(pods, made, copy, past).account([InForce(plan, requests=["r1"])], final=True)


@pytest.mark.parametrize("at_endpoints", ["fault", "absence"])
def test_calls_that_a_rule_leads_away_from_a_fault_at_the_endpoints_are_told(
    at_endpoints: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meshbdd.scenario.accounting._LOG_SECONDS", Duration(0.1))
    plan = _fault(100, side=Side.SERVER)
    if at_endpoints == "absence":
        plan = Plan("a is down", (), intent=Down(A), service=A, faulty=(A,))
    led = Entry(
        "client-1", True, B.host, "x", 200, frozenset(), "r1", started=9.0, authority="a", backend=B.host, namespace="b"
    )
    told = r"No call to a\.b came to its own pods while .* a rule led the calls elsewhere \(1 to b\.b\)\."
    with pytest.raises(Unmet, match=told) as caught:
        _logged_by([], led).account([InForce(plan, requests=["r1"])])
    assert caught.value.code == "MB0616"
    with pytest.raises(Unmet, match=r"Nobody called a\.b"):
        _logged_by([], replace(led, authority="b")).account([InForce(plan, requests=["r1"])])
