"""What is there once a manifest is taken back is held against what steps have put in force, as what a manifest brings is."""

from __future__ import annotations

from typing import Any, cast

import pytest

from meshbdd.cluster import Change, Cluster, UndoStack
from meshbdd.errors import BadInput, NotPossible
from meshbdd.intents import Intent, MutualTls, ServiceRef, Timeout, TlsMode
from meshbdd.mesh import Linkerd, Plan
from meshbdd.units import Duration
from tests.unit.product.staged import Staged
from tests.unit.product.test_linkerd import PAYMENT, Objects, _obj, _pod, _route, _server, _service
from tests.unit.product.test_linkerd_adding_up import (
    ANYWHERE,
    CALLERS,
    FROM_ANYWHERE,
    ONLY,
    STRICT,
    STRICT_ALL,
    THEIRS,
    _callers,
    _of_orders,
    _policy,
)
from tests.unit.product.test_linkerd_limits import _limit, _open
from tests.unit.product.test_linkerd_manifests_beside_faults import FAULT, SLOW, _annotated, _for

Object = dict[str, Any]
RESPONSE = "timeout.linkerd.io/response"
SOON = Timeout(PAYMENT, Duration(5))


class Recorded(Staged):
    """A cluster in which everything that is written has its undo record."""

    def __init__(self, *more: Object) -> None:
        objects = Objects(_pod("payment-service", "canary"), *more).objects
        super().__init__(Linkerd, [_obj("Namespace", "shop", {}), *objects])
        self.stack = UndoStack(Duration(1))
        self.changes: dict[int, list[Change]] = {}

    def write(self, plan: Plan) -> None:
        self.changes[id(plan)] = made = []
        for edit in (*(edit for stage in plan.standing for edit in stage.edits), *plan.edits):
            change = Change(cast("Cluster", self.cluster), edit, "r1")
            self.stack.push(change)
            change.apply()
            made.append(change)
        self.plans.append(plan)

    def remove(self, plan: Plan) -> None:
        staying = [other for other in self.plans if other is not plan]
        self.mesh.see_removable([plan], staying, lambda: self.stack.left(self.changes[id(plan)]))
        self.stack.undo(self.changes[id(plan)])
        self.plans.remove(plan)


@pytest.fixture(autouse=True)
def _no_markers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshbdd.mesh.linkerd.manifests.policy_markers", lambda *_: ())


def _refused(there: Recorded, manifest: list[Object], step: Intent, code: str, told: str, action: str = "") -> None:
    """A manifest is applied, then the step is made: the manifest does not go, unless the step had not been made."""
    applied = there(manifest)
    there(step)
    before = there.cluster.objects
    with pytest.raises((BadInput, NotPossible), match=told) as caught:
        there.remove(applied)
    assert caught.value.code == code
    assert action in (caught.value.help or "")
    assert there.cluster.objects == before
    there.plans.pop()
    there.remove(applied)


@pytest.mark.parametrize(
    ("world", "how"),
    [
        ([], "Server theirs does not decide at pods of payment-service.shop"),
        ([_server("all-unauthenticated")], "Server theirs is open"),
        (
            [_of_orders(_server("deny")), _server("audit", name="wide")],
            "Server wide decides at pods of payment-service.shop instead of Server theirs",
        ),
    ],
)
def test_a_server_by_which_strict_is_in_force_does_not_go(world: list[Object], how: str) -> None:
    told = f"Without the manifest {how}, by which «{STRICT}» is in force, so that would be lost"
    _refused(
        Recorded(*world), [_server("all-authenticated")], STRICT, "MB0471", told, "remove the manifest before that step"
    )


@pytest.mark.parametrize("access", ["deny", "all-authenticated"])
def test_one_may_go_where_what_was_there_asks_for_an_identity_too(access: str) -> None:
    there = Recorded(_server(access))
    applied = there([_server("cluster-authenticated")])
    there(STRICT)
    there.remove(applied)


def test_one_may_go_where_all_pods_ask_for_an_identity_by_default() -> None:
    pods = [_pod("payment-service", version) for version in ("stable", "canary")]
    for pod in pods:
        told = f"Server theirs does not decide at pods of payment-service.shop, by which «{STRICT}»"
        _refused(Recorded(*pods), [_server("all-authenticated")], STRICT, "MB0471", told)
        pod["metadata"]["annotations"] = {"config.linkerd.io/default-inbound-policy": "all-authenticated"}
    there = Recorded(*pods)
    applied = there([_server("all-authenticated")])
    there(STRICT)
    there.remove(applied)
    with pytest.raises(BadInput, match=r"would have Server theirs decide at pods .* instead of their default policy"):
        there([_server("all-unauthenticated")])


