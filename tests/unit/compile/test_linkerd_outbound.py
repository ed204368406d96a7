"""Linkerd's outbound policies by table: an input, and what Linkerd's own source makes of it.

The expectations are read from linkerd2 b24cd405984, the revision of the recorded answers in tests/golden; each table names
its file.
"""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from meshbdd.lab.api.errors import ApiError
from meshbdd.lab.linkerd.admission.webhook import admission_hook, decide
from meshbdd.lab.linkerd.compile import Questions
from meshbdd.lab.linkerd.compile import status as statuses
from meshbdd.lab.linkerd.envoy.pod import Compiler
from meshbdd.lab.linkerd.policies import Policies
from tests.unit.compile.linkerd_worlds import world

Object = dict[str, Any]

ACCRUAL = "balancer.linkerd.io/failure-accrual"
CONSECUTIVE = f"{ACCRUAL}-consecutive"
ALPHA = "balancer.alpha.linkerd.io/"
RATE = f"{ALPHA}failure-accrual-success-rate"
HONOR = f"{ALPHA}failure-accrual-honor-retry-after"
PENALIZE = f"{ALPHA}penalize-failures"
NO_BOOLEAN = "(expected a boolean such as 'true' or 'false')"
GATEWAY, POLICY = "gateway.networking.k8s.io/v1", "policy.linkerd.io/v1beta3"
SERVICE = {"group": "core", "kind": "Service", "name": "order", "port": 80}
BORN = "2026-01-01T00:00:00Z"


def service(
    annotations: dict[str, str] | None = None, name: str = "order", address: str = "10.1.0.1", **spec: Any
) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "shop", "annotations": annotations or {}},
        "spec": {"clusterIP": address, "clusterIPs": [address], "ports": [{"port": 80}], **spec},
    }


def route(
    rule: Object | None = None,
    kind: str = "HTTPRoute",
    version: str = GATEWAY,
    parent: Object | None = None,
    annotations: dict[str, str] | None = None,
    **spec: Any,
) -> Object:
    meta = {"name": "r", "namespace": "shop", "creationTimestamp": BORN, "annotations": annotations or {}}
    rules = [rule if rule is not None else {"backendRefs": [{"name": "order", "port": 80}]}]
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": meta,
        "spec": {"parentRefs": [parent or SERVICE], "rules": rules, **spec},
    }


def asked(*objects: Object, of: str = "order.shop:80", log: list[str] | None = None) -> Any:
    """The protocol and the policy below it, as the proxy is told."""
    policies = Policies(objects)
    told = Questions(policies).outbound(f"{of} from shop")
    if log is not None:
        log += policies.log()
    return told.get("protocol", told)


def first_rule(*objects: Object, of: str = "order.shop:80") -> Any:
    protocol = asked(*objects, of=of)
    (told,) = protocol.values()
    return told.get("http1", told)["routes"][0]["rules"][0]


def status(*objects: Object) -> Any:
    """What the status controller says of the route."""
    told = statuses(Policies(objects))
    return next(value for title, value in told.items() if "Route." in title)


def refused_or_first_rule(made: Object, error: str | None) -> Any:
    """The first rule of a route that is in effect; one with an error has to be denied, left out and complained of."""
    assert decide(made).denied == error
    if error is None:
        return first_rule(service(), made)
    log: list[str] = []
    assert asked(service(), made, log=log) == asked(service())
    assert f"WARN Failed to convert route error={error}" in log
    return None


def breaker(annotations: dict[str, str]) -> tuple[Any, list[str]]:
    """A Service's circuit breaker, and the complaints without where they are from."""
    log: list[str] = []
    told = asked(service(annotations), log=log)["detect"]["http1"].get("failure_accrual")
    return told, [line.partition(" service=")[0] for line in log]


@pytest.mark.parametrize(
    ("mode", "said", "honored", "complaints"),
    [
        ("consecutive", "true", False, []),
        ("unified", None, False, []),
        *(("unified", word, True, []) for word in ("1", "t", "T", "true", "TRUE", "True", " true ")),
        *(("unified", word, False, []) for word in ("0", "f", "F", "false", "FALSE", "False")),
        (
            "unified",
            "yes",
            False,
            [f"WARN Failed to parse honor-retry-after toggle error=unsupported {HONOR} value: 'yes' {NO_BOOLEAN}"],
        ),
    ],
)
def test_only_the_unified_breaker_honors_retry_after(
    mode: str, said: str | None, honored: bool, complaints: list[str]
) -> None:
    """policy-controller/k8s/index/src/outbound/index.rs parse_bool_annotation; policy-controller/grpc/src/outbound.rs."""
    told, log = breaker({ACCRUAL: mode} | ({HONOR: said} if said is not None else {}))
    assert next(iter(told.values()))["backoff"]["respect_retry_after_hint"] is honored
    assert log == complaints


