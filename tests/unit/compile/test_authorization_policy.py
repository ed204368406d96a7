"""AuthorizationPolicy → RBAC: who is meant, in what order, and what is left of it for TCP."""

from __future__ import annotations

import json
from typing import Any

import pytest

from meshbdd.lab.xds import messages
from tests.unit.compile.worlds import CLIENT, ORDER, compile_for, filters


def policy(
    *rules: dict[str, Any],
    name: str = "p",
    namespace: str = "shop",
    annotations: dict[str, str] | None = None,
    **spec: Any,
) -> str:
    meta = {"name": name, "namespace": namespace, "annotations": annotations or {}}
    body = {**({"rules": list(rules)} if rules else {}), **spec}
    return json.dumps(
        {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": meta, "spec": body}
    )


def rbac(text: str, pod: str = ORDER) -> list[dict[str, Any]]:
    return [item["typed_config"] for item in filters(compile_for(pod, text)) if item["name"].endswith(".rbac")]


def one(text: str, rule: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = rbac(text)[0]["rules"]["policies"][f"ns[shop]-policy[p]-rule[{rule}]"]
    return found


def principals(source: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = one(policy({"from": [{"source": source}]}))["principals"][0]["and_ids"]["ids"]
    return found


def permissions(operation: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = one(policy({"to": [{"operation": operation}]}))["permissions"][0]["and_rules"][
        "rules"
    ]
    return found


def peer(**match: Any) -> dict[str, Any]:
    return {"authenticated": {"principal_name": match}}


def regex(text: str) -> dict[str, Any]:
    return {"safe_regex": {"regex": text}}


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("principals", "cluster.local/ns/a/sa/b", peer(exact="spiffe://cluster.local/ns/a/sa/b")),
        ("principals", "*", peer(**regex(".+"))),
        ("principals", "*/sa/b.c", peer(**regex(r"spiffe://.*/sa/b\.c"))),
        ("principals", "cluster.local/*", peer(prefix="spiffe://cluster.local/")),
        ("namespaces", "a*b", peer(**regex(".*/ns/a.*b/.*"))),
        ("serviceAccounts", "b", peer(**regex("spiffe://.+/ns/shop/(.+/|)sa/b(/.+)?"))),
        ("serviceAccounts", "a-a/b.b", peer(**regex(r"spiffe://.+/ns/a-a/(.+/|)sa/b\.b(/.+)?"))),
        ("trustDomains", "td", peer(prefix="spiffe://td/")),
        ("trustDomains", "*", peer(prefix="spiffe://")),
        ("trustDomains", "*.td", peer(**regex(r"spiffe://[^/]*\.td/.*"))),
        ("ipBlocks", "10.1.0.0/16", {"direct_remote_ip": {"address_prefix": "10.1.0.0", "prefix_len": 16}}),
        ("ipBlocks", "10.1.2.3", {"direct_remote_ip": {"address_prefix": "10.1.2.3", "prefix_len": 32}}),
        ("remoteIpBlocks", "fd00::1", {"remote_ip": {"address_prefix": "fd00::1", "prefix_len": 128}}),
    ],
)
def test_sources(field: str, value: str, expected: dict[str, Any]) -> None:
    assert principals({field: [value]}) == [{"or_ids": {"ids": [expected]}}]
    negated = f"not{field[0].upper()}{field[1:]}"
    assert principals({negated: [value]}) == [{"not_id": {"or_ids": {"ids": [expected]}}}]


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("methods", "PUT", {"header": {"name": ":method", "string_match": {"exact": "PUT"}}}),
        ("methods", "*", {"header": {"name": ":method", "present_match": True}}),
        ("hosts", "a.b", {"header": {"name": ":authority", "string_match": {"exact": "a.b", "ignore_case": True}}}),
        ("hosts", "*.b", {"header": {"name": ":authority", "string_match": {"suffix": ".b", "ignore_case": True}}}),
        ("paths", "/a", {"url_path": {"path": {"exact": "/a"}}}),
        ("paths", "/a*", {"url_path": {"path": {"prefix": "/a"}}}),
        ("paths", "*/a", {"url_path": {"path": {"suffix": "/a"}}}),
        ("paths", "/a*b*", {"url_path": {"path": {"prefix": "/a*b"}}}),
        ("paths", "*", {"url_path": {"path": {"safe_regex": {"regex": ".+"}}}}),
        ("ports", "8080", {"destination_port": 8080}),
    ],
)
def test_operations(field: str, value: str, expected: dict[str, Any]) -> None:
    assert permissions({field: [value]}) == [{"or_rules": {"rules": [expected]}}]
    negated = f"not{field[0].upper()}{field[1:]}"
    assert permissions({negated: [value]}) == [{"not_rule": {"or_rules": {"rules": [expected]}}}]


