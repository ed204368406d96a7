"""Two faults of one kind, and a team's manifest beside a fault: neither takes anything away without a word."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from meshbdd.errors import BadInput
from meshbdd.intents import CircuitBreaker, Fault, Intent, Scope, ServiceRef, Side, Timeout
from meshbdd.mesh import Istio, Plan
from meshbdd.units import Duration, Percent
from tests.unit.product.staged import Staged

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


class World(Staged):
    """A cluster with Istio made of dicts."""

    def __init__(self, *more: Object) -> None:
        super().__init__(Istio, [*SHOP, *more])

    def routes(self) -> list[Object]:
        [found] = self.cluster.list("VirtualService")
        routes: list[Object] = found["spec"]["http"]
        return routes


QA, DEV = Scope(headers={"X-User": "qa"}), Scope(headers={"X-User": "dev"})


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Fault(PAYMENT, Percent(50), delay=Duration(3)), Fault(PAYMENT, delay=Duration(0.01))),
        (Fault(PAYMENT, Percent(50), status=500), Fault(PAYMENT, Percent(20), status=503)),
        (Fault(PAYMENT, Percent(50), status=500), Fault(PAYMENT, grpc_status="UNAVAILABLE")),
        (Fault(PAYMENT, status=500, scope=QA), Fault(PAYMENT, Percent(1), status=503)),
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


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Fault(PAYMENT, status=500), Fault(PAYMENT, Percent(20), status=503)),
        (Fault(PAYMENT, status=500), Fault(PAYMENT, grpc_status="UNAVAILABLE", scope=QA)),
        (Fault(PAYMENT, status=500), Fault(PAYMENT, status=503, at=Side.SERVER)),
        (
            Fault(PAYMENT, status=500, scope=QA),
            Fault(PAYMENT, status=503, scope=Scope(method="POST", headers={"x-user": "qa"})),
        ),
        (Fault(PAYMENT, status=500, at=Side.SERVER), Fault(PAYMENT, status=503, at=Side.SERVER)),
        (Fault(PAYMENT, status=500, at=Side.SERVER), Fault(PAYMENT, delay=Duration(0.05), at=Side.SERVER)),
        (Fault(PAYMENT, status=500), Fault(PAYMENT, delay=Duration(0.05), scope=QA, at=Side.SERVER)),
    ],
)
def test_a_fault_that_another_one_leaves_no_call_is_refused(first: Fault, second: Fault) -> None:
    world = World()
    world(first)
    with pytest.raises(BadInput, match="would hit no call") as caught:
        world(second)
    assert caught.value.code == "MB0477"


def test_a_failure_at_the_callers_is_met_before_one_at_the_server() -> None:
    world = World()
    world(Fault(PAYMENT, status=500, at=Side.SERVER))
    assert world(Fault(PAYMENT, status=503)).side is Side.CALLER


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Fault(PAYMENT, delay=Duration(0.05), at=Side.SERVER), Fault(PAYMENT, status=500, at=Side.SERVER)),
        (Fault(PAYMENT, status=500, at=Side.SERVER), Fault(PAYMENT, delay=Duration(0.05))),
        (Fault(PAYMENT, status=500, scope=QA, at=Side.SERVER), Fault(PAYMENT, delay=Duration(0.05), at=Side.SERVER)),
        (Fault(PAYMENT, Percent(50), at=Side.SERVER, status=500), Fault(PAYMENT, status=503, at=Side.SERVER)),
    ],
)
def test_a_fault_that_calls_meet_before_the_failure_in_force_is_let(first: Fault, second: Fault) -> None:
    world = World()
    world(first)
    world(second)


def test_no_one_is_told_that_both_can_be_had_at_the_caller() -> None:
    world = World()
    world(Fault(PAYMENT, Percent(50), delay=Duration(3)))
    with pytest.raises(BadInput, match="so that one would be lost") as caught:
        world(Fault(PAYMENT, delay=Duration(0.01), at=Side.CALLER))
    assert caught.value.code == "MB0470"


@pytest.mark.parametrize(
    ("first", "second", "faults"),
    [
        (
            Fault(PAYMENT, status=500),
            Fault(PAYMENT, delay=Duration(1)),
            [{"delay", "abort"}, {"delay"}, {"abort"}, set()],
        ),
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


def _object(kind: str, name: str, spec: Object) -> Object:
    return {"kind": kind, "metadata": {"name": name, "namespace": "shop"}, "spec": spec}


def _virtual_service(name: str = "theirs", host: str = "payment-service", **route: Any) -> Object:
    routes = [{"route": [{"destination": {"host": "payment-service"}}], **route}]
    return _object("VirtualService", name, {"hosts": [host], "http": routes})


def _rule(**policy: Any) -> Object:
    return _object("DestinationRule", "theirs", {"host": "payment-service", "trafficPolicy": policy})


HTTP_ROUTE = _object(
    "HTTPRoute",
    "pay",
    {"parentRefs": [{"group": "", "kind": "Service", "name": "payment-service"}], "rules": [{"backendRefs": []}]},
)
TO_CALLER, TO_SERVER = Fault(PAYMENT, status=503), Fault(PAYMENT, status=503, at=Side.SERVER)


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        (_rule(outlierDetection={"consecutive5xxErrors": 5}), "DestinationRule theirs has outlier detection"),
        (_rule(connectionPool={"http": {"http2MaxRequests": 1}}), "DestinationRule theirs limits its connections"),
        (_virtual_service(retries={"attempts": 2}), "VirtualService theirs retries its calls"),
        (_virtual_service(timeout="1s"), "VirtualService theirs gives its calls a timeout"),
        (_virtual_service(mirror={"host": "payment-service"}), "VirtualService theirs mirrors its calls"),
    ],
)
def test_a_manifest_that_would_never_see_a_fault_in_force_is_refused(manifest: Object, words: str) -> None:
    plain = _virtual_service() if manifest["kind"] == "VirtualService" else None
    world = World(*([plain] if plain else []))
    intent = Fault(PAYMENT, status=503)
    world.plans.append(Plan(str(intent), (), intent=intent, service=PAYMENT, side=Side.CALLER, faulty=(PAYMENT,)))
    with pytest.raises(BadInput, match="which would never see the fault in force") as caught:
        world([manifest])
    assert caught.value.code == "MB0429"
    assert words in caught.value.sentence


def test_a_manifest_beside_a_fault_at_the_server_or_of_another_service_is_applied() -> None:
    for fault in (TO_SERVER, Fault(ORDER, status=503)):
        world = World()
        world(fault)
        world([_rule(outlierDetection={"consecutive5xxErrors": 5})])
        assert [rule["metadata"]["name"] for rule in world.cluster.list("DestinationRule")] == ["theirs"]


def test_a_manifest_before_a_fault_moves_it_to_the_server() -> None:
    for manifest in (
        _rule(outlierDetection={"interval": "1s"}),
        _virtual_service(mirrors=[{"destination": {}}]),
        HTTP_ROUTE,
    ):
        world = World()
        world([manifest])
        made = world(TO_CALLER)
        assert made.side is Side.SERVER
        assert manifest["metadata"]["name"] in made.reason


@pytest.mark.parametrize(
    ("step", "kind", "spec"),
    [
        (TO_CALLER, "VirtualService", {"hosts": ["payment-service"], "http": [{"route": []}]}),
        (CircuitBreaker(PAYMENT, 5, Duration(3)), "DestinationRule", {"host": "payment-service"}),
    ],
)
def test_a_manifest_that_would_take_a_steps_change_away_is_refused(step: Intent, kind: str, spec: Object) -> None:
    world = World(_object(kind, "theirs", spec))
    world(step)
    with pytest.raises(BadInput, match=f"would replace {kind} theirs, by which .* is in force") as caught:
        world([_object(kind, "theirs", spec)])
    assert caught.value.code == "MB0471"
    assert caught.value.help == "apply the manifest before that step"


def test_a_manifest_that_istio_would_ignore_for_a_steps_sake_is_told_so() -> None:
    world = World()
    world(TO_CALLER)
    with pytest.raises(BadInput, match=r"by which «payment-service.*» is in force") as caught:
        world([_virtual_service()])
    assert (caught.value.code, caught.value.help) == ("MB0409", "apply the manifest before that step")


def test_an_http_route_and_a_steps_routes_exclude_each_other() -> None:
    for intent in (Timeout(PAYMENT, Duration(1)), Fault(PAYMENT, status=503, at=Side.CALLER)):
        world = World(HTTP_ROUTE)
        with pytest.raises(BadInput, match="HTTPRoute pay routes the calls to payment-service") as caught:
            world(intent)
        assert caught.value.code == "MB0472"
        world = World()
        world(intent)
        with pytest.raises(BadInput, match="HTTPRoute pay then routes the calls") as caught:
            world([HTTP_ROUTE])
        assert caught.value.code == "MB0472"


@pytest.mark.parametrize(
    ("backends", "fault", "told"),
    [
        ({"payment-service": 1, "order-service": 1}, TO_CALLER, "write | inject at | server | into the fault's table"),
        ({"order-service": 1}, TO_CALLER, "let order-service.shop fail instead, with | inject at | server |"),
        (
            {"order-service": 1, "till": 1, "payment-service": 0},
            Fault(PAYMENT, delay=Duration(1), at=Side.CALLER),
            "let order-service.shop and till.shop be slowed instead, each with | inject at | server |",
        ),
    ],
)
def test_where_an_http_route_leads_a_fault_at_the_callers_has_its_place(
    backends: dict[str, int], fault: Fault, told: str
) -> None:
    refs = [{"name": name, "port": 80, "weight": weight} for name, weight in backends.items()]
    route = _object("HTTPRoute", "pay", {**HTTP_ROUTE["spec"], "rules": [{"backendRefs": refs}]})
    with pytest.raises(BadInput) as caught:
        World(route)(replace(fault, at=Side.CALLER))
    assert (caught.value.code, caught.value.help) == ("MB0472", f"an HTTPRoute has no faults: {told}")
    with pytest.raises(BadInput) as caught:
        World(route)(Timeout(PAYMENT, Duration(1)))
    assert caught.value.help == "write it into the HTTPRoute"


def test_an_http_route_for_another_service_or_behind_a_private_virtual_service_is_no_matter() -> None:
    other = _object(
        "HTTPRoute", "orders", {"parentRefs": [{"group": "", "kind": "Service", "name": "order-service"}], "rules": []}
    )
    private = _virtual_service()
    private["spec"]["exportTo"] = ["."]
    for objects in ([other], [HTTP_ROUTE, private]):
        assert World(*objects)(TO_CALLER).side is Side.CALLER


@pytest.mark.parametrize(
    ("host", "code", "words"),
    [
        ("*.shop.svc.cluster.local", "MB0473", 'has a fault for the hosts "*.shop.svc.cluster.local"'),
        ("*", "MB0473", 'has a fault for the hosts "*"'),
        ("payments", "MB0405", 'Service "payments" does not exist'),
    ],
)
def test_a_manifests_fault_for_no_service_by_name_is_refused(host: str, code: str, words: str) -> None:
    with pytest.raises(BadInput) as caught:
        World()([_virtual_service(host=host, fault={"abort": {"httpStatus": 500}})])
    assert caught.value.code == code
    assert words in caught.value.sentence
