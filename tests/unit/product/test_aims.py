"""A manifest's fault for certain callers: none of theirs is met by the calls of others."""

from __future__ import annotations

from typing import Any

import pytest

from meshbdd.intents import ServiceRef
from meshbdd.mesh import Istio
from meshbdd.mesh.base import Aim, Where
from tests.unit.product.staged import Staged

Object = dict[str, Any]
PAY, STOCK = ServiceRef("pay", "shop"), ServiceRef("stock", "shop")
TO_PAY = [{"destination": {"host": "pay.shop.svc.cluster.local"}}]
FAULT = {"fault": {"abort": {"httpStatus": 503, "percentage": {"value": 100}}}}
PLAIN = {"route": TO_PAY}
ORDER, CLIENT = {"app": "order"}, {"app": "client"}


def _pod(app: str, namespace: str) -> Object:
    meta = {"name": f"{app}-1", "namespace": namespace, "labels": {"app": app}}
    return {"kind": "Pod", "metadata": meta, "spec": {"containers": [{"name": "istio-proxy"}]}}


SHOP = (
    *({"kind": "Namespace", "metadata": {"name": name, "labels": {"istio-injection": "enabled"}}} for name in ("shop", "front")),
    *({"kind": "Service", "metadata": {"name": name, "namespace": "shop"}, "spec": {"selector": {"app": name}, "ports": [{"port": 80}]}}
      for name in ("pay", "stock")),
    _pod("order", "shop"), _pod("client", "shop"), _pod("portal", "front"),
)  # fmt: skip


def _fault(*match: Object) -> Object:
    return {**PLAIN, **FAULT, "match": list(match)}