@pytest.mark.parametrize(
    ("said", "estimator"),
    [("True", "penalty_peak_ewma"), ("1", "penalty_peak_ewma"), ("F", "peak_ewma"), ("yes", "peak_ewma")],
)
def test_the_load_biaser_is_switched_by_the_same_words(said: str, estimator: str) -> None:
    balancer = first_rule(service({PENALIZE: said}))["backends"]["first_available"]["backends"][0]["backend"][
        "balancer"
    ]
    assert {"peak_ewma", "penalty_peak_ewma"} & set(balancer) == {estimator}


PARAMETERS = [
    (f"{CONSECUTIVE}-max-failures", " 5 ", {"max_consecutive_failures": 5}),
    (f"{CONSECUTIVE}-max-failures", "+5", {"max_consecutive_failures": 5}),
    (f"{CONSECUTIVE}-max-penalty", "0s", "min_penalty (1s) cannot exceed max_penalty (0ns)"),
    (f"{CONSECUTIVE}-jitter-ratio", " 1e0 ", {"jitter_ratio": 1.0}),
    (f"{CONSECUTIVE}-jitter-ratio", "nan", "jitter cannot be negative"),
    (f"{CONSECUTIVE}-jitter-ratio", "inf", "jitter cannot be greater than 100"),
    (f"{CONSECUTIVE}-jitter-ratio", "1_0", "invalid float literal"),
    (f"{CONSECUTIVE}-jitter-ratio", "", "cannot parse float from empty string"),
    (f"{RATE}-threshold", " 0.9 ", {"success_rate_threshold": 0.9}),
    (f"{RATE}-threshold", "2", "success-rate threshold must be between 0.0 and 1.0, got 2"),
    (f"{RATE}-threshold", "-0.1", "success-rate threshold must be between 0.0 and 1.0, got -0.1"),
    (f"{RATE}-threshold", "NaN", "success-rate threshold must be between 0.0 and 1.0, got NaN"),
    (f"{RATE}-window", "10ms", {"decay": "0.010s"}),
    (f"{RATE}-window", "5ms", "success-rate-window must be at least 10ms, got 5ms"),
    (f"{RATE}-window", "0s", "success-rate-window must be greater than zero"),
    (f"{RATE}-min-requests", " 1000000 ", {"min_requests": 1000000}),
    (f"{RATE}-min-requests", "1000001", "success-rate-min-requests cannot exceed 1000000, got 1000001"),
]


@pytest.mark.parametrize(("key", "said", "expected"), PARAMETERS)
def test_parameters_of_the_unified_breaker(key: str, said: str, expected: dict[str, Any] | str) -> None:
    """policy-controller/k8s/index/src/outbound/index.rs parse_consecutive_params, parse_success_rate_params."""
    told, log = breaker({ACCRUAL: "unified", key: said})
    if isinstance(expected, str):
        assert (told, log) == (None, [f"WARN Failed to parse accrual config error={expected}"])
    else:
        unified = told["unified"]
        assert expected.items() <= (unified | unified["backoff"]).items()
        assert not log


def test_a_breaker_without_any_penalty_is_none() -> None:
    told, log = breaker({ACCRUAL: "consecutive", f"{CONSECUTIVE}-max-penalty": "0", f"{CONSECUTIVE}-min-penalty": "0"})
    assert (told, log) == (None, ["WARN Failed to parse accrual config error=max_penalty cannot be zero"])


@pytest.mark.parametrize(("key", "said"), [("-window", "5ms"), ("-min-requests", "2000000")])
def test_the_bounds_of_a_success_rate_count_only_with_a_threshold(key: str, said: str) -> None:
    told, _ = breaker({ACCRUAL: "unified", f"{RATE}-threshold": "0", f"{RATE}{key}": said})
    assert told["unified"]["success_rate_threshold"] == 0


DURATIONS = [
    ("-5s", "duration value cannot be negative: '-5s'"),
    (" -5s ", "duration value cannot be negative: '-5s'"),
    ("5", "missing duration unit; did you mean '5s' or '5ms'?"),
    ("1.5s", "fractional values not supported"),
    ("5.s", "invalid duration unit .s (expected one of 'ms', 's', 'm', 'h', or 'd')"),
    ("213503982335d", "Timeout value 213503982335d overflows when converted to 'ms'"),
    ("18446744073709551616ms", "number too large to fit in target type"),
    ("0", {"request": "0s"}),
    (" +5s ", {"request": "5s"}),
    ("18446744073709551615ms", {"request": "18446744073709551.615s"}),
]


@pytest.mark.parametrize(("said", "expected"), DURATIONS)
def test_durations_of_annotations(said: str, expected: dict[str, str] | str) -> None:
    """policy-controller/k8s/index/src/outbound/index.rs parse_duration."""
    log: list[str] = []
    rules = asked(service({"timeout.linkerd.io/request": said}), log=log)["detect"]["http1"]["routes"][0]["rules"]
    if isinstance(expected, str):
        assert (rules[0]["timeouts"], [line.partition(" service=")[0] for line in log]) == (
            {},
            [f"WARN Failed to parse timeouts error={expected}"],
        )
    else:
        assert rules[0]["timeouts"] == expected


