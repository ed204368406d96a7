"""A fault backend denies whom its service denies: who may not call the service meets no fault of it either."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from meshbdd.cluster.kinds import kind_of
from meshbdd.errors import BadInput, NotPossible
from meshbdd.intents import Access, Fault, Scope
from meshbdd.mesh import Plan
from meshbdd.mesh.linkerd.guards import HOLDS, held_by
from meshbdd.scenario.fault_calls import FaultCalls
from meshbdd.scenario.in_force import InForce
from meshbdd.scenario.known_pods import KnownPods
from meshbdd.sidecars import FAULT_LABEL, LINKERD
from meshbdd.telemetry.access_log import DENIED, Entry
from tests.unit.product.test_led_through import THROUGH, Cluster
from tests.unit.product.test_linkerd import ORDER, PAYMENT, _obj, _pod, _server
from tests.unit.product.test_linkerd_manifests_beside_faults import FAULT, world

Object = dict[str, Any]
V1 = "policy.linkerd.io/v1alpha1"
TO_SERVER: Object = {"group": "policy.linkerd.io", "kind": "Server", "name": "theirs"}
BY_ACCOUNT = [{"kind": "ServiceAccount", "name": "order-service", "namespace": "shop"}]
DEFAULT = "config.linkerd.io/default-inbound-policy"


def _policy(target: Object = TO_SERVER, name: str = "callers") -> Object:
    return _obj("AuthorizationPolicy", name, {"targetRef": target, "requiredAuthenticationRefs": BY_ACCOUNT}, V1)


def _made(plan: Plan) -> list[Object]:
    """What the plan makes that holds a copy."""
    return [edit.new for edit in plan.edits if edit.new and HOLDS in (edit.new["metadata"].get("annotations") or {})]


def _by_default(policy: str, version: str = "stable") -> Object:
    pod = _pod("payment-service", version)
    pod["metadata"]["annotations"] = {DEFAULT: policy}
    return pod


def _denying_by_default() -> list[Object]:
    return [_by_default("deny", version) for version in ("stable", "canary")]


def _wide() -> Object:
    """A Server that decides at every pod of the namespace, the fault backend's as well."""
    server = _server("deny", port=8080, name="wide")
    server["spec"]["podSelector"] = {}
    return server


TO_WIDE: Object = {**TO_SERVER, "name": "wide"}


def test_a_fault_beside_a_step_about_callers_holds_what_that_made() -> None:
    there = world()
    access = there(Access(ORDER, PAYMENT))
    fault = there(Fault(PAYMENT, status=503, scope=Scope(path="/charge")))
    policy, server = _made(fault)
    assert (policy["kind"], server["kind"]) == ("AuthorizationPolicy", "Server"), "alone a Server would deny everybody"
    assert server["spec"] == {
        "podSelector": {"matchLabels": {FAULT_LABEL: "payment-service"}}, "port": 8080, "accessPolicy": "deny",
    }  # fmt: skip
    assert policy["spec"]["targetRef"]["name"] == server["metadata"]["name"]
    [original] = [edit.new for edit in access.edits if edit.new and edit.new["kind"] == "AuthorizationPolicy"]
    assert policy["spec"]["requiredAuthenticationRefs"] == original["spec"]["requiredAuthenticationRefs"]
    assert held_by(fault) == {
        "Server/meshbdd-payment-service-8080",
        f"AuthorizationPolicy/{original['metadata']['name']}",
    }
    guards, route = fault.stages
    [marker] = guards.markers
    assert str(marker) == f"Server {server['metadata']['name']} with the access policy deny"
    assert marker.where.takes({"name": "x", "namespace": "shop", "labels": {FAULT_LABEL: "payment-service"}})
    assert not marker.where.takes({"name": "x", "namespace": "shop", "labels": {"app": "payment-service"}})
    assert all(edit.kind == "HTTPRoute" for edit in route.edits), "calls go there when it can deny"
    second = there(Fault(PAYMENT, status=500, scope=Scope(path="/refund")))
    assert len(_made(second)) == len(_made(fault)), "the first may go before it"
    assert not second.stages[0].markers, "the older of two Servers for a port decides"


@pytest.mark.parametrize(
    ("policy", "copies"),
    [
        (_policy(), ["AuthorizationPolicy.policy.linkerd.io", "Server"]),
        (_policy({"kind": "Namespace", "name": "shop"}), ["Server"]),
        (_obj("ServerAuthorization", "old", {"server": {"name": "theirs"}, "client": {}}, "policy.linkerd.io/v1beta1"), ["ServerAuthorization", "Server"]),
        (_obj("ServerAuthorization", "old", {"server": {"selector": {}}, "client": {}}, "policy.linkerd.io/v1beta1"), ["ServerAuthorization", "Server"]),
    ],
)  # fmt: skip
def test_what_lets_callers_pass_is_copied_unless_it_is_for_the_copy_anyway(policy: Object, copies: list[str]) -> None:
    made = _made(world(_server("deny"), policy, *_denying_by_default())(FAULT))
    assert [kind_of(copy) for copy in made] == copies
    name = made[-1]["metadata"]["name"]
    for copy in made[:-1]:
        assert name in {copy["spec"].get("targetRef", {}).get("name"), copy["spec"].get("server", {}).get("name")}


