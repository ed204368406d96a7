"""What a rehearsal foresees of a claim from the scenario's changes alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import meshbdd.steps
import pytest
import yaml

from meshbdd.rehearsal import rehearse
from meshbdd.settings import Settings

assert meshbdd.steps

_WORLD = """
kind: Service
metadata: {name: order-service, namespace: shop, annotations: ANNOTATIONS}
spec: {selector: {app: order-service}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
kind: Pod
metadata: {name: order-1, namespace: shop, labels: {app: order-service, linkerd.io/control-plane-ns: linkerd}}
spec: {containers: [{name: app, ports: [{containerPort: 8080}]}]}
status: {podIP: 10.0.0.1}
---
kind: Deployment
apiVersion: apps/v1
metadata: {name: order-service, namespace: shop}
spec: {replicas: 1, selector: {matchLabels: {app: order-service}}, template: {metadata: {labels: {app: order-service}}, spec: {}}}
---
kind: Namespace
metadata: {name: shop}
"""
_POLICY = """---
kind: AuthorizationPolicy
apiVersion: policy.linkerd.io/v1alpha1
metadata: {name: a, namespace: shop}
spec: {targetRef: TARGET, requiredAuthenticationRefs: []}
"""
_PASSES = _POLICY.replace("TARGET", "{group: core, kind: Namespace, name: shop}")
_PASSES_ONE = _POLICY.replace("TARGET", "{group: policy.linkerd.io, kind: Server, name: SERVER}")
_PASSES_OLD = """---
kind: ServerAuthorization
apiVersion: policy.linkerd.io/v1beta1
metadata: {name: a, namespace: shop}
spec: {server: {SERVER}, client: {unauthenticated: true}}
"""
_OWN = """---
kind: Server
apiVersion: policy.linkerd.io/v1beta3
metadata: {name: SERVER, namespace: shop}
spec: {podSelector: {matchLabels: {app: APP}}, port: 9090}
"""
_FEATURE = '''
Feature: F
  Scenario: S
    Given the request "checkout":
      """
      GET http://order-service/
      """
    Given FIRST
    When "checkout" is sent from outside the mesh
    Then the connection is refused
'''


@pytest.mark.parametrize(
    ("first", "annotations", "more", "foreseen"),
    [
        ("mutual TLS is strict for order-service", "{}", "", True),
        ("mutual TLS is strict", "{}", "", True),
        ("mutual TLS is permissive for order-service", "{}", "", False),
        ("mutual TLS is strict for order-service\n    Given order-service is down", "{}", "", False),
        (
            "mutual TLS is strict for order-service\n    Given mutual TLS is permissive for order-service",
            "{}",
            "",
            False,
        ),
        ("mutual TLS is strict for order-service", "{config.linkerd.io/opaque-ports: '80'}", "", False),
        ("mutual TLS is strict for order-service", "{}", _PASSES, False),
        ("mutual TLS is strict for order-service", "{}", _PASSES_ONE.replace("SERVER", "others"), True),
        (
            "mutual TLS is strict for order-service",
            "{}",
            _PASSES_ONE.replace("SERVER", "others") + _OWN.replace("SERVER", "others").replace("APP", "others"),
            True,
        ),
        (
            "mutual TLS is strict for order-service",
            "{}",
            _PASSES_ONE.replace("SERVER", "own") + _OWN.replace("SERVER", "own").replace("APP", "order-service"),
            False,
        ),
        ("mutual TLS is strict for order-service", "{}", _PASSES_OLD.replace("SERVER", "name: others"), True),
        ("mutual TLS is strict for order-service", "{}", _PASSES_OLD.replace("SERVER", "selector: {}"), False),
        ("order-service is down", "{}", "", False),
    ],
)
def test_a_refused_connection_where_linkerds_proxies_answer_with_403(
    first: str, annotations: str, more: str, foreseen: bool, tmp_path: Path
) -> None:
    world: list[dict[str, Any]] = list(yaml.safe_load_all(_WORLD.replace("ANNOTATIONS", annotations) + more))
    file = tmp_path / "x.feature"
    file.write_text(_FEATURE.replace("FIRST", first))
    settings = Settings(project=tmp_path, mesh="linkerd")
    found = [(f.code, str(f.severity)) for f in rehearse(file, world, settings, "shop", lambda _: None).findings]
    assert (("MB0456", "info") in found) is foreseen, found


_BROUGHT = """
kind: Service
metadata: {name: order-service, namespace: shop}
spec: {selector: {app: order-service}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
kind: Deployment
apiVersion: apps/v1
metadata: {name: order-service, namespace: shop}
spec:
  selector: {matchLabels: {app: order-service}}
  template:
    metadata: {labels: {app: order-service}, annotations: {linkerd.io/inject: INJECT, POD}}
    spec: {containers: [{name: app, ports: [{containerPort: 8080}]}]}
---
kind: Namespace
metadata: {name: shop, annotations: {PLACE}}
"""
_DENY, _UNSEEN = "config.linkerd.io/default-inbound-policy: deny", "config.linkerd.io/skip-inbound-ports: '8080'"
_MESH = "config.linkerd.io/default-inbound-policy: all-authenticated"
_FAULT, _STRICT = "order-service fails 100% with status 503", "mutual TLS is strict for order-service"


@pytest.mark.parametrize(
    ("first", "pod", "place", "code"),
    [
        (_FAULT, _DENY, "", "MB0498"),
        (_FAULT, "", _DENY, "MB0498"),
        (_FAULT, _MESH, _DENY, None),
        (_FAULT, "", "", None),
        (_STRICT, _UNSEEN, "", "MB0488"),
        (_STRICT, "", _UNSEEN, "MB0488"),
        (_STRICT, "", "", None),
    ],
)
def test_what_annotations_of_pods_to_come_bring_about(
    first: str, pod: str, place: str, code: str | None, tmp_path: Path
) -> None:
    text = _BROUGHT.replace("INJECT", "enabled").replace("POD", pod).replace("PLACE", place)
    world: list[dict[str, Any]] = list(yaml.safe_load_all(text))
    file = tmp_path / "x.feature"
    file.write_text(_FEATURE.replace("FIRST", first).replace("the connection is refused", "the response status is 503"))
    settings = Settings(project=tmp_path, mesh="linkerd")
    findings = rehearse(file, world, settings, "shop", lambda _: None).findings
    assert {f.code for f in findings} & {"MB0498", "MB0488"} == ({code} if code else set())
    assert not any("order-service-0" in f.sentence for f in findings), "a pod to come has no name yet"
    assert code != "MB0488" or any("port 8080 of pod of Deployment order-service" in f.sentence for f in findings)


@pytest.mark.parametrize("step", [_STRICT, "mutual TLS is strict", "only client may call order-service"])
def test_a_port_that_no_container_declares_is_foreseen(step: str, tmp_path: Path) -> None:
    text = _BROUGHT.replace("INJECT", "enabled").replace("POD", "").replace("PLACE", "")
    world: list[dict[str, Any]] = list(yaml.safe_load_all(text.replace("containerPort: 8080", "containerPort: 8081")))
    file = tmp_path / "x.feature"
    file.write_text(_FEATURE.replace("FIRST", step))
    settings = Settings(project=tmp_path, mesh="linkerd")
    findings = rehearse(file, world, settings, "shop", lambda _: None).findings
    [found] = [f for f in findings if f.code == "MB0483"]
    assert "would not hold at port 8080 of pod of Deployment order-service: no container declares" in found.sentence


_LIMITED = """---
kind: Server
apiVersion: policy.linkerd.io/v1beta3
metadata: {name: open, namespace: shop}
spec: {podSelector: {matchLabels: {app: order-service}}, port: 8080, accessPolicy: all-unauthenticated}
---
kind: HTTPLocalRateLimitPolicy
apiVersion: policy.linkerd.io/v1alpha1
metadata: {name: slow-down, namespace: shop}
spec: {targetRef: {group: policy.linkerd.io, kind: Server, name: SERVER}, identity: {requestsPerSecond: 1}}
"""


@pytest.mark.parametrize(("server", "foreseen"), [("open", True), ("another", False)])
def test_a_fault_beside_a_rate_limit_is_foreseen(server: str, foreseen: bool, tmp_path: Path) -> None:
    text = _BROUGHT.replace("INJECT", "enabled").replace("POD", "").replace("PLACE", "")
    world: list[dict[str, Any]] = list(yaml.safe_load_all(text + _LIMITED.replace("SERVER", server)))
    file = tmp_path / "x.feature"
    file.write_text(_FEATURE.replace("FIRST", _FAULT))
    found = rehearse(file, world, Settings(project=tmp_path, mesh="linkerd"), "shop", lambda _: None).findings
    assert ("MB0449" in {f.code for f in found}) is foreseen