CONDITIONS = [
    ("http", "+503", [(503, 503)]),
    ("http", "500-+503", [(500, 503)]),
    ("http", "-503", "invalid retry condition: -503"),
    ("http", "503,foo", "invalid retry condition: 503,foo"),
    ("grpc", "foo", "Unknown grpc retry condition: foo"),
]


@pytest.mark.parametrize(("kind", "said", "expected"), CONDITIONS)
def test_retry_conditions(kind: str, said: str, expected: list[tuple[int, int]] | str) -> None:
    """policy-controller/k8s/index/src/outbound/index/{http,grpc}.rs parse_http_retry, parse_grpc_retry."""
    log: list[str] = []
    retry = asked(service({f"retry.linkerd.io/{kind}": said}), log=log)["detect"]["http1"]["routes"][0]["rules"][0].get(
        "retry"
    )
    if isinstance(expected, str):
        what = f"WARN Failed to parse {kind} retry error={expected}"
        assert [line.partition(" service=")[0] for line in log] == [what]
    else:
        ranges = retry["conditions"]["status_ranges"]
        assert [(one["start"], one["end"]) for one in ranges] == expected


def test_parameters_of_the_load_biaser() -> None:
    """policy-controller/k8s/index/src/outbound/index.rs parse_load_biaser_config."""
    for said, error in (
        ("50d", "load-biaser-penalty exceeds the maximum supported value (~49.7 days)"),
        ("soon", f"invalid {ALPHA}load-biaser-penalty value"),
    ):
        _, log = breaker({PENALIZE: "true", f"{ALPHA}load-biaser-penalty": said})
        assert log == [f"WARN Failed to parse load biaser config error={error}"]


OPAQUE = "config.linkerd.io/opaque-ports"
PORTS = [
    ("80", "opaque", None),
    ("1-3, 79-80 ,", "opaque", None),
    ("", "detect", None),
    ("80,foo", "detect", "parsing port"),
    ("90-80,80", "detect", "Port range must be increasing"),
    ("0,80", "detect", "parsing port"),
    ("80,65536", "detect", "parsing port"),
    ("80-", "detect", "parsing port"),
]


@pytest.mark.parametrize(("said", "protocol", "error"), PORTS)
def test_a_list_of_ports_counts_whole_or_not_at_all(said: str, protocol: str, error: str | None) -> None:
    """policy-controller/k8s/index/src/ports.rs parse_portset, ports_annotation."""
    log: list[str] = []
    assert list(asked(service({OPAQUE: said}), log=log)) == [protocol]
    complaint = f"INFO Invalid ports list spec={said} error={error} annotation={OPAQUE}"
    assert log == ([complaint] if error else [])


def test_a_pods_list_of_ports_counts_whole_or_not_at_all() -> None:
    meta = {"name": "p", "namespace": "shop", "annotations": {OPAQUE: "8080,foo"}}
    containers = [{"name": "app", "image": "x", "ports": [{"containerPort": 8080}]}]
    policies = Policies([{"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": containers}}])
    assert list(Questions(policies).inbound("p.shop:8080")["protocol"]) == ["detect"]
    assert policies.log() == [f"INFO Invalid ports list spec=8080,foo error=parsing port annotation={OPAQUE}"]


HEADERS = [
    ({"set": [{"name": "X-Set", "value": "a"}], "remove": ["X-Gone"]}, None),
    ({"set": [{"name": "x y", "value": "a"}]}, "invalid HTTP header name"),
    ({"remove": [""]}, "invalid HTTP header name"),
    ({"add": [{"name": "x", "value": "caf\u00e9"}]}, "failed to parse header value"),
]


@pytest.mark.parametrize(("said", "error"), HEADERS)
@pytest.mark.parametrize("side", ["request", "response"])
def test_headers_of_modifiers(side: str, said: Object, error: str | None) -> None:
    """policy-controller/k8s/index/src/routes/http.rs request_header_modifier; policy-controller/runtime/src/admission.rs."""
    block = {"type": f"{side.title()}HeaderModifier", f"{side}HeaderModifier": said}
    made = route({"filters": [block], "backendRefs": [{"name": "order", "port": 80}]})
    told = refused_or_first_rule(made, error)
    if told is not None:
        expected = {"remove": ["x-gone"], "set": {"headers": [{"name": "x-set", "value": "a"}]}}
        assert told["filters"] == [{f"{side}_header_modifier": expected}]


REDIRECTS = [
    ({"type": "ReplaceFullPath", "replaceFullPath": "/x"}, {"full": "/x"}),
    ({"type": "ReplacePrefixMatch", "replacePrefixMatch": "/x"}, {"prefix": "/x"}),
    (
        {"type": "ReplaceFullPath", "replaceFullPath": "x"},
        "RequestRedirect filters may only contain absolute paths (starting with '/'); \"x\" is not an absolute path",
    ),
    (
        {"type": "ReplaceFullPath"},
        "RequestRedirect filter must contain either replace_full_path or replace_prefix_match",
    ),
]