@pytest.mark.parametrize(
    "there",
    [
        [],
        [_server("all-authenticated")],
        [_server("all-unauthenticated"), *_denying_by_default()],
        [_server("all-unauthenticated"), _by_default("deny")],
        [_by_default("all-authenticated")],
        [_by_default("all-authenticated"), _by_default("cluster-unauthenticated", "canary")],
    ],
)
def test_a_service_that_lets_the_mesh_in_needs_no_copies(there: list[Object]) -> None:
    assert len(world(*there)(FAULT).stages) == 1


def test_the_backend_lets_in_by_default_where_some_pod_does() -> None:
    there = [_by_default("deny"), _by_default("all-unauthenticated", "canary"), _server("all-authenticated")]
    made = [edit.new for stage in world(*there)(FAULT).standing for edit in stage.edits]
    [deployment] = [new for new in made if new and new["kind"] == "Deployment"]
    assert deployment["spec"]["template"]["metadata"]["annotations"][DEFAULT] == "all-unauthenticated"


def test_a_server_that_decides_at_the_backend_as_well_needs_no_copy() -> None:
    assert _made(world(_wide(), _policy(TO_WIDE))(FAULT)) == []


BY_DEFAULT = "its pods deny by default"
BY_SERVER = "Server theirs denies"


@pytest.mark.parametrize(
    ("there", "why", "server"),
    [
        (_denying_by_default(), BY_DEFAULT, "a Server at its port"),
        ([_server("deny")], BY_SERVER, "Server theirs"),
        ([_server("deny"), *_denying_by_default()], BY_SERVER, "Server theirs"),
        ([_server("deny"), _policy(TO_WIDE)], BY_SERVER, "Server theirs"),
    ],
)
def test_a_fault_that_nobody_may_meet_is_refused(there: list[Object], why: str, server: str) -> None:
    told = rf"can meet no call: nobody may call payment-service\.shop, as {why} and no policy lets anybody pass"
    with pytest.raises(BadInput, match=told) as caught:
        world(*there)(FAULT)
    assert caught.value.code == "MB0498"
    assert f"policy for {server}" in str(caught.value.help)


def test_pods_of_which_each_denies_in_its_own_way_deny_everybody() -> None:
    told = r"as Server theirs denies and its pods deny by default and no policy"
    with pytest.raises(BadInput, match=told):
        world(_for_stable(), *_denying_by_default())(FAULT)


def test_a_pod_that_has_ended_or_has_no_proxy_denies_nobody() -> None:
    ended, bare = _by_default("deny"), _by_default("deny")
    ended["status"] = {"phase": "Failed"}
    bare["metadata"]["labels"].pop(LINKERD.label)
    for pod in (ended, bare):
        assert len(world(pod)(FAULT).stages) == 1


def _for_stable() -> Object:
    server = _server("deny")
    server["spec"]["podSelector"] = {"matchLabels": {"app": "payment-service", "version": "stable"}}
    return server


def _charging() -> Object:
    return _obj("HTTPRoute", "charging", {"parentRefs": [TO_SERVER]}, "policy.linkerd.io/v1beta3")


