"""A step that keeps callers out holds for what a later manifest brings, or the manifest is refused before it is written."""

from __future__ import annotations

from typing import Any

import pytest

from meshbdd.errors import BadInput
from meshbdd.intents import Intent, MutualTls, TlsMode
from meshbdd.mesh import Linkerd
from tests.unit.product.staged import Staged
from tests.unit.product.test_linkerd import PAYMENT, Objects, _obj, _pod, _server, _service
from tests.unit.product.test_linkerd_adding_up import (
    ANYWHERE,
    FROM_ANYWHERE,
    ONLY,
    PERMISSIVE,
    STRICT,
    STRICT_ALL,
    THEIRS,
    _policy,
)
from tests.unit.product.test_linkerd_manifests_taken_back import Recorded

Object = dict[str, Any]
DEFAULT = "config.linkerd.io/default-inbound-policy"
INJECTED = {"linkerd.io/inject": "enabled"}


@pytest.fixture(autouse=True)
def _no_markers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshbdd.mesh.linkerd.manifests.policy_markers", lambda *_: ())


def _world(*more: Object, **annotations: str) -> Staged:
    shop = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "annotations": annotations}}
    return Staged(Linkerd, [shop, *Objects(_pod("payment-service", "canary"), *more).objects])


def _admin(port: int | str = 9090) -> Object:
    """A Service for pods that are there, to another port of theirs."""
    ports = [{"name": "http", "port": 80, "targetPort": port}]
    return _obj("Service", "payment-admin", {"selector": {"app": "payment-service"}, "ports": ports}, "v1")


def _deployment(app: str, port: int = 8080, account: str = "", **annotations: str) -> Object:
    labels = {"app": app, "version": "next"}
    spec: Object = {"containers": [{"ports": [{"name": "http", "containerPort": port}]}]}
    spec |= {"serviceAccountName": account} if account else {}
    template = {"metadata": {"labels": labels, "annotations": annotations}, "spec": spec}
    return _obj("Deployment", f"{app}-next", {"selector": {"matchLabels": labels}, "template": template}, "apps/v1")


def _refused(there: Staged, step: Intent, manifest: list[Object], told: str, code: str = "MB0471") -> BadInput:
    there(step)
    before = there.cluster.objects
    with pytest.raises(BadInput, match=told) as caught:
        there(manifest)
    assert caught.value.code == code
    assert there.cluster.objects == before
    return caught.value


def test_strict_would_not_hold_at_a_port_to_which_a_later_manifest_leads() -> None:
    for port in (9090, "grpc", 7000):
        number = {"grpc": 9090}.get(str(port), port)
        told = (
            f"With the manifest «{STRICT_ALL}» would not hold for every call to payment-admin.shop: it would not at port "
            rf"{number} of pod payment-service-\w+, since no Server decides there"
        )
        found = _refused(_world(**INJECTED), STRICT_ALL, [_admin(port)], told)
        assert found.help == "apply the manifest before that step"
    there = _world(**INJECTED)
    there([_admin()])
    there(STRICT_ALL)


@pytest.mark.parametrize("annotated", ["the namespace", "the pods"])
def test_strict_would_not_hold_for_an_app_that_a_later_manifest_brings(annotated: str) -> None:
    there = _world(**(INJECTED if annotated == "the namespace" else {}))
    fresh = _deployment("fresh", **(INJECTED if annotated == "the pods" else {}))
    told = (
        "every call to fresh.shop: it would not at port 8080 of pod of Deployment fresh-next, since no Server decides"
    )
    _refused(there, STRICT_ALL, [_service("fresh"), fresh], told)


def test_a_server_that_is_there_or_comes_along_decides_about_what_is_new() -> None:
    fresh = [_service("fresh"), _deployment("fresh")]
    own = _server("all-authenticated", name="fresh")
    own["spec"]["podSelector"] = {"matchLabels": {"app": "fresh"}}
    for access, refused in (("all-authenticated", False), ("deny", False), ("all-unauthenticated", True)):
        own["spec"]["accessPolicy"] = access
        for world, manifest in ((_world(own, **INJECTED), fresh), (_world(**INJECTED), [own, *fresh])):
            if refused:
                _refused(world, STRICT_ALL, manifest, "since Server fresh decides there and is open")
            else:
                world(STRICT_ALL)
                world(manifest)


def test_a_policy_that_lets_plaintext_in_at_what_is_new_is_told() -> None:
    own = _server("deny")
    own["spec"]["podSelector"] = {"matchLabels": {"app": "fresh"}}
    manifest = [own, _policy(THEIRS, FROM_ANYWHERE), ANYWHERE, _service("fresh"), _deployment("fresh")]
    told = "mine of the manifest lets callers without an identity pass"
    _refused(_world(**INJECTED), STRICT_ALL, manifest, told, "MB0448")


