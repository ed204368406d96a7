"""A service that is down while what brought it, or its pods, is undone gets no endpoint again, and none is waited for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from meshbdd.cluster import Cluster
from meshbdd.cluster.record import Layer, Owner, Record
from meshbdd.cluster.revert import revert
from meshbdd.errors import BadInput, EnvironmentBroken
from meshbdd.intents import Down, ServiceRef
from meshbdd.mesh import Gate
from meshbdd.mesh.looking import Proxy
from meshbdd.mesh.workloads import replicas_of
from meshbdd.rehearsal.stage import StageCluster, StageGate
from meshbdd.scenario.changes import Changes
from meshbdd.sidecars import LINKERD
from meshbdd.units import Duration
from tests.unit.product.test_changes import _changes

Object = dict[str, Any]


class _Gate(StageGate):
    """Waits for endpoints as a run's does, of a mesh without proxies."""

    real: Gate

    def wait_endpoints(self, *asked: Any, **more: Any) -> None:
        self.real.wait_endpoints(*asked, **more)


class _NoProxies(Gate):
    def proxies(self) -> list[Proxy]:
        return []


def _service(name: str) -> Object:
    spec = {"selector": {"app": name}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop"}, "spec": spec}


def _deployment(name: str) -> Object:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "app", "image": "a"}]}}
    spec = {"selector": {"matchLabels": labels}, "template": template}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": spec,
    }


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Gate]:
    monkeypatch.setattr("meshbdd.mesh.stillness._LONGEST", 0.1)
    monkeypatch.setattr("meshbdd.mesh.stillness._MERGE_WINDOW", 0)
    made = _Gate()
    yield made
    made.real.close()


def _world(project: Path, gate: _Gate, *more: Object) -> Changes:
    changes = _changes(project, more, gate)
    gate.real = _NoProxies(cast("Cluster", changes._environment.cluster), Duration(0.05), LINKERD)
    return changes


def _apply(changes: Changes, project: Path, *objects: Object) -> None:
    (project / "new.yaml").write_text(yaml.safe_dump_all(objects))
    changes.apply_manifest("new.yaml")


@pytest.mark.parametrize("brought", ["service and pods", "pods"])
def test_what_a_manifest_brought_and_is_down_is_undone(brought: str, tmp_path: Path, gate: _Gate) -> None:
    fresh = ServiceRef("fresh", "shop")
    new, there = ([_service("fresh")], []) if brought == "service and pods" else ([], [_service("fresh")])
    changes = _world(tmp_path, gate, *there)
    _apply(changes, tmp_path, *new, _deployment("fresh"))
    changes.make(Down(fresh))
    changes.take_back_all()
    cluster = changes._environment.cluster
    assert cluster.find("Deployment", "fresh", "shop") is None
    assert (cluster.find("Service", "fresh", "shop") is not None) is bool(there)


@pytest.mark.parametrize("count", [None, 3])
@pytest.mark.parametrize("brought", ["service and pods", "pods"])
def test_pods_that_are_down_go_only_once_they_have_recovered(
    brought: str, count: int | None, tmp_path: Path, gate: _Gate
) -> None:
    fresh, pods = ServiceRef("fresh", "shop"), _deployment("fresh")
    new, there = ([_service("fresh")], []) if brought == "service and pods" else ([], [_service("fresh")])
    if count is not None:
        pods["spec"]["replicas"] = count
    changes = _world(tmp_path, gate, *there)
    _apply(changes, tmp_path, *new, pods)
    changes.make(Down(fresh))
    before, cluster = list(changes.in_force), cast("StageCluster", changes._environment.cluster)
    objects = cluster.objects
    with pytest.raises(BadInput, match=r"«fresh\.shop is down» has changed its Deployment fresh") as caught:
        changes.remove_manifest("new.yaml")
    assert (caught.value.code, caught.value.help) == ("MB0316", "let fresh recover first")
    assert (changes.in_force, cluster.objects) == (before, objects)
    gate.real.wait_endpoints = lambda *_, **__: None  # type: ignore[method-assign]
    changes.recover(fresh)
    changes.remove_manifest("new.yaml")
    assert cluster.find("Deployment", "fresh", "shop") is None


@pytest.mark.parametrize("by_others", [{}, {"strategy": {"type": "RollingUpdate"}}])
def test_nothing_stays_without_what_its_kind_requires(by_others: Object) -> None:
    created = Layer("one", ("spec", "selector"), None, {"matchLabels": {"app": "fresh"}})
    obj = _deployment("fresh")
    obj["spec"] |= {"replicas": 0, **by_others}
    down = Layer("two", ("spec", "replicas"), 1, 0)
    record = Record("r1", Owner.me(), "here", "", True, (created, down), "", None)
    with pytest.raises(BadInput, match="another change of this scenario stands on it"):
        revert(obj, record, {"one"}, {"two": lambda _now: 0})
    left = revert(obj, record, {"two"}).obj
    assert left is not None
    assert left["spec"]["replicas"] == 1


def test_pods_of_the_world_are_waited_for(tmp_path: Path, gate: _Gate) -> None:
    changes = _world(tmp_path, gate)
    changes.make(Down(ServiceRef("payment-service", "shop")))
    with pytest.raises(EnvironmentBroken, match=r"last seen: no pod behind payment-service\.shop is ready"):
        changes.take_back_all()


@pytest.mark.parametrize(
    ("said", "count"), [({}, 1), ({"replicas": None}, 1), ({"replicas": 0}, 0), ({"replicas": 3}, 3)]
)
def test_a_deployment_that_does_not_say_how_many_pods_it_has_has_one(said: Object, count: int) -> None:
    assert replicas_of({"spec": said}) == count


def test_a_rehearsal_takes_it_to_have_one_too(tmp_path: Path, gate: _Gate) -> None:
    changes = _world(tmp_path, gate)
    empty = _deployment("fresh")
    empty["spec"]["replicas"] = None
    _apply(changes, tmp_path, _service("fresh"), empty)
    pods = changes._environment.cluster.list("Pod", "shop")
    assert [pod["metadata"]["name"] for pod in pods].count("of Deployment fresh") == 1
