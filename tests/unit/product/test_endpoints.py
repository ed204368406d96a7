"""That proxies have lost, or got, the endpoints of a service is seen wherever calls to it are led."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest

from meshbdd.cluster import Cluster
from meshbdd.errors import EnvironmentBroken
from meshbdd.intents import ServiceRef
from meshbdd.lab.linkerd.envoy.pod import Compiler
from meshbdd.lab.linkerd.policies import Policies
from meshbdd.mesh import Gate
from meshbdd.mesh.endpoints import Own, leads_of, not_got, not_lost
from meshbdd.mesh.linkerd.markers import EndpointsHeld
from meshbdd.mesh.looking import Proxy
from meshbdd.sidecars import FAULT_LABEL, LINKERD, led_to, whole
from meshbdd.units import Duration
from tests.unit.compile.linkerd_worlds import world

Object = dict[str, Any]
PAY = ServiceRef("pay", "shop")
OWN, OTHER = "10.0.0.1", "10.0.0.9"
CALLED = "Service.shop.pay:80"
PLAIN = f"{CALLED}/{CALLED}"
SPLIT = f"{CALLED}/HTTPRoute.shop.pay/0"
PROFILE = f"{CALLED}/ServiceProfile.shop.pay.shop.svc.cluster.local"


BACKENDS = [{"name": "pay", "port": 80}, {"name": "other", "port": 80}]
LED = (BACKENDS,)


def _route(*rules: list[Object], name: str = "pay") -> Object:
    meta = {"name": name, "namespace": "shop"}
    return {"kind": "HTTPRoute", "metadata": meta, "spec": {"rules": [{"backendRefs": refs} for refs in rules]}}


def _page(**clusters: list[str]) -> Object:
    made = [
        {"name": name, "host_statuses": [{"address": {"socket_address": {"address": a}}} for a in addresses]}
        for name, addresses in clusters.items()
    ]
    return {"cluster_statuses": made}


@pytest.mark.parametrize(
    ("page", "lost", "got"),
    [
        ({PLAIN: []}, True, False),
        ({PLAIN: [OWN]}, False, True),
        ({f"{CALLED}/{PROFILE}": [OWN]}, False, True),
        ({SPLIT: [OWN]}, False, True),
        ({SPLIT: []}, True, False),
        ({SPLIT: [OTHER]}, True, False),
        ({PROFILE: [OTHER]}, True, True),
        ({SPLIT: [OTHER], f"{CALLED.replace('80', '81')}/{CALLED.replace('80', '81')}": [OWN]}, False, False),
        ({"Service.shop.other:80/Service.shop.other:80": [OTHER]}, True, True),
        ({"inbound|8080||": [OWN]}, True, True),
        ({}, True, False),
        ({"outbound|80||pay.shop.svc.cluster.local": [OWN], "outbound|80|v1|pay.shop.svc.cluster.local": []}, False, True),
        ({"outbound|80||pay.shop.svc.cluster.local": [], "outbound|80|v1|pay.shop.svc.cluster.local": [OWN]}, False, False),
    ],
)  # fmt: skip
def test_a_proxy_has_them_where_calls_go_to_them(page: dict[str, list[str]], *, lost: bool, got: bool) -> None:
    own = Own(frozenset({OWN}), {SPLIT: LED})
    assert (not_lost(_page(**page), PAY.host, own) is None) is lost
    assert (not_got(_page(**page), PAY.host, own) is None) is got


@pytest.mark.parametrize(
    ("spec", "is_whole", "led"),
    [
        ("routes: [{name: r, condition: {method: GET}}]", True, "order.shop.svc.cluster.local"),
        ("dstOverrides: [{authority: client.other.svc.cluster.local, weight: 1}]", False, ""),
    ],
)
def test_the_name_of_a_profiles_cluster_tells_whose_endpoints_it_has(spec: str, *, is_whole: bool, led: str) -> None:
    profile = f"""
