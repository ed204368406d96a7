"""A VirtualService with several hosts: what a step does for one of them leaves calls to the others alone."""

from __future__ import annotations

import copy
import re
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from meshbdd.errors import BadInput
from meshbdd.intents import Fault, Intent, Mention, Mirror, Retry, Scope, ServiceRef, Side, Split, Timeout, Topic
from meshbdd.mesh import Istio
from meshbdd.mesh.base import Context, Plan
from meshbdd.scenario.fault_calls import _is_outside
from meshbdd.telemetry.access_log import Entry
from meshbdd.units import Duration, Percent
from tests.unit.product.staged import Staged

ORDER, INVENTORY = ServiceRef("order-service", "shop"), ServiceRef("inventory-service", "shop")
TO = [{"destination": {"host": "order-service"}}]
BOTH = ["order-service", "inventory-service"]
NAMES = ["order-service", "order-service.shop", "order-service.shop.svc", "order-service.shop.svc.cluster.local"]
FAILS = Fault(ORDER, status=503, at=Side.CALLER)
Object = dict[str, Any]


def _obj(kind: str, name: str, spec: Object, namespace: str = "shop", **meta: Any) -> Object:
    return {"kind": kind, "metadata": {"name": name, "namespace": namespace, **meta}, "spec": spec}


def _service(name: str, namespace: str = "shop", **more: Any) -> Object:
    spec = {"selector": {"app": name}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}], **more}
    return _obj("Service", name, spec, namespace)


def _pod(app: str, version: str = "v1", namespace: str = "shop") -> Object:
    labels = {"app": app, "version": version, "security.istio.io/tlsMode": "istio"}
    pod = _obj("Pod", f"{app}-{version}", {"containers": [{"name": "istio-proxy"}]}, namespace, labels=labels)
    return {**pod, "status": {"phase": "Running", "podIP": "10.0.0.1"}}


WORLD = [
    _obj("Namespace", "shop", {}, ""),
    *(_pod(app) for app in (*BOTH, "client")),
    _pod("order-service", "v2"),
    *(_service(name) for name in BOTH),
]


def _vs(*routes: Object, hosts: list[str] = BOTH) -> Object:
    return _obj("VirtualService", "theirs", {"hosts": hosts, "http": list(routes or [{"route": TO}])})


def _world(*more: Object) -> Staged:
    return Staged(Istio, copy.deepcopy([*WORLD, *more]))


def _routes(world: Staged) -> list[Object]:
    [found] = world.cluster.list("VirtualService", "shop")
    routes: list[Object] = found["spec"]["http"]
    return routes


def _ours(routes: list[Object]) -> list[Object]:
    return [route for route in routes if str(route.get("name")).startswith("meshbdd-")]


def _takes(route: Object, authority: str, namespace: str = "shop") -> bool:
    """Whether a call that asks for somebody takes a route."""
    blocks = route.get("match") or [{}]
    return any(
        _fits(block.get("authority") or {}, authority) and block.get("sourceNamespace") in (None, namespace)
        for block in blocks
    )


def _fits(condition: Object, value: str) -> bool:
    if "regex" in condition:
        return re.fullmatch(condition["regex"], value) is not None
    return value == condition.get("exact", value) and value.startswith(condition.get("prefix", ""))


@pytest.mark.parametrize("hosts", [BOTH, ["*.shop.svc.cluster.local"], ["*"], ["order-service", "shop.example.com"]])
@pytest.mark.parametrize(
    "intent",
    [
        FAILS,
        Fault(ORDER, delay=Duration(1), at=Side.CALLER, scope=Scope(path="/orders")),
        Timeout(ORDER, Duration(1)),
        Retry(ORDER, 2),
        Split(ORDER, (("v1", Percent(50)), ("v2", Percent(50)))),
        Mirror(ORDER, "v2"),
    ],
)
def test_a_step_for_one_of_several_hosts_is_for_calls_by_its_names_alone(intent: Intent, hosts: list[str]) -> None:
    world = _world(_vs(hosts=hosts))
    world(intent)
    made = _ours(_routes(world))
    assert len(made) == 1
    assert _routes(world)[1:] == [{"route": TO}]
    for name in NAMES:
        assert _takes(made[0], name)
        assert _takes(made[0], f"{name.title()}:80")
    for name in (
        "inventory-service",
        "inventory-service.shop:80",
        "shop.example.com",
        "order-service-shadow",
        "my-order-service",
    ):
        assert not _takes(made[0], name)


@pytest.mark.parametrize("hosts", [["order-service"], ["order-service", NAMES[-1]]])
def test_routes_of_one_host_are_copied_as_they_are(hosts: list[str]) -> None:
    world = _world(_vs(hosts=hosts))
    world(FAILS)
    assert "match" not in _ours(_routes(world))[0]


