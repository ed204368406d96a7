"""What is doubtful about a world on Linkerd, in its words and by its rules; Istio's are not asked there."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from meshbdd import sense
from meshbdd.lab.linkerd.injection import wants_proxy
from meshbdd.sense.linkerd_pods import is_meshed, will_be_meshed

_ON, _OFF, _INGRESS = ({"linkerd.io/inject": word} for word in ("enabled", "disabled", "ingress"))
_ODD = {"linkerd.io/inject": "true"}


@pytest.mark.parametrize(
    ("namespace", "pod", "meshed"),
    [
        ({}, {}, False),
        ({}, _ON, True),
        ({}, _INGRESS, True),
        ({}, _OFF, False),
        (_ON, {}, True),
        (_INGRESS, {}, True),
        (_ON, _OFF, False),
        (_OFF, {}, False),
        (_OFF, _ON, True),
        (_ODD, _ON, False),
        (_ON, _ODD, False),
        (None, {}, True),
        (None, _OFF, False),
    ],
)
def test_annotations_decide(namespace: dict[str, str] | None, pod: dict[str, str], meshed: bool) -> None:
    """The table of linkerd2's pkg/inject/report.go, ``disableByAnnotation``."""
    home: dict[str, Any] | None = None if namespace is None else {"metadata": {"annotations": namespace}}
    assert will_be_meshed({"metadata": {"annotations": pod}}, home) is meshed
    assert not will_be_meshed({"metadata": {"annotations": pod}, "spec": {"hostNetwork": True}}, home)
    if home is not None:
        assert wants_proxy({"metadata": {"annotations": pod}}, home) is meshed, (
            "the lab injects as is told of a cluster"
        )


def test_a_pod_has_a_proxy_by_its_label_or_its_container() -> None:
    assert is_meshed({"metadata": {"labels": {"linkerd.io/control-plane-ns": "linkerd"}}})
    assert is_meshed({"metadata": {}, "spec": {"initContainers": [{"name": "linkerd-proxy"}]}})
    assert not is_meshed({"metadata": {"labels": {"security.istio.io/tlsMode": "istio"}}})


def _world(namespace: str, pod: str = "{}", more: str = "") -> list[dict[str, Any]]:
    return list(
        yaml.safe_load_all(f"""
apiVersion: v1
kind: Namespace
metadata: {{name: shop, {namespace}}}
---
apiVersion: v1
kind: Service
metadata: {{name: pay, namespace: shop}}
spec: {{selector: {{app: pay}}, ports: [{{port: 80, targetPort: 8080}}]}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: pay, namespace: shop}}
spec:
  template:
    metadata: {{labels: {{app: pay}}, annotations: {pod}}}
    spec: {{containers: [{{name: app, ports: [{{containerPort: 8080}}]}}]}}
{more}""")
    )


@pytest.mark.parametrize(
    ("namespace", "pod", "told"),
    [
        ("annotations: {linkerd.io/inject: enabled}", "{}", None),
        ("annotations: {linkerd.io/inject: ingress}", "{}", None),
        ("annotations: {linkerd.io/inject: disabled}", "{}", None),
        ("annotations: {linkerd.io/inject: enabled}", "{linkerd.io/inject: disabled}", None),
        ("labels: {}", "{linkerd.io/inject: enabled}", None),
        ("labels: {}", "{}", "MB0960 Namespace shop: it has no annotation linkerd.io/inject, so its pods (Deployment shop/pay) have no proxy."),
        ("labels: {istio-injection: enabled}", "{}", "MB0960 Namespace shop: it has no annotation linkerd.io/inject (its label istio-injection is Istio's), so"),
        ("labels: {linkerd.io/inject: enabled}", "{}", "MB0960 Namespace shop: it has no annotation linkerd.io/inject (it is there as a label; Linkerd reads the annotation)"),
        ("annotations: {linkerd.io/inject: 'on'}", "{}", 'MB0960 Namespace shop: its annotation linkerd.io/inject is "on", a value that Linkerd does not know'),
        ("annotations: {linkerd.io/inject: enabled}", "{linkerd.io/inject: 'yes'}", 'MB0962 Deployment shop/pay: its annotation linkerd.io/inject is "yes", and'),
    ],
)  # fmt: skip
def test_who_gets_no_proxy(namespace: str, pod: str, told: str | None) -> None:
    found = sense.check(_world(namespace, pod), "linkerd")
    assert not any("istio-injection=" in finding.help for finding in found)
    if told is None:
        assert found == []
    else:
        assert [f"{f.code} {f.object}: {f.sentence}"[: len(told)] for f in found] == [told]


def test_a_pod_that_runs_without_its_proxy() -> None:
    pod = "---\nkind: Pod\nmetadata: {name: pay-1, namespace: shop, uid: u, labels: {app: pay LABEL}}\nspec: {}\n"
    without, with_ = (
        _world("annotations: {linkerd.io/inject: enabled}", more=pod.replace(" LABEL", label))
        for label in ("", ", linkerd.io/control-plane-ns: linkerd")
    )
    assert [f"{f.code} {f.object}" for f in sense.check(without, "linkerd")] == ["MB0962 Pod shop/pay-1"]
    assert sense.check(with_, "linkerd") == []


