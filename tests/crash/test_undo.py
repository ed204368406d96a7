"""What a run did to a cluster is taken back: exactly, without touching what others did, and whatever kills the run."""

from __future__ import annotations

import copy
import os
import secrets
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from meshbdd.cluster import Change, Edit, UndoStack, changed_by_others, sweep
from meshbdd.cluster.record import RUN, UNDO, Record, mark
from meshbdd.errors import Refused
from meshbdd.intents import (
    Access,
    CircuitBreaker,
    Fault,
    Intent,
    MutualTls,
    Scope,
    ServiceRef,
    Side,
    Split,
    TlsMode,
)
from meshbdd.mesh import Context, Gate, Istio, Where
from meshbdd.mesh.markers import FilterArmed
from meshbdd.mesh.remains import Remains
from meshbdd.scenario.left_behind import left_behind
from meshbdd.units import Duration, Percent
from tests.tools import LabUnderTest, until

OWN = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: payment
  labels: {team: money}
spec:
  hosts: [payment-service]
  http:
  - name: theirs
    match: [{uri: {prefix: /charge}}]
    timeout: 3s
    retries: {attempts: 1}
    route: [{destination: {host: payment-service}}]
  - route: [{destination: {host: payment-service}}]
"""
OWN_RULE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: payment}
spec:
  host: payment-service
  trafficPolicy: {loadBalancer: {simple: RANDOM}}
"""
PAYMENT = ServiceRef("payment-service", "shop")
BUDGET = Duration(5)


def comparable(obj: dict[str, Any] | None) -> Any:
    """An object without what can only grow, and without the times of its managers."""
    if obj is None:
        return None
    obj = copy.deepcopy(obj)
    for key in ("resourceVersion", "generation"):
        obj["metadata"].pop(key, None)
    for entry in obj["metadata"].get("managedFields") or []:
        entry.pop("time", None)
    return obj


def _fail(lab: LabUnderTest, run: str = "r1", **scope: Any) -> tuple[UndoStack, Change]:
    plan = Istio(lab.cluster, run).plan(Fault(PAYMENT, status=503, at=Side.CALLER, scope=Scope(**scope)), Context())
    change = Change(lab.cluster, plan.edits[0], run, plan.tags[0])
    stack = UndoStack(BUDGET)
    stack.push(change)
    change.apply()
    return stack, change


def _live(lab: LabUnderTest, name: str = "payment") -> dict[str, Any] | None:
    return lab.cluster.find("VirtualService", name, "shop")


def test_the_object_is_as_it_was(lab: LabUnderTest) -> None:
    lab.apply(OWN)
    before = _live(lab)
    stack, _ = _fail(lab, method="POST")
    during = _live(lab)
    assert during is not None and before is not None
    assert during["spec"]["http"][2:] == before["spec"]["http"], "the tester's routes are not touched"
    assert [r["name"].startswith("meshbdd-r1-") for r in during["spec"]["http"][:2]] == [True, True]
    assert UNDO in during["metadata"]["annotations"]
    assert stack.undo() == []
    assert comparable(_live(lab)) == comparable(before)


def test_what_was_created_is_gone(lab: LabUnderTest) -> None:
    stack, change = _fail(lab)
    assert _live(lab, change.edit.name) is not None
    stack.undo()
    assert _live(lab, change.edit.name) is None


def test_two_changes_are_undone_in_any_order(lab: LabUnderTest) -> None:
    lab.apply(OWN)
    before = _live(lab)
    istio = Istio(lab.cluster, "r1")
    stack = UndoStack(BUDGET)
    for status in (500, 503):
        plan = istio.plan(
            Fault(PAYMENT, status=status, at=Side.CALLER, scope=Scope(headers={"x-user": str(status)})), Context()
        )
        change = Change(lab.cluster, plan.edits[0], "r1", plan.tags[0])
        stack.push(change)
        change.apply()
    first = stack.changes[:1]
    stack.undo(first)
    live = _live(lab)
    assert live is not None
    statuses = [r["fault"]["abort"]["httpStatus"] for r in live["spec"]["http"] if "fault" in r]
    assert statuses == [503, 503]
    stack.undo()
    assert comparable(_live(lab)) == comparable(before)


