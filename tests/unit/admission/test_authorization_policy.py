"""AuthorizationPolicy: what Istio refuses, warns of and lets through, and what the lab does not have."""

from __future__ import annotations

from typing import Any

import pytest

from meshbdd.lab.admission import admit


def decide(**spec: Any) -> Any:
    return admit({"kind": "AuthorizationPolicy", "metadata": {"name": "p", "namespace": "shop"}, "spec": spec})


def source(**fields: Any) -> dict[str, Any]:
    return {"rules": [{"from": [{"source": fields}]}]}


def operation(**fields: Any) -> dict[str, Any]:
    return {"rules": [{"to": [{"operation": fields}]}]}


def when(key: str, *values: str) -> dict[str, Any]:
    return {"rules": [{"when": [{"key": key, "values": list(values)}]}]}


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (source(), "spec.rules[0].from[0].source"),
        (operation(), "spec.rules[0].to[0].operation"),
        ({"rules": [{"from": [{}]}]}, "spec.rules[0].from[0].source"),
        (source(principals=[""]), "spec.rules[0].from[0].source.principals"),
        (source(ipBlocks=["10.0.0.0/33"]), "10.0.0.0/33"),
        (source(notRemoteIpBlocks=["nowhere"]), "notRemoteIpBlocks"),
        (source(serviceAccounts=["a/b/c"]), "a/b/c"),
        (source(serviceAccounts=["a*"]), "a*"),
        (source(serviceAccounts=["a"], principals=["b"]), "principals"),
        (source(trustDomains=["a*b"]), "a*b"),
        (source(trustDomains=["**"]), "**"),
        (source(notTrustDomains=["a/b"]), "a/b"),
        (operation(ports=["65536"]), "65536"),
        (operation(notPorts=["-1"]), "-1"),
        (operation(paths=["/a/{b}"]), "/a/{b}"),
        (operation(paths=["/{**}/{*}"]), "/{**}/{*}"),
        (operation(notPaths=["/{*}/a b"]), "a b"),
        (when("request.headers", "a"), "request.headers"),
        (when("request.headers[]", "a"), "request.headers"),
        (when("destination.labels[version]", "a"), "destination.labels[version]"),
        (when("source.ip", "a"), "spec.rules[0].when[0].values"),
        (when("destination.port", "x"), "spec.rules[0].when[0].values"),
        (when("source.namespace"), "spec.rules[0].when[0]"),
        ({"action": "DENY", "rules": []}, "spec.rules"),
        ({"provider": {"name": "x"}}, "spec.provider"),
        ({"action": "CUSTOM", "rules": [{}]}, "spec.provider.name"),
        ({"selector": {"matchLabels": {"app": "*"}}}, "spec.selector.matchLabels.app"),
        ({"selector": {"matchLabels": {"a": "b"}}, "targetRef": {"kind": "Gateway", "name": "g"}}, "spec.targetRef"),
    ],
)
def test_what_istio_refuses(spec: dict[str, Any], words: str) -> None:
    decision = decide(**spec)
    assert decision.refused_by == "webhook", decision
    assert words in decision.refused


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"rules": [{}]},
        {"rules": [{"from": []}]},
        operation(paths=["/a/{*}/b/{**}", "/x*"]),
        operation(ports=["0"], hosts=["*"]),
        source(trustDomains=["*.a", "a*", "*"], namespaces=["a*b"]),
        source(ipBlocks=["::1", "10.1.2.3/8"]),
        when("request.headers[a[b]]", "c"),
        when("experimental.envoy.filters.a[b]", "[c]"),
        {"action": "AUDIT"},
    ],
)
def test_what_istio_accepts(spec: dict[str, Any]) -> None:
    decision = decide(**spec)
    assert decision.refused is None
    assert decision.warnings == ()


@pytest.mark.parametrize(
    ("spec", "warned"),
    [
        ({"action": "DENY", **operation(methods=["GET"])}, True),
        ({"action": "DENY", **operation(methods=["GET"], ports=["8080"])}, False),
        ({"action": "DENY", **source(requestPrincipals=["*"])}, True),
        ({"action": "DENY", **source(namespaces=["a"])}, False),
        (operation(methods=["GET"]), False),
        ({"selector": {}}, True),
    ],
)
def test_what_istio_warns_of(spec: dict[str, Any], warned: bool) -> None:
    decision = decide(**spec)
    assert decision.refused is None
    assert len(decision.warnings) == int(warned)


def test_what_the_lab_does_not_have() -> None:
    custom = decide(action="CUSTOM", provider={"name": "x"}, rules=[{}])
    assert custom.refused_by == "unsupported"
    assert "spec.action" in custom.refused


@pytest.mark.parametrize(
    "said", [{"targetRefs": [{"kind": "Gateway", "name": "g"}]}, {"targetRef": {"kind": "Service", "name": "s"}}]
)
def test_a_policy_for_waypoints_is_taken_and_touches_no_sidecar(said: dict[str, Any]) -> None:
    decision = decide(**said)
    assert decision.refused is None
    assert [line.partition(" ")[0].removeprefix("spec.") for line in decision.warnings] == list(said)
