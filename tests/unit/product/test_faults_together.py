"""Two faults of one kind, and a team's manifest beside a fault: neither takes anything away without a word."""

from __future__ import annotations

from typing import Any, cast

import pytest

from meshbdd.cluster import Cluster
from meshbdd.errors import BadInput
from meshbdd.intents import Fault, Scope, ServiceRef, Side
from meshbdd.mesh import Context, Istio, Plan
from meshbdd.mesh.base import preview
from meshbdd.rehearsal.stage import StageCluster
from meshbdd.units import Duration, Percent

Object = dict[str, Any]
PAYMENT, ORDER = ServiceRef("payment-service", "shop"), ServiceRef("order-service", "shop")


def _service(name: str) -> Object:
    ports = [{"name": "http", "port": 80}]
    meta = {"name": name, "namespace": "shop"}
    return {"kind": "Service", "metadata": meta, "spec": {"selector": {"app": name}, "ports": ports}}


def _pod(app: str) -> Object:
    labels = {"app": app, "security.istio.io/tlsMode": "istio"}
    return {"kind": "Pod", "metadata": {"name": f"{app}-1", "namespace": "shop", "labels": labels}, "spec": {}}


SHOP = (
    {"kind": "Namespace", "metadata": {"name": "shop"}},
    *(_service(name) for name in ("payment-service", "order-service")),
    *(_pod(name) for name in ("payment-service", "order-service", "client")),
)


class World:
    """A cluster made of dicts, into which plans are written as a run would."""

    def __init__(self, *more: Object) -> None:
        self.cluster = StageCluster([*SHOP, *more], "shop", lambda _: None)
        self.mesh = Istio(cast("Cluster", self.cluster), "r1")
        self.plans: list[Plan] = []

    def __call__(self, what: Fault | list[Object]) -> Plan:
        context = Context(tuple(self.plans))
        plan = self.mesh.plan_manifest(what, context) if isinstance(what, list) else self.mesh.plan(what, context)
        for edit in (*(edit for stage in plan.standing for edit in stage.edits), *plan.edits):
            self.cluster.replace(preview(edit, self.cluster.find(edit.kind, edit.name, edit.namespace)))
        self.plans.append(plan)
        return plan

    def routes(self) -> list[Object]:
        [found] = self.cluster.list("VirtualService")
        routes: list[Object] = found["spec"]["http"]
        return routes


QA, DEV = Scope(headers={"X-User": "qa"}), Scope(headers={"X-User": "dev"})


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Fault(PAYMENT, Percent(50), delay=Duration(3)), Fault(PAYMENT, delay=Duration(0.01))),
        (Fault(PAYMENT, status=500), Fault(PAYMENT, Percent(20), status=503)),
        (Fault(PAYMENT, status=500), Fault(PAYMENT, grpc_status="UNAVAILABLE")),
        (Fault(PAYMENT, delay=Duration(2), scope=QA), Fault(PAYMENT, delay=Duration(0.01))),
        (Fault(PAYMENT, delay=Duration(0.01)), Fault(PAYMENT, delay=Duration(2), scope=QA)),
        (Fault(PAYMENT, status=500, scope=QA), Fault(PAYMENT, status=503, scope=Scope(path="/charge"))),
    ],
)
def test_a_second_fault_of_one_kind_for_the_same_calls_goes_to_the_server(first: Fault, second: Fault) -> None:
    world = World()
    assert world(first).side is Side.CALLER
    before = world.routes()
    made = world(second)
    assert made.side is Side.SERVER
    assert "another fault of this kind is in force for some of the same calls" in made.reason
    assert world.routes() == before, "the first one is as it was"


def test_no_one_is_told_that_both_can_be_had_at_the_caller() -> None:
    world = World()
    world(Fault(PAYMENT, Percent(50), delay=Duration(3)))
    with pytest.raises(BadInput, match="so that one would be lost") as caught:
        world(Fault(PAYMENT, delay=Duration(0.01), at=Side.CALLER))
    assert caught.value.code == "MB0470"


@pytest.mark.parametrize(
    ("first", "second", "faults"),
    [
        (Fault(PAYMENT, status=500), Fault(PAYMENT, delay=Duration(1)), [{"delay", "abort"}, {"delay"}, {"abort"}, set()]),
        (Fault(PAYMENT, status=500, scope=QA), Fault(PAYMENT, status=503, scope=DEV), [{"abort"}, {"abort"}, set()]),
    ],
)
def test_faults_that_one_route_can_carry_or_that_exclude_each_other_stay_at_the_callers(
    first: Fault, second: Fault, faults: list[set[str]]
) -> None:
    world = World()
    world(first)
    assert world(second).side is Side.CALLER
    assert [set(route.get("fault") or {}) for route in world.routes()] == faults


def test_a_fault_beside_one_of_a_manifest_goes_to_the_server() -> None:
    world = World()
    fault = {"abort": {"httpStatus": 500, "percentage": {"value": 50}}}
    route = {"fault": fault, "route": [{"destination": {"host": "payment-service"}}]}
    spec = {"hosts": ["payment-service"], "http": [route]}
    world([{"kind": "VirtualService", "metadata": {"name": "theirs", "namespace": "shop"}, "spec": spec}])
    assert world(Fault(PAYMENT, status=503)).side is Side.SERVER
    assert [route["fault"] for route in world.routes()] == [fault]
