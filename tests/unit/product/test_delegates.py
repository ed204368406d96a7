"""A VirtualService without hosts is awaited where the routes of others delegate to it, in whatever order they are written."""

from __future__ import annotations

from typing import Any

import pytest

from meshbdd.errors import Inconclusive
from meshbdd.intents import ServiceRef
from meshbdd.mesh import Gate, Istio, Plan
from meshbdd.mesh.base import Where
from meshbdd.mesh.markers import ROUTES, RouteHeld
from meshbdd.units import Duration
from tests.unit.product.staged import Staged

Object = dict[str, Any]
HOST = "payment.shop.svc.cluster.local"


def _meta(name: str, namespace: str = "shop") -> Object:
    return {"name": name, "namespace": namespace}


def _routing(name: str, *http: Object, namespace: str = "shop", **spec: Any) -> Object:
    api = {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService"}
    return {**api, "metadata": _meta(name, namespace), "spec": {**spec, "http": list(http)}}


def _root(*matches: Object, **spec: Any) -> Object:
    delegating = {"match": list(matches) or [{"uri": {"prefix": "/api"}}], "delegate": {"name": "api"}}
    return _routing("root", delegating, {"route": [TO_PAYMENT]}, hosts=["payment"], **spec)


TO_PAYMENT = {"destination": {"host": "payment"}}
DELEGATE = _routing("api", {"route": [TO_PAYMENT]})
FAILING = _routing("api", {"fault": {"abort": {"percentage": {"value": 100}}}, "route": [TO_PAYMENT]})
SHOP = (
    {"kind": "Namespace", "metadata": {"name": "shop"}},
    {"kind": "Service", "metadata": _meta("payment"), "spec": {"selector": {"app": "payment"}, "ports": [{"port": 80}]}},
)  # fmt: skip


def _plan(*documents: Object, there: tuple[Object, ...] = ()) -> Plan:
    return Staged(Istio, [*SHOP, *there])(list(documents))


def _of_delegate(plan: Plan) -> list[RouteHeld]:
    """The markers of the delegate, which is written first or last."""
    [tag] = [t for e, t in zip(plan.edits, plan.tags, strict=True) if e.name == "api"]
    return [m for m in plan.markers if isinstance(m, RouteHeld) and m.tag == tag]


def _page(*names: str) -> Object:
    hosts = [{"name": f"{HOST}:80", "routes": [{"name": name} for name in names]}]
    return {"configs": [{"route_config": {"virtual_hosts": hosts}}]}


@pytest.mark.parametrize("rooted", ["before", "after", "there"])
def test_a_delegate_is_awaited_by_whoever_knows_the_hosts_of_its_root(rooted: str) -> None:
    documents = {"before": [_root(), DELEGATE], "after": [DELEGATE, _root()], "there": [DELEGATE]}[rooted]
    plan = _plan(*documents, there=(_root(),) if rooted == "there" else ())
    [marker] = _of_delegate(plan)
    assert (marker.hosts, marker.where, marker.needed) == ((HOST,), Where(), True)
    assert marker.held([_page("meshbdd-r1-9-0", "meshbdd-r1-9-1")]) is False, "the root alone has come"
    assert marker.held([_page(f"meshbdd-r1-9-0-{marker.tag}0")]) is True
    assert marker.held([{"configs": []}]) is None
    assert plan.reason == "as the manifest says"


@pytest.mark.parametrize(
    ("root", "matches", "wheres"),
    [
        ({}, [], [Where()]),
        ({"exportTo": ["."]}, [], [Where("shop")]),
        ({}, [{"sourceLabels": {"app": "a"}}], [Where(None, {"app": "a"})]),
        ({}, [{"sourceNamespace": "other"}, {"sourceLabels": {"app": "a"}}], [Where("other"), Where(None, {"app": "a"})]),
    ],
)  # fmt: skip
def test_it_is_awaited_by_those_alone_whose_calls_the_root_leads_to_it(
    root: Object, matches: list[Object], wheres: list[Where]
) -> None:
    assert [marker.where for marker in _of_delegate(_plan(_root(*matches, **root), DELEGATE))] == wheres


def test_it_may_narrow_whose_calls_it_takes() -> None:
    root = _root({"sourceLabels": {"app": "a"}}, {"sourceNamespace": "other"})
    narrow = _routing("api", {"match": [{"sourceLabels": {"app": "b", "x": "y"}}], "route": [TO_PAYMENT]})
    [marker] = _of_delegate(_plan(root, narrow))
    assert marker.where == Where("other", {"app": "b", "x": "y"})
    elsewhere = _routing("api", {"match": [{"sourceNamespace": "third"}], "route": [TO_PAYMENT]})
    assert [m.where for m in _of_delegate(_plan(_root({"sourceNamespace": "other"}), elsewhere))] == [Where()]
    assert not _of_delegate(_plan(_root({"sourceNamespace": "other"}), elsewhere))[0].needed, "it is left out"


@pytest.mark.parametrize(
    "there",
    [(), (_root(gateways=["ingress"]),), (_routing("root", {"delegate": {"name": "other"}}, hosts=["payment"]),),
     (_routing("root", {"delegate": {"name": "api"}}, namespace="elsewhere", hosts=["payment.shop"]),)],
)  # fmt: skip
def test_what_no_route_of_the_mesh_leads_to_is_awaited_nowhere(there: tuple[Object, ...]) -> None:
    [marker] = _of_delegate(_plan(DELEGATE, there=there))
    assert (marker.hosts, marker.needed) == ((), False)


def test_the_evidence_says_that_nothing_leads_to_it_yet() -> None:
    assert "no VirtualService delegates to api yet" in _plan(DELEGATE).reason


def test_its_fault_is_one_for_the_hosts_of_the_root() -> None:
    plan = _plan(_root(), FAILING)
    assert plan.faulty == (ServiceRef("payment", "shop"),)
    [draw] = plan.draws
    assert draw.takes(f"meshbdd-r1-9-0-{draw.route}")
    assert draw.takes(f"{draw.route}.match")
    assert not draw.takes(f"{draw.route}0")
    assert _plan(FAILING).faulty == ()


class _OneProxy:
    """A cluster with one sidecar that holds what a page says."""

    def __init__(self, page: Object) -> None:
        self.page = page

    def list(self, *_: Any, **__: Any) -> list[Object]:
        meta = {**_meta("client-1"), "uid": "1", "labels": {}}
        return [{"kind": "Pod", "metadata": meta, "status": {"phase": "Running"}}]


def test_the_gate_lets_pass_what_no_proxy_has_to_hold_and_sees_it_go(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = _OneProxy(_page("meshbdd-r1-9-0"))

    class _Tunnel:
        pod, namespace = "client-1", "shop"

        def __init__(self, *_: Any) -> None: ...

        def get(self, page: str) -> Object:
            return cluster.page if page == ROUTES else {}

        def close(self) -> None: ...

    monkeypatch.setattr("meshbdd.mesh.looking.Tunnel", _Tunnel)
    gate = Gate(cluster, Duration(0.2))  # type: ignore[arg-type]
    try:
        gate.wait_present([RouteHeld("meshbdd-r1-2-", (), needed=False)], {})
        with pytest.raises(Inconclusive, match="No meshed pod is there to hold the change"):
            gate.wait_present([RouteHeld("meshbdd-r1-2-", ())], {})
        with pytest.raises(Inconclusive, match="no route meshbdd-r1-2-"):
            gate.wait_present([RouteHeld("meshbdd-r1-2-", (HOST,))], {})
        cluster.page = _page("meshbdd-r1-9-0-meshbdd-r1-2-0")
        with pytest.raises(Inconclusive, match="still route meshbdd-r1-2-"):
            gate.wait_absent([RouteHeld("meshbdd-r1-2-", (), needed=False)], {})
    finally:
        gate.close()
