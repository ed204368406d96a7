"""What the definitions of Linkerd's kinds refuse.

Expectations: linkerd2 charts/linkerd-crds/templates/policy/*.yaml
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from meshbdd.errors import BadInput
from meshbdd.lab.api.errors import ApiError
from meshbdd.lab.linkerd.admission.webhook import admission_hook, decide
from meshbdd.lab.linkerd.command import compile_files
from tests.unit.compile.linkerd_worlds import SERVER, objects


def _faults(kind: str, spec: str, version: str = "v1alpha1") -> list[str]:
    (obj,) = objects(f"apiVersion: policy.linkerd.io/{version}\nkind: {kind}\nmetadata: {{name: x}}\nspec: {spec}\n")
    return [path for path, _why in decide(obj).schema]


_LONG = "a" * 254


def _target(fields: str) -> str:
    return f"{{targetRef: {{{fields}}}, requiredAuthenticationRefs: []}}"


@pytest.mark.parametrize(
    ("fields", "faults"),
    [
        ("group: policy.linkerd.io, kind: Server, name: order", []),
        ("group: '', kind: Namespace, name: shop", []),
        ("group: Policy.linkerd.io, kind: Server, name: order", ["group"]),
        ("group: policy.linkerd.io, kind: 'Server!', name: order", ["kind"]),
        ("group: policy.linkerd.io, kind: '', name: order", ["kind", "kind"]),
        ("group: policy.linkerd.io, kind: Server, name: ''", ["name"]),
        (f"group: policy.linkerd.io, kind: Server, name: {_LONG}", ["name"]),
        ("group: policy.linkerd.io, kind: Server, name: order, namespace: shop", ["namespace"]),
    ],
)
@pytest.mark.parametrize("kind", ["AuthorizationPolicy", "HTTPLocalRateLimitPolicy"])
def test_what_a_policy_is_for(fields: str, faults: list[str], kind: str) -> None:
    spec = _target(fields) if kind == "AuthorizationPolicy" else f"{{targetRef: {{{fields}}}}}"
    assert sorted(set(_faults(kind, spec))) == sorted({f"spec.targetRef.{name}" for name in faults})


@pytest.mark.parametrize(
    ("namespace", "of_authentication", "of_client"),
    [("shop", False, False), ("Shop", False, True), ("''", False, True), (_LONG, True, True)],
)
def test_the_namespaces_of_references(namespace: str, of_authentication: bool, of_client: bool) -> None:
    ref = f"{{kind: ServiceAccount, name: a, namespace: {namespace}}}"
    target = "targetRef: {group: policy.linkerd.io, kind: Server, name: order}"
    policy = _faults("AuthorizationPolicy", f"{{{target}, requiredAuthenticationRefs: [{ref}]}}")
    limit = _faults(
        "HTTPLocalRateLimitPolicy", f"{{{target}, overrides: [{{requestsPerSecond: 1, clientRefs: [{ref}]}}]}}"
    )
    assert (bool(policy), bool(limit)) == (of_authentication, of_client)


@pytest.mark.parametrize(
    ("server", "client", "fault"),
    [
        ("{name: order}", "{unauthenticated: true}", None),
        ("{selector: {}}", "{unauthenticated: true}", None),
        ("{}", "{unauthenticated: true}", "spec.server"),
        ("{name: order, selector: {}}", "{unauthenticated: true}", "spec.server"),
        ("{name: Order}", "{unauthenticated: true}", "spec.server.name"),
        ("{name: order}", "{meshTLS: {identities: ['*.shop.local', '*']}}", None),
        ("{name: order}", "{meshTLS: {identities: ['foo bar']}}", "spec.client.meshTLS.identities[0]"),
        ("{name: order}", "{meshTLS: {serviceAccounts: [{name: A}]}}", "spec.client.meshTLS.serviceAccounts[0].name"),
    ],
)
def test_server_authorizations(server: str, client: str, fault: str | None) -> None:
    found = _faults("ServerAuthorization", f"{{server: {server}, client: {client}}}", "v1beta1")
    assert found == ([] if fault is None else [fault])


@pytest.mark.parametrize("protocol", ["unknown", "HTTP/1", "HTTP/2", "gRPC", "opaque", "TLS", "http/1", "bogus"])
def test_a_protocol_is_for_the_webhook_to_refuse(protocol: str, tmp_path: Path) -> None:
    """linkerd2 policy-controller/k8s/api/src/policy/server.rs: a Server whose protocol is none cannot be read at all."""
    (server,) = objects(SERVER.replace("port: 8080", f"port: 8080, proxyProtocol: {protocol}"))
    decision = decide(server)
    assert decision.schema == ()
    if protocol not in {"http/1", "bogus"}:
        assert decision.denied is None
        return
    assert decision.denied == (
        f"unknown variant `{protocol}`, expected one of `unknown`, `HTTP/1`, `HTTP/2`, `gRPC`, `opaque`, `TLS`"
    )
    file = tmp_path / "server.yaml"
    file.write_text(yaml.safe_dump(server))
    with pytest.raises(BadInput, match="MB0731"):
        compile_files([file])


def _route(rule: str, *, kind: str = "HTTPRoute", version: str = "gateway.networking.k8s.io/v1") -> dict[str, Any]:
    (obj,) = objects(
        f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: x}}\n"
        f"spec: {{parentRefs: [{{group: core, kind: Service, name: order}}], rules: [{rule}]}}\n"
    )
    return obj


_HEADERS = "matches: [{headers: [%s]}]"


@pytest.mark.parametrize(
    ("rule", "faults"),
    [
        (_HEADERS % "{name: x-user, value: qa}", []),
        (_HEADERS % "{name: x user, value: qa}", ["matches[0].headers[0].name"]),
        (_HEADERS % "{name: x-user, value: ''}", ["matches[0].headers[0].value"]),
        (f"matches: [{', '.join(['{method: GET}'] * 65)}]", ["matches"]),
        ("backendRefs: [{name: a, port: 80, namespace: Shop}]", ["backendRefs[0].namespace"]),
        (f"backendRefs: [{', '.join(['{name: a, port: 80}'] * 17)}]", ["backendRefs"]),
    ],
)  # fmt: skip
def test_the_bounds_of_routes(rule: str, faults: list[str]) -> None:
    """kubernetes-sigs/gateway-api config/crd/standard/gateway.networking.k8s.io_httproutes.yaml."""
    found = [path for path, _why in decide(_route(f"{{{rule}}}")).schema]
    assert found == [f"spec.rules[0].{path}" for path in faults]


def test_linkerds_own_routes_have_bounds_of_their_own() -> None:
    query = "{matches: [{queryParams: [{name: 'a b', value: c}]}]}"
    assert not decide(_route(query, version="policy.linkerd.io/v1beta3")).schema
    assert decide(_route(query)).schema


@pytest.mark.parametrize(
    ("rule", "kind", "told"),
    [
        ("matches: [{path: {value: /a//b}}]", "HTTPRoute", "spec.rules[0].matches[0].path.value"),
        ("matches: [{path: {value: '/a b'}}]", "HTTPRoute", "spec.rules[0].matches[0].path.value"),
        ("backendRefs: [{name: a}]", "HTTPRoute", "spec.rules[0].backendRefs[0].port"),
        ("backendRefs: [{name: a}]", "GRPCRoute", "spec.rules[0].backendRefs[0].port"),
        ("filters: [{type: RequestHeaderModifier}]", "HTTPRoute", "spec.rules[0].filters[0].requestHeaderModifier"),
        ("matches: [{method: {type: Exact}}]", "GRPCRoute", "spec.rules[0].matches[0].method"),
        (
            "matches: [{method: {service: shop.Payment, method: 9}}]",
            "GRPCRoute",
            "spec.rules[0].matches[0].method.method",
        ),
        ("matches: [{path: {value: /a/b}}], backendRefs: [{name: a, port: 80}]", "HTTPRoute", ""),
        ("matches: [{method: {service: .shop.Payment, method: Charge}}]", "GRPCRoute", ""),
        ("matches: [{path: {type: RegularExpression, value: '/a//.*'}}]", "HTTPRoute", ""),
    ],
)
def test_what_the_expressions_of_a_routes_definition_refuse(rule: str, kind: str, told: str) -> None:
    route = _route(f"{{{rule}}}".replace("method: 9", "method: '9'"), kind=kind)
    if not told:
        assert admission_hook("CREATE", f"{kind.lower()}s", route, None) == []
        return
    with pytest.raises(ApiError) as caught:
        admission_hook("CREATE", f"{kind.lower()}s", route, None)
    assert (caught.value.code, [c["field"] for c in (caught.value.details or {})["causes"]]) == (422, [told])
