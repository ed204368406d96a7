"""What Linkerd's webhook denies, and what it lets pass.

Expectations: linkerd2 policy-controller/runtime/src/{admission,validation}.rs
"""

from __future__ import annotations

import pytest

from meshbdd.lab.linkerd.admission.webhook import decide
from tests.unit.compile.linkerd_worlds import objects

GATEWAY, POLICY, STREAMS = (
    "gateway.networking.k8s.io/v1",
    "policy.linkerd.io/v1beta3",
    "gateway.networking.k8s.io/v1alpha2",
)
_SERVICE = "{group: '', kind: Service, name: order, port: 80}"
_EGRESS = "{group: policy.linkerd.io, kind: EgressNetwork, name: e}"
_SERVER = "{group: policy.linkerd.io, kind: Server, name: order}"


def _denied(text: str) -> str | None:
    (obj,) = objects(text)
    return decide(obj).denied


def _obj(kind: str, spec: str, api: str = "policy.linkerd.io/v1alpha1", annotations: str = "{}") -> str:
    return f"apiVersion: {api}\nkind: {kind}\nmetadata: {{name: x, annotations: {annotations}}}\nspec: {spec}\n"


_KINDS = [
    ("HTTPRoute", GATEWAY),
    ("HTTPRoute", POLICY),
    ("GRPCRoute", GATEWAY),
    ("TLSRoute", STREAMS),
    ("TCPRoute", STREAMS),
]


@pytest.mark.parametrize(("kind", "api"), _KINDS)
@pytest.mark.parametrize(
    ("parents", "words"),
    [
        (f"[{_SERVICE}]", None),
        ("[{group: '', kind: Service, name: order}]", None),
        (f"[{_EGRESS}]", "cannot target an EgressNetwork without specifying a port"),
        (f"[{_SERVICE}, {_EGRESS}]", "cannot target an EgressNetwork without specifying a port"),
        ("[{group: policy.linkerd.io, kind: EgressNetwork, name: e, port: 80}]", None),
        ("[{group: foo.io, kind: EgressNetwork, name: e}]", None),
    ],
)
def test_an_egress_network_is_named_with_a_port(kind: str, api: str, parents: str, words: str | None) -> None:
    rules = "[{backendRefs: [{name: order, port: 80}]}]"
    assert _denied(_obj(kind, f"{{parentRefs: {parents}, rules: {rules}}}", api)) == words


@pytest.mark.parametrize(
    ("kind", "api", "words"),
    [(kind, api, "invalid backendRef" if api == GATEWAY else None) for kind, api in _KINDS],
)
@pytest.mark.parametrize("parents", [f"[{_SERVICE}]", f"[{_SERVER}]", "[{name: gateway}]", "[]"])
def test_a_service_behind_a_route_needs_its_port_in_two_kinds_whatever_the_parents(kind: str, api: str, words: str | None, parents: str) -> None:  # fmt: skip
    rules = "[{backendRefs: [{name: order}]}]"
    assert _denied(_obj(kind, f"{{parentRefs: {parents}, rules: {rules}}}", api)) == words


@pytest.mark.parametrize(
    ("backend", "words"),
    [
        ("{name: order, port: 80}", None),
        ("{name: order, kind: Service, group: core}", "invalid backendRef"),
        ("{name: order, port: 0}", "invalid backendRef"),
        ("{name: e, kind: EgressNetwork, group: policy.linkerd.io}", None),
        ("{name: order, kind: ServiceImport, group: multicluster.x-k8s.io}", None),
    ],
)
def test_only_services_need_a_port(backend: str, words: str | None) -> None:
    assert _denied(_obj("HTTPRoute", f"{{parentRefs: [{_SERVICE}], rules: [{{backendRefs: [{backend}]}}]}}", GATEWAY)) == words  # fmt: skip


_RELATIVE = 'HttpPathMatch paths must be absolute (begin with `/`); "x" is not an absolute path'


