"""Linkerd: faults that its proxies see as answers of an endpoint, counted, undone and swept; on the lab as a Linkerd mesh."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from meshbdd.claims import responses, shares
from meshbdd.cluster import Change, sweep
from meshbdd.cluster.client import ApiFailure
from meshbdd.cluster.kinds import kind_of
from meshbdd.cluster.record import Record, mark
from meshbdd.errors import BadInput, Inconclusive, NotPossible
from meshbdd.evidence import Event, FaultAccounted
from meshbdd.intents import (
    Access,
    CircuitBreaker,
    Fault,
    Intent,
    MutualTls,
    Retry,
    Scope,
    ServiceRef,
    Side,
    Split,
    TlsMode,
)
from meshbdd.mesh import Context, Gate, Linkerd, Stage
from meshbdd.settings import Settings
from meshbdd.units import Duration, Percent
from meshbdd.world import Environment, World
from tests.cli import test_commands as commands
from tests.mesh.conftest import begin
from tests.tools import LabUnderTest, until

PAYMENT, ORDER, INVENTORY = (ServiceRef(f"{name}-service", "shop") for name in ("payment", "order", "inventory"))
_WRITTEN = (
    "Service", "Deployment", "ServiceAccount", "HTTPRoute", "GRPCRoute", "Server", "MeshTLSAuthentication",
    "AuthorizationPolicy.policy.linkerd.io",
)  # fmt: skip
BREAKER = (
    "payment-service has a circuit breaker that opens after 3 consecutive errors for 5s",
    "payment-service fails 100%",
)
PROFILE = """
apiVersion: linkerd.io/v1alpha2
kind: ServiceProfile
metadata: {name: payment-service.shop.svc.cluster.local}
spec: {routes: [{name: all, condition: {pathRegex: "/.*"}}]}
"""
OWN_ROUTE = """
apiVersion: {group}
kind: HTTPRoute
metadata: {{name: mine-{name}}}
spec:
  parentRefs: [{{group: "", kind: Service, name: {name}}}]
  rules: [{{backendRefs: [{{name: {name}, port: 80}}]}}]
