"""What needs pods that a step of the scenario has taken away is told so before it is written, and comes true once they are back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from meshbdd.cluster import Cluster
from meshbdd.errors import BadInput, Inconclusive
from meshbdd.intents import (
    Access,
    CircuitBreaker,
    Down,
    Fault,
    Intent,
    MutualTls,
    Retry,
    Scope,
    ServiceRef,
    Side,
    Split,
    Timeout,
    TlsMode,
)
from meshbdd.mesh import Gate
from meshbdd.mesh.markers import RouteHeld
from meshbdd.rehearsal.stage import StageCluster
from meshbdd.scenario.changes import Changes
from meshbdd.sidecars import ISTIO, LINKERD, Sidecars
from meshbdd.units import Duration, Percent
from tests.unit.product.test_changes import PAYMENT, _changes

Object = dict[str, Any]
ORDER = ServiceRef("order-service", "shop")
STRICT = MutualTls(TlsMode.STRICT, "shop", PAYMENT)
STRICT_ALL = MutualTls(TlsMode.STRICT, "shop")
ONLY = Access(ORDER, PAYMENT)
SPLIT = Split(PAYMENT, (("stable", Percent(100)),))
AT_SERVER = Fault(PAYMENT, status=503, at=Side.SERVER)
OF_ORDERS = Fault(PAYMENT, status=503, scope=Scope(called_by=ORDER))


def _refused(changes: Changes, make: Callable[[], object], down: ServiceRef = PAYMENT) -> str:
    cluster = cast("StageCluster", changes._environment.cluster)
    before, objects = list(changes.in_force), cluster.objects
    with pytest.raises(BadInput, match=rf"«{down} is down» has taken its pods away") as caught:
        make()
    assert (caught.value.code, caught.value.help) == ("MB0481", f"let {down.name} recover before that step")
    assert (changes.in_force, cluster.objects) == (before, objects)
    return caught.value.sentence


@pytest.mark.parametrize(
    ("mesh", "step", "down"),
    [
        *((mesh, step, PAYMENT) for mesh in ("istio", "linkerd") for step in (STRICT, ONLY, SPLIT)),
        *((mesh, ONLY, ORDER) for mesh in ("istio", "linkerd")),
        ("istio", AT_SERVER, PAYMENT),
        ("istio", OF_ORDERS, ORDER),
        ("linkerd", OF_ORDERS, ORDER),
    ],
)
def test_a_step_that_needs_the_pods_waits_for_their_return(
    mesh: str, step: Intent, down: ServiceRef, tmp_path: Path
) -> None:
    changes = _changes(tmp_path, on=mesh)
    changes.make(Down(down))
    _refused(changes, lambda: changes.make(step), down)
    changes.recover(down)
    changes.make(step)


@pytest.mark.parametrize("mesh", ["istio", "linkerd"])
@pytest.mark.parametrize(
    "step",
    [
        STRICT_ALL,
        MutualTls(TlsMode.STRICT, "shop", ORDER),
        Timeout(PAYMENT, Duration(1)),
        Retry(PAYMENT, 2),
        CircuitBreaker(ORDER, 3, Duration(5)),
        Down(ORDER),
        Down(PAYMENT),
    ],
)
def test_a_step_that_others_hold_is_made(mesh: str, step: Intent, tmp_path: Path) -> None:
    changes = _changes(tmp_path, on=mesh)
    changes.make(Down(PAYMENT))
    changes.make(step)


def _manifest(project: Path, *more: Object, selector: Object, target: int | str = 8080) -> str:
    spec = {"selector": selector, "ports": [{"name": "http", "port": 80, "targetPort": target}]}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "one", "namespace": "shop"}, "spec": spec}
    (project / "one.yaml").write_text(yaml.safe_dump_all([service, *more]))
    return "one.yaml"


def _pods(labels: Object, count: int = 1) -> Object:
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "app", "image": "a"}]}}
    spec = {"replicas": count, "selector": {"matchLabels": labels}, "template": template}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "own", "namespace": "shop"},
        "spec": spec,
    }


def test_a_new_service_has_pods_that_are_there(tmp_path: Path) -> None:
    changes = _changes(tmp_path)
    changes.make(Down(PAYMENT))
    name = _manifest(tmp_path, selector={"app": "payment-service", "version": "stable"})
    told = _refused(changes, lambda: changes.apply_manifest(name))
    assert told.startswith("With the manifest Service one would have no endpoint")
    changes.recover(PAYMENT)
    changes.apply_manifest(name)


@pytest.mark.parametrize(
    "more",
    [
        {"selector": {"app": "inventory-service"}},
        {"selector": {"app": "payment-service"}, "pods": {"app": "payment-service", "version": "own"}},
    ],
)
def test_a_new_service_of_other_pods_is_applied(more: Object, tmp_path: Path) -> None:
    changes = _changes(tmp_path)
    changes.make(Down(PAYMENT))
    own = [_pods(more["pods"])] if "pods" in more else []
    changes.apply_manifest(_manifest(tmp_path, *own, selector=more["selector"]))


def test_pods_that_no_step_took_away_are_told_of_as_before(tmp_path: Path) -> None:
    changes = _changes(tmp_path)
    changes.make(Down(PAYMENT))
    with pytest.raises(BadInput, match="has no subset") as caught:
        changes.make(Split(ORDER, (("none", Percent(100)),)))
    assert caught.value.code == "MB0424"


@pytest.mark.parametrize("mesh", ["istio", "linkerd"])
def test_a_subset_that_the_pods_were_not_of_does_not_come_back_with_them(mesh: str, tmp_path: Path) -> None:
    changes = _changes(tmp_path, on=mesh)
    changes.make(Down(PAYMENT))
    with pytest.raises(BadInput, match=r'has no subset "nonesuch".* none has the label version=nonesuch') as caught:
        changes.make(Split(PAYMENT, (("nonesuch", Percent(100)),)))
    assert (caught.value.code, caught.value.help) == ("MB0424", "name one of: stable")
    _refused(changes, lambda: changes.make(SPLIT))


def _stage(changes: Changes) -> StageCluster:
    return cast("StageCluster", changes._environment.cluster)


def _without_fault(project: Path) -> Changes:
    """Those of a scenario without a fault backend, which would have a sidecar that holds what is for everybody."""
    changes = _changes(project)
    changes.said = ()
    return changes


def _told_of_no_sidecars(project: Path) -> Changes:
    changes = _without_fault(project)
    for space in _stage(changes).list("Namespace"):
        _stage(changes).delete(space)
    return changes


@pytest.mark.parametrize("step", [Timeout(PAYMENT, Duration(1)), Retry(PAYMENT, 2), Fault(ORDER, status=503)])
def test_where_the_world_does_not_tell_who_has_a_sidecar_others_may_hold_a_step(step: Intent, tmp_path: Path) -> None:
    changes = _told_of_no_sidecars(tmp_path)
    changes.make(Down(PAYMENT))
    changes.make(step)


def test_what_is_for_the_pods_that_are_down_nobody_else_holds_whatever_the_world_tells(tmp_path: Path) -> None:
    changes = _told_of_no_sidecars(tmp_path)
    changes.make(Down(PAYMENT))
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(SERVER))
    told = _refused(changes, lambda: changes.apply_manifest("own.yaml"))
    assert told.startswith("The manifest would be held by no proxy that it is for")


def test_pods_that_are_told_to_have_no_sidecar_hold_nothing(tmp_path: Path) -> None:
    changes = _without_fault(tmp_path)
    for deployment in _stage(changes).list("Deployment"):
        if deployment["metadata"]["name"] != PAYMENT.name:
            deployment["spec"]["template"]["metadata"]["annotations"] = {LINKERD.injection.name: "disabled"}
            _stage(changes).replace(deployment)
    changes.make(Down(PAYMENT))
    _refused(changes, lambda: changes.make(Timeout(PAYMENT, Duration(1))))
    changes.recover(PAYMENT)
    changes.make(Timeout(PAYMENT, Duration(1)))


SERVER = {
    "apiVersion": "policy.linkerd.io/v1beta3",
    "kind": "Server",
    "metadata": {"name": "own", "namespace": "shop"},
    "spec": {
        "podSelector": {"matchLabels": {"app": "payment-service"}},
        "port": 8080,
        "accessPolicy": "all-authenticated",
    },
}
POLICY = {
    "apiVersion": "policy.linkerd.io/v1alpha1",
    "kind": "AuthorizationPolicy",
    "metadata": {"name": "own", "namespace": "shop"},
    "spec": {
        "targetRef": {"group": "policy.linkerd.io", "kind": "Server", "name": "own"},
        "requiredAuthenticationRefs": [{"kind": "ServiceAccount", "name": "order-service"}],
    },
}
V2 = {"app": "payment-service", "version": "v2"}


def _replacement(count: int = 1) -> Object:
    """A Deployment whose pods take the place of the service's."""
    made = _pods(V2, count)
    made["spec"]["template"]["spec"]["containers"][0]["ports"] = [{"containerPort": port} for port in (8080, 9090)]
    return made