@pytest.mark.parametrize(("path", "expected"), REDIRECTS)
def test_redirects_go_to_absolute_paths(path: Object, expected: dict[str, str] | str) -> None:
    """policy-controller/k8s/index/src/routes/http.rs path_modifier."""
    block = {"type": "RequestRedirect", "requestRedirect": {"path": path}}
    told = refused_or_first_rule(route({"filters": [block]}), expected if isinstance(expected, str) else None)
    if told is not None:
        assert told["filters"][0]["redirect"]["path"] == expected


@pytest.mark.parametrize("said", [{"name": "x y", "value": "a"}, {"name": "x", "value": "a\u00e9"}])
def test_headers_of_matches(said: Object) -> None:
    error = "invalid HTTP header name" if " " in said["name"] else "failed to parse header value"
    for kind in ("HTTPRoute", "GRPCRoute"):
        assert refused_or_first_rule(route({"matches": [{"headers": [said]}]}, kind), error) is None


def test_both_addresses_of_a_service_lead_to_it() -> None:
    """policy-controller/k8s/index/src/outbound/index.rs, Service: services_by_ip is filled from clusterIPs."""
    both = service(clusterIPs=["10.1.0.1", "fd00::5"])
    for address in both["spec"]["clusterIPs"]:
        assert asked(both, of=f"{address}:80") == asked(both)


@pytest.mark.parametrize("spec", [{"type": "ExternalName"}, {"clusterIP": "None", "clusterIPs": ["None"]}])
def test_a_parent_has_an_address_of_its_own(spec: Object) -> None:
    """policy-controller/k8s/status/src/service.rs valid_parent_service."""
    (told,) = status(service(**spec), route())
    assert told["conditions"][0]["message"] == "parent service must have a ClusterIP"


ALPHA2 = "gateway.networking.k8s.io/v1alpha2"
STREAMS = [("TCPRoute", "opaque"), ("TLSRoute", "tls")]
TWO = [{"backendRefs": [{"name": "order", "port": 80}]}, {"backendRefs": [{"name": "order", "port": 80}]}]


@pytest.mark.parametrize(("kind", "protocol"), STREAMS)
def test_a_stream_route_has_one_rule(kind: str, protocol: str) -> None:
    """policy-controller/k8s/index/src/outbound/index/{tcp,tls}.rs convert_route; policy-controller/runtime/src/admission.rs."""
    assert list(asked(service(), route(kind=kind, version=ALPHA2))) == [protocol]
    two = route(kind=kind, version=ALPHA2, rules=TWO)
    log: list[str] = []
    assert list(asked(service(), two, log=log)) == ["detect"]
    assert log == [f"WARN Failed to convert route error={kind} needs to have one rule"]
    assert decide(two).denied == f"{kind.title().replace('route', 'Route')} supports a single rule only"


@pytest.mark.parametrize(("kind", "protocol"), STREAMS)
def test_an_unusable_backend_of_a_stream_is_invalid(kind: str, protocol: str) -> None:
    """policy-controller/grpc/src/outbound/{tcp,tls}.rs invalid_backend."""
    rule = {"backendRefs": [{"name": "nowhere", "port": 80}]}
    told = asked(service(), route(rule, kind, ALPHA2))[protocol]["routes"][0]["rules"][0]["backends"]
    (one,) = told["random_available"]["backends"]
    assert one["backend"]["filters"] == [{"invalid": {"message": "Service not found nowhere"}}]


def test_of_several_tcp_routes_the_oldest_counts() -> None:
    """policy-controller/grpc/src/outbound/tcp.rs MAXIMUM_ALLOWED_TCP_ROUTES."""
    second = route(kind="TCPRoute", version=ALPHA2)
    second["metadata"] = {**second["metadata"], "name": "a", "creationTimestamp": "2026-02-01T00:00:00Z"}
    told = asked(service(), second, route(kind="TCPRoute", version=ALPHA2))["opaque"]["routes"]
    assert [one["metadata"]["resource"]["name"] for one in told] == ["r"]


def test_what_a_grpc_route_is_told_of_filters_and_failures() -> None:
    """policy-controller/grpc/src/outbound/grpc.rs convert_to_filter, invalid_backend."""
    modifier = {"set": [{"name": "x", "value": "y"}]}
    filters = [
        {"type": "ResponseHeaderModifier", "responseHeaderModifier": modifier},
        {"type": "RequestHeaderModifier", "requestHeaderModifier": modifier},
    ]
    refs = [{"name": "nowhere", "port": 80}, {"name": "order", "port": 80, "filters": filters[:1]}]
    told = first_rule(service(), route({"filters": filters, "backendRefs": refs}, "GRPCRoute"))
    headers = {"headers": [{"name": "x", "value": "y"}]}
    assert told["filters"] == [{}, {"request_header_modifier": {"remove": [], "set": headers}}]
    missing, found = told["backends"]["random_available"]["backends"]
    assert missing["backend"]["filters"] == [
        {"failure_injector": {"code": 500, "message": "Service not found nowhere"}}
    ]
    assert found["backend"]["filters"] == [{}]