@pytest.mark.parametrize("place", ["the namespace", "the pods"])
def test_the_default_policy_of_new_pods_may_ask_for_an_identity(place: str) -> None:
    for said, refused in (("all-authenticated", False), ("deny", False), ("all-unauthenticated", True)):
        asked = {DEFAULT: said}
        there = _world(**INJECTED, **(asked if place == "the namespace" else {}))
        fresh = [_service("fresh"), _deployment("fresh", **(asked if place == "the pods" else {}))]
        if refused:
            _refused(there, STRICT_ALL, fresh, "no Server decides there")
        else:
            there(STRICT_ALL)
            there(fresh)


@pytest.mark.parametrize("step", [STRICT_ALL, STRICT, ONLY])
@pytest.mark.parametrize(
    "manifest",
    [
        [_deployment("payment-service")],  # Servers are for whatever the Service selects
        [_admin(8080)],
        [_admin("http")],
        [_service("fresh")],  # leads nowhere
        [_deployment("fresh")],  # and nobody to it
        [_service("fresh"), _deployment("fresh", **{"linkerd.io/inject": "disabled"})],
    ],
)
def test_what_servers_of_the_step_cover_or_nobody_could_is_applied(step: Intent, manifest: list[Object]) -> None:
    there = _world(**INJECTED)
    there(step)
    there(manifest)


def test_of_a_step_for_one_service_other_ports_of_its_pods_are_not_meant() -> None:
    for step in (STRICT, ONLY):
        there = _world(**INJECTED)
        there(step)
        there([_admin(), _service("fresh"), _deployment("fresh")])


def test_an_exception_from_strict_holds_for_new_pods_of_its_service() -> None:
    there = _world(**INJECTED)
    there(STRICT_ALL)
    there(PERMISSIVE)
    there([_deployment("payment-service"), _admin(8080)])


def test_another_namespace_is_not_meant() -> None:
    there = _world(**INJECTED)
    there.cluster.create({**_obj("Namespace", "other", {}), "apiVersion": "v1"})
    there(STRICT_ALL)
    fresh = [_service("fresh"), _deployment("fresh", **INJECTED)]
    there([{**d, "metadata": {**d["metadata"], "namespace": "other"}} for d in fresh])


@pytest.mark.parametrize("step", [STRICT_ALL, STRICT, ONLY])
def test_new_pods_of_a_service_are_not_beyond_the_server_that_decides_for_the_others(step: Intent) -> None:
    narrow = _server("deny" if step is ONLY else "all-authenticated")
    narrow["spec"]["podSelector"] = {"matchExpressions": [{"key": "version", "operator": "NotIn", "values": ["next"]}]}
    told = "payment-service.shop: it would not at port 8080 of pod of Deployment payment-service-next, since no Server"
    there = _world(narrow, **INJECTED)
    if step is not STRICT_ALL:
        narrow["spec"]["podSelector"]["matchLabels"] = {"app": "payment-service"}
    _refused(_world(narrow, **INJECTED), step, [_deployment("payment-service")], told)
    there([_deployment("payment-service")])


@pytest.mark.parametrize("step", [STRICT_ALL, STRICT, ONLY])
def test_a_port_that_goes_by_a_name_may_be_another_at_new_pods(step: Intent) -> None:
    told = "payment-service.shop: it would not at port 8081 of pod of Deployment payment-service-next, since no Server decides there"
    _refused(_world(**INJECTED), step, [_deployment("payment-service", 8081)], told)
    next_one = _pod("payment-service", "next")
    next_one["spec"]["containers"][0]["ports"][0]["containerPort"] = 8081
    for pods in ([next_one], [next_one, _pod("payment-service")]):
        made = [edit.new for edit in _world(*pods, **INJECTED)(step).edits if edit.kind == "Server" and edit.new]
        theirs = {
            new["spec"]["port"] for new in made if new["spec"]["podSelector"]["matchLabels"]["app"] == "payment-service"
        }
        assert theirs == {8080, 8081}


@pytest.mark.parametrize("step", [STRICT, ONLY])
def test_a_service_that_a_step_is_about_gets_no_pod_without_a_proxy(step: Intent) -> None:
    bare = _deployment("payment-service", **{"linkerd.io/inject": "disabled"})
    told = f"«{step}» would not hold for every call to .*: pod of Deployment payment-service-next has no sidecar"
    _refused(_world(**INJECTED), step, [bare], told, "MB0428")


def test_nobody_comes_with_the_identity_of_the_only_caller() -> None:
    told = "would let pod of Deployment fresh-next pass as well, which has the service account order-service of order"
    found = _refused(_world(**INJECTED), ONLY, [_deployment("fresh", account="order-service")], told, "MB0423")
    assert found.help == "give the pods of the manifest a service account of their own"
    there = _world(**INJECTED)
    there(ONLY)
    there([_deployment("order-service", account="order-service"), _deployment("fresh", account="fresh")])