def _apply(changes: Changes, project: Path, *documents: Object) -> None:
    (project / "own.yaml").write_text(yaml.safe_dump_all(documents))
    changes.apply_manifest("own.yaml")


def test_a_policy_is_held_by_the_pods_that_come_with_it(tmp_path: Path) -> None:
    changes = _changes(tmp_path)
    changes.make(Down(PAYMENT))
    _refused(changes, lambda: _apply(changes, tmp_path, SERVER, _replacement(0)))
    _apply(changes, tmp_path, SERVER, _replacement())


def test_what_is_awaited_together_with_the_pods_that_come_is_not_held_by_them(tmp_path: Path) -> None:
    changes = _changes(tmp_path, [SERVER])
    changes.make(Down(PAYMENT))
    told = _refused(changes, lambda: _apply(changes, tmp_path, _replacement(), POLICY))
    assert told.startswith("The manifest would be held by no proxy that it is for")
    _apply(changes, tmp_path, _replacement())
    (tmp_path / "policy.yaml").write_text(yaml.safe_dump(POLICY))
    changes.apply_manifest("policy.yaml")


@pytest.mark.parametrize("step", [STRICT, ONLY])
def test_pods_of_another_deployment_with_more_labels_are_there(step: Intent, tmp_path: Path) -> None:
    changes = _changes(tmp_path)
    deployment = _stage(changes).find("Deployment", PAYMENT.name, "shop") or {}
    deployment["spec"]["selector"] = {"matchLabels": {"app": PAYMENT.name}}
    deployment["spec"]["template"]["metadata"]["labels"] = {"app": PAYMENT.name}
    _stage(changes).replace(deployment)
    changes.make(Down(PAYMENT))
    _apply(changes, tmp_path, _replacement())
    changes.make(step)


@pytest.mark.parametrize(("sidecars", "hidden"), [(ISTIO, True), (LINKERD, False)])
def test_where_nobody_is_there_to_hold_it_the_help_is_in_the_meshs_words(sidecars: Sidecars, *, hidden: bool) -> None:
    class _Nobody:
        def list(self, *_: Any, **__: Any) -> list[Object]:
            return []

    gate = Gate(cast("Cluster", _Nobody()), Duration(0.1), sidecars)
    try:
        with pytest.raises(Inconclusive, match="No meshed pod is there") as caught:
            gate.wait_present([RouteHeld("meshbdd-r1-2-", ())], {})
    finally:
        gate.close()
    assert ("exportTo" in str(caught.value.help)) is hidden
