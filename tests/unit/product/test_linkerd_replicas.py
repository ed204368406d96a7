"""Failure accrual is about each endpoint: a fault backend in the place of several has as many, or fewer errors open a circuit."""

from __future__ import annotations

from typing import Any

import pytest

from meshbdd.errors import NotPossible
from meshbdd.intents import Mention, Topic
from meshbdd.mesh.linkerd.markers import EndpointsHeld
from tests.unit.product.staged import Staged
from tests.unit.product.test_linkerd import PAYMENT, _pod, _service
from tests.unit.product.test_linkerd_manifests_beside_faults import ACCRUAL, FAULT, world

Object = dict[str, Any]
SAID = (Mention(Topic.BREAKER, PAYMENT, "the circuit opens"), Mention(Topic.FAULT, PAYMENT, "it fails"))


def _in(phase: str) -> Object:
    return {**_pod("payment-service", "third"), "status": {"phase": phase}}


def _unready() -> Object:
    conditions = [{"type": "Ready", "status": "False"}]
    return {**_pod("payment-service", "third"), "status": {"phase": "Running", "conditions": conditions}}


def _early(there: Staged) -> Object:
    [stage] = there.mesh.early(there.context)
    [deployment] = [edit.new for edit in stage.edits if edit.new and edit.new["kind"] == "Deployment"]
    awaited = {m.service: m.least for m in stage.markers if isinstance(m, EndpointsHeld)}
    assert sorted(awaited.values()) == [1, deployment["spec"]["replicas"]]
    return deployment


@pytest.mark.parametrize(
    ("third", "replicas"), [([], 2), ([_in("Running")], 3), ([_in("Failed")], 2), ([_unready()], 2)]
)
def test_a_fault_backend_has_as_many_pods_as_the_service_has_endpoints(third: list[Object], replicas: int) -> None:
    assert _early(world(*third, said=SAID))["spec"]["replicas"] == replicas


def test_it_has_one_where_the_service_has_no_endpoint() -> None:
    there = world(said=SAID)
    for pod in ("stable", "canary"):
        there.cluster.delete(_pod("payment-service", pod))
    there.cluster.create(_in("Failed"))
    assert _early(there)["spec"]["replicas"] == 1


@pytest.mark.parametrize("more", [True, False])
def test_one_that_came_before_some_endpoint_does_not_take_the_place_of_all(more: bool) -> None:
    there = world(_service("payment-service", annotations=ACCRUAL), said=SAID)
    there.cluster.create(_early(there))
    if not more:
        [needed] = there.mesh.scenery(there.context)
        assert needed.edits
        assert there(FAULT).through
        return
    there.cluster.create(_in("Running"))
    told = r"the fault backend came when payment-service\.shop had 2 endpoints, it has 3 now"
    with pytest.raises(NotPossible, match=told) as caught:
        there.mesh.scenery(there.context)
    assert caught.value.code == "MB0461"
    with pytest.raises(NotPossible, match=told):
        there(FAULT)


def test_the_circuit_of_a_service_without_endpoints_is_nobodys_to_open() -> None:
    there = world(_service("payment-service", annotations=ACCRUAL), said=SAID)
    there.cluster.create(_early(there))
    for pod in ("stable", "canary"):
        there.cluster.replace(
            {**_pod("payment-service", pod), "status": {"conditions": [{"type": "Ready", "status": "False"}]}}
        )
    [needed] = there.mesh.scenery(there.context)
    assert needed.edits


def _page(*addresses: str) -> Object:
    hosts = [
        {"address": {"socket_address": {"address": a}}, "health_status": {"eds_health_status": "HEALTHY"}}
        for a in addresses
    ]
    name = "Service.shop.payment-service:80/Service.shop.payment-service:80"
    return {"cluster_statuses": [{"name": name, "host_statuses": hosts}]}


def test_all_of_its_pods_are_awaited() -> None:
    marker = EndpointsHeld(PAYMENT, least=2)
    assert [marker.held([_page(*there)]) for there in ((), ("10.0.0.1",), ("10.0.0.1", "10.0.0.2"))] == [
        False,
        False,
        True,
    ]
    assert str(marker) == "2 endpoints of payment-service.shop"