def test_a_path_template() -> None:
    (found,) = permissions({"paths": ["/a/{*}/b/{**}"]})
    template = found["or_rules"]["rules"][0]["uri_template"]["typed_config"]
    assert template["path_template"] == "/a/*/b/**"


@pytest.mark.parametrize(
    ("key", "value", "side", "expected"),
    [
        (
            "destination.ip",
            "1.2.3.4",
            "permissions",
            '"destination_ip": {"address_prefix": "1.2.3.4", "prefix_len": 32}',
        ),
        ("destination.port", "80", "permissions", '"destination_port": 80'),
        ("connection.sni", "*.a", "permissions", '"requested_server_name": {"suffix": ".a"}'),
        (
            "experimental.envoy.filters.a.b[c]",
            "[v]",
            "permissions",
            '"list_match": {"one_of": {"string_match": {"exact": "v"}}}',
        ),
        (
            "source.ip",
            "1.2.3.0/24",
            "principals",
            '"direct_remote_ip": {"address_prefix": "1.2.3.0", "prefix_len": 24}',
        ),
        ("source.namespace", "a", "principals", ".*/ns/a/.*"),
        ("source.principal", "td/ns/a/sa/b", "principals", '"exact": "spiffe://td/ns/a/sa/b"'),
        ("source.serviceAccount", "b", "principals", "spiffe://.+/ns/shop/(.+/|)sa/b(/.+)?"),
        ("request.headers[x-user]", "qa", "principals", '"name": "x-user", "string_match": {"exact": "qa"}'),
        ("request.auth.principal", "iss/sub", "principals", '{"key": "iss"}'),
        ("request.auth.audiences", "a", "principals", '{"key": "aud"}'),
        ("request.auth.presenter", "a", "principals", '{"key": "azp"}'),
        ("request.auth.claims[a][b]", "c", "principals", '[{"key": "payload"}, {"key": "a"}, {"key": "b"}]'),
    ],
)
def test_conditions(key: str, value: str, side: str, expected: str) -> None:
    written = one(policy({"when": [{"key": key, "values": [value]}]}))
    other = "principals" if side == "permissions" else "permissions"
    assert expected in json.dumps(written[side])
    assert '"any": true' in json.dumps(written[other])
    assert "not_" in json.dumps(one(policy({"when": [{"key": key, "notValues": [value]}]}))[side])


def test_each_source_and_operation_is_an_alternative_and_conditions_hold_for_all() -> None:
    written = one(policy({
        "from": [{"source": {"namespaces": ["a"]}}, {"source": {"namespaces": ["b"]}}],
        "to": [{"operation": {"methods": ["GET"]}}, {"operation": {"paths": ["/x"]}}],
        "when": [{"key": "request.headers[h]", "values": ["1"]}, {"key": "destination.port", "values": ["8080"]}],
    }))  # fmt: skip
    assert [len(p["and_ids"]["ids"]) for p in written["principals"]] == [2, 2]
    assert [len(p["and_rules"]["rules"]) for p in written["permissions"]] == [2, 2]


