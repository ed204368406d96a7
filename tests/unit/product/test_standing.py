"""What did not arrive, or was not seen to go, is not forgotten: the next scenario waits for it or does not begin."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, cast

import pytest

from meshbdd.cluster import Cluster, Edit
from meshbdd.errors import Inconclusive
from meshbdd.intents import ServiceRef
from meshbdd.mesh import Gate, Mesh, Stage
from meshbdd.scenario.standing import Standing
from meshbdd.units import Duration

PAYMENT = ServiceRef("payment-service", "shop")


class _Objects:
    """As much of an API as a change needs."""

    uid = "cluster"

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.writes = 0

    def find(self, _kind: str, name: str, _namespace: str) -> dict[str, Any] | None:
        return copy.deepcopy(self.objects.get(name))

    def create(self, obj: dict[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        if dry_run:
            return obj
        self.writes += 1
        obj["metadata"]["uid"] = "1"
        self.objects[obj["metadata"]["name"]] = copy.deepcopy(obj)
        return obj

    replace = create

    def delete(self, obj: dict[str, Any]) -> None:
        del self.objects[obj["metadata"]["name"]]


class _Gate:
    """A gate that opens when it is told to."""

    def __init__(self) -> None:
        self.shut: set[str] = set()
        self.asked: list[str] = []

    def _ask(self, markers: Any) -> None:
        self.asked += [str(marker) for marker in markers]
        if self.shut & {str(marker) for marker in markers}:
            raise Inconclusive("MB0411", "It did not arrive.")

    def wait_present(self, markers: Any, *_before: Any) -> None:
        self._ask(markers)

    wait_absent = wait_present


class _Mesh:
    def renewal(self, epochs: Mapping[ServiceRef, int]) -> Stage:
        return _stage("epoch", "renewed", {str(service): number for service, number in epochs.items()})


def _stage(name: str, marker: str, spec: Any, *renewed: ServiceRef) -> Stage:
    new = {"kind": "EnvoyFilter", "metadata": {"name": name, "namespace": "shop"}, "spec": spec}
    edit = Edit("EnvoyFilter", name, "shop", ("spec",), lambda _now: spec, new)
    return Stage.of(edit, markers=cast("Any", (marker,)), renewed=renewed)


@pytest.fixture
def made() -> tuple[Standing, _Gate, _Objects]:
    gate, objects = _Gate(), _Objects()
    standing = Standing(cast("Cluster", objects), cast("Mesh", _Mesh()), cast("Gate", gate), "r1", Duration(1))
    return standing, gate, objects


def test_what_stands_is_left_alone_and_all_of_it_goes(made: tuple[Standing, _Gate, _Objects]) -> None:
    standing, gate, objects = made
    arm = _stage("arm", "armed", {"a": 1}, PAYMENT)
    standing.ensure([arm])
    assert objects.objects["epoch"]["spec"] == {"payment-service.shop": 1}
    writes = objects.writes
    standing.ensure([arm])
    assert objects.writes == writes
    standing.renew([PAYMENT])
    assert objects.objects["epoch"]["spec"] == {"payment-service.shop": 2}
    assert standing.close() == []
    assert objects.objects == {}
    assert gate.asked == ["armed", "renewed", "renewed"]


@pytest.mark.parametrize("shut", ["armed", "renewed"])
def test_an_arming_that_did_not_arrive_is_waited_for_again(made: tuple[Standing, _Gate, _Objects], shut: str) -> None:
    standing, gate, _ = made
    arm = _stage("arm", "armed", {"a": 1}, PAYMENT)
    gate.shut = {shut}
    with pytest.raises(Inconclusive):
        standing.ensure([arm])
    gate.shut, gate.asked = set(), []
    standing.ensure([arm])
    assert gate.asked == ["armed", "renewed"], "neither is taken for done"


def test_no_scenario_begins_on_what_an_earlier_one_left(made: tuple[Standing, _Gate, _Objects]) -> None:
    standing, gate, objects = made
    standing.settle()
    gate.shut = {"fault"}
    with pytest.raises(Inconclusive):
        standing.wait_withdrawn(cast("Any", ("fault",)), {}, {})
    with pytest.raises(Inconclusive):
        standing.settle()
    gate.shut = {"renewed"}
    with pytest.raises(Inconclusive):
        standing.renew([PAYMENT])
    with pytest.raises(Inconclusive):
        standing.settle()
    gate.shut, gate.asked = set(), []
    standing.settle()
    assert gate.asked == ["renewed"]
    assert objects.objects["epoch"]["spec"] == {"payment-service.shop": 3}
    standing.settle()
    assert gate.asked == ["renewed"], "once is enough"


def test_no_scenario_begins_before_what_a_killed_run_left_is_gone(made: tuple[Standing, _Gate, _Objects]) -> None:
    standing, gate, objects = made
    standing.owe(cast("Any", ["policy"]), [PAYMENT])
    gate.shut = {"policy"}
    for _ in range(2):
        with pytest.raises(Inconclusive):
            standing.settle()
    assert not objects.objects, "connections are renewed once the listeners are there"
    gate.shut = set()
    standing.settle()
    assert gate.asked[-2:] == ["policy", "renewed"]
    standing.settle()
    assert gate.asked[-2:] == ["policy", "renewed"]