def test_each_match_keeps_its_other_conditions() -> None:
    world = _world(_vs({"match": [{"uri": {"prefix": "/a"}}, {"method": {"exact": "GET"}}], "route": TO}))
    world(Timeout(ORDER, Duration(1)))
    first, second = _ours(_routes(world))[0]["match"]
    assert first.pop("authority") == second.pop("authority") != None  # noqa: E711
    assert (first, second) == ({"uri": {"prefix": "/a"}}, {"method": {"exact": "GET"}})


@pytest.mark.parametrize(
    ("condition", "taken", "left"),
    [
        ({"exact": "order-service"}, ["order-service"], ["order-service.shop", "inventory-service"]),
        ({"exact": "inventory-service"}, [], NAMES),
        ({"prefix": "order"}, NAMES, ["order-alt"]),
        ({"prefix": "inventory"}, [], NAMES),
        ({"prefix": "order-service.shop"}, NAMES[1:], ["order-service", "inventory-service.shop"]),
        ({"prefix": "order-service.shop.svc.cluster.local"}, NAMES[3:], NAMES[:3]),
        ({"regex": "order-service[.]shop(:80)?"}, ["order-service.shop"], ["order-service", NAMES[2]]),
        ({"regex": "order-service.*"}, NAMES, ["order-service-2"]),
        ({"regex": "(inventory|payment)-service.*"}, [], NAMES),
    ],
)
def test_a_condition_on_the_authority_is_joined(condition: Object, taken: list[str], left: list[str]) -> None:
    theirs = {"match": [{"authority": condition}], "route": TO}
    world = _world(_vs(theirs, {"route": TO}))
    world(FAILS)
    made = _ours(_routes(world))[:-1]  # the last is of the route without a condition
    assert len(made) == bool(taken)
    assert all(_takes(made[0], name) for name in taken)
    assert not any(_takes(made[0], name) for name in left if made)
    assert theirs in _routes(world)


@pytest.mark.parametrize(
    "condition", [{"prefix": "order-service.shop:8"}, {"regex": "order-service"}, {"regex": r"\pL+"}]
)
@pytest.mark.parametrize("intent", [FAILS, Retry(ORDER, 2)])
def test_one_that_takes_some_of_its_names_is_refused(intent: Intent, condition: Object) -> None:
    with pytest.raises(BadInput) as caught:
        _world(_vs({"match": [{"authority": condition}], "route": TO}))(intent)
    assert caught.value.code == "MB0490"
    assert next(iter(condition.values())) in caught.value.sentence
    assert "order-service alone" in caught.value.help or "order-service.shop alone" in caught.value.help


def test_a_condition_on_the_beginning_passes_over_names_that_do_not_begin_so() -> None:
    """As a Service's address beside its names; what one step has made of it another one reads."""
    objects = [obj for obj in WORLD if obj["metadata"]["name"] != "order-service" or obj["kind"] != "Service"]
    theirs = {"match": [{"authority": {"prefix": "order"}}], "route": TO}
    world = Staged(Istio, copy.deepcopy([*objects, _service("order-service", clusterIP="10.1.0.9"), _vs(theirs)]))
    world(Timeout(ORDER, Duration(1)))
    world(Retry(ORDER, 2))
    first, *_ = made = _ours(_routes(world))
    assert first.keys() >= {"timeout", "retries"}
    for route in made:
        assert _takes(route, "order-service:80") and _takes(route, NAMES[-1])
        assert not _takes(route, "10.1.0.9") and not _takes(route, "inventory-service")


def test_which_pods_of_a_headless_service_a_condition_takes_some_of_nobody_says() -> None:
    objects = [obj for obj in WORLD if obj["metadata"]["name"] != "order-service" or obj["kind"] != "Service"]
    theirs = {"match": [{"authority": {"prefix": "order-service.shop"}}], "route": TO}
    world = Staged(Istio, copy.deepcopy([*objects, _service("order-service", clusterIP="None"), _vs(theirs)]))
    with pytest.raises(BadInput, match=r"prefix order-service\.shop"):
        world(FAILS)


def test_routes_that_are_all_for_others_carry_nothing() -> None:
    with pytest.raises(BadInput, match="for calls to other hosts than order-service"):
        _world(_vs({"match": [{"authority": {"exact": "inventory-service"}}], "route": TO}))(FAILS)


def test_what_another_host_delegates_is_no_business_of_the_step() -> None:
    led = {"match": [{"authority": {"exact": "inventory-service"}}], "delegate": {"name": "inventory"}}
    world = _world(_vs(led, {"route": TO}))
    world(FAILS)
    assert len(_ours(_routes(world))) == 1
    with pytest.raises(BadInput, match="delegates its routes") as caught:
        _world(_vs({"delegate": {"name": "all"}}))(FAILS)
    assert caught.value.help == "write | inject at | server |, or leave that option out"