def test_a_manifest_goes_whose_words_a_later_one_says_again() -> None:
    there = Recorded(_server("all-unauthenticated"))
    first = there([_server("all-authenticated")])
    there([_server("all-authenticated")])
    there(STRICT)
    there.remove(first)


@pytest.mark.parametrize("step", [STRICT, ONLY])
def test_a_policy_does_not_come_back_that_lets_pass_whom_a_step_keeps_out(step: Intent) -> None:
    there = Recorded(_server("deny"), _policy(THEIRS, FROM_ANYWHERE), ANYWHERE, _callers(identities=["*"]))
    narrow = [
        _policy(THEIRS, CALLERS),
        _callers(identityRefs=[{"kind": "ServiceAccount", "name": "order-service", "namespace": "shop"}]),
    ]
    told = f"Without the manifest «{step}» would not be true any more: AuthorizationPolicy mine lets callers"
    _refused(there, narrow, step, "MB0448", told)


def test_a_time_limit_does_not_come_back_that_ends_calls_before_a_steps() -> None:
    there = Recorded(_service("payment-service", annotations={RESPONSE: "2s"}))
    told = f"Without the manifest «{SOON}» would not come true: {RESPONSE} of Service payment-service is 2s"
    _refused(there, [_annotated("payment-service", **{RESPONSE: "10s"})], SOON, "MB0467", told, "remove the manifest")


def test_nor_does_a_route_with_words_of_its_own() -> None:
    there = Recorded(_route([{"timeouts": {"request": "1s"}}], "mine"))
    told = f"Without the manifest «{SOON}» would miss calls: HTTPRoute mine has words of its own"
    _refused(there, [_route([{}], "mine")], SOON, "MB0472", told)


@pytest.mark.parametrize(
    ("step", "told"),
    [
        (FAULT, "Without the manifest, by Server theirs, others may call payment-service.shop"),
        (SLOW, "Without the manifest Server theirs lets only some callers of payment-service.shop pass"),
    ],
)
@pytest.mark.parametrize(
    ("world", "manifest"),
    [
        ([_server("deny")], [_policy(THEIRS, CALLERS), _callers(identities=["*"])]),
        ([_server("deny")], [_server("all-authenticated")]),
        ([_server("deny")], [_of_orders(_server("deny"))]),
    ],
)
def test_nobody_is_shut_out_again_whom_a_fault_backend_answers(
    step: Intent, told: str, world: list[Object], manifest: list[Object]
) -> None:
    _refused(Recorded(*world), manifest, step, "MB0449", told)


def test_a_rate_limit_does_not_come_back_beside_a_fault() -> None:
    there = Recorded(_open(), _limit())
    told = r"Without the manifest HTTPLocalRateLimitPolicy slow-down limits the calls of payment-service.shop \(Server theirs\)"
    _refused(there, [_open(app="order-service")], FAULT, "MB0449", told)


def test_a_route_does_not_come_back_that_leads_calls_past_a_fault() -> None:
    there = Recorded(_route([{}], "elsewhere"))
    moved = _route([{}], "elsewhere")
    moved["spec"]["parentRefs"][0]["name"] = "order-service"
    told = f"Without the manifest «{FAULT}» would miss calls: HTTPRoute elsewhere leads them past"
    _refused(there, [moved], FAULT, "MB0472", told)


def test_what_concerns_no_step_goes() -> None:
    there = Recorded(_of_orders(_server("deny", name="orders")), _for("/"))
    orders = _of_orders(_server("all-authenticated", name="orders"))
    applied = there([orders, _annotated("order-service", **{RESPONSE: "10s"})])
    for step in (STRICT, SOON, FAULT):
        there(step)
    there.remove(applied)


def test_a_service_that_goes_with_its_manifest_is_asked_nothing() -> None:
    there = Recorded()
    new = {**_service("new"), "apiVersion": "v1"}
    new["spec"]["selector"] = {"app": "order-service"}
    server = _of_orders(_server("all-authenticated"))
    applied = there([new, server])
    there(MutualTls(TlsMode.STRICT, "shop", ServiceRef("new", "shop")))
    there.remove(applied)


def test_pods_go_with_the_deployment_of_their_manifest() -> None:
    there = Recorded()
    pod = {"metadata": {"labels": {"app": "new"}}, "spec": {"containers": [{"name": "app", "image": "x"}]}}
    new = _obj("Deployment", "new", {"selector": {"matchLabels": {"app": "new"}}, "template": pod}, "apps/v1")
    server = _server("all-authenticated", port=8080)
    server["spec"]["podSelector"] = {"matchLabels": {"app": "new"}}
    service = {**_service("all-new"), "apiVersion": "v1"}
    service["spec"] = {"selector": {"app": "new"}, "ports": [{"port": 80, "targetPort": 8080}]}
    there.cluster.create(service)
    there.cluster.create(_pod("new"))
    applied = there([new, server])
    there(STRICT_ALL)
    there.remove(applied)
