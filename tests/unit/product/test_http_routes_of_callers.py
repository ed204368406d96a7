"""An HTTPRoute leads the calls of its own namespace, and where it lies beside the Service everybody's: nobody else waits for it."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest

from meshbdd.errors import BadInput
from meshbdd.intents import Scope, Side, Timeout
from meshbdd.mesh import Istio
from meshbdd.mesh.base import Where
from meshbdd.mesh.istio.hosts import routing
from meshbdd.mesh.istio.http_routes import RulesHeld
from meshbdd.mesh.markers import ConfigChanged, RouteHeld
from meshbdd.mesh.remains import Otherwise
from meshbdd.units import Duration
from tests.unit.product.staged import Staged
from tests.unit.product.test_rules_of_callers import (
    BUT_FRONT,
    CLIENT,
    FAILS,
    HOST,
    LEDGER,
    PORTAL,
    PUBLIC,
    WORLD,
    _failing,
    _object,
    _vs,
    _wide,
)

Object = dict[str, Any]
PARENT = {"group": "", "kind": "Service", "name": "ledger", "namespace": "billing"}
AUDIT = {"kind": "Service", "metadata": {"name": "audit", "namespace": "front"}, "spec": {"ports": [{"port": 80}]}}
AUDITED = {"group": "", "kind": "Service", "name": "audit", "namespace": "front"}
AUDIT_HOST = "audit.front.svc.cluster.local"
TWO_PORTS = [{"name": "http", "port": 80}, {"name": "http-more", "port": 81}]


def _route(namespace: str, *parents: Object, name: str = "led", **rule: Any) -> Object:
    return _object("HTTPRoute", namespace, {"parentRefs": list(parents or (PARENT,)), "rules": [rule]}, name)


def _planned(manifest: Object, *there: Object) -> list[Any]:
    return [*Staged(Istio, [*WORLD, AUDIT, *there])([manifest]).markers]


CONSUMER, PRODUCER = _route("front"), _route("billing")
OF_PORT = _route("billing", {**PARENT, "port": 80})


@pytest.mark.parametrize(
    ("there", "route", "awaited"),
    [
        ([], CONSUMER, [((HOST,), Where("front"))]),
        ([], PRODUCER, [((HOST,), Where())]),
        ([], OF_PORT, [((HOST,), Where())]),
        ([CONSUMER], PRODUCER, [((HOST,), BUT_FRONT)]),
        ([_route("front", name="other")], CONSUMER, [((HOST,), Where("front"))]),
        ([_vs()], PRODUCER, [((HOST,), BUT_FRONT)]),
        ([PUBLIC], CONSUMER, [((HOST,), Where("front"))]),
        ([PUBLIC], PRODUCER, [((HOST,), Where("billing"))]),
        ([_wide("billing", ("*",))], PRODUCER, [((HOST,), Where())]),
        ([], _route("front", PARENT, AUDITED), [((HOST,), Where("front")), ((AUDIT_HOST,), Where())]),
    ],
)
def test_an_http_route_is_awaited_of_those_whose_calls_it_leads(
    there: list[Object], route: Object, awaited: list[tuple[tuple[str, ...], Where]]
) -> None:
    held = _planned(route, *there)
    assert all(isinstance(marker, RouteHeld) for marker in held)
    assert [(marker.hosts, marker.where) for marker in held] == awaited


@pytest.mark.parametrize(("route", "where"), [(CONSUMER, Where("front")), (PRODUCER, Where())])
def test_other_words_of_an_http_route_are_awaited_of_the_same(route: Object, where: Where) -> None:
    said = copy.deepcopy(route)
    said["spec"]["rules"][0]["timeouts"] = {"request": "1s"}
    [changed] = _planned(said, route)
    assert isinstance(changed, ConfigChanged)
    assert changed.where == where


def test_a_service_that_comes_to_an_http_route_or_leaves_it_is_awaited_where_its_calls_are_led() -> None:
    moved = _route("front", AUDITED)
    come, gone = _planned(moved, CONSUMER)
    assert isinstance(come, RulesHeld)
    assert (come.host, come.where) == (AUDIT_HOST, Where())
    assert isinstance(gone, Otherwise)
    assert gone.where == Where("front")


@pytest.mark.parametrize(
    ("there", "route"), [(_vs(), CONSUMER), (_vs("shop", ("front",)), CONSUMER), (_vs("shop", ("front", "shop", "billing")), PRODUCER)]
)  # fmt: skip
def test_an_http_route_that_comes_after_a_private_rule_of_all_whom_it_would_lead_is_refused(
    there: Object, route: Object
) -> None:
    with pytest.raises(BadInput, match=r"so Istio would ignore led") as caught:
        _planned(route, there)
    assert (caught.value.code, caught.value.help) == ("MB0409", "merge the two")


@pytest.mark.parametrize(
    ("manifest", "instead"),
    [(PUBLIC, "write it into that HTTPRoute"), (_failing(PUBLIC), "inject the fault by a step")],
)
@pytest.mark.parametrize("route", [PRODUCER, OF_PORT])
def test_a_virtual_service_that_comes_after_an_http_route_of_everybody_is_refused(
    route: Object, manifest: Object, instead: str
) -> None:
    with pytest.raises(BadInput, match=r"HTTPRoute led\.billing routes the calls to ledger\.billing") as caught:
        _planned(manifest, route)
    assert (caught.value.code, caught.value.help) == ("MB0472", instead)


def _with_two_ports() -> list[Object]:
    world = copy.deepcopy(WORLD)
    [ledger] = [obj for obj in world if obj["kind"] == "Service" and obj["metadata"]["name"] == "ledger"]
    ledger["spec"]["ports"] = TWO_PORTS
    return world


def test_one_for_a_port_leaves_those_of_other_ports_to_the_virtual_service() -> None:
    plan = Staged(Istio, [*_with_two_ports(), OF_PORT])([PUBLIC])
    assert [marker.where for marker in plan.markers] == [Where()]


@pytest.mark.parametrize(("there", "where"), [([], Where()), ([PUBLIC], Where("billing"))])
def test_one_for_a_port_is_awaited_there(there: list[Object], where: Where) -> None:
    world = Staged(Istio, [*_with_two_ports(), *there])
    [held] = world([OF_PORT]).markers
    assert (held.hosts, held.where) == ((HOST,), where)
    said = copy.deepcopy(OF_PORT)
    said["spec"]["rules"][0]["timeouts"] = {"request": "1s"}
    [changed] = world([said]).markers
    assert changed.where == where


@pytest.mark.parametrize("there", [CONSUMER, _route("front", {**PARENT, "port": 80})])
def test_a_virtual_service_beside_an_http_route_of_some_callers_is_for_the_others(there: Object) -> None:
    plan = Staged(Istio, [*WORLD, there])([_failing(PUBLIC)])
    assert [marker.where for marker in plan.markers] == [BUT_FRONT]
    assert [aim.callers for aim in plan.aims] == [(BUT_FRONT,)]


@pytest.mark.parametrize("there", [_vs(), _wide("billing", ("*",))])
def test_a_private_rule_and_one_of_a_pattern_keep_their_places_beside_it(there: Object) -> None:
    young = {**PUBLIC, "metadata": {"name": "young", "namespace": "billing"}}
    plan = Staged(Istio, [*WORLD, CONSUMER, there])([young])
    assert [marker.where for marker in plan.markers] == [BUT_FRONT]


@pytest.mark.parametrize(
    "parents", [[], [{"name": "ledger"}], [{"kind": "Service", "name": "ledger"}], [{"kind": "Gateway", "name": "in"}]]
)
def test_a_route_that_hangs_on_no_service_is_awaited_of_somebody_so_that_it_is_not_taken_for_arrived(
    parents: list[Object],
) -> None:
    alone = _route("billing")
    alone["spec"]["parentRefs"] = parents
    [held] = _planned(alone)
    assert (held.hosts, held.where) == ((), Where())
    assert held.held([{"configs": []}]) is None
    [young] = _planned(PUBLIC, alone)
    assert young.where == Where()


HOSTS = {**PUBLIC, "spec": {**PUBLIC["spec"], "hosts": [HOST, AUDIT_HOST]}}
OF_TCP = {**PUBLIC, "spec": {"hosts": [HOST], "tcp": [{"route": [{"destination": {"host": HOST}}]}]}}
OF_GATEWAY = {**PUBLIC, "spec": {**PUBLIC["spec"], "gateways": ["mesh", "ingress"]}}


@pytest.mark.parametrize("manifest", [HOSTS, OF_TCP, OF_GATEWAY])
def test_a_virtual_service_of_which_an_http_route_leaves_something_is_applied(manifest: Object) -> None:
    _planned(manifest, PRODUCER)


def test_one_that_an_http_route_beside_the_service_leaves_nobody_is_told_as_what_it_is() -> None:
    only_front = [obj for obj in WORLD if obj["kind"] != "Pod" or obj["metadata"]["namespace"] == "front"]
    with pytest.raises(
        BadInput, match=r"HTTPRoute led\.billing would have no effect: HTTPRoute theirs\.front routes"
    ) as caught:
        Staged(Istio, [*only_front, _route("front", name="theirs")])([PRODUCER])
    assert (caught.value.code, caught.value.help) == ("MB0472", "write it into that HTTPRoute")
    assert "VirtualService" not in caught.value.sentence


@pytest.mark.parametrize(
    ("ports", "named"),
    [
        ([{"name": "http", "port": 80}, {"name": "tcp-db", "port": 5432}], [80]),
        (TWO_PORTS, [80, 81]),
    ],
)
def test_one_for_every_port_that_may_carry_http_leaves_nothing(ports: list[Object], named: list[int]) -> None:
    world = copy.deepcopy(WORLD)
    [ledger] = [obj for obj in world if obj["kind"] == "Service" and obj["metadata"]["name"] == "ledger"]
    ledger["spec"]["ports"] = ports
    route = _route("billing", *({**PARENT, "port": port} for port in named))
    with pytest.raises(BadInput, match=r"HTTPRoute led\.billing routes the calls"):
        Staged(Istio, [*world, route])([PUBLIC])


def test_no_pattern_is_for_a_host_for_which_somebody_has_an_http_route() -> None:
    """Pilot finds the host among the exact ones, and then takes the route for the callers of its own namespace alone."""
    for namespace in ("shop", "front"):
        assert routing(HOST, [_wide("billing", ("*",)), _route("front")], namespace) == (
            _route("front") if namespace == "front" else None
        )


def test_an_http_route_of_a_delegates_name_is_no_delegate() -> None:
    led, root = _failing(PUBLIC), _vs("billing", ("*",))
    del led["spec"]["hosts"]
    root["spec"]["http"] = [{"delegate": {"name": "fault"}}]
    world = Staged(Istio, [*WORLD, AUDIT, root, _route("billing", AUDITED, name="fault")])
    assert world([led]).aims == ()


def test_those_whose_namespace_has_none_meet_a_steps_change_at_the_callers() -> None:
    world = Staged(Istio, [*WORLD, CONSUMER])
    plan = world(replace(FAILS, scope=Scope(called_by=CLIENT), at=Side.CALLER))
    assert plan.side is Side.CALLER
    with pytest.raises(BadInput, match="HTTPRoute led routes the calls to ledger") as caught:
        Staged(Istio, [*WORLD, CONSUMER])(replace(FAILS, scope=Scope(called_by=PORTAL), at=Side.CALLER))
    assert caught.value.code == "MB0472"


def test_a_timeout_for_callers_of_whom_some_have_an_http_route_is_refused() -> None:
    with pytest.raises(BadInput, match="HTTPRoute led routes the calls to ledger") as caught:
        Staged(Istio, [*WORLD, CONSUMER])(Timeout(LEDGER, Duration(1)))
    assert caught.value.code == "MB0472"


def test_one_that_comes_after_a_fault_for_others_is_applied() -> None:
    world = Staged(Istio, WORLD)
    world(replace(FAILS, scope=Scope(called_by=CLIENT)))
    [held] = world([CONSUMER]).markers
    assert held.where == Where("front")
