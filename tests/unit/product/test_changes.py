"""What a scenario's changes bring with them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from meshbdd.cluster import Cluster
from meshbdd.errors import BadInput
from meshbdd.intents import Access, Fault, Intent, Mention, MutualTls, ServiceRef, Timeout, TlsMode, Topic
from meshbdd.mesh import MESHES, Gate, Marker
from meshbdd.mesh.looking import Arrival
from meshbdd.rehearsal.stage import StageCluster, StageGate
from meshbdd.scenario import Environment
from meshbdd.scenario.changes import Changes
from meshbdd.settings import Settings
from meshbdd.units import Duration

SHOP = Path(__file__).resolve().parents[3] / "manifests" / "shop"
PAYMENT = ServiceRef("payment-service", "shop")


def _changes(
    project: Path, more: Sequence[dict[str, Any]] = (), stage: StageGate | None = None, on: str = "linkerd"
) -> Changes:
    objects = [obj for file in sorted(SHOP.glob("*.yaml")) for obj in yaml.safe_load_all(file.read_text("utf-8"))]
    cluster = cast("Cluster", StageCluster([*objects, *more], "shop", lambda _: None))
    gate, mesh = cast("Gate", stage or StageGate()), MESHES[on](cluster, "r1")
    environment = Environment(Settings(project=project, mesh=on), cluster, mesh, gate, "r1", "lab", lambda _e: None)

    def nothing(*_: Any) -> None:
        pass

    said = (Mention(Topic.FAULT, PAYMENT, "payment-service fails 100%"),)
    return Changes(
        environment, project / "a.feature", said=said,
        before_first=nothing, changing=nothing, arrived=nothing, leaving=nothing,
    )  # fmt: skip


def test_a_breaker_of_a_manifest_has_the_fault_backend_in_the_services_place(tmp_path: Path) -> None:
    """Once, and before the fault, as a breaker that a step names has it from the first change on."""
    annotations = {"balancer.linkerd.io/failure-accrual": "consecutive"}
    meta = {"name": "payment-service", "namespace": "shop", "annotations": annotations}
    (tmp_path / "breaker.yaml").write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Service", "metadata": meta}))
    changes = _changes(tmp_path)
    changes.apply_manifest("breaker.yaml")
    assert len(changes.in_force) == 1
    changes.make(Fault(PAYMENT, status=503))
    stands = "a fault backend takes the place of payment-service.shop"
    assert [item.plan.summary for item in changes.in_force][1:-1] == [stands]


@pytest.mark.parametrize(
    "policy",
    [
        Timeout(PAYMENT, Duration(1)),
        Access(ServiceRef("order-service", "shop"), PAYMENT),
        MutualTls(TlsMode.STRICT, "shop", PAYMENT),
    ],
)
def test_a_service_that_has_a_policy_alone_has_nothing_to_recover_from(policy: Intent, tmp_path: Path) -> None:
    changes = _changes(tmp_path)
    changes.make(policy)
    with pytest.raises(BadInput, match=f"«{policy}» is no fault, and stays to the scenario's end") as caught:
        changes.recover(PAYMENT)
    assert "no manifest's route did" in caught.value.sentence, "in Linkerd's words"
    with pytest.raises(BadInput, match=r"no step let it fail.* route did") as nothing:
        changes.recover(ServiceRef("order-service", "shop"))
    assert "is no fault" not in nothing.value.sentence


def test_requests_meet_no_manifest_whose_objects_a_later_one_says_anew(tmp_path: Path) -> None:
    changes = _changes(tmp_path)
    for number, name in enumerate(("first", "again", "other")):
        service = "order-service" if name == "other" else "payment-service"
        meta = {"name": service, "namespace": "shop", "annotations": {"timeout.linkerd.io/request": f"{number + 1}s"}}
        (tmp_path / f"{name}.yaml").write_text(
            yaml.safe_dump({"apiVersion": "v1", "kind": "Service", "metadata": meta})
        )
        changes.apply_manifest(f"{name}.yaml")
        changes.sent([name], {})
    assert [item.requests for item in changes.in_force] == [["first"], ["again", "other"], ["other"]]
    changes.remove_manifest("again.yaml")
    changes.sent(["last"], {})
    assert [item.requests for item in changes.in_force] == [["first", "last"], ["other", "last"]]


class _Watching(StageGate):
    """What proxies held before is a number that each change raises; what is to go is noted with it."""

    def __init__(self) -> None:
        self.state = 0
        self.gone: list[tuple[str, Any]] = []

    def before(self, markers: Iterable[Marker], **_: Any) -> dict[Any, Any]:
        self.state += 1
        return {str(marker): self.state for marker in markers}

    def wait_absent(self, markers: Iterable[Marker], before: dict[Any, Any], *_: Any) -> Arrival:
        self.gone += [(str(marker), before[str(marker)]) for marker in markers]
        return Arrival({})


def _policy(kind: str, name: str, version: str, spec: dict[str, Any]) -> dict[str, Any]:
    meta = {"name": name, "namespace": "shop"}
    return {"apiVersion": f"policy.linkerd.io/{version}", "kind": kind, "metadata": meta, "spec": spec}


def _ids(*identities: str) -> dict[str, Any]:
    return _policy("MeshTLSAuthentication", "ids", "v1alpha1", {"identities": list(identities)})


def _with_two_manifests(project: Path, second: dict[str, Any]) -> tuple[Changes, _Watching]:
    group, selector = "policy.linkerd.io", {"matchLabels": {"app": "payment-service"}}
    server = _policy("Server", "s", "v1beta3", {"podSelector": selector, "port": 8080})
    target = {"group": group, "kind": "Server", "name": "s"}
    required = [{"group": group, "kind": "MeshTLSAuthentication", "name": "ids"}]
    policy = _policy(
        "AuthorizationPolicy", "p", "v1alpha1", {"targetRef": target, "requiredAuthenticationRefs": required}
    )
    gate = _Watching()
    changes = _changes(project, [server, policy, _ids("*")], gate)
    for name, obj in (("one.yaml", _ids("a")), ("two.yaml", second)):
        (project / name).write_text(yaml.safe_dump(obj))
        changes.apply_manifest(name)
    return changes, gate


IDS = "effect of MeshTLSAuthentication ids"


@pytest.mark.parametrize("later", ["a", "b"])
def test_what_a_later_manifest_says_as_well_is_seen_to_go_with_that_one(later: str, tmp_path: Path) -> None:
    changes, gate = _with_two_manifests(tmp_path, _ids(later))
    first, second = (item.written[0].before for item in changes.in_force)
    assert first != second, "each has looked at the proxies"
    changes.remove_manifest("one.yaml")
    assert gate.gone == [], "nothing has become another"
    changes.take_back_all()
    assert gate.gone == [(IDS, first[IDS])], "as it was before both"  # type: ignore[index]


def test_of_two_manifests_each_is_seen_to_go_where_the_later_goes_first(tmp_path: Path) -> None:
    changes, gate = _with_two_manifests(tmp_path, _ids("b"))
    first, second = (item.written[0].before for item in changes.in_force)
    changes.remove_manifest("two.yaml")
    changes.take_back_all()
    assert gate.gone == [(IDS, second[IDS]), (IDS, first[IDS])]  # type: ignore[index]


def test_what_is_as_it_was_before_both_manifests_has_nothing_that_goes(tmp_path: Path) -> None:
    changes, gate = _with_two_manifests(tmp_path, _ids("*"))
    changes.remove_manifest("one.yaml")
    changes.take_back_all()
    assert gate.gone == []
