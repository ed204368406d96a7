"""For whom a change in a route is: the calls to one Service, and all of its callers in whatever namespace."""

from __future__ import annotations

from typing import Any

import pytest

from meshbdd.errors import BadInput
from meshbdd.intents import Fault, Intent, Retry, Scope, ServiceRef, Split, Timeout
from meshbdd.mesh import Linkerd, Plan
from meshbdd.mesh.linkerd.markers import RouteMarked
from meshbdd.units import Duration, Percent
from tests.unit.product.staged import Staged
from tests.unit.product.test_linkerd import CLIENT, PAYMENT, Objects, _pod, _route, _service, plan

Object = dict[str, Any]
LEDGER = ServiceRef("ledger", "legacy")
FAILS = Fault(LEDGER, status=503)
_PARENT: Object = {"group": "", "kind": "Service"}
_OTHER: Object = {**_PARENT, "name": "order-service", "port": 80}
_MINE: Object = {"matches": [{"path": {"type": "PathPrefix", "value": "/mine"}}]}


def _shared(*others: Object, rules: list[Object] | None = None, **meta: Any) -> Object:
    """A route of payment-service that has more parents."""
    route = _route(rules or [{}], "both", **meta)
    route["spec"]["parentRefs"] += others
    return route


# Other Services


@pytest.mark.parametrize(
    ("intent", "route"),
    [
        (Fault(PAYMENT, status=503), _shared(_OTHER)),
        (Fault(PAYMENT, delay=Duration(0.1)), _shared(_OTHER)),
        (Split(PAYMENT, (("stable", Percent(100)),)), _shared(_OTHER)),
        (Timeout(PAYMENT, Duration(0.3)), _shared(_OTHER, rules=[{"timeouts": {"request": "5s"}}])),
        (Timeout(PAYMENT, Duration(0.3)), _shared(_OTHER, annotations={"timeout.linkerd.io/request": "5s"})),
        (Retry(PAYMENT, 2), _shared(_OTHER, annotations={"retry.linkerd.io/limit": "1"})),
        (Retry(PAYMENT, 0), _shared(_OTHER, annotations={"retry.linkerd.io/limit": "1"})),
    ],
)
def test_what_would_go_into_a_route_that_another_service_has_too_is_refused(intent: Intent, route: Object) -> None:
    with pytest.raises(
        BadInput, match=r"HTTPRoute both in namespace shop, which is for Service order-service\.shop as"
    ) as it:
        plan(intent, route)
    assert it.value.code == "MB0485"
    assert it.value.help == (
        "give each of its parents a route of its own, so that payment-service.shop has one for itself"
    )


@pytest.mark.parametrize(
    ("parent", "told"),
    [
        ({**_PARENT, "name": "payment-service", "namespace": "qa"}, r"Service payment-service\.qa"),
        ({"name": "front"}, r"Gateway front\.shop"),
        ({"group": "policy.linkerd.io", "kind": "EgressNetwork", "name": "world"}, r"EgressNetwork world\.shop"),
    ],
)
def test_another_parent_is_any_that_is_not_the_service(parent: Object, told: str) -> None:
    with pytest.raises(BadInput, match=f"which is for {told} as well"):
        plan(Fault(PAYMENT, status=503), _shared(parent))


def test_other_ports_of_the_service_are_no_other_parents() -> None:
    route = _shared({**_PARENT, "name": "payment-service", "namespace": "shop", "port": 81})
    _, [changed] = plan(Fault(PAYMENT, status=503), route)
    assert len(changed["spec"]["rules"]) == 2


def test_what_stands_in_the_service_leaves_a_route_of_several_alone() -> None:
    for intent in (Timeout(PAYMENT, Duration(0.3)), Retry(PAYMENT, 2)):
        made, _ = plan(intent, _shared(_OTHER))
        assert {edit.kind for edit in made.edits} == {"Service"}


def test_a_route_of_several_that_gets_no_copy_is_no_matter() -> None:
    charge = {"matches": [{"path": {"type": "Exact", "value": "/charge"}}]}
    fault = Fault(PAYMENT, status=503, scope=Scope(path="/charge"))
    made, _ = plan(fault, _shared(_OTHER, rules=[_MINE]), _route([charge]))
    assert [edit.name for edit in made.edits] == ["theirs"]


# Other namespaces


def _at(home: str, obj: Object) -> Object:
    return {**obj, "metadata": {**obj["metadata"], "namespace": home}}


