"""Istio's ambient mode: what no sidecar will do or tell is refused, with what to install."""

from __future__ import annotations

from typing import Any, cast

import pytest

from meshbdd.cluster import Cluster
from meshbdd.errors import BadInput, NotPossible
from meshbdd.intents import Access, Down, Fault, MutualTls, Scope, ServiceRef, Timeout, TlsMode
from meshbdd.mesh.abilities import Ability, Need
from meshbdd.mesh.base import Context
from meshbdd.mesh.istio import Istio
from meshbdd.mesh.istio.ambient import is_ambient
from meshbdd.rehearsal.stage import StageCluster
from meshbdd.units import Duration

PAYMENT, ORDER = ServiceRef("payment-service", "shop"), ServiceRef("order-service", "shop")
AMBIENT = {"istio.io/dataplane-mode": "ambient"}
Object = dict[str, Any]


def namespace(**labels: str) -> Object:
    return {"kind": "Namespace", "metadata": {"name": "shop", "labels": labels}}


def service(name: str, labels: dict[str, str] | None = None) -> Object:
    meta = {"name": name, "namespace": "shop", "labels": labels or {}}
    return {"kind": "Service", "metadata": meta, "spec": {"selector": {"app": name}, "ports": [{"port": 80}]}}


def pod(name: str, labels: dict[str, str] | None = None, annotations: dict[str, str] | None = None) -> Object:
    meta = {"name": f"{name}-1", "namespace": "shop", "labels": {"app": name, **(labels or {})}}
    return {"kind": "Pod", "metadata": {**meta, "annotations": annotations or {}}, "spec": {}}


def waypoint(name: str = "waypoint", *, programmed: bool = True, labels: dict[str, str] | None = None) -> Object:
    conditions = [{"type": "Programmed", "status": str(programmed)}]
    meta = {"name": name, "namespace": "shop", "labels": labels or {}}
    return {"kind": "Gateway", "metadata": meta, "spec": {}, "status": {"conditions": conditions}}


def _check(need: Need, services: tuple[ServiceRef, ...], *objects: Object) -> None:
    cluster = cast("Cluster", StageCluster(objects, "shop", lambda _: None))
    Istio(cluster, "r1").check(need, services)


SHOP = (service("payment-service"), pod("payment-service"), service("order-service"), pod("order-service"))
FAULT = Fault(PAYMENT, status=503)


@pytest.mark.parametrize(
    ("labels", "annotations", "home", "expected"),
    [
        ({}, {}, AMBIENT, True),
        ({}, {}, {}, False),
        (AMBIENT, {}, {}, True),
        ({"istio.io/dataplane-mode": "none"}, {}, AMBIENT, False),
        ({}, {"ambient.istio.io/redirection": "enabled"}, {}, True),
        ({"security.istio.io/tlsMode": "istio"}, {}, AMBIENT, False),
        ({}, {"sidecar.istio.io/status": "{}"}, AMBIENT, False),
    ],
)
def test_who_is_in_ambient_mode(
    labels: dict[str, str], annotations: dict[str, str], home: dict[str, str], expected: bool
) -> None:
    assert is_ambient(pod("payment-service", labels, annotations), namespace(**home)) is expected


@pytest.mark.parametrize(
    "need", [FAULT, Timeout(PAYMENT, Duration(1)), Ability.ACCESS_LOG, Ability.CIRCUITS, Ability.COUNTERS]
)
def test_without_a_waypoint_it_is_said_what_to_install(need: Need) -> None:
    with pytest.raises(
        BadInput, match="is in Istio's ambient mode and has no waypoint, so no proxy reads its HTTP"
    ) as caught:
        _check(need, (PAYMENT,), namespace(**AMBIENT), *SHOP)
    assert caught.value.help is not None
    assert caught.value.help.startswith("istioctl waypoint apply -n shop --enroll-namespace")


@pytest.mark.parametrize(
    ("labels", "objects", "words"),
    [
        ({"istio.io/use-waypoint": "none"}, (waypoint(),), "has no waypoint"),
        ({"istio.io/use-waypoint": "waypoint"}, (), "names the waypoint waypoint.shop, which does not exist"),
        ({"istio.io/use-waypoint": "waypoint"}, (waypoint(programmed=False),), "which is not programmed"),
        ({"istio.io/use-waypoint": "waypoint"}, (waypoint(labels={"istio.io/waypoint-for": "workload"}),), "takes no requests for services"),
        ({"istio.io/use-waypoint": "waypoint", "istio.io/use-waypoint-namespace": "infra"}, (waypoint(),), "waypoint.infra, which does not exist"),
    ],
)  # fmt: skip
def test_a_waypoint_that_takes_no_requests_is_none(
    labels: dict[str, str], objects: tuple[Object, ...], words: str
) -> None:
    shop = (service("payment-service", labels), pod("payment-service"))
    home = namespace(**AMBIENT, **{"istio.io/use-waypoint": "other"})
    with pytest.raises(BadInput, match=words):
        _check(FAULT, (PAYMENT,), home, *shop, *objects, waypoint("other"))


