"""Pods that a scenario's own manifest brings: a later step may be about them, so its arrival awaits them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import meshbdd.steps  # noqa: F401 - registers the vocabulary
import pytest
import yaml
from behave.parser import parse_feature
from behave.step_registry import registry

from meshbdd.cluster import Cluster
from meshbdd.mesh import Context, Linkerd
from meshbdd.mesh.linkerd.markers import EndpointsAdded
from meshbdd.rehearsal import first_refusal
from meshbdd.rehearsal.stage import StageCluster
from meshbdd.settings import Settings

FEATURE = """
Feature: F
  Scenario: S
    Given the manifest "canary.yaml" is applied
    And traffic to cart is split 50% to v1 and 50% to {subset}
"""


def _deployment(version: str, replicas: int = 1) -> dict[str, Any]:
    labels = {"app": "cart", "version": version}
    template = {
        "metadata": {"labels": labels, "annotations": {"linkerd.io/inject": "enabled"}},
        "spec": {"containers": [{"name": "app", "ports": [{"name": "http", "containerPort": 8080}]}]},
    }
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": f"cart-{version}", "namespace": "shop"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template},
    }  # fmt: skip


def _service(name: str = "cart", **spec: Any) -> dict[str, Any]:
    ports = [{"name": "http", "port": 80, "targetPort": "http"}]
    return {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop"},
        "spec": {"selector": {"app": "cart"}, "ports": ports, **spec},
    }  # fmt: skip


WORLD = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}, _service(), _deployment("v1")]


@pytest.mark.parametrize(("subset", "replicas", "refused"), [("v3", 2, False), ("v3", 0, True), ("v4", 2, True)])
def test_a_split_may_be_to_the_pods_of_a_manifest_before_it(
    subset: str, replicas: int, *, refused: bool, tmp_path: Path
) -> None:
    (tmp_path / "canary.yaml").write_text(yaml.safe_dump(_deployment("v3", replicas)), encoding="utf-8")
    held = StageCluster(WORLD, "shop", lambda _: None)
    live = cast(
        "Cluster",
        SimpleNamespace(namespace="shop", context="live", list=held.list, see_admitted=lambda _object: None),
    )
    feature = parse_feature(FEATURE.format(subset=subset), filename=str(tmp_path / "a.feature"))
    (scenario,) = feature.walk_scenarios()
    refusal = first_refusal(tuple(scenario.all_steps), live, Settings(project=tmp_path, mesh="linkerd"), registry)
    assert ("MB0424" in str(refusal) or f'no subset "{subset}" with a pod' in str(refusal)) == refused
    assert refused or refusal is None


def _page(service: str, *addresses: str) -> dict[str, Any]:
    hosts = [{"address": {"socket_address": {"address": address}}} for address in addresses]
    return {
        "cluster_statuses": [{"name": f"Service.shop.{service}:80/Service.shop.{service}:80", "host_statuses": hosts}]
    }


def test_new_pods_of_services_that_are_there_are_awaited_as_their_endpoints() -> None:
    others = [
        _service("cart-headless", clusterIP="None"),
        _service("meshbdd-twin-cart"),
        _service("cart-tcp", ports=[{"name": "tcp-x", "port": 81, "appProtocol": "kubernetes.io/tcp"}]),
        _service("pay", selector={"app": "pay"}),
        _service("outside", selector=None),
        _service("cart-led"),
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": {"name": "led", "namespace": "shop"},
            "spec": {"parentRefs": [{"group": "core", "kind": "Service", "name": "cart-led", "port": 80}]},
        },
    ]
    pod = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "cart-1", "namespace": "shop", "labels": {"app": "cart", "version": "v1"}},
        "spec": {"containers": []}, "status": {"phase": "Running", "podIP": "127.1.0.1"},
    }  # fmt: skip
    cluster = cast("Cluster", StageCluster([*WORLD, *others, pod], "shop", lambda _: None))
    plan = Linkerd(cluster, "r1").plan_manifest(
        [_deployment("v3", 2), _deployment("v4"), _deployment("v5", 0)], Context()
    )
    markers = {marker for marker in plan.markers if isinstance(marker, EndpointsAdded)}
    assert [str(marker) for marker in markers] == ["3 new endpoints of cart.shop"]
    (marker,) = markers
    assert marker.known == {"127.1.0.1"}
    assert not marker.held([_page("cart", "127.1.0.1", "127.1.0.2", "127.1.0.3")])
    assert marker.held([_page("cart", "127.1.0.1", "127.1.0.2", "127.1.0.3", "127.1.0.4")])
    assert not marker.held([{}])


@pytest.mark.parametrize(("word", "meshed"), [("enabled", True), ("disabled", True), ("on", False)])
def test_an_unknown_word_of_a_namespace_keeps_the_proxy_from_its_pods(word: str, *, meshed: bool) -> None:
    home = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "shop", "annotations": {"linkerd.io/inject": word}},
    }
    [pod] = StageCluster([home, _deployment("v1")], "shop", lambda _: None).list("Pod", "shop")
    assert ("linkerd.io/control-plane-ns" in pod["metadata"]["labels"]) is meshed


def test_what_a_scenario_brings_is_younger_than_all_that_was_there() -> None:
    """Of rivals a mesh takes the oldest, whatever their names."""
    made = [{"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop"}} for name in "zyxa"]
    dated = {**made[1], "metadata": {**made[1]["metadata"], "creationTimestamp": "2026-01-01T00:00:00Z"}}
    held = StageCluster([made[0], dated], "shop", lambda _: None)
    for obj in made[2:]:
        held.create(obj)
    found = sorted(held.list("Service", "shop"), key=lambda service: str(service["metadata"]["creationTimestamp"]))
    assert [service["metadata"]["name"] for service in found] == ["y", "z", "x", "a"]
