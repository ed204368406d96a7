"""Whom a Server lets in.

Expectations: linkerd2 policy-controller/k8s/index/src/inbound/{server_authorization,authorization_policy,index}.rs
"""

from __future__ import annotations

import pytest

from tests.unit.compile.linkerd_worlds import SERVER, authorizations, denied, told

_ILLEGAL = "WARN Illegal server authorization update ns=shop name=who error="


def _server_authorization(server: str, client: str) -> str:
    return f"""
apiVersion: policy.linkerd.io/v1beta1
kind: ServerAuthorization
metadata: {{name: who}}
spec: {{server: {server}, client: {client}}}
"""


@pytest.mark.parametrize(
    ("client", "lets_in", "log"),
    [
        ("{unauthenticated: true}", ["who"], []),
        ("{meshTLS: {unauthenticatedTLS: true}}", ["who"], []),
        ("{meshTLS: {identities: ['*']}}", ["who"], []),
        ("{meshTLS: {serviceAccounts: [{name: client}]}}", ["who"], []),
        ("{unauthenticated: true, meshTLS: {}}", ["who"], []),
        ("{}", [], [f"{_ILLEGAL}no client authentication configured"]),
        ("{networks: [{cidr: 10.0.0.0/8}]}", [], [f"{_ILLEGAL}no client authentication configured"]),
        ("{unauthenticated: false}", [], [f"{_ILLEGAL}no client authentication configured"]),
        ("{meshTLS: {}}", [], [f"{_ILLEGAL}authorization authorizes no clients"]),
        ("{meshTLS: {identities: [], serviceAccounts: []}}", [], [f"{_ILLEGAL}authorization authorizes no clients"]),
    ],
)
def test_a_server_authorization_that_names_no_clients_lets_nobody_in(client: str, lets_in: list[str], log: list[str]) -> None:  # fmt: skip
    made = told(SERVER, _server_authorization("{name: order}", client))
    assert authorizations(made) == lets_in
    assert made["log"] == log


def test_an_illegal_server_authorization_is_told_of_though_it_picks_no_server() -> None:
    assert told(_server_authorization("{name: nowhere}", "{}"))["log"] == [
        f"{_ILLEGAL}no client authentication configured"
    ]


@pytest.mark.parametrize(
    ("access", "lets_in", "words"),
    [
        ("all-unauthenticated", ["all-unauthenticated"], []),
        ("audit", ["audit"], []),
        ("deny", [], []),
        ("bogus", [], ["""Invalid 'accessPolicy' field: invalid mode: "bogus\""""]),
        ("all-unauthenticate", [], ["""Invalid 'accessPolicy' field: invalid mode: "all-unauthenticate\""""]),
        ("cluster-", [], ["""Invalid 'accessPolicy' field: invalid mode: "cluster-\""""]),
        ("''", [], ["""Invalid 'accessPolicy' field: invalid mode: \"\""""]),
    ],
)
def test_an_access_policy_that_is_none_lets_nobody_in(access: str, lets_in: list[str], words: list[str]) -> None:
    """linkerd2 policy-controller/k8s/index/src/{defaults,inbound/server}.rs, policy-controller/runtime/src/admission.rs."""
    made = told(SERVER.replace("port: 8080", f"port: 8080, accessPolicy: {access}"))
    assert authorizations(made) == lets_in
    assert denied(made) == words
