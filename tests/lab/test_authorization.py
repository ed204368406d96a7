"""AuthorizationPolicies by traffic: who may call, and what the refused caller hears."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests

from tests.tools import LabUnderTest, until

CHARGE = "http://payment-service/charge"
DENIED = (403, "RBAC: access denied")


def policy(rules: list[dict[str, Any]], action: str = "ALLOW", namespace: str = "shop") -> str:
    return json.dumps(
        {
            "apiVersion": "security.istio.io/v1",
            "kind": "AuthorizationPolicy",
            "metadata": {"name": f"payment-{action.lower()}", "namespace": namespace},
            "spec": {"selector": {"matchLabels": {"app": "payment-service"}}, "action": action, "rules": rules},
        }
    )


def _charge(lab: LabUnderTest, app: str = "client", **options: Any) -> tuple[int, str]:
    answer = lab.post(CHARGE, app, **options)
    return answer.status_code, answer.text if answer.status_code == 403 else ""


CLIENT = {"principals": ["cluster.local/ns/shop/sa/client"]}


@pytest.mark.parametrize(
    ("rules", "action", "client", "plain"),
    [
        ([{"from": [{"source": CLIENT}]}], "ALLOW", 200, 403),
        ([{"from": [{"source": CLIENT}]}], "DENY", 403, 200),
        ([{"from": [{"source": {"notNamespaces": ["shop"]}}]}], "DENY", 200, 403),
        ([{"from": [{"source": {"serviceAccounts": ["client"]}}]}], "ALLOW", 200, 403),
        ([{"to": [{"operation": {"methods": ["POST"], "paths": ["/cha*"]}}]}], "DENY", 403, 403),
        ([{"to": [{"operation": {"ports": ["80"]}}]}], "ALLOW", 403, 403),
        ([{"to": [{"operation": {"ports": ["8080"]}}]}], "ALLOW", 200, 200),
        ([], "ALLOW", 403, 403),
        ([{}], "AUDIT", 200, 200),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, list) else str(value),
)  # fmt: skip
def test_who_may_call(lab: LabUnderTest, rules: list[dict[str, Any]], action: str, client: int, plain: int) -> None:
    lab.apply(policy(rules, action))
    until("the policy", lambda: "rbac" in _inbound(lab))
    # A connection that is open keeps the old listener for one answer, so the first ones may be stale.
    until("the client's answer", lambda: _charge(lab)[0] == client)
    assert [_charge(lab)[0] for _ in range(3)] == [client] * 3
    assert _charge(lab, "client-plain")[0] == plain
    if client == 403:
        assert _charge(lab) == DENIED
        assert lab.last_logged("payment-service", _denied_id(lab))["response_code"] == 403


def test_a_header_decides_and_the_root_namespace_reaches_here(lab: LabUnderTest) -> None:
    lab.apply(policy([{"when": [{"key": "request.headers[x-user]", "values": ["qa*"]}]}], namespace="istio-system"))
    until("the policy", lambda: _charge(lab) == DENIED)
    assert _charge(lab, headers={"x-user": "qa-1"})[0] == 200
    assert _charge(lab, headers={"x-user": "dev"}) == DENIED


def test_kubectl_applies_shows_and_is_warned(lab: LabUnderTest) -> None:
    text = policy([{"to": [{"operation": {"methods": ["DELETE"]}}]}], "DENY")
    made = lab.kubectl("apply", "-f", "-", stdin=text)
    assert "Warning: " in made.stderr
    assert "denies every call to TCP ports" in made.stderr
    assert "DENY" in lab.kubectl("get", "authorizationpolicies.v1beta1.security.istio.io", "payment-deny").stdout
    refused = lab.kubectl("apply", "-f", "-", check=False, stdin=text.replace('"DENY"', '"CUSTOM"'))
    assert refused.returncode == 1
    assert "provider" in refused.stderr
    lab.kubectl("delete", "ap", "payment-deny")


def _inbound(lab: LabUnderTest) -> str:
    dump = json.loads(lab.admin("payment-service", "/config_dump?resource=dynamic_listeners"))
    return json.dumps([item.get("active_state") for item in dump["configs"]])


def _denied_id(lab: LabUnderTest) -> str:
    answer: requests.Response = lab.post(CHARGE, headers={"x-request-id": "denied-here"})
    assert answer.status_code == 403
    return "denied-here"
