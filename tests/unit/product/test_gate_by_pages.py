"""What leaves no name in a proxy comes and goes with what the proxy's pages look like, whatever else comes and goes beside it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest

from meshbdd.cluster import Cluster
from meshbdd.errors import Inconclusive
from meshbdd.mesh import Gate
from meshbdd.mesh.looking import Proxy
from meshbdd.mesh.markers import LISTENERS, ConfigChanged
from meshbdd.scenario.standing import Standing
from meshbdd.units import Duration

POD = {"name": "pay-1", "namespace": "shop", "labels": {"app": "pay"}}
A, B = (ConfigChanged(f"EnvoyFilter {name}", (LISTENERS,)) for name in "ab")


class _Tunnel:
    """A proxy whose one listener has these filters."""

    pod, namespace = "pay-1", "shop"

    def __init__(self) -> None:
        self.filters: list[str] = []

    def get(self, page: str) -> dict[str, Any]:
        listener = {"name": "virtualInbound", "filters": list(self.filters)}
        return {"configs": [{"active_state": {"listener": listener}}] if page == LISTENERS else []}


class _Gate(Gate):
    def __init__(self) -> None:
        super().__init__(cast("Cluster", None), Duration(0.05))
        self.tunnel = _Tunnel()

    def proxies(self) -> list[Proxy]:
        return [Proxy(cast("Any", self.tunnel), POD)]


@pytest.fixture
def gate() -> Iterator[_Gate]:
    made = _Gate()
    yield made
    made.close()


def _comes(gate: _Gate, marker: ConfigChanged, *filters: str) -> Any:
    before = gate.before([marker])
    with pytest.raises(Inconclusive, match=f"no {marker}"):
        gate.wait_present([marker], before)
    gate.tunnel.filters = list(filters)
    gate.wait_present([marker], before)
    return before


def _goes(gate: _Gate, marker: ConfigChanged, before: Any, *filters: str) -> None:
    during = gate.before([marker])
    with pytest.raises(Inconclusive, match=f"still {marker}"):
        gate.wait_absent([marker], before, during)
    gate.tunnel.filters = list(filters)
    gate.wait_absent([marker], before, during)


def test_the_first_of_two_may_go_first(gate: _Gate) -> None:
    before_a = _comes(gate, A, "a")
    before_b = _comes(gate, B, "a", "b")
    _goes(gate, A, before_a, "b")
    _goes(gate, B, before_b)


def test_what_came_since_and_stays_keeps_nothing_from_being_seen_to_go(gate: _Gate) -> None:
    before = _comes(gate, A, "a")
    gate.tunnel.filters = ["armed", "a"]
    _goes(gate, A, before, "armed")


def test_what_did_not_come_is_gone(gate: _Gate) -> None:
    before = gate.before([A])
    gate.wait_absent([A], before, gate.before([A]))


def test_a_pod_that_started_with_it_is_seen_to_lose_it(gate: _Gate) -> None:
    gate.tunnel.filters = ["a"]
    _goes(gate, A, {})


def test_no_scenario_begins_before_it_is_gone_and_each_one_after(gate: _Gate) -> None:
    standing = Standing(cast("Cluster", None), cast("Any", None), gate, "r1", Duration(1))
    before = _comes(gate, A, "a")
    gate.tunnel.filters = ["armed", "a"]
    during = gate.before([A])
    for attempt in (lambda: standing.wait_withdrawn([A], before, during), standing.settle):
        with pytest.raises(Inconclusive, match="still effect of EnvoyFilter a"):
            attempt()
    gate.tunnel.filters = ["armed"]
    standing.settle()
    gate.tunnel.filters = ["armed", "a"]
    standing.settle()  # it is forgotten