def _all_others() -> Object:
    server = _server("all-authenticated", port=8080, name="broad")
    server["spec"]["podSelector"] = {"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}
    return server


@pytest.mark.parametrize(
    ("there", "why"),
    [
        ([_for_stable(), _policy()], "Server theirs decides at some of its pods only"),
        ([_server("deny"), _policy(), _charging()], "Server theirs has routes"),
        ([_server("deny"), _policy(), _all_others()], "Server broad decides at the fault backend's own port 8080"),
        ([_by_default("deny")], "its pod payment-service-stable denies by default .* and others do not"),
        ([_by_default("deny"), _by_default("all-authenticated", "canary")], "payment-service-stable denies by default"),
        ([_by_default("deny", "canary")], "its pod payment-service-canary denies by default"),
        ([_for_stable(), _policy(), *_denying_by_default()], "Server theirs decides at some of its pods only"),
        (
            [_server("all-authenticated"), _wide()],
            "Server wide lets only some callers pass at port 8080 of the backend",
        ),
    ],
)
def test_a_policy_that_the_backend_cannot_hold_is_told(there: list[Object], why: str) -> None:
    with pytest.raises(NotPossible, match=why) as caught:
        world(*there)(FAULT)
    assert caught.value.code == "MB0449"


def _open_door() -> Object:
    return _policy(name="open-door")


@pytest.mark.parametrize(
    ("manifest", "refused"),
    [
        ([_open_door()], True),
        ([_policy({"kind": "Namespace", "name": "shop"}, "open-door")], True),
        ([_policy({**TO_SERVER, "name": "other"}, "open-door"), _server("deny", "other", "other")], False),
        ([_server("all-authenticated")], True),
        ([_charging()], True),
    ],
)
def test_who_may_call_stays_as_the_backend_holds_it(
    manifest: list[Object], monkeypatch: pytest.MonkeyPatch, *, refused: bool
) -> None:
    monkeypatch.setattr("meshbdd.mesh.linkerd.manifests.refuse_unattached", lambda *_: None)
    monkeypatch.setattr("meshbdd.mesh.linkerd.manifests.policy_markers", lambda *_: ())
    there = world(_server("deny"), _policy())
    there(FAULT)
    if not refused:
        there(manifest)
        return
    with pytest.raises(NotPossible, match="holds the policies that were there when the fault came") as caught:
        there(manifest)
    assert "recover first" in str(caught.value.help)


ELSEWHERE: Object = {
    "apiVersion": "v1", "kind": "Service", "metadata": {"name": "x", "namespace": "other", "annotations": {"a": "b"}},
}  # fmt: skip


def _wide_now(**spec: Any) -> Object:
    server = _wide()
    return {**server, "spec": {**server["spec"], **spec}}


@pytest.mark.parametrize(
    ("manifest", "refused"),
    [
        (ELSEWHERE, False),
        (_policy(TO_WIDE, "open-door"), False),
        (_wide_now(), False),
        (_wide_now(accessPolicy="all-authenticated"), False),
        (_wide_now(podSelector={"matchLabels": {"app": "payment-service"}}), True),
        (_wide_now(podSelector={"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}), True),
    ],
)
def test_a_server_that_decides_at_the_backend_too_is_judged_by_what_a_manifest_changes(
    manifest: Object, monkeypatch: pytest.MonkeyPatch, *, refused: bool
) -> None:
    monkeypatch.setattr("meshbdd.mesh.linkerd.manifests.policy_markers", lambda *_: ())
    other = _obj("Service", "x", {"ports": [{"port": 80}]}, "v1", annotations={})
    other["metadata"]["namespace"] = "other"
    there = world(_wide(), _policy(TO_WIDE), other, {**_obj("Namespace", "other", {}), "apiVersion": "v1"})
    there(FAULT)
    if not refused:
        there([manifest])
        return
    with pytest.raises(NotPossible, match="With Server wide of the manifest others may call payment-service") as caught:
        there([manifest])
    assert caught.value.code == "MB0449"


def test_a_server_that_would_deny_at_the_backend_alone_does_not_come_beside_a_fault() -> None:
    there = world(_server("all-authenticated"))
    there(FAULT)
    alone = _all_others()
    alone["spec"]["accessPolicy"] = "deny"
    with pytest.raises(NotPossible, match="With Server broad of the manifest"):
        there([alone])


def test_what_the_backend_holds_does_not_go_before_the_fault() -> None:
    there = world(_server("deny"))
    manifest = there([_policy()])
    fault = there(FAULT)
    left = dict.fromkeys(edit.target for edit in manifest.edits)
    with pytest.raises(NotPossible, match="Without AuthorizationPolicy callers of the manifest others may call"):
        there.mesh.see_removable([manifest], [fault], lambda: left)
    there.mesh.see_removable([manifest], [], lambda: left)
    there.mesh.see_removable([manifest], [fault], dict)  # a later one says the same


def test_a_step_about_callers_comes_before_the_fault() -> None:
    there = world()
    there(FAULT)
    with pytest.raises(NotPossible, match="holds the policies that were there when the fault came") as caught:
        there(Access(ORDER, PAYMENT))
    assert caught.value.help == "have this step before the one of the fault"


def test_a_call_that_the_backends_proxy_denied_came_to_the_fault_and_met_none() -> None:
    pods = KnownPods(cast("Any", Cluster()), LINKERD)
    pods.look()
    denied = Entry(
        "fault", False, "", "", 403, frozenset(), "r1", 1.0, downstream="127.1.0.1:999", details=f"{DENIED}[none]"
    )
    plan = Plan("it fails", (), intent=FAULT, service=PAYMENT, faulty=(PAYMENT,), through=THROUGH)
    found = FaultCalls(cast("Any", SimpleNamespace(injections=[])), pods)
    assert [entry for _, entry in found.calls(InForce(plan), [denied], PAYMENT)] == [denied]
    assert found.told(InForce(plan), [denied]), "the backend never saw it"