def test_a_fault_behind_routes_that_are_delegated_goes_to_the_server() -> None:
    world = _world(_vs({"match": [{"uri": {"prefix": "/a"}}], "delegate": {"name": "a"}}, {"route": TO}))
    before = _routes(world)
    plan = world(replace(FAILS, at=None))
    assert plan.side is Side.SERVER
    assert "delegates routes of order-service" in plan.reason
    assert _routes(world) == before
    with pytest.raises(BadInput, match="delegates its routes") as caught:
        world(Retry(ORDER, 2))
    assert "into the delegate" in str(caught.value.help)


def test_a_filter_is_armed_early_for_a_fault_behind_a_delegate() -> None:
    said = (Mention(Topic.FAULT, ORDER, "order-service fails 100%"),)
    for routes, armed in (({"delegate": {"name": "all"}}, 1), ({"route": TO}, 0)):
        there = _world(_vs(routes))
        assert len(there.mesh.early(Context(said=said))) == armed


def test_steps_for_two_of_the_hosts_stand_side_by_side() -> None:
    world = _world(_vs())
    plans = [world(what) for what in (Retry(INVENTORY, 2), Timeout(INVENTORY, Duration(1)), replace(FAILS, at=None))]
    assert [plan.side for plan in plans] == [None, None, Side.CALLER], "what the others have is not the service's"
    [again] = [world(Fault(ORDER, delay=Duration(1)))]
    assert again.side is Side.CALLER
    first = {name: next(r for r in _routes(world) if _takes(r, name)) for name in BOTH}
    assert first["order-service"]["fault"].keys() == {"abort", "delay"}
    assert not {"timeout", "retries"} & first["order-service"].keys()
    assert first["inventory-service"].keys() >= {"timeout", "retries"}
    assert "fault" not in first["inventory-service"]
    assert len(_ours(_routes(world))) == 6, "a copy of a copy each, and one of their route"


def test_a_fault_for_one_host_leaves_room_for_that_of_another() -> None:
    world = _world(_vs())
    plans = [world(replace(FAILS, at=None)), world(Fault(INVENTORY, status=500))]
    assert [plan.side for plan in plans] == [Side.CALLER, Side.CALLER]


def test_a_short_name_is_a_namesakes_in_the_namesakes_namespace() -> None:
    world = _world(_vs(hosts=["*"]), _service("order-service", "legacy"), _pod("caller", namespace="legacy"))
    world(FAILS)
    [made] = _ours(_routes(world))
    assert _takes(made, "order-service") and _takes(made, "order-service.shop", "legacy")
    assert not _takes(made, "order-service", "legacy")
    assert not _takes(made, "order-service.legacy")


def test_an_address_a_pods_name_and_an_alias_are_names_of_the_service() -> None:
    alias = _service("orders", type="ExternalName", externalName=NAMES[-1])
    objects = [obj for obj in WORLD if obj["metadata"]["name"] != "order-service" or obj["kind"] != "Service"]
    for address, asked in (
        ("10.1.0.9", "10.1.0.9:80"),
        ("fd00::9", "[fd00::9]:80"),
        ("None", "pod-0.order-service.shop"),
    ):
        there = copy.deepcopy([*objects, _service("order-service", clusterIP=address), alias, _vs()])
        world = Staged(Istio, there)
        world(FAILS)
        [made] = _ours(_routes(world))
        assert _takes(made, asked) and _takes(made, "orders") and _takes(made, "orders.shop:80")
        assert not _takes(made, "x.inventory-service.shop") and not _takes(made, "10.1.0.90")


def _left(plan: Plan, authority: str, number: str = "") -> Entry:
    route = f"{plan.tags[0]}{number}" if number else "theirs"
    return Entry("client-v1", True, ORDER.host, route, 503, frozenset(), "r1", authority=authority)


def test_calls_by_the_name_of_another_host_are_none_that_the_fault_is_for() -> None:
    plan = _world(_vs())(FAILS)
    assert not _is_outside(plan, _left(plan, "order-service", "0"), ORDER.host)
    assert not _is_outside(plan, _left(plan, "order-service"), ORDER.host)
    assert _is_outside(plan, _left(plan, "inventory-service"), ORDER.host)


def test_the_copies_go_without_a_trace() -> None:
    world = _world(_vs({"name": "a", "match": [{"uri": {"prefix": "/a"}}], "route": TO}, {"route": TO}))
    before = copy.deepcopy(_routes(world))
    world(FAILS)
    names = [route.get("name") for route in _routes(world)]
    assert names == [f"{world.plans[0].tags[0]}0", f"{world.plans[0].tags[0]}1", "a", None]
    assert _routes(world)[2:] == before
    assert all(one is not other for one, other in pairwise(_routes(world)))