@pytest.mark.parametrize("api", [GATEWAY, POLICY])
@pytest.mark.parametrize("parents", [f"[{_SERVICE}]", f"[{_SERVER}]", "[{name: gateway}]", "[]"])
def test_the_matches_of_a_route_are_read_whatever_its_parents(api: str, parents: str) -> None:
    rules = "[{matches: [{path: {type: Exact, value: x}}]}]"
    assert _denied(_obj("HTTPRoute", f"{{parentRefs: {parents}, rules: {rules}}}", api)) == _RELATIVE


@pytest.mark.parametrize(
    ("parents", "annotations", "words"),
    [
        (f"[{_SERVICE}]", "{timeout.linkerd.io/request: soon}", "soon does not contain a timeout duration value"),
        (f"[{_SERVICE}]", "{retry.linkerd.io/http: 999}", "invalid retry condition: 999"),
        (f"[{_SERVER}]", "{timeout.linkerd.io/request: soon}", None),
        # Breakers are for Services: nobody reads that of a route.
        (f"[{_SERVICE}]", "{balancer.linkerd.io/failure-accrual: Nope}", None),
    ],
)
def test_the_annotations_of_a_route_count_at_services(parents: str, annotations: str, words: str | None) -> None:
    text = annotations.replace("999", "'999'")
    assert _denied(_obj("HTTPRoute", f"{{parentRefs: {parents}}}", GATEWAY, text)) == words


_DNS = (
    "identity must be a valid SPIFFE id or a DNS SAN, matching the regex: "
    r"^(\*|[a-z0-9]([-a-z0-9]*[a-z0-9])?)(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
)
_DOMAIN = "SPIFFE trust domain characters are limited to lowercase letters, numbers, dots, dashes, and underscores"
_CHARACTERS = "SPIFFE path segment characters are limited to letters, numbers, dots, dashes, and underscores"


@pytest.mark.parametrize(
    ("identity", "why"),
    [
        ("client.shop.serviceaccount.identity.linkerd.cluster.local", None),
        ("*", None),
        ("*.system.local", None),
        ("system.local.*", _DNS),
        ("system.local.", _DNS),
        (".system.local", _DNS),
        ("system..local", _DNS),
        ("foo bar", _DNS),
        ("Client.shop", _DNS),
        ("http://domain.test/path", _DNS),
        ("spiffe:/path", _DNS),
        ("spiffe://trustdomain", None),
        ("spiffe://trustdomain/path/Element", None),
        ("spiffe:///path", "SPIFFE trust domain is missing"),
        ("spiffe://domain.test:8080/path", _DOMAIN),
        ("spiffe://user:password@test.org/path", _DOMAIN),
        ("spiffe://Domain.test", _DOMAIN),
        ("spiffe://domain.test/path?query=", _CHARACTERS),
        ("spiffe://test.org/", "SPIFFE path cannot have a trailing slash"),
        ("spiffe://test.org/path/", "SPIFFE path cannot have a trailing slash"),
        ("spiffe://test.org//", "SPIFFE path cannot contain empty segments"),
        ("spiffe://test.org/./other", "SPIFFE path cannot contain dot segments"),
        ("spiffe://test.org/../other", "SPIFFE path cannot contain dot segments"),
        ("spiffe://test.org/path/..", "SPIFFE path cannot contain dot segments"),
    ],
)
def test_identities_are_spiffe_ids_or_like_dns_names(identity: str, why: str | None) -> None:
    words = None if why is None else f"id {identity} is invalid: {why}"
    assert _denied(_obj("MeshTLSAuthentication", f'{{identities: ["{identity}"]}}')) == words


@pytest.mark.parametrize(
    ("ref", "words"),
    [
        ("{kind: ServiceAccount, name: a}", None),
        ("{kind: ServiceAccount, name: a, namespace: other}", None),
        ("{kind: Namespace, name: other}", None),
        ("{kind: Namespace, name: other, namespace: x}", "Namespace identity_ref is cluster-scoped and cannot have a namespace"),
        ("{kind: Pod, name: a}", "invalid identity target kind: Pod"),
        ("{group: apps, kind: Deployment, name: a}", "invalid identity target kind: Deployment.apps"),
    ],
)  # fmt: skip
def test_what_an_identity_may_refer_to(ref: str, words: str | None) -> None:
    assert _denied(_obj("MeshTLSAuthentication", f"{{identityRefs: [{ref}]}}")) == words