OWN_HTTP_ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: payment}
spec:
  parentRefs: [{group: "", kind: Service, name: payment-service, port: 80}]
  rules: [{backendRefs: [{name: payment-service, port: 80}]}]
"""


def _lead_to(lab: LabUnderTest, *hosts: str, run: str = "r1") -> Change:
    """Lead the tester's route elsewhere; what is left out of a backend the API fills in."""
    rules = [{"backendRefs": [{"name": host, "port": 80}]} for host in hosts]
    change = Change(lab.cluster, Edit("HTTPRoute", "payment", "shop", ("spec", "rules"), lambda _now: rules), run)
    change.apply()
    return change


def test_what_the_api_fills_in_is_nobodys_edit(lab: LabUnderTest) -> None:
    lab.apply(OWN_HTTP_ROUTE)
    before = lab.cluster.get("HTTPRoute", "payment", "shop")
    first, second = _lead_to(lab, "order-service"), _lead_to(lab, "inventory-service", "order-service")
    assert lab.cluster.get("HTTPRoute", "payment", "shop")["spec"]["rules"][1]["backendRefs"][0]["weight"] == 1
    assert first.undo(BUDGET, {second.id: second.edit.make}) is None
    assert second.undo(BUDGET) is None
    assert comparable(lab.cluster.get("HTTPRoute", "payment", "shop")) == comparable(before)


def test_an_edit_of_somebody_else_beside_what_the_api_fills_in_survives(lab: LabUnderTest) -> None:
    lab.apply(OWN_HTTP_ROUTE)
    change = _lead_to(lab, "order-service")
    live = lab.cluster.get("HTTPRoute", "payment", "shop")
    live["spec"]["rules"][0]["backendRefs"][0]["weight"] = 3
    lab.cluster.replace(live)
    told = change.undo(BUDGET)
    assert told is not None
    assert "that change was kept" in told
    assert lab.cluster.get("HTTPRoute", "payment", "shop")["spec"]["rules"][0]["backendRefs"][0]["weight"] == 3


def test_a_route_that_a_run_made_was_changed_by_nobody(lab: LabUnderTest) -> None:
    (made,) = yaml.safe_load_all(OWN_HTTP_ROUTE)
    made["metadata"]["namespace"] = "shop"
    change = Change(lab.cluster, Edit("HTTPRoute", "payment", "shop", ("spec",), lambda now: now, made), "r1")
    change.apply()
    assert change.undo(BUDGET) is None
    assert lab.cluster.find("HTTPRoute", "payment", "shop") is None


def test_the_edit_of_somebody_else_survives(lab: LabUnderTest) -> None:
    lab.apply(OWN)
    stack, _ = _fail(lab)
    theirs = _live(lab)
    assert theirs is not None
    theirs["spec"]["http"][-1]["timeout"] = "9s"
    lab.cluster.replace(theirs)
    told = stack.undo()
    live = _live(lab)
    assert live is not None
    assert live["spec"]["http"][-1]["timeout"] == "9s"
    assert len(live["spec"]["http"]) == 2
    assert UNDO not in live["metadata"].get("annotations", {})
    assert RUN not in live["metadata"].get("labels", {})
    assert "that change was kept" in told[0]


def test_what_somebody_deleted_is_not_made_again(lab: LabUnderTest) -> None:
    lab.apply(OWN)
    stack, _ = _fail(lab)
    live = _live(lab)
    assert live is not None
    lab.cluster.delete(live)
    assert stack.undo() == []
    assert _live(lab) is None


def test_a_lost_annotation_is_made_up_for_by_the_names_of_the_routes(lab: LabUnderTest) -> None:
    lab.apply(OWN)
    before = _live(lab)
    stack, _ = _fail(lab)
    live = _live(lab)
    assert live is not None and before is not None
    del live["metadata"]["annotations"][UNDO]
    lab.cluster.replace(live)
    stack.undo()
    after = _live(lab)
    assert after is not None
    assert after["spec"] == before["spec"]


def test_another_runs_object_is_not_touched(lab: LabUnderTest) -> None:
    lab.apply(OWN)
    stack, _ = _fail(lab, "r1")
    with pytest.raises(Refused, match="run r1"):
        _fail(lab, "r2")
    stack.undo()


def test_the_sweep_leaves_a_living_run_alone(lab: LabUnderTest) -> None:
    lab.apply(OWN)
    stack, _ = _fail(lab)
    assert sweep(lab.cluster, "shop", BUDGET) == []
    live = _live(lab)
    assert live is not None and Record.of(live) is not None
    stack.undo()


