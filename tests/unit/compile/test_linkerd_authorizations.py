"""Whom a Server lets in.

Expectations: linkerd2 policy-controller/k8s/index/src/inbound/{server_authorization,authorization_policy,index}.rs
"""

from __future__ import annotations

import pytest

from tests.unit.compile.linkerd_worlds import POD_PORT, SERVER, authorizations, denied, name_of, told

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


@pytest.mark.parametrize(
    ("server", "lets_in"),
    [
        ("{name: order}", ["who"]),
        ("{name: other}", []),
        ("{selector: {matchLabels: {side: front}}}", ["who"]),
        ("{selector: {matchLabels: {side: back}}}", []),
        ("{selector: {}}", ["who"]),
        ("{}", ["who"]),
        ("{name: other, selector: {matchLabels: {side: front}}}", []),
        ("{name: order, selector: {matchLabels: {side: back}}}", ["who"]),
    ],
)
def test_a_server_authorization_picks_by_name_else_by_labels(server: str, lets_in: list[str]) -> None:
    assert authorizations(told(SERVER, _server_authorization(server, "{unauthenticated: true}"))) == lets_in


@pytest.mark.parametrize(
    ("client", "words"),
    [
        ("{unauthenticated: true}", []),
        ("{unauthenticated: false, meshTLS: {identities: ['*']}}", []),
        ("{unauthenticated: true, meshTLS: {identities: ['*']}}", ["`unauthenticated` must be false if `mesh_tls` is specified"]),
        ("{unauthenticated: true, meshTLS: {}}", ["`unauthenticated` must be false if `mesh_tls` is specified"]),
        ("{meshTLS: {unauthenticatedTLS: true}}", []),
        (
            "{meshTLS: {unauthenticatedTLS: true, identities: ['*']}}",
            ["`unauthenticatedTLS` be false if any `identities` or `service_accounts` is specified"],
        ),
        (
            "{meshTLS: {unauthenticatedTLS: true, serviceAccounts: [{name: a}]}}",
            ["`unauthenticatedTLS` be false if any `identities` or `service_accounts` is specified"],
        ),
    ],
)  # fmt: skip
def test_clients_with_and_without_a_certificate_are_not_named_together(client: str, words: list[str]) -> None:
    """linkerd2 policy-controller/runtime/src/admission.rs."""
    assert denied(told(SERVER, _server_authorization("{name: order}", client))) == words


_SERVER_TARGET = "{group: policy.linkerd.io, kind: Server, name: order}"
_TLS = "{group: policy.linkerd.io, kind: MeshTLSAuthentication, name: tls}"
_NETWORK = "{group: policy.linkerd.io, kind: NetworkAuthentication, name: net}"
_ACCOUNT = "{kind: ServiceAccount, name: client}"
_AUTHENTICATIONS = """
apiVersion: policy.linkerd.io/v1alpha1
kind: MeshTLSAuthentication
metadata: {name: tls}
spec: {identities: ['*']}
---
apiVersion: policy.linkerd.io/v1alpha1
kind: NetworkAuthentication
metadata: {name: net}
spec: {networks: [{cidr: 10.0.0.0/8}]}
"""


def _policy(target: str, refs: str = "[]") -> str:
    return f"""
apiVersion: policy.linkerd.io/v1alpha1
kind: AuthorizationPolicy
metadata: {{name: who}}
spec: {{targetRef: {target}, requiredAuthenticationRefs: {refs}}}
"""


def _unsupported(kind: str) -> list[str]:
    return [f"{_ILLEGAL}unsupported authorization target type: {kind}"]


@pytest.mark.parametrize(
    ("target", "lets_in", "log", "words"),
    [
        (_SERVER_TARGET, ["who"], [], []),
        ("{group: policy.linkerd.io, kind: Server, name: Order}", [], [], []),
        ("{group: Policy.Linkerd.io, kind: server, name: order}", ["who"], [], []),
        ("{kind: Namespace, name: shop}", ["who"], [], []),
        ("{group: core, kind: Namespace, name: shop}", ["who"], [], []),
        # The index takes it for its own namespace, whatever name is said.
        ("{kind: Namespace, name: other}", ["who"], [], ["cannot target another namespace: other"]),
        ("{kind: Server, name: order}", [], _unsupported("Server"), ["unsupported authorization target type: Server"]),
        ("{kind: Pod, name: order}", [], _unsupported("Pod"), ["unsupported authorization target type: Pod"]),
        (
            "{group: apps, kind: Deployment, name: order}",
            [],
            _unsupported("Deployment.apps"),
            ["unsupported authorization target type: Deployment.apps"],
        ),
    ],
)
def test_what_an_authorization_policy_is_for(target: str, lets_in: list[str], log: list[str], words: list[str]) -> None:  # fmt: skip
    made = told(SERVER, _policy(target))
    assert authorizations(made) == lets_in
    assert made["log"] == log
    assert denied(made) == words