apiVersion: linkerd.io/v1alpha2
kind: ServiceProfile
metadata: {{name: order.shop.svc.cluster.local}}
spec: {{{spec}}}
"""
    made = Compiler(Policies(world(profile))).compile("order-1", "shop")
    [name] = [name for name in made.clusters if "ServiceProfile" in name]
    assert (whole(name), led_to(name)) == (is_whole, led)


def test_a_new_service_that_a_profile_leads_elsewhere_is_known_by_whoever_answers() -> None:
    marker = EndpointsHeld(PAY)
    assert [marker.held([_page(**{PROFILE: there})]) for there in ([], [OTHER])] == [False, True]
    assert marker.held([_page(**{PLAIN: [], PROFILE: [OTHER]})]) is False


class _Cluster:
    """One Service with one pod, which is ready or gone."""

    def __init__(self) -> None:
        self.ready = True
        self.routes = [_route(BACKENDS)]

    def find(self, *_named: str) -> Object:
        return {"metadata": {"name": "pay", "namespace": "shop"}, "spec": {"selector": {"app": "pay"}}}

    def list(self, kind: str, *_asked: str | None, **_more: str) -> list[Object]:
        if kind != "Pod":
            return self.routes if kind == "HTTPRoute" else []
        meta = {"name": "pay-1", "namespace": "shop", "labels": {"app": "pay"}}
        status = {"podIP": OWN, "conditions": [{"type": "Ready", "status": str(self.ready)}]}
        return [{"metadata": meta, "status": status}]


class _Tunnel:
    pod, namespace = "client-1", "shop"

    def __init__(self) -> None:
        self.hosts = [OWN]

    def get(self, _page_of: str) -> Object:
        return _page(**{SPLIT: self.hosts})


class _Gate(Gate):
    def __init__(self) -> None:
        self.cluster, self.tunnel = _Cluster(), _Tunnel()
        super().__init__(cast("Cluster", self.cluster), Duration(0.05), LINKERD)

    def proxies(self) -> list[Proxy]:
        return [Proxy(cast("Any", self.tunnel), {"name": "client-1", "namespace": "shop"})]


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Gate]:
    monkeypatch.setattr("meshbdd.mesh.stillness._LONGEST", 0.1)
    monkeypatch.setattr("meshbdd.mesh.stillness._MERGE_WINDOW", 0)
    made = _Gate()
    yield made
    made.close()


def test_both_ways_are_waited_for_where_a_route_leads_to_the_same_pods(gate: _Gate) -> None:
    before = gate.endpoints(PAY)
    assert before == Own(frozenset({OWN}), {SPLIT: LED})
    with pytest.raises(EnvironmentBroken, match=r"last seen: client-1 has 1 ready endpoints of pay\.shop"):
        gate.wait_endpoints(PAY, before, some=False)
    gate.tunnel.hosts = [OTHER]
    gate.wait_endpoints(PAY, before, some=False)
    with pytest.raises(EnvironmentBroken, match=r"last seen: client-1 has 0 ready endpoints of pay\.shop"):
        gate.wait_endpoints(PAY, before, some=True)
    gate.cluster.ready = False
    with pytest.raises(EnvironmentBroken, match=r"last seen: no pod behind pay\.shop is ready"):
        gate.wait_endpoints(PAY, before, some=True)
    gate.cluster.ready, gate.tunnel.hosts = True, [OWN, OTHER]
    gate.wait_endpoints(PAY, before, some=True)


def test_of_proxies_that_lag_the_testers_own_is_named_first() -> None:
    class _Pods:
        def list(self, *_asked: str, **_more: str) -> list[Object]:
            labels = [{FAULT_LABEL: "pay"}, {"app": "client"}]
            return [
                {"metadata": {"name": f"p-{n}", "namespace": "shop", "uid": str(n), "labels": its}, "status": {"phase": "Running"}}
                for n, its in enumerate(labels)
            ]  # fmt: skip

    gate = Gate(cast("Cluster", _Pods()), Duration(0.05), LINKERD)
    assert [proxy.pod for proxy in gate.proxies()] == ["p-1", "p-0"]
    gate.close()


@pytest.mark.parametrize(
    ("now", "asked"),
    [
        ([_route(BACKENDS)], True),
        ([_route(BACKENDS, [])], True),
        ([_route([{"name": "others"}, {"name": "other"}], BACKENDS)], False),
        ([_route(BACKENDS[:1])], False),
        ([_route(BACKENDS, name="another")], False),
        ([_route()], False),
        ([], False),
    ],
)
def test_a_cluster_that_leads_elsewhere_by_now_is_not_asked(now: list[Object], gate: _Gate, *, asked: bool) -> None:
    """Its name is the place of a rule: one that a step put before the tester's went, or a manifest changed it."""
    before = gate.endpoints(PAY)
    gate.cluster.routes, gate.tunnel.hosts = now, [OTHER, "10.0.0.8"]
    if asked:
        with pytest.raises(EnvironmentBroken, match=r"last seen: client-1 has 0 ready endpoints of pay\.shop"):
            gate.wait_endpoints(PAY, before, some=True)
    else:
        gate.wait_endpoints(PAY, before, some=True)


def test_what_a_cluster_leads_to_is_told_by_the_objects_of_its_name() -> None:
    overrides = [{"authority": "other.shop.svc.cluster.local", "weight": 1}]
    profile = {"kind": "ServiceProfile", "metadata": {"name": "pay.shop.svc.cluster.local", "namespace": "shop"}}
    there = [_route(BACKENDS), {**profile, "spec": {"dstOverrides": overrides}}]
    assert leads_of(PROFILE, there) == (overrides,)
    assert leads_of(f"{SPLIT}/grpc-retries", there) == LED
    assert leads_of("outbound|80|v1|pay.shop.svc.cluster.local", there) == leads_of(PLAIN, there) == ()