def test_another_runs_fault_is_nobodys_verdict(lab: LabUnderTest, tmp_path: Path) -> None:
    """The fault of a run that lives makes no claim of another run red, and none of it green."""
    lab.apply(OWN)
    stack, _ = _fail(lab, "r1")
    lab.in_effect("order-service", '"name": "meshbdd-')
    run = _behave(lab, tmp_path, BESIDE_IT)
    try:
        code = run.wait(timeout=60)
        standing = _live(lab)
    finally:
        if run.poll() is None:
            run.kill()
            run.wait()
        stack.undo()
    told = (tmp_path / "output").read_text()
    assert code != 0, told
    assert "0 scenarios passed, 0 failed, 2 error" in told, told
    alone = (
        "MB0613 inconclusive: VirtualService payment.shop carried a change of run r1 "
        f"(process {os.getpid()} on {socket.gethostname()}, since "
    )
    assert told.count(alone) == 2, told
    assert standing is not None
    assert Record.of(standing) is not None, "it is left alone all the same"


BESIDE_IT = """
Feature: A run beside another one
  Background:
    Given the request "checkout":
      '''
      POST http://order-service/checkout

      {"sku": "A1", "quantity": 1}
      '''
    When "checkout" is sent
  Scenario: It would be red
    Then the response status is 200
  Scenario: It would be green
    Then the response status is 503
""".replace("'''", '"""')
FEATURE = """
Feature: A run that is ended
  Scenario: It holds a fault
    Given the request "checkout":
      '''
      POST http://order-service/checkout

      {"sku": "A1", "quantity": 1}
      '''
    Given payment-service fails 100%
      | inject at | SIDE |
    When "checkout" is sent 100000 times
    Then the response status is 503
""".replace("'''", '"""')