SKIPPED = "config.linkerd.io/skip-inbound-ports"


@pytest.mark.parametrize("step", [STRICT, ONLY])
@pytest.mark.parametrize("place", ["the namespace", "the pods"])
def test_a_service_that_a_step_is_about_gets_no_pod_whose_proxy_skips_its_port(step: Intent, place: str) -> None:
    past = {SKIPPED: "8080"}
    there = _world(**INJECTED, **(past if place == "the namespace" else {}))
    told = f"With the manifest «{step}» would not hold at port 8080 of pod of Deployment payment-service-next, whose proxy lets"
    _refused(there, step, [_deployment("payment-service", **(past if place == "the pods" else {}))], told, "MB0488")


def test_a_port_that_is_skipped_is_taken_where_the_step_is_not_about_it() -> None:
    past = _deployment("payment-service", **{SKIPPED: "8080"})
    elsewhere = _deployment("payment-service", **{SKIPPED: "7000"})
    permissive_again = MutualTls(TlsMode.PERMISSIVE, "shop", PAYMENT)
    for steps, manifest in (
        ([STRICT_ALL], past),
        ([STRICT], elsewhere),
        ([ONLY], elsewhere),
        ([STRICT, permissive_again], past),
        ([STRICT], _deployment("fresh", **{SKIPPED: "8080"})),
    ):
        there = _world(**INJECTED)
        for step in steps:
            there(step)
        there([manifest])


def test_new_pods_of_the_only_caller_have_its_service_account() -> None:
    told = "would not let pod of Deployment order-service-next pass, which is one of order-service.*: it has the service account default"
    found = _refused(_world(**INJECTED), ONLY, [_deployment("order-service")], told)
    assert found.help == "give it the service account order-service, or apply the manifest before that step"
    by_alias = _deployment("order-service")
    by_alias["spec"]["template"]["spec"]["serviceAccount"] = "order-service"
    there = _world(**INJECTED)
    there(ONLY)
    there([by_alias])
    there([_deployment("fresh")])
    none = _deployment("order-service")
    none["spec"]["replicas"] = 0
    there = _world(**INJECTED)
    there(ONLY)
    there([none])


def test_new_pods_of_the_only_caller_have_a_proxy() -> None:
    bare = _deployment("order-service", account="order-service", **{"linkerd.io/inject": "disabled"})
    told = "would not let pod of Deployment order-service-next pass, which is one of order-service.*: it has no sidecar"
    _refused(_world(**INJECTED), ONLY, [bare], told, "MB0474")


def test_replicas_that_are_left_empty_are_one() -> None:
    fresh = _deployment("fresh")
    fresh["spec"]["replicas"] = None
    _refused(_world(**INJECTED), STRICT_ALL, [_service("fresh"), fresh], "at port 8080 of pod of Deployment fresh-next")
    canary = _deployment("payment-service")
    canary["spec"]["replicas"] = None
    for step in (STRICT_ALL, STRICT, ONLY):
        there = _world(**INJECTED)
        there(step)
        there([canary])


def test_what_came_before_the_step_goes_while_it_is_in_force_and_comes_again() -> None:
    there = Recorded()
    applied = there([_admin()])
    there(STRICT_ALL)
    there.remove(applied)
    there([_admin()])  # the step's Server for that port is still there
    other = _admin(7000)
    other["metadata"]["name"] = "payment-other"
    with pytest.raises(BadInput, match=r"every call to payment-other\.shop: it would not at port 7000"):
        there([other])


@pytest.mark.parametrize(("namespace", "refused"), [(None, True), (INJECTED, True), ({}, False)])
def test_a_rehearsal_tells_the_same_of_a_world_of_files(namespace: dict[str, str] | None, refused: bool) -> None:
    """Where they do not tell of the namespace its pods do."""
    payment = _deployment("payment-service", **INJECTED)
    payment["metadata"]["name"] = "payment"
    world = [payment, _service("payment-service")]
    if namespace is not None:
        meta = {"name": "shop", "annotations": namespace}
        world.append({"apiVersion": "v1", "kind": "Namespace", "metadata": meta})
    manifest = [_service("fresh"), _deployment("fresh")]
    there = Staged(Linkerd, world)
    if refused:
        told = "fresh.shop: it would not at port 8080 of pod of Deployment fresh-next, since no Server decides there"
        _refused(there, STRICT_ALL, manifest, told)
    else:
        there(STRICT_ALL)
        there(manifest)
    admin = _admin(9090)
    told = "payment-admin.shop: it would not at port 9090 of pod of Deployment payment, since no Server decides there"
    _refused(Staged(Linkerd, world), STRICT_ALL, [admin], told)