def test_callers_of_a_service_without_pods_wait_for_the_proxy_to_fail_fast() -> None:
    world = _world("annotations: {linkerd.io/inject: enabled}")
    world[1]["spec"]["selector"] = {"app": "nobody"}
    (found,) = sense.check(world, "linkerd")
    assert (found.code, found.sentence.rpartition("; ")[2]) == (
        "MB0951",
        "callers get 504 after 3 s, and then 503 at once.",
    )


def test_objects_of_istios_are_not_judged_as_if_istio_read_them() -> None:
    rule = "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a, namespace: shop}\nspec: {hosts: [nobody]}\n"
    world = _world("annotations: {linkerd.io/inject: enabled}", more=rule)
    assert "MB0906" in {f.code for f in sense.check(world, "istio")}
    assert sense.check(world, "linkerd") == []


def test_for_whom_a_world_is() -> None:
    ours, both = (
        _world("annotations: {linkerd.io/inject: enabled}"),
        _world("labels: {istio-injection: enabled}", "{linkerd.io/inject: enabled}"),
    )
    assert (sense.linkerds_alone(ours) or {}).get("kind") == "Namespace"
    assert sense.linkerds_alone(both) is None
    assert sense.linkerds_alone([*ours, {"apiVersion": "networking.istio.io/v1", "kind": "Gateway"}]) is None
    assert sense.linkerds_alone(_world("labels: {}")) is None


def _told(text: str) -> list[str]:
    there = _world("annotations: {linkerd.io/inject: enabled}")
    found = sense.check_changes([obj for obj in yaml.safe_load_all(text) if obj], there, "linkerd")
    return [f"{f.code} {f.sentence} | {f.help}" for f in found]


_ROUTE = """
apiVersion: GROUP
kind: HTTPRoute
metadata: {name: a, namespace: shop, annotations: ANNOTATIONS}
spec: {parentRefs: [{group: "", kind: Service, name: pay, port: 80}], rules: [{timeouts: {request: TIME}}]}
"""
_OF_GATEWAYS, _OWN = "gateway.networking.k8s.io/v1", "policy.linkerd.io/v1beta3"


@pytest.mark.parametrize(
    ("group", "time", "told"),
    [
        (_OF_GATEWAYS, "1m30s", True), (_OF_GATEWAYS, "1.5s", True), (_OF_GATEWAYS, "90s", False),
        (_OF_GATEWAYS, "500ms", False), (_OF_GATEWAYS, "0s", False), (_OWN, "1m30s", False),
    ],
)  # fmt: skip
def test_a_timeout_that_linkerd_takes_for_none(group: str, time: str, told: bool) -> None:
    """tests/golden/data/linkerd/012-httproute-rule-timeouts-odd, and 013 beside it."""
    sentence = f'MB0994 Linkerd cannot read "{time}" in timeouts.request of rule 1, so its requests have no timeout. | '
    found = _told(_ROUTE.replace("GROUP", group).replace("ANNOTATIONS", "{}").replace("TIME", time))
    assert found == ([sentence + "write one whole number and its unit: 500ms, 90s, 2m"] if told else [])


@pytest.mark.parametrize(
    ("annotations", "told"),
    [
        ('{retry.linkerd.io/limit: "2"}', True),
        ('{retry.linkerd.io/limit: "2", retry.linkerd.io/grpc: internal}', True),
        ('{retry.linkerd.io/limit: "2", retry.linkerd.io/http: 5xx}', False),
        ('{retry.linkerd.io/limit: "2", retry.linkerd.io/timeout: 1s}', False),
        ("{retry.linkerd.io/http: 5xx}", False),
    ],
)
def test_a_limit_of_retries_without_a_condition(annotations: str, told: bool) -> None:
    found = _told(_ROUTE.replace("GROUP", _OF_GATEWAYS).replace("ANNOTATIONS", annotations).replace("TIME", "1s"))
    sentence = "MB0995 retry.linkerd.io/limit stands without retry.linkerd.io/http: nothing is retried."
    assert found == ([f"{sentence} | write beside it retry.linkerd.io/http: 5xx"] if told else [])


@pytest.mark.parametrize(("condition", "told"), [("", True), (", retry.linkerd.io/grpc: internal", False)])
def test_a_services_limit_may_be_for_grpc_as_well(condition: str, told: bool) -> None:
    world = _world("annotations: {linkerd.io/inject: enabled}")
    world[1]["metadata"]["annotations"] = yaml.safe_load(f'{{retry.linkerd.io/limit: "2"{condition}}}')
    assert [f.code for f in sense.check(world, "linkerd")] == (["MB0995"] if told else [])
    assert "MB0995" not in {f.code for f in sense.check(world, "istio")}


def test_a_route_has_no_host_that_could_be_corrected() -> None:
    route = _ROUTE.replace("GROUP", _OF_GATEWAYS).replace("ANNOTATIONS", "{}").replace("TIME", "1s")
    (found,) = _told(route.replace("name: pay", "name: unlike"))
    assert found.startswith("MB0901 its parent is Service")
    assert found.endswith("| correct its name and namespace")