def _behave(lab: LabUnderTest, folder: Path, feature: str) -> subprocess.Popen[bytes]:
    (folder / "features").mkdir()
    (folder / "features" / "held.feature").write_text(feature)
    (folder / "environment.py").write_text("import meshbdd.steps\nfrom meshbdd.hooks import *\n")
    (folder / "steps").mkdir()
    environment = {**os.environ, "KUBECONFIG": str(lab.info.kubeconfig)}
    output = (folder / "output").open("wb")
    return subprocess.Popen(
        [sys.executable, "-m", "behave", "-f", "plain"], cwd=folder, env=environment, stdout=output, stderr=output
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_a_run_that_is_ended_leaves_no_fault(lab: LabUnderTest, tmp_path: Path, number: signal.Signals) -> None:
    """SIGTERM, Ctrl-C and SIGHUP undo at once; after kill -9 the next run's sweep does."""
    lab.apply(OWN)
    before = _live(lab)
    run = _behave(lab, tmp_path, FEATURE.replace("SIDE", Side.CALLER))
    try:
        until("the fault", lambda: UNDO in (_live(lab) or {})["metadata"].get("annotations", {}), seconds=20)
        until("traffic that meets it", lambda: any(e["response_flags"] == "FI" for e in lab.log("order-service")))
        run.send_signal(number)
        code = run.wait(timeout=30)
    finally:
        if run.poll() is None:
            run.kill()
            run.wait()
    told = (tmp_path / "output").read_text()
    if number == signal.SIGKILL:
        assert comparable(_live(lab)) != comparable(before), "the fault is still there"
        swept = sweep(lab.cluster, "shop", BUDGET)
        assert len(swept) == 1
        assert "VirtualService payment.shop" in swept[0]
    else:
        assert code != 0, told
    assert comparable(_live(lab)) == comparable(before), told
    lab.in_effect("order-service", '"name": "meshbdd-', gone=True)
    assert lab.post("http://order-service/checkout").status_code == 200


def _filters(lab: LabUnderTest) -> list[dict[str, Any]]:
    return lab.cluster.list("EnvoyFilter", "shop")


def _faulted(lab: LabUnderTest) -> list[dict[str, Any]]:
    return [entry for entry in lab.log("payment-service") if entry["response_flags"] == "FI"]


def _charge_on_open_connections(lab: LabUnderTest, sessions: list[requests.Session]) -> set[int]:
    return {s.post("http://payment-service/charge", json={"sku": "A1"}, timeout=10).status_code for s in sessions}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_ended_leaves_no_armed_filter(lab: LabUnderTest, tmp_path: Path, number: signal.Signals) -> None:
    """The fault at a server goes with its EnvoyFilters, and no connection that was open all the while still answers by it."""
    sessions = [lab.session("order-service") for _ in range(3)]
    assert _charge_on_open_connections(lab, sessions) == {200}
    earlier = len(_faulted(lab))
    run = _behave(lab, tmp_path, FEATURE.replace("SIDE", Side.SERVER))
    try:
        until("the fault", lambda: len(_faulted(lab)) > earlier, seconds=40)
        run.send_signal(number)
        run.wait(timeout=30)
    finally:
        if run.poll() is None:
            run.kill()
            run.wait()
    if number == signal.SIGKILL:
        assert _filters(lab), "the fault is still there"
        gate, changed = Gate(lab.cluster, Duration(10)), list(changed_by_others(lab.cluster, "shop", "r1"))
        swept = sweep(lab.cluster, "shop", BUDGET, switched_off=gate.wait_switched_off)
        gate.wait_absent(left_behind(lab.cluster, changed, ())[0], {})
        gate.close()
        assert any("EnvoyFilter meshbdd-fault-payment-service-1.shop" in sentence for sentence in swept), swept
        assert any("meshbdd-epoch" in sentence for sentence in swept), swept
    told = (tmp_path / "output").read_text()
    assert _filters(lab) == [], told
    assert _charge_on_open_connections(lab, sessions) == {200}, told
    gate = Gate(lab.cluster, Duration(10))
    gate.wait_absent([FilterArmed("meshbdd.fault.payment-service.1", Where("shop", {"app": "payment-service"}))], {})
    gate.close()


@pytest.mark.parametrize(
    "intent",
    [
        MutualTls(TlsMode.STRICT, "shop"),
        Access(ServiceRef("order-service", "shop"), PAYMENT),
        CircuitBreaker(PAYMENT, 5, Duration(3)),
        Split(ServiceRef("order-service", "shop"), (("stable", Percent(50)), ("canary", Percent(50)))),
    ],
    ids=lambda intent: type(intent).__name__,
)
def test_what_a_dead_run_wrote_is_swept_exactly(lab: LabUnderTest, intent: Intent) -> None:
    """Of every kind of policy; the process that wrote it is gone, so nothing but the objects tells how to undo it."""
    lab.apply(OWN_RULE)
    kinds = ("VirtualService", "DestinationRule", "PeerAuthentication", "AuthorizationPolicy", "EnvoyFilter")
    before = [comparable(obj) for kind in kinds for obj in lab.cluster.list(kind)]
    dead, gate = secrets.token_hex(16), Gate(lab.cluster, Duration(10))
    plan = Istio(lab.cluster, dead).plan(intent, Context())
    for edit, tag in zip(plan.edits, plan.tags, strict=True):
        change = Change(lab.cluster, edit, dead, tag)
        change.apply()
        live = lab.cluster.get(edit.kind, edit.name, edit.namespace)
        record = Record.of(live)
        assert record is not None
        mark(live, replace(record, owner=replace(record.owner, started="gone")))
        lab.cluster.replace(live)
    during = [comparable(obj) for kind in kinds for obj in lab.cluster.list(kind)]
    assert during != before
    gate.wait_present(plan.markers, {})
    held = {proxy.pod: {page: proxy.tunnel.get(page) for page in Remains.pages} for proxy in gate.proxies()}
    changed = list(changed_by_others(lab.cluster, "shop", "r1"))
    assert sweep(lab.cluster, "shop", BUDGET)
    assert [comparable(obj) for kind in kinds for obj in lab.cluster.list(kind)] == before
    markers, renewed = left_behind(lab.cluster, changed, ())
    assert bool(renewed) is isinstance(intent, MutualTls | Access)
    lags = {pod for pod, of in held.items() if any(m.held([of[page] for page in m.pages]) for m in markers)}
    assert any(pod.startswith(("payment-service", "order-service")) for pod in lags), "it is seen there"
    gate.wait_absent(markers, {})
    gate.close()
    assert left_behind(lab.cluster, changed, changed) == ([], []), "that run lives"
