"""What Linkerd's webhook denies, and what it lets pass.

Expectations: linkerd2 policy-controller/runtime/src/{admission,validation}.rs
"""

from __future__ import annotations

import pytest

from meshbdd.lab.linkerd.admission.webhook import decide
from meshbdd.lab.linkerd.read.destinations import weight_of
from tests.unit.compile.linkerd_worlds import POD_PORT, SERVER, name_of, objects, told

GATEWAY, POLICY, STREAMS = (
    "gateway.networking.k8s.io/v1",
    "policy.linkerd.io/v1beta3",
    "gateway.networking.k8s.io/v1alpha2",
)
_SERVICE = "{group: '', kind: Service, name: order, port: 80}"
_EGRESS = "{group: policy.linkerd.io, kind: EgressNetwork, name: e}"
_AT_SERVER = "{group: policy.linkerd.io, kind: Server, name: order}"


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
@pytest.mark.parametrize("parents", [f"[{_SERVICE}]", f"[{_AT_SERVER}]", "[{name: gateway}]", "[]"])
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
@pytest.mark.parametrize("parents", [f"[{_SERVICE}]", f"[{_AT_SERVER}]", "[{name: gateway}]", "[]"])
def test_the_matches_of_a_route_are_read_whatever_its_parents(api: str, parents: str) -> None:
    rules = "[{matches: [{path: {type: Exact, value: x}}]}]"
    assert _denied(_obj("HTTPRoute", f"{{parentRefs: {parents}, rules: {rules}}}", api)) == _RELATIVE


@pytest.mark.parametrize(
    ("parents", "annotations", "words"),
    [
        (f"[{_SERVICE}]", "{timeout.linkerd.io/request: soon}", "soon does not contain a timeout duration value"),
        (f"[{_SERVICE}]", "{retry.linkerd.io/http: 999}", "invalid retry condition: 999"),
        (f"[{_AT_SERVER}]", "{timeout.linkerd.io/request: soon}", None),
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


_KINDS_OF_BLOCKS = {
    "NetworkAuthentication": "{networks: [%s]}",
    "EgressNetwork": "{trafficPolicy: Allow, networks: [%s]}",
    "ServerAuthorization": "{server: {name: order}, client: {unauthenticated: true, networks: [%s]}}",
}


@pytest.mark.parametrize("kind", _KINDS_OF_BLOCKS)
@pytest.mark.parametrize(
    ("block", "words"),
    [
        ("{cidr: 10.0.0.0/8}", None),
        ("{cidr: 10.0.0.1/8}", None),
        ("{cidr: 10.0.0.1}", None),
        ("{cidr: 'fd00::1/8'}", None),
        ("{cidr: 10.0.0.0/8, except: [10.1.0.7/16, 10.2.0.1]}", None),
        ("{cidr: 10.0.0.0/8, except: [10.0.0.0/8]}", "cidr '10.0.0.0/8' is completely negated by exception '10.0.0.0/8'"),
        ("{cidr: 10.0.0.1/8, except: [10.9.9.9/7]}", "cidr '10.0.0.1/8' is completely negated by exception '10.9.9.9/7'"),
        ("{cidr: 10.0.0.1, except: [10.0.0.0/8]}", "cidr '10.0.0.1' is completely negated by exception '10.0.0.0/8'"),
        ("{cidr: 10.0.0.0/8, except: [192.168.0.1/16]}", "cidr '10.0.0.0/8' does not include exception '192.168.0.1/16'"),
        ("{cidr: 10.0.0.0/8, except: ['fd00::/8']}", "cidr '10.0.0.0/8' does not include exception 'fd00::/8'"),
        ("{cidr: 10.0.0.0/255.0.0.0}", "invalid CIDR: '10.0.0.0/255.0.0.0' has no length of a prefix"),
    ],
)  # fmt: skip
def test_blocks_of_addresses_may_have_host_bits(kind: str, block: str, words: str | None) -> None:
    """linkerd2 policy-controller/k8s/api/src/policy/network.rs, ``Cidr``."""
    assert _denied(_obj(kind, _KINDS_OF_BLOCKS[kind] % block)) == words


@pytest.mark.parametrize(
    ("networks", "words"), [("", None), (", networks: []", "at least one network must be specified")]
)
def test_an_egress_network_has_all_networks_or_some(networks: str, words: str | None) -> None:
    """The definition takes an empty list; the webhook does not."""
    (obj,) = objects(_obj("EgressNetwork", f"{{trafficPolicy: Allow{networks}}}"))
    decision = decide(obj)
    assert (decision.denied, decision.schema) == (words, ())


_SERVER_REF = "targetRef: {group: policy.linkerd.io, kind: Server, name: order}"


def _limit(name: str, most: int) -> str:
    return f"{name}: {{requestsPerSecond: {most}}}"


def _override(most: int, kind: str = "ServiceAccount") -> str:
    return f"overrides: [{{requestsPerSecond: {most}, clientRefs: [{{kind: {kind}, name: a}}]}}]"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (f"{_SERVER_REF}, {_limit('total', 10)}, {_limit('identity', 10)}, {_override(10)}", None),
        (f"{_SERVER_REF}, {_limit('identity', 10)}, {_override(20)}", None),
        ("targetRef: {kind: Service, name: order}", "invalid targetRef kind: Service"),
        ("targetRef: {kind: Server, name: order}", "invalid targetRef kind: Server"),
        (f"{_SERVER_REF}, {_limit('total', 0)}", "total.requestsPerSecond must be greater than 0"),
        (f"{_SERVER_REF}, {_limit('identity', 0)}", "identity.requestsPerSecond must be greater than 0"),
        (f"{_SERVER_REF}, {_override(0)}", "override.requestsPerSecond must be greater than 0"),
        (
            f"{_SERVER_REF}, {_limit('total', 10)}, {_limit('identity', 20)}",
            "identity.requestsPerSecond must be less than or equal to total.requestsPerSecond",
        ),
        (
            f"{_SERVER_REF}, {_limit('total', 10)}, {_override(20)}",
            "override.requestsPerSecond must be less than or equal to total.requestsPerSecond",
        ),
        (f"{_SERVER_REF}, {_override(1, 'Foo')}", "overrides.clientRefs must target a ServiceAccount"),
    ],
)
def test_rate_limits(spec: str, words: str | None) -> None:
    (obj,) = objects(_obj("HTTPLocalRateLimitPolicy", f"{{{spec}}}"))
    decision = decide(obj)
    assert (decision.denied, decision.schema) == (words, ()), "the definition asks for a number alone"