def test_a_grpc_method_is_never_a_regular_expression() -> None:
    """policy-controller/k8s/index/src/routes/grpc.rs try_match."""
    rule = {"matches": [{"method": {"type": "RegularExpression", "service": "a.*"}}]}
    error = "unsupported GRPCRoute method match type: Some(RegularExpression)"
    assert refused_or_first_rule(route(rule, "GRPCRoute"), error) is None


OUTSIDE = "203.0.113.7:80"
CLUSTER = ["10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16"]
TO_EGRESS = {"group": "policy.linkerd.io", "kind": "EgressNetwork", "name": "out", "port": 80}


def egress(name: str = "out", policy: str = "Deny", annotations: dict[str, str] | None = None, **spec: Any) -> Object:
    born = spec.pop("born", BORN)
    meta = {"name": name, "namespace": "shop", "creationTimestamp": born, "annotations": annotations or {}}
    return {
        "apiVersion": "policy.linkerd.io/v1alpha1",
        "kind": "EgressNetwork",
        "metadata": meta,
        "spec": {"trafficPolicy": policy, **spec},
    }


def network_of(*objects: Object, of: str = OUTSIDE) -> str | None:
    told = Questions(Policies(objects)).outbound(f"{of} from shop")["metadata"]
    return told["resource"]["name"] if "resource" in told else None


@pytest.mark.parametrize(
    ("networks", "message"),
    [
        (None, None),
        ([{"cidr": "0.0.0.0/0", "except": CLUSTER}], None),
        ([{"cidr": "0.0.0.0/0"}], "networks overlap with clusterNetworks"),
        ([{"cidr": "0.0.0.0/0", "except": CLUSTER[1:]}], "networks overlap with clusterNetworks"),
        ([{"cidr": "10.1.0.0/16", "except": ["10.1.0.0/17"]}], "networks overlap with clusterNetworks"),
        ([{"cidr": "203.0.113.7"}], None),
    ],
)
def test_an_egress_network_stays_out_of_the_cluster(networks: list[Object] | None, message: str | None) -> None:
    """policy-controller/k8s/status/src/index.rs network_condition; policy-controller/k8s/api/src/policy/network.rs."""
    network = egress() if networks is None else egress(networks=networks)
    through = route(parent=TO_EGRESS)
    told = statuses(Policies([network, through]))
    (own,) = told["EgressNetwork.policy.linkerd.io shop/out"]
    (of_route,) = told["HTTPRoute.gateway.networking.k8s.io shop/r"]
    if message is None:
        assert own["status"] == of_route["conditions"][0]["status"] == "True"
        assert len(asked(network, through, of=OUTSIDE)["detect"]["http1"]["routes"]) == 2
    else:
        assert (own["reason"], own["message"]) == ("EgressReasonNetworkOverlap", message)
        refused = of_route["conditions"][0]
        assert (refused["reason"], refused["message"]) == (
            "NoMatchingParent",
            "EgressNetwork parent has not been accepted",
        )


def test_an_egress_network_that_overlaps_the_cluster_governs_all_the_same() -> None:
    """policy-controller/k8s/index/src/outbound/index/egress_network.rs resolve_egress_network asks for no status."""
    assert network_of(egress(networks=[{"cidr": "0.0.0.0/0"}])) == "out"


LATER, BIG = "2026-02-01T00:00:00Z", {"cidr": "203.0.112.0/23"}


@pytest.mark.parametrize(
    ("first", "second", "winner"),
    [
        ({"networks": [{"cidr": "203.0.113.0/24"}]}, {"networks": [BIG]}, "a"),
        # 254 hosts against 510 - 254 - 126.
        (
            {"networks": [{"cidr": "203.0.113.0/24"}]},
            {"networks": [{**BIG, "except": ["203.0.112.0/24", "203.0.113.128/25"]}]},
            "b",
        ),
        ({"networks": [BIG], "born": LATER}, {"networks": [BIG]}, "b"),
        ({"networks": [BIG]}, {"networks": [BIG]}, "a"),
        ({"networks": [{**BIG, "except": ["203.0.113.7"]}]}, {}, "b"),
    ],
)
def test_the_egress_network_of_an_address(first: Object, second: Object, winner: str) -> None:
    """policy-controller/k8s/index/src/outbound/index/egress_network.rs compare_matched_egress_network."""
    assert network_of(egress("a", **first), egress("b", **second)) == winner