"""

Scenario = Callable[..., contextlib.AbstractContextManager[World]]


@pytest.fixture(scope="module")
def lab() -> Iterator[LabUnderTest]:
    found = LabUnderTest.up("linkerdmesh", mesh="linkerd")
    yield found
    found.down()


def _everything(lab: LabUnderTest) -> dict[str, Any]:
    """All that a run may write, without what can only grow and without who wrote when."""
    found = {}
    for kind in (*_WRITTEN, "HTTPRoute.policy.linkerd.io"):
        for obj in lab.cluster.list(kind):
            kept = {key: copy.deepcopy(value) for key, value in obj.items() if key != "status"}
            for key in ("resourceVersion", "generation"):
                kept["metadata"].pop(key, None)
            for entry in kept["metadata"].get("managedFields") or []:
                entry.pop("time", None)
            kept["metadata"].get("annotations", {}).pop("deployment.kubernetes.io/revision", None)
            found[f"{kind} {obj['metadata']['name']}"] = kept
    return found


@pytest.fixture
def told() -> list[Event]:
    return []


@pytest.fixture(params=["gateway.networking.k8s.io/v1", "policy.linkerd.io/v1beta3"])
def own_routes(lab: LabUnderTest, request: pytest.FixtureRequest) -> Iterator[None]:
    """Routes that the tester has already, of either group, for all ports of their services."""
    for service in (PAYMENT, ORDER):
        lab.apply(OWN_ROUTE.format(group=request.param, name=service.name))
    kind = kind_of(lab.applied[-1])
    until("the routes being accepted", lambda: all(route.get("status") for route in lab.cluster.list(kind)))
    yield
    lab.clean()


@pytest.fixture
def scenario(lab: LabUnderTest, told: list[Event], tmp_path: Path) -> Iterator[Scenario]:
    """One run with as many scenarios as a test begins; it leaves everything as it was."""
    before = _everything(lab)
    settings = Settings(project=tmp_path, mesh="linkerd", undo_budget=Duration(20), gate_timeout=Duration(20))
    run = "r" + tmp_path.name.replace("_", "")[-20:].lower()
    mesh = Linkerd(lab.cluster, run)
    gate = Gate(lab.cluster, settings.gate_timeout, mesh.sidecars)
    environment = Environment(settings, lab.cluster, mesh, gate, run, "lab", told.append)
    yield begin(environment, tmp_path)
    assert environment.close() == [], "nobody else changed anything"
    assert _everything(lab) == before


def _accounted(told: list[Event]) -> FaultAccounted:
    return [event for event in told if isinstance(event, FaultAccounted)][-1]


def test_retries_hide_a_share_of_failures_and_each_try_is_counted(scenario: Scenario, told: list[Event]) -> None:
    with scenario() as world:
        world.changes.make(Retry(PAYMENT, 5))
        world.changes.make(Fault(PAYMENT, Percent(40), status=503))
        world.traffic.send("charge", count=60, users=3)
        world.judge(shares.succeed_at_least(Percent(90)))
    event = _accounted(told)
    assert event.calls > 60, "tries, not requests"
    assert event.calls - event.hit >= 54, "the tries that reached the service"
    assert 0.2 < event.hit / event.calls < 0.6
    assert {name.rsplit("-", 2)[0] for name in event.callers} == {"client"}


def test_a_delay_for_one_caller_leaves_the_others_alone(scenario: Scenario, told: list[Event]) -> None:
    with scenario() as world:
        world.changes.make(Fault(PAYMENT, delay=Duration(3), scope=Scope(called_by=ORDER)))
        world.traffic.send("charge")
        world.judge(responses.arrives_within(Duration(1)))
        world.traffic.send("checkout")
        world.judge(responses.status_is([503]))
    event = _accounted(told)
    assert event.hit == event.calls > 0
    assert {name.rsplit("-", 2)[0] for name in event.callers} <= {"order-service", "order-service-canary"}


def test_a_fault_that_nobody_met_is_inconclusive(scenario: Scenario) -> None:
    with pytest.raises(Inconclusive, match="Nobody called inventory-service"):
        with scenario() as world:
            world.changes.make(Fault(INVENTORY, status=503))
            world.traffic.send("charge")
            world.judge(responses.status_is([200]))


def test_a_failure_and_a_delay_meet_the_calls_that_they_say(scenario: Scenario) -> None:
    with scenario() as world:
        world.changes.make(Fault(PAYMENT, Percent(50), status=500))
        world.changes.make(Fault(PAYMENT, delay=Duration(0.3)))
        world.traffic.send("charge", count=40, users=4)
        statuses = [sample.status for sample in world.samples]
        assert 5 < statuses.count(500) < 35
        assert statuses.count(500) + statuses.count(200) == 40
        # Envoy starts its timer by the time at which its event loop last woke up
        quick = [(sample.status, sample.seconds) for sample in world.samples if sample.seconds < 0.29]
        assert quick == []


@pytest.mark.parametrize("said", [(), BREAKER], ids=["beside the service", "in its place"])
def test_calls_that_go_through_the_fault_backend_are_the_callers_and_come_to_the_service(
    scenario: Scenario, said: Sequence[str]
) -> None:
    with scenario(
        *said,
        "the mesh reports at least 5 requests from order-service to payment-service",
        "calls from order-service to payment-service use mutual TLS",
    ) as world:
        world.changes.make(Fault(PAYMENT, delay=Duration(0.05)))
        world.traffic.send("checkout", count=5)
        world.claim(world.observed.reported(ORDER, PAYMENT, 5))
        assert world.observed.reported(ORDER, PAYMENT, 6).outcome == "failed", "each call is counted once"
        world.claim(world.observed.mutual_tls(ORDER, PAYMENT))
        assert world.observed.logged(PAYMENT, 5, 200).numbers["statuses"] == {200: 5}


def test_the_circuit_is_the_services_own_and_closes_because_it_is_well_again(
    scenario: Scenario, lab: LabUnderTest
) -> None:
    before = lab.cluster.get("Service", "payment-service", "shop")["spec"]["selector"]
    with scenario(*BREAKER, "the circuit to payment-service opens within 2s") as world:
        world.changes.make(CircuitBreaker(PAYMENT, 3, Duration(5)))
        world.changes.make(Fault(PAYMENT, status=503))
        world.traffic.send("charge", count=3)
        world.claim(world.circuits.is_open(PAYMENT))
        world.changes.recover(PAYMENT)
        assert lab.cluster.get("Service", "payment-service", "shop")["spec"]["selector"] != before
        world.claim(world.circuits.closes(PAYMENT, Duration(15)))
        world.traffic.send("charge", count=3)
        world.judge(shares.every_status_is(200))
    assert lab.cluster.get("Service", "payment-service", "shop")["spec"]["selector"] == before


def test_who_may_not_call_is_denied_by_the_proxy(scenario: Scenario) -> None:
    with scenario() as world:
        world.changes.make(Access(ORDER, PAYMENT))
        world.traffic.send("charge")
        world.claim_denied()
        world.traffic.send("checkout")
        world.judge(responses.status_is([200]))
        with pytest.raises(NotPossible, match="lets only some callers"):
            world.changes.make(Fault(PAYMENT, delay=Duration(1)))
        world.changes.make(Fault(PAYMENT, status=503))
        world.traffic.send("checkout")  # whoever may call meets the fault
        world.traffic.send("charge")
        world.claim_denied()


@pytest.mark.usefixtures("own_routes")
def test_a_service_with_a_route_of_its_own_has_faults_and_splits(scenario: Scenario) -> None:
    with scenario() as world:
        world.changes.make(Fault(PAYMENT, status=418))
        world.traffic.send("charge", count=5)
        world.judge(shares.every_status_is(418))
        world.changes.recover(PAYMENT)
        world.changes.make(Split(ORDER, (("stable", Percent(0)), ("canary", Percent(100)))))
        world.traffic.define("version", "GET http://order-service/version", None)
        world.traffic.send("version", count=10, users=2)
        assert {sample.field("version") for sample in world.samples} == {"canary"}


def test_a_manifests_route_keeps_what_only_its_own_group_takes(
    scenario: Scenario, lab: LabUnderTest, tmp_path: Path
) -> None:
    """Linkerd adds up the parts of a policy.linkerd.io route's time limit; of a Gateway API route's it would make none."""
    text = OWN_ROUTE.format(group="policy.linkerd.io/v1beta3", name="payment-service")
    (tmp_path / "own.yaml").write_text(text.replace("rules: [{", "rules: [{timeouts: {request: 0s500ms}, "))
    with scenario() as world:
        world.changes.apply_manifest("own.yaml")
        assert lab.cluster.find("HTTPRoute.policy.linkerd.io", "mine-payment-service", "shop")
        assert lab.cluster.list("HTTPRoute") == []
        world.changes.make(Fault(PAYMENT, delay=Duration(1)))
        world.traffic.send("charge")
        world.judge(responses.status_is([504]))


def test_a_split_after_a_fault_leaves_the_fault_and_stays_when_it_is_withdrawn(scenario: Scenario) -> None:
    with scenario() as world:
        world.traffic.define("version", "GET http://order-service/version", None)
        world.changes.make(Fault(ORDER, status=418))
        world.changes.make(Split(ORDER, (("stable", Percent(0)), ("canary", Percent(100)))))
        world.traffic.send("version", count=5)
        world.judge(shares.every_status_is(418))
        world.changes.recover(ORDER)
        world.traffic.send("version", count=10, users=2)
        assert {sample.field("version") for sample in world.samples} == {"canary"}


def test_under_strict_mutual_tls_a_refused_connection_is_not_possible(scenario: Scenario) -> None:
    with pytest.raises(NotPossible, match="answer what they deny with 403"):
        with scenario("payment-service rejects plaintext") as world:
            world.changes.make(MutualTls(TlsMode.STRICT, "shop", PAYMENT))
            world.claim(world.observed.rejects_plaintext(PAYMENT))
            world.traffic.send("charge", outside=True)
            world.claim_refused()


@pytest.mark.parametrize(
    "beside", [Retry(PAYMENT, 2), Fault(PAYMENT, status=500), Fault(PAYMENT, Percent(50), grpc_status="UNAVAILABLE")]
)
def test_a_grpc_route_of_a_step_hides_not_that_plaintext_is_rejected(scenario: Scenario, beside: Intent) -> None:
    """Where one stands the callers' proxies speak HTTP/2 alone."""
    with scenario("payment-service rejects plaintext") as world:
        world.changes.make(MutualTls(TlsMode.STRICT, "shop", PAYMENT))
        world.changes.make(beside)
        world.claim(world.observed.rejects_plaintext(PAYMENT))