@pytest.mark.parametrize("on", ["service", "namespace"])
def test_with_a_waypoint_it_is_said_plainly_that_meshbdd_cannot_follow(on: str) -> None:
    use = {"istio.io/use-waypoint": "waypoint"}
    home = namespace(**AMBIENT, **(use if on == "namespace" else {}))
    shop = (service("payment-service", use if on == "service" else {}), pod("payment-service"))
    with pytest.raises(
        NotPossible, match=r"its HTTP passes the waypoint waypoint\.shop, which meshbdd cannot follow yet"
    ):
        _check(FAULT, (PAYMENT,), home, *shop, waypoint())


@pytest.mark.parametrize("need", [MutualTls(TlsMode.STRICT, "shop"), MutualTls(TlsMode.STRICT, "shop", PAYMENT), Access(ORDER, PAYMENT), Ability.CERTIFICATES])  # fmt: skip
def test_what_ztunnel_does_needs_no_waypoint_and_is_not_read(need: Need) -> None:
    with pytest.raises(NotPossible, match="where ztunnel secures its connections"):
        _check(need, (PAYMENT,), namespace(**AMBIENT), *SHOP)


@pytest.mark.parametrize("need", [Down(PAYMENT), Ability.SIDECARS, Ability.CLIENTS, Ability.PLAINTEXT])
def test_what_needs_no_proxy_is_let_pass(need: Need) -> None:
    _check(need, (PAYMENT,), namespace(**AMBIENT), *SHOP)


def test_one_caller_without_a_sidecar_is_enough() -> None:
    """A fault for one caller alone would never be met: that caller's calls pass no sidecar of its own."""
    shop = (
        service("payment-service"), pod("payment-service", {"security.istio.io/tlsMode": "istio"}),
        service("order-service"), pod("order-service", AMBIENT),
    )  # fmt: skip
    _check(FAULT, (PAYMENT,), namespace(), *shop)
    with pytest.raises(BadInput, match=r"order-service\.shop is in Istio's ambient mode"):
        _check(Fault(PAYMENT, status=503, scope=Scope(ORDER)), (PAYMENT, ORDER), namespace(), *shop)


def test_a_service_whose_pods_are_to_come_goes_by_its_namespace_and_an_unknown_one_is_left_to_the_step() -> None:
    with pytest.raises(BadInput, match="has no waypoint"):
        _check(FAULT, (PAYMENT,), namespace(**AMBIENT), service("payment-service"))
    _check(FAULT, (PAYMENT,), namespace(**AMBIENT))


def _document(kind: str, namespace: str = "shop", **spec: Any) -> Object:
    return {"kind": kind, "metadata": {"name": "x", "namespace": namespace}, "spec": spec}


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (_document("VirtualService", hosts=["payment-service"]), "has no waypoint"),
        (_document("VirtualService", "other", hosts=["payment-service.shop.svc.cluster.local"]), "has no waypoint"),
        (_document("DestinationRule", host="payment-service"), "has no waypoint"),
        (
            _document("HTTPRoute", parentRefs=[{"group": "", "kind": "Service", "name": "payment-service"}]),
            "has no waypoint",
        ),
        (_document("PeerAuthentication", mtls={"mode": "STRICT"}), "ztunnel"),
        (_document("PeerAuthentication", "istio-system", mtls={"mode": "STRICT"}), "ztunnel"),
        (_document("AuthorizationPolicy", selector={"matchLabels": {"app": "payment-service"}}), "ztunnel"),
        (_document("EnvoyFilter", workloadSelector={"labels": {"app": "payment-service"}}), "ztunnel"),
        (_document("VirtualService", hosts=["payment-service"], gateways=["ingress"]), None),
        (_document("VirtualService", hosts=["example.org"]), None),
        (_document("AuthorizationPolicy", selector={"matchLabels": {"app": "order-service"}}), None),
        (_document("PeerAuthentication", "other", mtls={"mode": "STRICT"}), None),
    ],
)
def test_a_manifest_is_refused_for_whom_it_is_meant(document: Object, words: str | None) -> None:
    shop = (service("payment-service"), pod("payment-service", AMBIENT), service("order-service"), pod("order-service"))
    istio = Istio(cast("Cluster", StageCluster((namespace(), *shop), "shop", lambda _: None)), "r1")
    if words is None:
        istio.plan_manifest([document], Context())
        return
    with pytest.raises((BadInput, NotPossible), match=words):
        istio.plan_manifest([document], Context())