def test_ports_of_an_egress_network_are_opaque_as_a_services_are() -> None:
    """policy-controller/k8s/index/src/outbound/index.rs, EgressNetwork: the default ports count where none are said."""
    assert list(asked(egress(annotations={OPAQUE: "80"}), of=OUTSIDE)) == ["opaque"]
    assert list(asked(egress(), of="203.0.113.7:3306")) == ["opaque"]
    assert list(asked(egress(annotations={OPAQUE: ""}), of="203.0.113.7:3306")) == ["detect"]


def test_a_route_has_to_name_a_port_of_its_egress_network() -> None:
    """policy-controller/k8s/index/src/outbound/index.rs apply_http_route: without a port it looks for a Service."""
    portless = {key: value for key, value in TO_EGRESS.items() if key != "port"}
    told = asked(egress(), route(parent=portless), of=OUTSIDE)["detect"]["http1"]["routes"]
    assert [one["metadata"] for one in told] == [{"default": "http-egress-deny"}]


@pytest.mark.parametrize(
    ("kind", "protocol", "default"),
    [("GRPCRoute", "grpc", "grpc-egress-deny"), ("TLSRoute", "tls", "tls-egress-deny"), ("TCPRoute", "opaque", None)],
)
def test_the_default_route_beside_an_egress_networks_routes(kind: str, protocol: str, default: str | None) -> None:
    """policy-controller/grpc/src/outbound/{grpc,tls,tcp}.rs protocol, default_outbound_egress_route."""
    made = route(kind=kind, version=GATEWAY if kind == "GRPCRoute" else ALPHA2, parent=TO_EGRESS)
    _, *more = asked(egress(), service(), made, of=OUTSIDE)[protocol]["routes"]
    assert [one["metadata"] for one in more] == ([{"default": default}] if default else [])
    if kind == "GRPCRoute":
        rule = more[0]["rules"][0]
        assert (rule["matches"], rule["filters"]) == (
            [],
            [{"failure_injector": {"code": 7, "message": "traffic not allowed"}}],
        )


UNRESOLVED = "EgressNetwork backend needs to be on a route that has an EgressNetwork parent"


@pytest.mark.parametrize(
    ("parent", "ref", "message", "port"),
    [
        (TO_EGRESS, TO_EGRESS | {"weight": 3}, None, 80),
        (
            TO_EGRESS,
            TO_EGRESS | {"name": "two"},
            "Route with EgressNetwork backend needs to have the same EgressNetwork as a parent",
            80,
        ),
        (
            SERVICE,
            {"group": "policy.linkerd.io", "kind": "EgressNetwork", "name": "out"},
            "EgressNetwork backends attach to EgressNetwork parents only",
            0,
        ),
    ],
)
def test_an_egress_network_is_a_backend_of_its_own_routes_alone(
    parent: Object, ref: Object, message: str | None, port: int
) -> None:
    """policy-controller/grpc/src/outbound/http.rs convert_backend; policy-controller/k8s/status/src/index.rs."""
    world = (service(), egress(), egress("two", networks=[{"cidr": "198.51.100.0/24"}]))
    made = route({"backendRefs": [ref]}, parent=parent)
    told = first_rule(*world, made, of="order.shop:80" if parent is SERVICE else OUTSIDE)["backends"]
    (one,) = told["random_available"]["backends"]
    assert one["backend"]["backend"]["metadata"]["resource"]["port"] == port
    resolved = status(*world, made)[0]["conditions"][1]
    if message is None:
        assert one["backend"]["backend"]["forward"] == {"addr": {"ip": "203.0.113.7", "port": 80}, "weight": 3}
        assert resolved["status"] == "True"
    else:
        assert one["backend"]["filters"] == [{"failure_injector": {"status": 500, "message": message}}]
        assert (resolved["reason"], resolved["message"]) == ("InvalidKind", UNRESOLVED)


def estimators(told: Any) -> set[str]:
    """The balancers' ways to weigh endpoints, wherever they are in an answer."""
    if isinstance(told, list):
        return {name for one in told for name in estimators(one)}
    if not isinstance(told, dict):
        return set()
    return ({"peak_ewma", "penalty_peak_ewma"} & set(told)) | estimators(list(told.values()))


PENALIZED: dict[str, str] = {PENALIZE: "true"}
BIASED = [
    ("plain", (service(PENALIZED),), "order.shop:80", "penalty_peak_ewma"),
    ("opaque by list", (service(PENALIZED | {OPAQUE: "80"}),), "order.shop:80", "peak_ewma"),
    (
        "opaque by appProtocol",
        (service(PENALIZED, ports=[{"port": 80, "appProtocol": "linkerd.io/tcp"}]),),
        "order.shop:80",
        "peak_ewma",
    ),
    ("HTTPRoute", (service(PENALIZED), route()), "order.shop:80", "penalty_peak_ewma"),
    ("GRPCRoute", (service(PENALIZED), route(kind="GRPCRoute")), "order.shop:80", "penalty_peak_ewma"),
    ("TCPRoute", (service(PENALIZED), route(kind="TCPRoute", version=ALPHA2)), "order.shop:80", "peak_ewma"),
    ("TLSRoute", (service(PENALIZED), route(kind="TLSRoute", version=ALPHA2)), "order.shop:80", "peak_ewma"),
    ("bare TCPRoute", (service(PENALIZED), route({}, "TCPRoute", ALPHA2)), "order.shop:80", "penalty_peak_ewma"),
    ("EgressNetwork", (service(), egress(annotations=PENALIZED), route(parent=TO_EGRESS)), OUTSIDE, "peak_ewma"),
]