def test_that_plaintext_is_rejected_is_told_of_a_service_that_only_another_may_call(scenario: Scenario) -> None:
    """The meshed client that is asked beside is denied there too."""
    with scenario("payment-service rejects plaintext") as world:
        world.changes.make(Access(ORDER, PAYMENT))
        world.claim(world.observed.rejects_plaintext(PAYMENT))


def test_a_service_profile_is_refused_by_its_name(scenario: Scenario, lab: LabUnderTest) -> None:
    lab.apply(PROFILE)
    try:
        with scenario() as world:
            with pytest.raises(BadInput, match=r"ServiceProfile payment-service\.shop\.svc\.cluster\.local"):
                world.changes.make(Fault(PAYMENT, status=503))
    finally:
        lab.clean()


def _lose_owner(lab: LabUnderTest, obj: dict[str, Any]) -> None:
    """Let the process be gone that wrote an object, as its record tells; the lab may write the status meanwhile."""

    def landed() -> bool:
        live = lab.cluster.get(kind_of(obj), obj["metadata"]["name"], obj["metadata"]["namespace"])
        record = Record.of(live)
        assert record is not None, kind_of(obj)
        mark(live, replace(record, owner=replace(record.owner, started="gone")))
        try:
            lab.cluster.replace(live)
        except ApiFailure as failure:
            if failure.status != HTTPStatus.CONFLICT:
                raise
            return False
        return True

    until("the record without its owner", landed)