_IGNORED = "INFO Illegal AuthorizationPolicy; ignoring server=order authorizationpolicy=who error="


@pytest.mark.parametrize(
    ("refs", "log", "words"),
    [
        (f"[{_TLS}, {_NETWORK}]", [], []),
        (f"[{_ACCOUNT}, {_NETWORK}]", [], []),
        (
            "[{kind: ServiceAccount, name: a}, {kind: ServiceAccount, name: b}]",
            [f"{_IGNORED}policy must not include multiple ServiceAccounts"],
            ["only a single ServiceAccount may be set"],
        ),
        (
            f"[{_TLS}, {_TLS}]",
            [f"{_IGNORED}policy must not include multiple MeshTLSAuthentications"],
            ["only a single MeshTLSAuthentication may be set"],
        ),
        (
            f"[{_TLS}, {_ACCOUNT}]",
            [f"{_IGNORED}policy must not include multiple ServiceAccounts"],
            ["a MeshTLSAuthentication and ServiceAccount may not be set together"],
        ),
        (
            f"[{_ACCOUNT}, {_TLS}]",
            [f"{_IGNORED}policy must not include multiple MeshTLSAuthentications"],
            ["a MeshTLSAuthentication and ServiceAccount may not be set together"],
        ),
        (
            f"[{_NETWORK}, {_NETWORK}]",
            [f"{_IGNORED}policy must not include multiple NetworkAuthentications"],
            ["only a single NetworkAuthentication may be set"],
        ),
        (
            "[{kind: Foo, name: x}, {kind: Bar, group: b.io, name: x}]",
            [f"{_ILLEGAL}unsupported authentication target: Foo"],
            ["unsupported authentication kind(s): Foo, Bar.b.io"],
        ),
        (
            "[{kind: MeshTLSAuthentication, name: tls}]",
            [f"{_ILLEGAL}unsupported authentication target: MeshTLSAuthentication"],
            ["unsupported authentication kind(s): MeshTLSAuthentication"],
        ),
    ],
)
def test_what_a_policy_may_ask_for_together(refs: str, log: list[str], words: list[str]) -> None:
    made = told(SERVER, _AUTHENTICATIONS, _policy(_SERVER_TARGET, refs))
    assert authorizations(made) == ([] if log else ["who"])
    assert made["log"] == log
    assert denied(made) == words


@pytest.mark.parametrize(
    ("kind", "spec", "error"),
    [
        ("MeshTLSAuthentication", "{identities: []}", "No identities configured"),
        ("MeshTLSAuthentication", "{identityRefs: [{kind: Pod, name: x}]}", 'unsupported target type: "Pod"'),
        ("NetworkAuthentication", "{networks: []}", "No networks configured"),
    ],
)
def test_a_policy_that_asks_for_an_authentication_of_nobody_is_left_out(kind: str, spec: str, error: str) -> None:
    authentication = f"""
apiVersion: policy.linkerd.io/v1alpha1
kind: {kind}
metadata: {{name: x}}
spec: {spec}
"""
    made = told(
        SERVER, authentication, _policy(_SERVER_TARGET, f"[{{group: policy.linkerd.io, kind: {kind}, name: x}}]")
    )
    assert authorizations(made) == []
    assert made["log"] == [
        f"{_IGNORED}could not find {kind} x in namespace shop",
        f"WARN Invalid {kind} ns=shop name=x error={error}",
    ]


def test_a_policy_on_a_route_is_told_of_by_the_routes_name() -> None:
    route = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: %s}
spec: {parentRefs: [{group: policy.linkerd.io, kind: Server, name: %s}]}
"""
    target = "{group: gateway.networking.k8s.io, kind: httproute, name: R}"
    policy = _policy(target, "[{group: policy.linkerd.io, kind: NetworkAuthentication, name: x}]")
    made = told(SERVER, route % ("r", "order"), policy)
    (line,) = made["log"]
    assert line == (
        'INFO Illegal AuthorizationPolicy; ignoring route=GroupKindName { group: "gateway.networking.k8s.io", '
        'kind: "HTTPRoute", name: "r" } authorizationpolicy=who error=could not find NetworkAuthentication x in '
        "namespace shop"
    )
    assert told(SERVER, route % ("r", "nowhere"), policy)["log"] == []
    allowed = told(SERVER, route % ("r", "order"), _policy(target))["inbound"][POD_PORT]["protocol"]["detect"]
    assert [name_of(found) for found in allowed["http_routes"][0]["authorizations"]] == ["who"]