def _routing(*http: Object, name: str = "own", namespace: str = "shop", **spec: Any) -> Object:
    meta = {"name": name, "namespace": namespace}
    hosts = {"hosts": ["pay.shop.svc.cluster.local"]}
    api = {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService"}
    return {**api, "metadata": meta, "spec": {**hosts, **spec, "http": list(http)}}


def _aims(*documents: Object, there: tuple[Object, ...] = ()) -> tuple[Aim, ...]:
    return Staged(Istio, [*SHOP, *there])(list(documents)).aims


def _callers(*documents: Object, there: tuple[Object, ...] = ()) -> list[str] | None:
    """The pods of those whom the fault for the calls to pay is for; ``None``: everybody."""
    found = [aim for aim in _aims(*documents, there=there) if aim.service == PAY]
    if not found:
        return None
    pods = (obj["metadata"] for obj in SHOP if obj["kind"] == "Pod")
    return [str(pod["name"]) for pod in pods if any(where.takes(pod) for where in found[0].callers)]


@pytest.mark.parametrize(
    ("routes", "callers"),
    [
        ([_fault()], None),
        ([_fault({"sourceLabels": ORDER}), PLAIN], ["order-1"]),
        ([_fault({"sourceLabels": {"app": "oder"}}), PLAIN], []),
        ([_fault({"sourceNamespace": "front"}), PLAIN], ["portal-1"]),
        ([_fault({"sourceNamespace": "front", "sourceLabels": ORDER}), PLAIN], []),
        ([_fault({"uri": {"prefix": "/x"}}), PLAIN], None),
        ([_fault({"sourceLabels": ORDER, "uri": {"prefix": "/x"}}), PLAIN], ["order-1"]),
        ([_fault({"sourceLabels": ORDER}, {"sourceNamespace": "front"}), PLAIN], ["order-1", "portal-1"]),
        ([_fault({"sourceLabels": ORDER}, {"uri": {"prefix": "/x"}}), PLAIN], None),
        ([_fault({"sourceLabels": ORDER}), _fault({"sourceNamespace": "front"}), PLAIN], ["order-1", "portal-1"]),
        ([_fault({"sourceLabels": ORDER}), _fault()], None),
        ([{**PLAIN, "match": [{"sourceLabels": CLIENT}]}, _fault()], ["order-1", "portal-1"]),
        ([{**PLAIN, "match": [{"sourceLabels": CLIENT, "uri": {"exact": "/"}}]}, _fault()], None),
        ([PLAIN, _fault({"sourceLabels": ORDER})], []),
        ([{**PLAIN, "match": [{"uri": {"prefix": "/"}}]}, _fault()], []),
        (
            [{**PLAIN, "match": [{"uri": {"regex": ".*"}, "ignoreUriCase": True}]}, _fault({"uri": {"prefix": "/x"}})],
            [],
        ),
        ([{**PLAIN, "match": [{"statPrefix": "plain"}]}, _fault()], []),
        ([{**PLAIN, "match": [{"sourceLabels": CLIENT, "uri": {"prefix": "/"}}]}, _fault()], ["order-1", "portal-1"]),
        ([{**PLAIN, "match": [{"uri": {"prefix": "/x"}}]}, _fault()], None),
        ([_fault({"gateways": ["mesh"], "sourceLabels": ORDER}), PLAIN], ["order-1"]),
        ([_fault({"gateways": ["in/gate"]}), PLAIN], None),
    ],
)
def test_a_fault_is_for_those_whose_calls_may_take_its_routes(routes: list[Object], callers: list[str] | None) -> None:
    assert _callers(_routing(*routes)) == callers


@pytest.mark.parametrize(
    ("spec", "namespace", "callers"),
    [
        ({"exportTo": ["*"]}, "shop", None),
        ({"exportTo": ["front"]}, "shop", ["portal-1"]),
        ({"exportTo": ["."]}, "front", ["portal-1"]),
        ({"exportTo": [".", "shop"]}, "front", ["order-1", "client-1", "portal-1"]),
        ({"exportTo": ["nowhere"]}, "shop", []),
        ({}, "front", None),
        ({"gateways": ["in/gate"]}, "shop", None),
    ],
)
def test_a_fault_is_for_those_who_see_it(spec: Object, namespace: str, callers: list[str] | None) -> None:
    assert _callers(_routing(_fault(), namespace=namespace, **spec)) == callers


def test_a_fault_is_not_for_those_who_have_another_rule_before_it() -> None:
    private = _routing(PLAIN, name="private", namespace="front", exportTo=["."])
    assert _callers(_routing(_fault()), there=(private,)) == ["order-1", "client-1"]
    assert _callers(_routing(_fault()), private) == ["order-1", "client-1"]
    assert _callers(_routing(_fault()), _routing(_fault(), name="private", namespace="front", exportTo=["."])) == [
        "order-1", "client-1", "portal-1"
    ]  # fmt: skip


def test_a_fault_is_for_those_whose_own_rule_is_for_a_pattern_alone() -> None:
    private = _routing(PLAIN, name="wide", namespace="front", exportTo=["."], hosts=["*.shop.svc.cluster.local"])
    assert _callers(_routing(_fault()), there=(private,)) is None


def test_a_delegates_fault_is_for_those_of_them_whom_its_root_takes() -> None:
    def root(**match: Any) -> Object:
        return _routing({"match": [match] if match else [], "delegate": {"name": "led"}}, PLAIN, name="root")

    def led(*match: Object) -> Object:
        found = _routing(_fault(*match), name="led")
        del found["spec"]["hosts"]
        return found

    assert _callers(root(), led()) is None
    assert _callers(root(), led({"sourceLabels": ORDER})) == ["order-1"]
    assert _callers(root(sourceLabels=ORDER), led()) == ["order-1"]
    assert _callers(led(), there=(root(sourceNamespace="front"),)) == ["portal-1"]
    assert _callers(led({"sourceLabels": ORDER}), there=(root(sourceNamespace="front"),)) == []
    assert _callers(led({"uri": {"exact": "/x"}}), there=(root(uri={"prefix": "/x"}),)) is None
    before = _routing({**PLAIN, "match": [{"sourceLabels": ORDER}]}, {"delegate": {"name": "led"}}, name="root")
    assert _callers(led(), there=(before,)) == ["client-1", "portal-1"]


def test_each_service_of_a_manifest_has_its_own_callers() -> None:
    some = _routing(_fault({"sourceLabels": ORDER}), PLAIN)
    stock = _routing(_fault(), name="stock", hosts=["stock"])
    assert _aims(some, stock) == (Aim(PAY, (Where(labels=ORDER),)),)
    both = _routing(_fault({"sourceLabels": ORDER}), PLAIN, hosts=["pay", "stock"])
    assert [aim.service for aim in _aims(both)] == [PAY, STOCK]