def _for_ledger(rules: list[Object], name: str = "consumer", home: str = "shop", **meta: Any) -> Object:
    route = _at(home, _route(rules, name, **meta))
    return {**route, "spec": {"parentRefs": [{**_PARENT, "name": "ledger", "namespace": "legacy"}], "rules": rules}}


def _without_pods() -> Object:
    service = _at("legacy", _service("ledger"))
    service["spec"]["ports"][0]["targetPort"] = 8080
    return service


THERE = (_at("legacy", _service("ledger")), _at("legacy", _pod("ledger")))


def _rules(objects: list[Object]) -> dict[str, int]:
    return {
        f"{o['metadata']['name']}.{o['metadata']['namespace']}": len(o["spec"]["rules"])
        for o in objects
        if o["kind"].endswith("Route")
    }


def _awaited(made: Plan) -> dict[str, str | None]:
    return {m.route: m.where.namespace for m in made.markers if isinstance(m, RouteMarked)}


def test_a_fault_meets_callers_by_a_consumer_route_and_those_elsewhere_by_one_of_its_own() -> None:
    made, objects = plan(FAILS, *THERE, _for_ledger([_MINE, {}]))
    assert _rules(objects) == {"consumer.shop": 4, "meshbdd-ledger-80.legacy": 2}
    assert _awaited(made) == {"HTTPRoute.shop.consumer": "shop", "HTTPRoute.legacy.meshbdd-ledger-80": None}
    assert len({str(marker) for marker in made.markers}) == 2
    _, again = plan(Fault(LEDGER, delay=Duration(1)), *THERE, *(o for o in objects if o["kind"] == "HTTPRoute"))
    assert _rules(again) == {"consumer.shop": 8, "meshbdd-ledger-80.legacy": 4}


def test_a_producer_route_is_for_those_elsewhere() -> None:
    made, objects = plan(FAILS, *THERE, _for_ledger([{}]), _for_ledger([_MINE], "producer", "legacy"))
    assert _rules(objects) == {"consumer.shop": 2, "producer.legacy": 2}
    assert _awaited(made) == {"HTTPRoute.shop.consumer": "shop", "HTTPRoute.legacy.producer": None}


def test_nobody_elsewhere_needs_a_route_where_nobody_is() -> None:
    made, objects = plan(FAILS, _without_pods(), _for_ledger([_MINE]))
    assert _rules(objects) == {"consumer.shop": 2}
    assert _awaited(made) == {"HTTPRoute.shop.consumer": "shop"}


def test_a_consumer_route_where_nobody_is_gets_its_copy_and_is_not_awaited() -> None:
    made, objects = plan(FAILS, *THERE, _for_ledger([_MINE], home="empty"))
    assert _rules(objects) == {"consumer.empty": 2, "meshbdd-ledger-80.legacy": 2}
    assert _awaited(made) == {"HTTPRoute.legacy.meshbdd-ledger-80": None}


@pytest.mark.parametrize(
    "intent",
    [FAILS, Fault(LEDGER, delay=Duration(1)), Split(LEDGER, (("stable", Percent(100)),))],
)
def test_a_route_for_those_elsewhere_that_would_fill_a_gap_in_a_consumers_is_refused(intent: Intent) -> None:
    with pytest.raises(
        BadInput, match=r"HTTPRoute consumer leaves some without a rule, which are answered with 404"
    ) as it:
        plan(intent, *THERE, _for_ledger([_MINE]))
    assert it.value.code == "MB0487"
    for_host = _for_ledger([{}])
    for_host["spec"]["hostnames"] = ["ledger.example"]
    with pytest.raises(BadInput, match="leaves some without a rule"):
        plan(intent, *THERE, for_host)


def test_a_fault_for_a_caller_with_a_route_of_its_own_stays_in_that() -> None:
    fault = Fault(LEDGER, status=503, scope=Scope(called_by=CLIENT))
    _, objects = plan(fault, *THERE, _service("client"), _for_ledger([_MINE]), _for_ledger([{}], "other", "qa"))
    assert _rules(objects) == {"consumer.shop": 2}
    elsewhere = Fault(LEDGER, status=503, scope=Scope(called_by=ServiceRef("job", "legacy")))
    job = (_at("legacy", _service("job")), _at("legacy", _pod("job")))
    _, objects = plan(elsewhere, *THERE, *job, _for_ledger([{}]))
    assert _rules(objects) == {"consumer.shop": 2, "meshbdd-ledger-80.legacy": 2}


def test_a_route_beside_a_consumers_comes_after_it_also_within_one_second() -> None:
    _, objects = plan(FAILS, *THERE, _for_ledger([{}], "payments"))
    assert _rules(objects) == {"payments.shop": 2, "payments-meshbdd-ledger-80.legacy": 2}