def test_what_a_dead_run_wrote_is_swept_exactly(lab: LabUnderTest) -> None:
    """The process that wrote it is gone, so nothing but the objects tells how to undo it."""
    before = _everything(lab)
    mesh = Linkerd(lab.cluster, "r9")

    def write(*stages: Stage) -> None:
        for stage in stages:
            for edit in stage.edits:
                Change(lab.cluster, edit, "r9").apply()

    fault = mesh.plan(Fault(PAYMENT, status=503, at=Side.SERVER), Context())
    write(*fault.standing)
    for intent in (
        CircuitBreaker(PAYMENT, 5, Duration(3)),
        Split(ORDER, (("stable", Percent(50)), ("canary", Percent(50)))),
        Access(ORDER, INVENTORY),
        MutualTls(TlsMode.STRICT, "shop", ORDER),
    ):
        write(*mesh.plan(intent, Context()).stages)
    write(*fault.stages)
    changed = {name for name, obj in _everything(lab).items() if obj != before.get(name)}
    assert {name.partition(" ")[0] for name in changed} == set(_WRITTEN)
    for obj in (o for kind in _WRITTEN for o in lab.cluster.list(kind) if f"{kind} {o['metadata']['name']}" in changed):
        _lose_owner(lab, obj)
    told = sweep(lab.cluster, "shop", Duration(5))
    assert len(told) == len(changed)
    services = [sentence.split()[1] for sentence in told if sentence.startswith("Service ")]
    assert services[0] == "payment-service.shop", "restored before what it may lead to is taken away"
    assert _everything(lab) == before


FEATURE = """
Feature: F
  Scenario: one that every mesh can do
    When "checkout" is sent
    Then the response status is 200

  Scenario: one that Linkerd cannot
    Given payment-service fails 100%
    And order-service accepts at most 2 concurrent requests
    When "checkout" is sent

  @istio
  Scenario: one for Istio alone
    Given payment-service fails 100%
    When "checkout" is sent
"""


def test_in_a_run_what_linkerd_cannot_do_is_skipped_before_anything_is_written(
    lab: LabUnderTest, tmp_path: Path
) -> None:
    (tmp_path / "features").mkdir()
    background = f"  Background:{commands.CHECKOUT}"
    (tmp_path / "features" / "x.feature").write_text(FEATURE.replace("Feature: F\n", f"Feature: F\n{background}\n"))
    (tmp_path / "environment.py").write_text("import meshbdd.steps\nfrom meshbdd.hooks import *\n")
    ran = commands.meshbdd("run", "--mesh", "linkerd", cwd=tmp_path, lab=lab)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    results = tmp_path / "allure-results"
    run = json.loads((results / "meshbdd" / "run.json").read_text())
    told = run["scenarios"]
    assert [scenario["status"] for scenario in told] == ["passed", "skipped", "skipped"]
    assert told[1]["message"].startswith(
        "skipped: «order-service accepts at most 2 concurrent requests» is not possible here, because Linkerd limits"
    )
    assert told[2]["message"] == "skipped: needs Istio: tagged @istio; this run is on Linkerd"
    assert not told[1]["evidence"], "the fault before it was not written"
    status = commands.meshbdd("lab", "status", lab.info.name, "--json", cwd=tmp_path)
    deviations = json.loads(status.stdout)["labs"][0]["deviations"]
    assert [v for name, v in run["environment"].items() if name.startswith("Lab deviation ")] == deviations != []
    shown = (results / "environment.properties").read_text().replace("\\\\", "\\")
    assert all(sentence in shown for sentence in deviations)