def test_audit_comes_before_deny_before_allow() -> None:
    texts = [policy({}, name=action.lower(), action=action) for action in ("ALLOW", "DENY", "AUDIT")]
    found = rbac("\n---\n".join(texts))
    assert [item["rules"].get("action", "ALLOW") for item in found] == ["LOG", "DENY", "ALLOW"]


def test_scopes() -> None:
    """The root namespace governs everyone, a namespace its own, a selector some of them; none of them another's."""
    texts = [
        policy({}, name="everyone", namespace="istio-system"),
        policy({}, name="namespace"),
        policy({}, name="mine", selector={"matchLabels": {"app": "order-service"}}),
        policy({}, name="theirs", selector={"matchLabels": {"app": "payment-service"}}),
        policy({}, name="root-selected", namespace="istio-system", selector={"matchLabels": {"app": "order-service"}}),
        policy({}, name="gateway", targetRefs=[{"kind": "Gateway", "name": "g"}]),
        policy({}, name="elsewhere", namespace="third"),
    ]
    named = sorted(rbac("\n---\n".join(texts))[0]["rules"]["policies"])
    assert [key.partition("policy[")[2].partition("]")[0] for key in named] == [
        "everyone", "root-selected", "mine", "namespace",
    ]  # fmt: skip
    elsewhere = json.dumps(compile_for(CLIENT, "\n---\n".join(texts)).filter_chains)
    assert "policy[everyone]" in elsewhere
    assert "policy[namespace]" not in elsewhere


def test_no_rules_match_nothing_and_an_empty_rule_everything() -> None:
    assert one(policy()) == {"permissions": [{"not_rule": {"any": True}}], "principals": [{"not_id": {"any": True}}]}
    assert one(policy({})) == {
        "permissions": [{"and_rules": {"rules": [{"any": True}]}}],
        "principals": [{"and_ids": {"ids": [{"any": True}]}}],
    }


def _network(text: str) -> dict[str, Any]:
    chains = compile_for(ORDER, text).filter_chains
    chain = next(c for key, c in chains.items() if key.startswith("virtualInbound / 03"))
    found: dict[str, Any] = chain["filters"][0]["typed_config"]["rules"]
    return found


@pytest.mark.parametrize("field", ["methods", "hosts", "paths"])
def test_of_an_allow_rule_with_http_nothing_is_left_for_tcp_and_of_a_deny_rule_more(field: str) -> None:
    rule = {"from": [{"source": {"namespaces": ["a"]}}], "to": [{"operation": {field: ["x"]}}]}
    assert _network(policy(rule)) == {}
    denied = _network(policy(rule, action="DENY"))["policies"]["ns[shop]-policy[p]-rule[0]"]
    assert denied["permissions"] == [{"and_rules": {"rules": [{"any": True}]}}]
    assert ".*/ns/a/.*" in json.dumps(denied["principals"])


def test_a_dry_run_only_counts() -> None:
    (only,) = rbac(policy({}, action="DENY", annotations={"istio.io/dry-run": "true"}))
    assert "rules" not in only
    assert only["shadow_rules_stat_prefix"] == "istio_dry_run_deny_"
    assert only["shadow_rules"]["action"] == "DENY"


def test_what_is_written_is_envoys() -> None:
    """Every shape at once parses as Envoy's message."""
    from envoy.extensions.filters.http.rbac.v3 import rbac_pb2

    rule = {
        "from": [{"source": {"principals": ["*"], "requestPrincipals": ["a/*", "*"], "ipBlocks": ["::/0"]}}],
        "to": [{"operation": {"paths": ["/{**}"], "notHosts": ["a*"], "ports": ["0"]}}],
        "when": [
            {"key": "request.auth.claims[a]", "values": ["x", "y*"]},
            {"key": "experimental.envoy.filters.network.mysql_proxy[db.t]", "values": ["[update]", "drop"]},
        ],
    }
    (config,) = rbac(policy(rule))
    messages.parse(rbac_pb2.RBAC, {key: value for key, value in config.items() if key != "@type"})