def test_a_route_beside_a_consumers_is_known_as_the_runs_own() -> None:
    fault = Fault(LEDGER, status=503, scope=Scope(headers={"X-User": "qa"}))
    there = Staged(Linkerd, [*Objects(*THERE, _for_ledger([{}], "payments")).objects], ())
    there(fault)
    beta: Object = {"matches": [{"headers": [{"name": "x-beta", "value": "yes"}]}]}
    with pytest.raises(BadInput, match=r"HTTPRoute orders .* within one second the one whose name comes first wins"):
        there([_for_ledger([beta], "orders", "legacy")])
    with pytest.raises(BadInput, match="where the HTTPRoute of an earlier step is"):
        there([_for_ledger([{}], "orders", "legacy")])


@pytest.mark.parametrize(("kind", "grpc"), [("GRPCRoute", False), ("HTTPRoute", True)])
def test_a_route_beside_a_consumers_is_of_its_kind_since_linkerd_heeds_one(kind: str, *, grpc: bool) -> None:
    service = _at("legacy", _service("ledger"))
    service["spec"]["ports"][0]["name"] = "grpc" if grpc else "http"
    made, _ = plan(FAILS, service, THERE[1], {**_for_ledger([{}]), "kind": kind})
    assert {edit.kind for edit in made.edits} == {kind}


def test_grpc_statuses_are_retried_for_callers_elsewhere_as_well() -> None:
    service = _at("legacy", _service("ledger", grpc=True))
    consumer = {**_for_ledger([{}]), "kind": "GRPCRoute"}
    made, _ = plan(Retry(LEDGER, 2), service, THERE[1], consumer)
    assert [str(edit) for edit in made.edits if edit.kind == "GRPCRoute"] == ["GRPCRoute meshbdd-ledger-9000.legacy"]
    made, _ = plan(Retry(LEDGER, 2), service, THERE[1], {**consumer, "kind": "HTTPRoute"})
    assert {edit.kind for edit in made.edits} == {"Service"}, "beside a GRPCRoute that would count no more"


def test_a_services_time_limit_counts_for_callers_who_go_by_no_route() -> None:
    service = _at("legacy", _service("ledger", annotations={"timeout.linkerd.io/response": "100ms"}))
    consumer = _for_ledger([{}], annotations={"timeout.linkerd.io/request": "5s"})
    with pytest.raises(BadInput, match=r"timeout\.linkerd\.io/response of Service ledger is 100ms"):
        plan(Timeout(LEDGER, Duration(0.3)), service, THERE[1], consumer)
    plan(Timeout(LEDGER, Duration(0.3)), service, consumer)


def test_a_change_has_arrived_when_each_of_its_routes_is_there() -> None:
    headers = [{"header": {"key": "x-meshbdd-change", "value": "meshbdd-r1-1"}}]
    theirs = {"name": "HTTPRoute.shop.consumer"}
    ours = {"name": "HTTPRoute.legacy.meshbdd-ledger-80", "request_headers_to_add": headers}
    host = {"name": "Service.legacy.ledger:80", "routes": [theirs, ours]}
    pages: list[Object] = [{"configs": [{"route_config": {"virtual_hosts": [host]}}]}, {}]
    held = [
        RouteMarked("meshbdd-r1-1", LEDGER, 80, route=name).held(pages) for name in (ours["name"], theirs["name"], "")
    ]
    assert held == [True, False, True]
    assert RouteMarked("meshbdd-r1-1", ServiceRef("other", "legacy"), 80).held(pages) is None


def test_each_route_of_a_manifest_is_awaited_where_it_counts() -> None:
    written = [_for_ledger([{}]), _for_ledger([_MINE], "producer", "legacy")]
    there = Staged(Linkerd, [{"kind": "Namespace", "metadata": {"name": "legacy"}}, *Objects(*THERE).objects], ())
    assert _awaited(there(written)) == {"HTTPRoute.shop.consumer": "shop", "HTTPRoute.legacy.producer": None}


def test_only_a_route_that_the_run_made_goes_on_to_the_service_once_nothing_is_left_of_it() -> None:
    _, objects = plan(FAILS, *THERE, _for_ledger([{}], "payments"))
    made, _ = plan(Fault(LEDGER, delay=Duration(1)), *THERE, *(o for o in objects if o["kind"] == "HTTPRoute"))
    left = {edit.name: len(edit.make(None)) for edit in made.edits}
    assert left == {"payments": 0, "payments-meshbdd-ledger-80": 2}