@pytest.mark.parametrize(("objects", "of", "estimator"), [row[1:] for row in BIASED], ids=[row[0] for row in BIASED])
def test_where_the_load_biaser_counts(objects: tuple[Object, ...], of: str, estimator: str) -> None:
    """policy-controller/grpc/src/outbound.rs default_backend; …/outbound/{http,grpc,tcp,tls}.rs convert_backend."""
    assert estimators(asked(*objects, of=of)) == {estimator}


def test_complaints_of_an_egress_networks_annotations() -> None:
    """policy-controller/k8s/index/src/outbound/index.rs, EgressNetwork."""
    log = Policies([egress(annotations={PENALIZE: "yes", "timeout.linkerd.io/idle": "5"})]).log()
    of = 'egress_network="out" namespace="shop"'
    assert log == [
        f"WARN Failed to parse penalize-failures toggle error=unsupported {PENALIZE} value: 'yes' {NO_BOOLEAN} {of}",
        f"WARN Failed to parse timeouts error=missing duration unit; did you mean '5s' or '5ms'? {of}",
    ]


UNITS = "expected one of 'ns', 'us', '\u00b5s', 'ms', 's', 'm', or 'h'"
GO_DURATIONS = [
    ("1m30s", "90s"),
    ("1.5s", "1.500s"),
    (".5s", "0.500s"),
    ("5.s", "5s"),
    ("500us", "0.000500s"),
    ("100000s", "100000s"),
    ("0s500ms", "0.500s"),
    ("0", None),
    ("0s", None),
    ("5", f"missing a unit: {UNITS}"),
    ("5d", f"invalid unit: {UNITS}"),
    ("s", "invalid floating-point number: cannot parse float from empty string"),
    ("1_0s", "invalid floating-point number: invalid float literal"),
    ("-5s", "request timeout must not be negative"),
]


@pytest.mark.parametrize(("said", "expected"), GO_DURATIONS)
def test_timeouts_of_linkerds_own_routes(said: str, expected: str | None) -> None:
    """policy-controller/k8s/api/src/duration.rs, as far as policy-controller/runtime/src/admission.rs lets it in."""
    made = route({"timeouts": {"request": said}}, version=POLICY)
    decision = decide(made)
    assert not decision.schema
    if expected is None or expected[0].isdigit():
        assert decision.denied is None
        assert first_rule(service(), made)["timeouts"].get("request") == expected
    else:
        assert decision.denied == expected
        assert decision.unreadable is not said.startswith("-")


@pytest.mark.parametrize(
    ("timeouts", "denied"),
    [
        (
            {"request": "1s", "backendRequest": "2s"},
            "backendRequest timeout (2s) must not be greater than request timeout (1s)",
        ),
        (
            {"request": "0s", "backendRequest": "1500us"},
            "backendRequest timeout (1.5ms) must not be greater than request timeout (0ns)",
        ),
        ({"request": "2s", "backendRequest": "2s"}, None),
        ({"backendRequest": "-2s"}, "backendRequest timeout must not be negative"),
    ],
)
def test_a_backends_timeout_is_no_longer_than_the_requests(timeouts: dict[str, str], denied: str | None) -> None:
    """policy-controller/runtime/src/admission.rs validate_timeouts."""
    assert decide(route({"timeouts": timeouts}, version=POLICY)).denied == denied


@pytest.mark.parametrize(
    "rule",
    [
        {"filters": [{"type": "RequestRedirect", "requestRedirect": {"hostname": "a.b"}}]},
        {"backendRefs": [{"name": "order", "port": 80, "weight": 0}]},
        {"timeouts": {"request": "1s"}},
    ],
)
def test_what_a_rule_sets_on_requests_shows_also_where_none_leaves(rule: Object) -> None:
    """Nothing else of a redirect would tell which rule it is."""
    told = {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "x-change", "value": "a"}]}}
    made = world(yaml.safe_dump(route({**rule, "filters": [told, *rule.get("filters", [])]})))
    hosts = Compiler(Policies(made)).compile("order-1", "shop").routes["outbound"]["virtual_hosts"]
    (first, *_) = next(host for host in hosts if host["name"] == "Service.shop.order:80")["routes"]
    assert [h["header"] for h in first["request_headers_to_add"]] == [{"key": "x-change", "value": "a"}]


