"""A change in a route is for the calls to one Service."""

from __future__ import annotations

from typing import Any

import pytest

from meshbdd.errors import BadInput
from meshbdd.intents import Fault, Intent, Retry, Scope, Split, Timeout
from meshbdd.units import Duration, Percent
from tests.unit.product.test_linkerd import PAYMENT, _route, plan

Object = dict[str, Any]
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
