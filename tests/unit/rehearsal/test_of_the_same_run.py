"""A rehearsal during a run: what the run itself has standing in the cluster is its own to change."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import meshbdd.steps  # noqa: F401 - registers the vocabulary
import pytest
import yaml
from behave.parser import parse_feature
from behave.step_registry import registry

from meshbdd.cluster import Change, Cluster
from meshbdd.errors import MeshbddError, NotPossible
from meshbdd.intents import Fault, ServiceRef, Side
from meshbdd.mesh import MESHES
from meshbdd.mesh.base import Context
from meshbdd.rehearsal import first_refusal
from meshbdd.rehearsal.stage import StageCluster
from meshbdd.settings import Settings

SHOP = Path(__file__).resolve().parents[3] / "manifests" / "shop"
FEATURE = """
Feature: F
  Scenario: S
    Given calls to payment-service are retried up to 3 times
    And payment-service fails 100%
"""


@pytest.mark.parametrize("run", ["this", "another"])
def test_what_the_run_has_armed_does_not_refuse_its_next_scenario(run: str, tmp_path: Path) -> None:
    objects = [obj for file in sorted(SHOP.glob("*.yaml")) for obj in yaml.safe_load_all(file.read_text("utf-8"))]
    held = StageCluster(objects, "shop", lambda _: None)
    cluster = cast("Cluster", held)
    fault = Fault(ServiceRef("payment-service", "shop"), status=503, at=Side.SERVER)
    armed = [edit for stage in MESHES["istio"](cluster, "this").plan(fault, Context()).standing for edit in stage.edits]
    for edit in armed:
        Change(cluster, edit, "this").apply()

    live = cast("Cluster", SimpleNamespace(namespace="shop", context="live", list=held.list))
    (scenario,) = parse_feature(FEATURE, filename=str(tmp_path / "a.feature")).walk_scenarios()
    refusal = first_refusal(tuple(scenario.all_steps), live, Settings(project=tmp_path, mesh="istio"), registry, run)
    assert armed
    assert ("still carries the change of run this" in str(refusal)) == (run == "another")
    assert run == "another" or refusal is None


CALLERS = """
Feature: F
  Scenario: S
    Given calls to payment-service time out after 1s
    And only order-service may call payment-service
"""


@pytest.mark.parametrize(("running", "refused"), [("all", False), ("none", False), ("bare", True)])
def test_a_caller_is_known_by_the_pods_that_run_and_where_none_does_by_how_it_would_be_injected(
    running: str, refused: bool, tmp_path: Path
) -> None:
    objects = [obj for file in sorted(SHOP.glob("*.yaml")) for obj in yaml.safe_load_all(file.read_text("utf-8"))]
    deployments = [obj for obj in objects if obj["kind"] == "Deployment"]
    for deployment in deployments if running != "none" else []:
        template, name = deployment["spec"]["template"], deployment["metadata"]["name"]
        bare = running == "bare" and name == "order-service"
        objects.append(_pod(template, f"{name}-7d4f-x2v", **({} if bare else MESHED)))
    refusal = _on_linkerd(objects, CALLERS, tmp_path)
    assert ("its pod order-service-7d4f-x2v has no sidecar" in str(refusal)) == refused
    assert refused or refusal is None


MESHED = {"linkerd.io/control-plane-ns": "linkerd"}
NOT_BESIDE = """
Feature: F
  Scenario: S
    Given traffic to payment-service is split 90% to stable and 10% to canary
    And payment-service is slowed by 2s
"""


def test_what_the_mesh_cannot_do_beside_an_earlier_step_is_foreseen(tmp_path: Path) -> None:
    """Before the split is written: a scenario that is skipped half-way has changed the mesh for nothing."""
    objects = [obj for file in sorted(SHOP.glob("*.yaml")) for obj in yaml.safe_load_all(file.read_text("utf-8"))]
    template = next(o["spec"]["template"] for o in objects if o["metadata"]["name"] == "payment-service" and o["kind"] == "Deployment")  # fmt: skip
    objects += [_pod(template, f"payment-{version}", version=version, **MESHED) for version in ("stable", "canary")]
    refusal = _on_linkerd(objects, NOT_BESIDE, tmp_path)
    assert isinstance(refusal, NotPossible)
    assert refusal.place is not None
    assert refusal.place.line == 5
    assert _on_linkerd(objects, NOT_BESIDE.replace("    And payment-service is slowed by 2s\n", ""), tmp_path) is None


def _pod(template: dict[str, Any], name: str, **labels: str) -> dict[str, Any]:
    meta = {"name": name, "namespace": "shop", "labels": {**template["metadata"]["labels"], **labels}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": template["spec"]}


def _on_linkerd(objects: list[dict[str, Any]], feature: str, folder: Path) -> MeshbddError | None:
    """What a scenario of a feature is refused for on a live cluster with these objects."""
    held = StageCluster(objects, "shop", lambda _: None)
    live = cast(
        "Cluster",
        SimpleNamespace(
            namespace="shop",
            context="live",
            list=lambda kind: [obj for obj in held.objects if obj["kind"] == kind],
            see_admitted=lambda _: None,
        ),
    )
    (scenario,) = parse_feature(feature, filename=str(folder / "a.feature")).walk_scenarios()
    settings = Settings(project=folder, mesh="linkerd")
    return first_refusal(tuple(scenario.all_steps), live, settings, registry)