@pytest.mark.parametrize(
    ("limits", "governs", "log"),
    [
        ([("a", _SERVER_REF, "ServiceAccount")], "a", []),
        ([("a", _SERVER_REF, "Foo")], None, ["a error=unsupported client reference: Foo"]),
        # It still keeps the younger one from its place: that is the status controller's to say.
        (
            [("a", _SERVER_REF, "Foo"), ("b", _SERVER_REF, "ServiceAccount")],
            None,
            ["a error=unsupported client reference: Foo"],
        ),
        (
            [("a", "targetRef: {kind: Server, name: order}", "ServiceAccount"), ("b", _SERVER_REF, "ServiceAccount")],
            "b",
            ["a error=unsupported rate limit target type: Server"],
        ),
    ],
)
def test_a_rate_limit_that_cannot_be_read_governs_nothing(limits: list[tuple[str, str, str]], governs: str | None, log: list[str]) -> None:  # fmt: skip
    """linkerd2 policy-controller/k8s/index/src/inbound/ratelimit_policy.rs, policy-controller/k8s/status/src/index.rs."""
    texts = [
        _obj("HTTPLocalRateLimitPolicy", f"{{{target}, {_override(5, kind)}}}").replace("name: x", f"name: {name}")
        for name, target, kind in limits
    ]
    made = told(SERVER, *texts)
    found = made["inbound"][POD_PORT]["protocol"]["detect"].get("http_local_rate_limit")
    assert (name_of(found) if found else None) == governs
    assert made["log"] == [f"WARN Illegal server ratelimit update ns=shop name={line}" for line in log]
    for_servers = {f"HTTPLocalRateLimitPolicy.policy.linkerd.io shop/{n}" for n, t, _k in limits if t == _SERVER_REF}
    assert set(made["status"]) == for_servers


@pytest.mark.parametrize(
    ("weight", "tenthousandths"),
    [
        (1, 10000), ("900m", 9000), ("1k", 10000000), ("1Ki", 10240000), ("1e2", 1000000),
        ("0.5", 5000), (".5", 5000), ("5.", 50000), ("1n", 10), ("0", 0), ("500M", 5000000000000 % 2**32),
    ],
)  # fmt: skip
def test_weights_are_quantities_of_kubernetes(weight: object, tenthousandths: int) -> None:
    """linkerd2 controller/api/destination/profile_translator.go, ``toDstOverrides``."""
    assert weight_of({"authority": "a.b", "weight": weight}) == tenthousandths


@pytest.mark.parametrize("weight", ["", "x", "1K", "1kk", "1 k", "1e", "NaN", "Infinity", "1_0"])
def test_what_is_no_quantity_is_no_weight(weight: str) -> None:
    with pytest.raises(ValueError, match="is no quantity"):
        weight_of({"authority": "a.b", "weight": weight})