def test_filters_of_linkerds_own_routes() -> None:
    """charts/linkerd-crds/templates/policy/httproute.yaml; …/outbound/index/http.rs convert_gateway_backend_filter."""
    modifier = {
        "type": "ResponseHeaderModifier",
        "responseHeaderModifier": {"set": [{"name": "x", "value": "y"}]},
    }
    of_backend = route({"backendRefs": [{"name": "order", "port": 80, "filters": [modifier]}]}, version=POLICY)
    assert not decide(of_backend).schema
    (one,) = first_rule(service(), of_backend)["backends"]["random_available"]["backends"]
    assert list(one["backend"]["filters"][0]) == ["response_header_modifier"]
    assert decide(route({"filters": [modifier]}, version=POLICY)).schema
    for status_code, taken in ((301, True), (302, True), (303, False)):
        block = {"type": "RequestRedirect", "requestRedirect": {"statusCode": status_code}}
        assert (not decide(route({"filters": [block]}, version=POLICY)).schema) is taken


@pytest.mark.parametrize(
    ("said", "protocol"),
    [
        ("http", "http1"),
        ("HTTP", "http1"),
        ("Kubernetes.io/H2C", "http2"),
        ("Linkerd.io/Opaque", "opaque"),
        ("https", "opaque"),
    ],
)
def test_app_protocols_however_they_are_spelt(said: str, protocol: str) -> None:
    """policy-controller/core/src/outbound.rs AppProtocol::from_str."""
    assert list(asked(service(ports=[{"port": 80, "appProtocol": said}]))) == [protocol]


LOOK = "look-around, including look-ahead and look-behind, is not supported"
TAKEN_BY_RUST = [
    ("/\\p{L}+", None),
    ("/(?<id>[0-9]+)", None),
    ("/(?P<id>[0-9]+)", None),
    ("(?i:/a)[]a-]\\_\\x{41}", None),
    ("[[:alpha:]]{1,3}?", None),
    ("[a-z&&[^b]]", "&& is Rust's alone"),
    ("[a[b]]", "[b is Rust's alone"),
    ("(?x)a", "(?x) is Rust's alone"),
    ("\\u{41}", "\\u{41} is Rust's alone"),
    ("\\<a", "\\< is Rust's alone"),
    ("a{ 2 }", "{ 2 } is Rust's alone"),
    ("a{2000}", "invalid repetition size: {2000}"),
    ("a**", "bad repetition operator: **"),
    ("\\p{Letter}", "invalid character class range: \\p{Letter}"),
]


@pytest.mark.parametrize(("text", "unplayable"), TAKEN_BY_RUST)
@pytest.mark.parametrize("place", ["path", "header", "query"])
def test_regular_expressions_that_linkerd_takes(place: str, text: str, unplayable: str | None) -> None:
    """Rust's regex crate, which policy-controller/k8s/index/src/routes/http.rs reads them with."""
    entry = {"type": "RegularExpression", "value": text}
    named = [entry | {"name": "n"}]
    match = {"path": {"path": entry}, "header": {"headers": named}, "query": {"queryParams": named}}[place]
    made = route({"matches": [match], "backendRefs": [{"name": "order", "port": 80}]})
    assert decide(made).denied is None
    assert first_rule(service(), made)["backends"].keys() == {"random_available"}
    if unplayable is None:
        assert admission_hook("CREATE", "httproutes", made, None) == []
    else:
        with pytest.raises(ApiError, match="the lab cannot play the regular expression") as refused:
            admission_hook("CREATE", "httproutes", made, None)
        assert f"({unplayable})" in refused.value.message


REFUSED_BY_RUST = [
    ("/(?!foo).*", " ^^^", LOOK),
    ("(?<=a)b", "^^^^", LOOK),
    ("(", "^", "unclosed group"),
    ("a)", " ^", "unopened group"),
    ("[a", "^", "unclosed character class"),
    ("(a)\\1", "   ^^", "backreferences are not supported"),
    ("\\Qa\\E", "^^", "unrecognized escape sequence"),
    ("a\\", " ^", "incomplete escape sequence, reached end of pattern prematurely"),
    ("(?y)a", "  ^", "unrecognized flag"),
    ("(?P<1>a)", "    ^", "invalid capture group character"),
    ("a{,2}", " ^", "repetition quantifier expects a valid decimal"),
    ("a{3,2}", " ^^^^^", "invalid repetition count range, the start must be <= the end"),
    ("*a", None, "repetition operator missing expression"),
    ("[z-a]", None, "invalid character class range, the start must be <= the end"),
]


@pytest.mark.parametrize(("text", "mark", "why"), REFUSED_BY_RUST)
def test_regular_expressions_that_linkerd_refuses(text: str, mark: str | None, why: str) -> None:
    error = "\n".join(
        ["regex parse error:", f"    {text}", *([f"    {mark}"] if mark is not None else []), f"error: {why}"]
    )
    made = route({"matches": [{"path": {"type": "RegularExpression", "value": text}}]})
    assert refused_or_first_rule(made, error) is None
