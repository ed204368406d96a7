"""What a run did to a cluster is taken back: exactly, without touching what others did, and whatever kills the run."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from meshbdd.cluster import Change, UndoStack, sweep
from meshbdd.cluster.record import RUN, UNDO, Record
from meshbdd.errors import Refused
from meshbdd.intents import Fault, Scope, ServiceRef
from meshbdd.mesh import Istio
from meshbdd.units import Duration
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
    plan = Istio(lab.cluster, run).plan(Fault(PAYMENT, status=503, scope=Scope(**scope)))
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
        plan = istio.plan(Fault(PAYMENT, status=status, scope=Scope(headers={"x-user": str(status)})))
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


FEATURE = """
Feature: A run that is ended
  Scenario: It holds a fault
    Given the request "checkout":
      '''
      POST http://order-service/checkout

      {"sku": "A1", "quantity": 1}
      '''
    Given payment-service fails 100%
    When "checkout" is sent 100000 times
    Then the response status is 503
""".replace("'''", '"""')


def _behave(lab: LabUnderTest, folder: Path) -> subprocess.Popen[bytes]:
    (folder / "features").mkdir()
    (folder / "features" / "held.feature").write_text(FEATURE)
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
    run = _behave(lab, tmp_path)
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
