"""Beside a rate limit a fault backend would let calls pass uncounted, or count them as its own: neither comes beside the other."""

from __future__ import annotations

from typing import Any

import pytest

from meshbdd.errors import NotPossible
from meshbdd.intents import Fault, Mention, Scope, ServiceRef, Topic
from meshbdd.sidecars import FAULT_LABEL, LINKERD
from meshbdd.units import Percent
from tests.unit.product.staged import Staged
from tests.unit.product.test_linkerd import ORDER, PAYMENT, _obj, _pod, _server, _service
from tests.unit.product.test_linkerd_manifests_beside_faults import ACCRUAL, CHARGE, FAULT, SLOW, world

Object = dict[str, Any]
CLIENT_ALONE = {"requestsPerSecond": 1, "clientRefs": [{"kind": "ServiceAccount", "name": "client"}]}
BREAKER = (Mention(Topic.BREAKER, PAYMENT, "the circuit opens"), Mention(Topic.FAULT, PAYMENT, "it fails"))


def _limit(server: str = "theirs", name: str = "slow-down", created: str = "", **spec: Any) -> Object:
    target = {"group": "policy.linkerd.io", "kind": "Server", "name": server}
    said = spec or {"identity": {"requestsPerSecond": 1000}, "overrides": [CLIENT_ALONE]}
    meta = {"creationTimestamp": created} if created else {}
    return _obj("HTTPLocalRateLimitPolicy", name, {"targetRef": target, **said}, "policy.linkerd.io/v1alpha1", **meta)


def _open(name: str = "theirs", app: str = "payment-service") -> Object:
    server = _server("all-unauthenticated", name=name)
    server["spec"]["podSelector"] = {"matchLabels": {"app": app}}
    return server


def _wide() -> Object:
    """A Server that decides at whatever has no label ``app``, as a fault backend."""
    server = _server("all-unauthenticated", port=8080, name="wide")
    server["spec"]["podSelector"] = {"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}
    return server


@pytest.mark.parametrize(
    "fault", [FAULT, SLOW, CHARGE, Fault(PAYMENT, Percent(50), status=500), Fault(PAYMENT, status=500, scope=Scope(called_by=ORDER))]
)  # fmt: skip
@pytest.mark.parametrize(
    "limit", [_limit(), _limit(total={"requestsPerSecond": 5}), _limit(identity={"requestsPerSecond": 5})]
)
def test_no_fault_comes_beside_a_rate_limit_of_the_service(fault: Fault, limit: Object) -> None:
    told = r"HTTPLocalRateLimitPolicy slow-down limits the calls of payment-service\.shop \(Server theirs\), and on Linkerd calls that"
    order = [_pod("order-service")]
    with pytest.raises(NotPossible, match=told) as caught:
        world(_open(), limit, *order)(fault)
    assert (caught.value.code, caught.value.help) == ("MB0449", "have faults and the rate limit in different scenarios")


def _bare() -> list[Object]:
    pods = [_pod("payment-service", version) for version in ("stable", "canary")]
    for pod in pods:
        pod["metadata"]["labels"].pop(LINKERD.label)
    return pods


@pytest.mark.parametrize(
    "there",
    [
        [_open("orders", "order-service"), _limit("orders")],
        [_open(), _limit("gone")],
        [_open(), _limit("orders"), _open("orders", "order-service")],
        [_limit()],
        [_open(), {**_limit(), "metadata": {"name": "slow-down", "namespace": "other"}}],
        [_open(), _limit(name="older", created="2026-01-01T00:00:00Z", total={}), _limit()],
        [_open(), _limit(), *_bare()],
    ],
)
def test_a_rate_limit_that_is_for_others_or_for_nobody_does_not_matter(there: list[Object]) -> None:
    world(*there)(FAULT)


def test_a_rate_limit_at_the_fault_backend_alone_is_told_as_one() -> None:
    with pytest.raises(NotPossible, match=r"limits the calls of the fault backend of payment-service") as caught:
        world(_wide(), _limit("wide"))(FAULT)
    assert caught.value.help == "let Server wide select only the pods that it is meant for"


def test_no_fault_backend_takes_the_place_of_endpoints_that_a_rate_limit_is_for() -> None:
    with pytest.raises(NotPossible, match=r"A fault backend in the place of payment-service\.shop .* slow-down limits"):
        there = world(_open(), _limit(), said=BREAKER)
        there.mesh.scenery(there.context)


@pytest.mark.parametrize(
    ("there", "manifest"),
    [
        ([], [_open(), _limit()]),
        ([_open()], [_limit()]),
        ([_limit()], [_open()]),
        ([_open(), _open("orders", "order-service"), _limit("orders")], [_limit()]),
        ([_open(), _limit(total={})], [_limit()]),
        ([], [_wide(), _limit("wide")]),
    ],
)
@pytest.mark.parametrize("fault", [FAULT, SLOW])
def test_no_rate_limit_comes_beside_a_fault(
    there: list[Object], manifest: list[Object], fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meshbdd.mesh.linkerd.manifests.policy_markers", lambda *_: ())
    mesh = world(*there)
    mesh(fault)
    with pytest.raises(
        NotPossible, match=r"With the manifest HTTPLocalRateLimitPolicy slow-down limits .* is in force"
    ) as caught:
        mesh(manifest)
    assert caught.value.code == "MB0449"


def test_a_rate_limit_for_others_comes_beside_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshbdd.mesh.linkerd.manifests.policy_markers", lambda *_: ())
    mesh = world(_open())
    mesh(FAULT)
    mesh([_open("orders", "order-service"), _limit("orders")])


def _stood_in(*more: Object) -> Staged:
    """A fault backend in the place of the endpoints, before any fault is in force."""
    backend = _pod("meshbdd-fault-payment-service")
    backend["metadata"]["labels"] = {FAULT_LABEL: "payment-service", LINKERD.label: "linkerd"}
    twin, own = _service("meshbdd-twin-payment-service"), _service("meshbdd-fault-payment-service")
    twin["spec"]["selector"] = {"app": "payment-service"}
    own["spec"]["selector"] = {FAULT_LABEL: "payment-service"}
    there = world(backend, twin, own, _service("payment-service", annotations=ACCRUAL), *more, said=BREAKER)
    for plan in there.mesh.scenery(there.context):
        there.write(plan)
    return there


def test_none_comes_where_a_fault_backend_is_in_the_place_of_the_endpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshbdd.mesh.linkerd.manifests.policy_markers", lambda *_: ())
    there = _stood_in(_open())
    with pytest.raises(NotPossible, match=r"«a fault backend takes the place of payment-service\.shop» is in force"):
        there([_limit()])


@pytest.mark.parametrize("late", [[_open(), _limit()], [_server("deny")]])
def test_what_came_after_the_fault_backend_is_seen_at_the_services_own_pods(late: list[Object]) -> None:
    there = _stood_in()
    for obj in late:
        there.cluster.create(obj)
    with pytest.raises(NotPossible, match=r"of payment-service\.shop") as caught:
        there(FAULT)
    assert caught.value.code == "MB0449"
    assert ServiceRef("meshbdd-twin-payment-service", "shop").name not in str(caught.value)
