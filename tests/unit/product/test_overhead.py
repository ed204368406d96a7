"""What a sidecar costs: how many requests it takes to know, and where they go without one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from meshbdd.claims import Outcome
from meshbdd.claims.comparison import grows_less_than
from meshbdd.cluster import Edit
from meshbdd.intents import Fault, ServiceRef, Side
from meshbdd.load import read_message
from meshbdd.mesh import Plan
from meshbdd.mesh.base import Where
from meshbdd.scenario.cold_start import start_once
from meshbdd.scenario.environment import Environment
from meshbdd.scenario.hosts import endpoints
from meshbdd.scenario.overhead import Overhead, requests_for
from meshbdd.sidecars import ISTIO
from meshbdd.units import Duration

PAYMENT, ORDER = ServiceRef("payment", "shop"), ServiceRef("order", "shop")


def test_as_many_requests_as_both_bounds_of_a_quantile_need() -> None:
    assert {percent: requests_for(percent) for percent in (50, 90, 95, 99)} == {50: 200, 90: 200, 95: 283, 99: 1444}


@pytest.mark.parametrize(
    ("starts", "added", "outcome"),
    [
        (8, 0.1, Outcome.PASSED),
        (7, 0.1, Outcome.INCONCLUSIVE),  # the largest of seven is below a median more often than one time in a hundred
        (8, 9.0, Outcome.INCONCLUSIVE),  # never red on so few
        (21, 9.0, Outcome.FAILED),
    ],
)
def test_starts_are_judged_by_what_so_many_can_prove(starts: int, added: float, outcome: Outcome) -> None:
    without = [1.0 + 0.01 * number for number in range(starts)]
    seen = [seconds + added for seconds in without]
    verdict = grows_less_than("claim", without, seen, Duration(2), what="starts")
    assert verdict.outcome is outcome
    assert "send more" not in (verdict.help or ""), "nobody but the claim starts, or sends, any of them"


class _Cluster:
    def find(self, kind: str, name: str, namespace: str) -> dict[str, Any] | None:
        ports = [{"name": "http", "port": 80}, {"name": "grpc", "port": 9000}]
        return {"spec": {"ports": ports}} if (kind, name, namespace) == ("Service", "payment", "shop") else None

    def list(self, kind: str, namespace: str, labels: str) -> list[dict[str, Any]]:
        assert (kind, namespace, labels) == ("EndpointSlice", "shop", "kubernetes.io/service-name=payment")
        ready = {"addresses": ["10.0.0.1"], "conditions": {"ready": True}}
        starting = {"addresses": ["10.0.0.2"], "conditions": {"ready": False}}
        return [
            {
                "ports": [{"name": "http", "port": 8080}, {"name": "grpc", "port": 9000}],
                "endpoints": [ready, starting, {"addresses": ["10.0.0.3"]}],
            }
        ]


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("http://payment/", ["10.0.0.1:8080", "10.0.0.3:8080"]),
        ("http://payment:9000/", ["10.0.0.1:9000", "10.0.0.3:9000"]),
        ("http://payment.shop.svc.cluster.local/", ["10.0.0.1:8080", "10.0.0.3:8080"]),
        ("http://payment:81/", []),
        ("http://nobody/", []),
    ],
)
def test_without_a_sidecar_requests_go_to_what_is_ready(url: str, found: list[str]) -> None:
    message = read_message("ask", f"GET {url}", None)
    assert endpoints(_Cluster(), message, "shop") == found  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("slowed", "side", "callers", "told"),
    [
        (PAYMENT, Side.CALLER, None, True),
        (PAYMENT, Side.SERVER, Where("shop", {"app": "client"}), True),
        (PAYMENT, Side.SERVER, None, False),
        (ORDER, Side.CALLER, None, False),
    ],
)
def test_a_fault_that_only_a_sidecar_meets_is_none_of_its_costs(
    slowed: ServiceRef, side: Side, callers: Where | None, told: bool
) -> None:
    intent = Fault(slowed, delay=Duration(0.1))
    slow = Plan(f"{slowed.name} is slow", (), intent=intent, side=side, faulty=(slowed,), callers=callers)
    environment = SimpleNamespace(require=lambda *_asked: None)
    traffic = SimpleNamespace(
        last_name="charge", sender=SimpleNamespace(asked=lambda _: PAYMENT, endpoints=lambda _: [])
    )
    verdict = Overhead(cast("Any", environment), cast("Any", traffic), lambda: [slow]).adds(Duration(0.05))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert ("«payment is slow» is in force, and a client without a sidecar" in verdict.sentence) is told


def test_a_start_is_over_when_its_copy_is_gone() -> None:
    """What still ends would slow the next start."""
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    pod = {"spec": {"containers": [{"name": "app"}]}, "status": ready}
    seen: list[str] = []
    ending = iter([[pod], [pod], []])

    def pods(*_: str) -> list[Any]:
        found = next(ending) if seen else [pod]
        seen.extend(["there" if found else "gone"] if seen else [])
        return found

    @contextlib.contextmanager
    def for_a_moment(_edit: Edit) -> Iterator[None]:
        yield
        seen.append("deleted")

    environment = SimpleNamespace(
        cluster=SimpleNamespace(list=pods),
        mesh=SimpleNamespace(sidecars=ISTIO),
        standing=SimpleNamespace(for_a_moment=for_a_moment),
    )
    start_once(cast("Environment", environment), ServiceRef("a", "shop"), {"spec": {}}, meshed=False)
    assert seen == ["deleted", "there", "there", "gone"]
