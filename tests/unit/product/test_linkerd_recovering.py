"""A step that keeps callers out holds for the pods of a service that was down as it was made, or the service does not recover."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from meshbdd.errors import BadInput
from meshbdd.intents import Access, Down, Intent, MutualTls, ServiceRef, TlsMode
from meshbdd.scenario.changes import Changes
from tests.unit.product.test_changes import _changes

FRESH = ServiceRef("fresh", "shop")
STRICT_ALL = MutualTls(TlsMode.STRICT, "shop")
STRICT = MutualTls(TlsMode.STRICT, "shop", FRESH)
ONLY = Access(ServiceRef("order-service", "shop"), FRESH)


def _with_fresh(project: Path, target: int | str, account: str = "fresh") -> Changes:
    labels = {"app": "fresh"}
    ports = [{"name": "http", "port": 80, "targetPort": target}]
    containers = [{"name": "app", "image": "a", "ports": [{"name": "web", "containerPort": 8080}]}]
    meta = {"labels": labels, "annotations": {"linkerd.io/inject": "enabled"}}
    template = {"metadata": meta, "spec": {"serviceAccountName": account, "containers": containers}}
    objects: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "Service", "spec": {"selector": labels, "ports": ports}},
        {"apiVersion": "apps/v1", "kind": "Deployment",
         "spec": {"selector": {"matchLabels": labels}, "template": template}},
    ]  # fmt: skip
    named = [{**obj, "metadata": {"name": "fresh", "namespace": "shop"}} for obj in objects]
    (project / "new.yaml").write_text(yaml.safe_dump_all(named))
    changes = _changes(project)
    changes.apply_manifest("new.yaml")
    return changes


@pytest.mark.parametrize(("step", "target"), [(STRICT_ALL, 8080), (STRICT_ALL, "web"), (STRICT, "web"), (ONLY, "web")])
def test_pods_at_which_no_server_was_made_do_not_come_back(step: Intent, target: int | str, tmp_path: Path) -> None:
    changes = _with_fresh(tmp_path, target)
    changes.make(Down(FRESH))
    changes.make(step)
    before = list(changes.in_force)
    told = (
        rf"Once fresh\.shop has recovered «{step}» would not hold for every call to fresh\.shop: it would not at port 8080 of "
        "pod of Deployment fresh, since no Server decides there"
    )
    with pytest.raises(BadInput, match=told) as caught:
        changes.recover(FRESH)
    assert (caught.value.code, caught.value.help) == ("MB0471", "let fresh recover before that step")
    assert changes.in_force == before
    changes.take_back_all()


@pytest.mark.parametrize("target", [8080, "web"])
@pytest.mark.parametrize("step", [STRICT_ALL, STRICT, ONLY, None])
def test_pods_for_which_servers_were_made_come_back(step: Intent | None, target: int | str, tmp_path: Path) -> None:
    changes = _with_fresh(tmp_path, target)
    if step is not None:
        changes.make(step)
    changes.make(Down(FRESH))
    changes.recover(FRESH)


def test_nobody_comes_back_with_the_identity_of_the_only_caller(tmp_path: Path) -> None:
    changes = _with_fresh(tmp_path, 8080, "order-service")
    changes.make(Down(FRESH))
    changes.make(Access(ServiceRef("order-service", "shop"), ServiceRef("payment-service", "shop")))
    with pytest.raises(BadInput, match="would let pod of Deployment fresh pass as well") as caught:
        changes.recover(FRESH)
    assert (caught.value.code, caught.value.help) == ("MB0423", "give the pods a service account of their own")
