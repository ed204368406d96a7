"""The same decision as Istio on each recorded resource of a kind that the lab has."""

from __future__ import annotations

from typing import Any

import pytest

from meshbdd.lab.admission import Admission, admit
from tests.golden.decisions import CASES, difference, known

KNOWN = [case for case in CASES if known(case)]


@pytest.mark.parametrize("case", KNOWN, ids=[case["name"] for case in KNOWN])
def test_the_decision_is_istios(case: dict[str, Any]) -> None:
    assert difference(case) is None


def test_most_recorded_kinds_are_known() -> None:
    assert len(KNOWN) == 61, f"{len(KNOWN)} of {len(CASES)}"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (
            {
                "hosts": ["a"],
                "http": [
                    {"route": [{"destination": {"host": "a"}}], "retries": {"attempts": 1, "retryOn": "sometimes"}}
                ],
            },
            "sometimes",
        ),
        (
            {
                "hosts": ["a"],
                "http": [{"route": [{"destination": {"host": "a"}}], "fault": {"abort": {"grpcStatus": "BROKEN"}}}],
            },
            "BROKEN",
        ),
        ({"hosts": ["a"], "tcp": [{"route": [{"destination": {"host": "a"}}]}]}, "spec.tcp"),
        ({"hosts": ["a"], "tls": [{"match": [{"sniHosts": ["a"]}]}]}, "spec.tls"),
        (
            {"hosts": ["a"], "http": [{"route": [{"destination": {"host": "a"}}], "mirror_percent": 5}]},
            "spec.http[0].mirror_percent",
        ),
        ({"hosts": ["a"], "http": [{"redirect": {"uri": "/", "redirectCode": 309}}]}, "309"),
    ],
)
def test_a_refusal_names_field_and_value(spec: dict[str, Any], words: str) -> None:
    decision = admit({"kind": "VirtualService", "metadata": {"name": "x", "namespace": "shop"}, "spec": spec})
    assert decision.refused is not None
    assert words in decision.refused
    assert "VirtualService x in shop" in decision.refused


def test_what_istio_accepts_is_accepted() -> None:
    spec = {"hosts": ["nobody"], "http": [{"route": [{"destination": {"host": "nobody", "subset": "v9"}}]}]}
    assert admit({"kind": "VirtualService", "metadata": {"name": "x"}, "spec": spec}).refused is None


ROUTE = {"route": [{"destination": {"host": "a"}}]}


def decide(kind: str, spec: dict[str, Any], namespace: str = "shop") -> Any:
    return admit({"kind": kind, "metadata": {"name": "x", "namespace": namespace}, "spec": spec})


def rule(**fields: Any) -> dict[str, Any]:
    return {"hosts": ["a"], "http": [{**ROUTE, **fields}]}


def bare(**fields: Any) -> dict[str, Any]:
    return {"hosts": ["a"], "http": [fields]}


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (rule(retries={"attempts": 1, "retryOn": "5xx, 429"}), " 429"),
        (rule(retries={"attempts": 1, "retryOn": "599"}), "599"),
        (rule(retries={"attempts": 0, "retryRemoteLocalities": False}), "0 attempts"),
        (rule(timeout="1500us"), "spec.http[0].timeout"),
        (rule(fault={"delay": {"fixedDelay": "1.5ms"}}), "spec.http[0].fault.delay.fixedDelay"),
        (rule(fault={"abort": {"httpStatus": 503, "percentage": {"value": 0.00001}}}), "0.0001"),
        (rule(match=[{"headers": {"": {"exact": "a"}}}]), "header name"),
        (rule(match=[{"method": {"prefix": ""}}]), "spec.http[0].match[0].method.prefix"),
        (rule(match=[{"headers": {"x": {"regex": ""}}}]), "spec.http[0].match[0].headers.x.regex"),
        (rule(match=[{"sourceNamespace": "a.b"}]), "a.b"),
        (rule(match=[{"sourceLabels": {"a b": "c"}}]), "a b"),
        (rule(match=[{"headers": {"@request.auth.claims.admin": {"exact": "a"}}}]), "claims"),
        (rule(headers={"request": {"set": {":path": "/"}}}), ":path"),
        (rule(headers={"response": {"set": {"host": "a"}}}), "host"),
        (rule(headers={"request": {"remove": ["Host"]}}), "Host"),
        (rule(headers={"request": {"set": {"a": "100%"}}}), "100%"),
        (rule(headers={"request": {"set": {"host": "b"}, "add": {":authority": "c"}}}), "authority"),
        (rule(rewrite={"authority": "b"}, headers={"request": {"set": {"Host": "c"}}}), "authority"),
        (rule(rewrite={}), "spec.http[0].rewrite"),
        (rule(rewrite={"uri": "/", "uriRegexRewrite": {"match": "a", "rewrite": "b"}}), "spec.http[0].rewrite"),
        (rule(rewrite={"uriRegexRewrite": {"match": "a"}}), "uriRegexRewrite"),
        (rule(mirror={"host": "b"}, mirrors=[{"destination": {"host": "c"}}]), "mirrors"),
        (rule(mirrors=[{"destination": {"host": "c"}, "percentage": {"value": 101}}]), "mirrors[0].percentage"),
        (rule(mirrorPercent=101, mirror={"host": "c"}), "mirrorPercent"),
        (rule(corsPolicy={"maxAge": "1500ms"}), "corsPolicy.maxAge"),
        (rule(corsPolicy={"allowMethods": ["FETCH"]}), "FETCH"),
        (bare(redirect={}), "spec.http[0].redirect"),
        (bare(redirect={"uri": "/", "scheme": "ftp"}), "ftp"),
        (bare(redirect={"uri": "/", "redirectCode": 200}), "200"),
        (bare(directResponse={"status": 200}, rewrite={"uri": "/"}), "rewrite"),
        (bare(directResponse={"status": 199}), "199"),
        (bare(directResponse={"status": 200, "body": {"string": "x" * 1_100_000}}), "1 MB"),
        (bare(directResponse={"status": 200, "body": {"bytes": "a"}}), "it is not base64"),
        (bare(delegate={"name": "d"}, redirect={"uri": "/"}), "redirect"),
        ({"http": [{"delegate": {"name": "d"}, **ROUTE}]}, "does not delegate"),
        ({"http": [ROUTE], "gateways": ["g"]}, "spec.gateways"),
        ({"hosts": ["*.com", "a.com"], "http": [ROUTE]}, "in common"),
        ({"hosts": ["a.123"], "http": [ROUTE]}, "a.123"),
        ({"hosts": ["a"], "http": [ROUTE], "exportTo": ["*", "b"]}, "exportTo"),
        ({"hosts": ["a"], "http": [ROUTE], "exportTo": [".", "shop"]}, "exportTo"),
        ({"hosts": ["a"], "http": [ROUTE], "exportTo": ["~"]}, "~"),
        ({"hosts": ["a"], "http": [ROUTE], "gateways": ["a_b/c"]}, "a_b/c"),
        ({"hosts": ["a"], "http": [{"route": [{"destination": {"host": "b", "port": {"number": 0}}}]}]}, "port.number"),
    ],
)  # fmt: skip
def test_virtual_services_that_istio_refuses(spec: dict[str, Any], words: str) -> None:
    decision = decide("VirtualService", spec)
    assert decision.refused_by == "webhook", decision
    assert words in decision.refused


@pytest.mark.parametrize(
    "spec",
    [
        rule(retries={"attempts": 0}),
        rule(retries={"attempts": 0, "backoff": "1s"}),
        rule(match=[{"withoutHeaders": {"x": {"regex": "*"}}}, {"headers": {"x": {}}}]),
        rule(match=[{"uri": {"prefix": ""}}]),
        rule(headers={"request": {"set": {"x": "%REQ(:path)% 100%%", "Host": "b"}}}),
        rule(corsPolicy={"allowOrigins": [{"exact": "*"}], "allowHeaders": ["*"], "maxAge": "24h"}),
        rule(fault={"abort": {"percentage": {"value": 50}}}),
        bare(delegate={"name": "d", "namespace": "other"}),
        bare(redirect={"authority": "b", "derivePort": "FROM_REQUEST_PORT"}),
        {"http": [ROUTE]},
        {"hosts": ["*.a.com", "1.2.3.4"], "http": [ROUTE]},
        {"hosts": ["a"], "http": [ROUTE], "exportTo": [".", "other"]},
        {"hosts": ["*"], "gateways": ["shop/g"], "tcp": [{}], "tls": [{}]},
        {"hosts": ["a"], "gateways": ["shop/g", "mesh"], "http": [ROUTE]},
    ],
)
def test_virtual_services_that_istio_accepts(spec: dict[str, Any]) -> None:
    assert decide("VirtualService", spec) == Admission()


@pytest.mark.parametrize(
    ("http", "count"),
    [
        ([{"match": [{"uri": {"prefix": "/a"}}]}, {"match": [{"uri": {"prefix": "/ab"}}]}], 1),
        ([{"match": [{"uri": {"prefix": "/ab"}}]}, {"match": [{"uri": {"prefix": "/a"}}]}], 0),
        ([{"match": [{"uri": {"prefix": "/a"}, "headers": {"x": {"exact": "1"}}}]}, {"match": [{"uri": {"prefix": "/ab"}}]}], 0),
        ([{"match": [{"uri": {"prefix": "/a"}, "port": 80}]}, {"match": [{"uri": {"prefix": "/ab"}}]}], 0),
        # the same match: it does nothing, and the rule has no other
        ([{"match": [{"uri": {"exact": "/a"}}]}, {"match": [{"uri": {"exact": "/a"}, "name": "n"}]}], 2),
        ([{"match": [{"uri": {"exact": "/a"}}]}, {"match": [{"uri": {"exact": "/a"}}, {"uri": {"exact": "/b"}}]}], 1),
        ([{}, {}], 1),
        ([{}, {"match": [{"uri": {"exact": "/a"}}, {"uri": {"exact": "/b"}}]}], 2),
        ([{"mirrorPercent": 10, "mirror": {"host": "b"}}], 1),
    ],
)  # fmt: skip
def test_what_no_request_reaches_is_warned_of(http: list[dict[str, Any]], count: int) -> None:
    decision = decide("VirtualService", {"hosts": ["a"], "http": [{**ROUTE, **item} for item in http]})
    assert decision.refused is None
    assert len(decision.warnings) == count, decision.warnings


def policy(**fields: Any) -> dict[str, Any]:
    return {"host": "a", "trafficPolicy": fields}


@pytest.mark.parametrize(
    ("spec", "by", "words"),
    [
        (policy(outlierDetection={"consecutiveLocalOriginFailures": 3}), "webhook", "consecutiveLocalOriginFailures"),
        (policy(outlierDetection={"baseEjectionTime": "1.5ms"}), "webhook", "baseEjectionTime"),
        (policy(connectionPool={"http": {"http2KeepAlive": {"interval": "1s"}}}), "webhook", "http2KeepAlive.timeout"),
        (policy(connectionPool={}), "webhook", "connectionPool"),
        (policy(loadBalancer={"consistentHash": {"httpHeaderName": "x", "maglev": {"tableSize": 4}}}), "webhook", "prime"),
        (policy(loadBalancer={"consistentHash": {"useSourceIp": True, "minimumRingSize": 2, "ringHash": {}}}), "webhook", "minimumRingSize"),
        (policy(loadBalancer={"warmup": {"duration": "1s", "aggression": 0}}), "webhook", "aggression"),
        (policy(portLevelSettings=[{"port": {"number": 80}}]), "webhook", "portLevelSettings[0]"),
        ({"host": "a", "subsets": [{"name": "a_b"}]}, "webhook", "a_b"),
        ({"host": "a", "workloadSelector": {"matchLabels": {"a": "b"}}, "exportTo": ["*"]}, "webhook", "exportTo"),
        ({"host": "a..b"}, "webhook", "a..b"),
        (policy(tunnel={"targetHost": "a.b", "targetPort": 80, "protocol": "GET"}), "webhook", "tunnel.protocol"),
        (policy(tunnel={"targetHost": "a.b"}), "schema", "targetPort"),
        (policy(tunnel={"targetHost": "a..b", "targetPort": 80}), "webhook", "targetHost"),
        (policy(tunnel={"targetHost": "a.b", "targetPort": 80}, proxyProtocol={}), "webhook", "proxyProtocol"),
        (policy(loadBalancer={"localityLbSetting": {}, "zoneAwareLbSetting": {}}), "webhook", "zoneAwareLbSetting"),
        (policy(loadBalancer={"localityLbSetting": {"distribute": [{"from": "a", "to": {"a": 99}}]}}), "webhook", "99"),
        (policy(loadBalancer={"localityLbSetting": {"distribute": [{"from": "a", "to": {"a": 0, "b": 100}}]}}), "webhook", "between"),
        (policy(loadBalancer={"localityLbSetting": {"distribute": [{"from": "a", "to": {"a": 50, "a/b": 50}}]}}), "webhook", "overlaps"),
        (policy(loadBalancer={"localityLbSetting": {"distribute": [{"from": "a//b", "to": {"a": 100}}]}}), "webhook", "a//b"),
        (policy(loadBalancer={"localityLbSetting": {"failover": [{"from": "a", "to": "a"}]}}), "webhook", "failover[0]"),
        (policy(loadBalancer={"localityLbSetting": {"failover": [{"from": "a/b", "to": "c"}]}}), "webhook", "regions"),
        (policy(loadBalancer={"zoneAwareLbSetting": {"failoverPriority": ["topology.kubernetes.io/zone"]}}), "webhook", "failoverPriority"),
        (policy(tls={"mode": "SIMPLE", "insecureSkipVerify": True, "subjectAltNames": ["a"]}), "webhook", "subjectAltNames"),
        (policy(tls={"mode": "MUTUAL", "credentialName": "a", "privateKey": "b"}), "webhook", "privateKey"),
        (policy(tls={"mode": "SIMPLE", "credentialName": "configmap://a"}), "unsupported", "credentialName"),
        ({"host": "a", "workloadSelector": {"matchLabels": {"a": "b"}}, "subsets": [
            {"name": "v", "trafficPolicy": {"portLevelSettings": [
                {"port": {"number": 80}, "tls": {"mode": "SIMPLE", "credentialName": "s"}}]}}]},
         "unsupported", "spec.subsets[0].trafficPolicy.portLevelSettings[0].tls.credentialName"),
        (policy(loadBalancer={"backendUtilization": {}}), "unsupported", "loadBalancer.backendUtilization"),
        (policy(loadBalancer={"backendUtilization": {}, "simple": "RANDOM"}), "schema", "spec.trafficPolicy.loadBalancer"),
        (policy(loadBalancer={"warmup": {}}), "schema", "duration"),
        (policy(loadBalancer={"warmup": {"duration": "0s"}}), "schema", "warmup.duration"),
        (policy(loadBalancer={"warmupDurationSecs": "0s"}), "schema", "warmupDurationSecs"),
        (policy(loadBalancer={"zoneAwareLbSetting": {"minClusterSize": 0}}), "schema", "minClusterSize"),
        (policy(retryBudget={"percent": 101}), "schema", "retryBudget.percent"),
        (policy(retryBudget={"percent": {"value": 10}}), "schema", "retryBudget.percent"),
        (policy(connectionPool={"tcp": {"tcpKeepalive": {"time": "0s"}}}), "schema", "time"),
    ],
)  # fmt: skip
def test_destination_rules_that_are_refused(spec: dict[str, Any], by: str, words: str) -> None:
    decision = decide("DestinationRule", spec)
    assert decision.refused_by == by, decision
    assert words in decision.refused


@pytest.mark.parametrize(
    ("spec", "count"),
    [
        (policy(connectionPool={"tcp": {"idleTimeout": "0s"}}), 0),
        (policy(retryBudget={"percent": 10}), 0),
        (policy(loadBalancer={"consistentHash": {"useSourceIp": True, "minimumRingSize": 2}}), 1),
        ({"host": "a", "subsets": [{"name": "v", "trafficPolicy": {"outlierDetection": {"consecutiveErrors": 1}}}]}, 0),
        ({"host": "*.local", "workloadSelector": {"matchLabels": {"a": "b"}}, "exportTo": ["."]}, 0),
        ({"host": "a", "workloadSelector": {}}, 1),
    ],
)
def test_destination_rules_that_are_accepted(spec: dict[str, Any], count: int) -> None:
    decision = decide("DestinationRule", spec)
    assert decision.refused is None
    assert len(decision.warnings) == count


@pytest.mark.parametrize(
    ("spec", "by", "words"),
    [
        ({}, "webhook", "says something"),
        ({"egress": [{"hosts": []}]}, "webhook", "spec.egress[0].hosts"),
        ({"egress": [{"hosts": ["shop"]}]}, "webhook", "shop"),
        ({"egress": [{"hosts": ["a_b/*"]}]}, "webhook", "a_b"),
        ({"egress": [{"hosts": ["./*"]}, {"hosts": ["./*"]}]}, "webhook", "spec.egress[0]"),
        ({"egress": [{"hosts": ["./*"], "port": {"number": 80}}]}, "unsupported", "spec.egress[0].port"),
        ({"ingress": [{"port": {"number": 80}}]}, "unsupported", "spec.ingress"),
        ({"egress": [{"hosts": ["./*"], "captureMode": "NONE"}]}, "unsupported", "captureMode"),
    ],
)
def test_sidecars_that_are_refused(spec: dict[str, Any], by: str, words: str) -> None:
    decision = decide("Sidecar", spec)
    assert decision.refused_by == by, decision
    assert words in decision.refused


def test_sidecars_that_are_accepted() -> None:
    assert decide("Sidecar", {"egress": [{"hosts": ["./*", "~other/*", "*/a.com", "istio-system/*"]}]}) == Admission()
    assert len(decide("Sidecar", {"egress": [{"hosts": ["./a.com", "./a.com", "*/*"]}]}).warnings) == 2


def http_route(**fields: Any) -> dict[str, Any]:
    parent = {"group": "", "kind": "Service", "name": "a", "port": 80}
    return {"parentRefs": [parent], "rules": [{"backendRefs": [{"name": "a", "port": 80}], **fields}]}


@pytest.mark.parametrize(
    ("spec", "by", "words"),
    [
        (http_route(backendRefs=[{"name": "a"}]), "webhook", "backendRefs[0].port"),
        (http_route(matches=[{"path": {"value": "a"}}]), "webhook", "slash"),
        (http_route(timeouts={"request": "1s", "backendRequest": "2s"}), "webhook", "backendRequest"),
        (http_route(filters=[{"type": "RequestMirror"}]), "webhook", "requestMirror"),
        (http_route(filters=[{"type": "RequestRedirect", "requestRedirect": {}}]), "webhook", "redirects"),
        (http_route(timeouts={"request": "1.5s"}), "schema", "timeouts.request"),
    ],
)
def test_http_routes_that_are_refused(spec: dict[str, Any], by: str, words: str) -> None:
    decision = decide("HTTPRoute", spec)
    assert decision.refused_by == by, decision
    assert words in decision.refused


def test_a_kind_that_needs_a_spec_has_one() -> None:
    bare = {"kind": "HTTPRoute", "metadata": {"name": "x", "namespace": "shop"}}
    for obj in (bare, {**bare, "spec": None}):
        assert admit(obj) == Admission("HTTPRoute x in shop: spec: Required value", "schema")


def test_modes_of_single_ports_name_a_port() -> None:
    chosen = {"selector": {"matchLabels": {"app": "a"}}}
    assert "portLevelMtls" in decide("PeerAuthentication", {**chosen, "portLevelMtls": {}}).refused
    assert decide("PeerAuthentication", {**chosen, "portLevelMtls": {"80": {}}}).refused is None


def test_an_http_route_for_a_gateway_touches_no_sidecar() -> None:
    decision = decide("HTTPRoute", {"parentRefs": [{"name": "gateway"}], "rules": []})
    assert decision.refused is None
    assert "Gateway" in decision.warnings[0]


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"filters": [{"type": "ExtensionRef", "extensionRef": {}}]}, "rules[0].filters"),
        ({"sessionPersistence": {"type": "Cookie"}}, "sessionPersistence"),
        (
            {"backendRefs": [{"name": "a", "port": 80, "filters": [{"type": "CORS", "cors": {}}]}]},
            "backendRefs[0].filters",
        ),
    ],
)
def test_what_istio_has_not_of_http_routes_is_taken_with_a_warning(rule: dict[str, Any], words: str) -> None:
    decision = decide("HTTPRoute", http_route(**rule))
    assert decision.refused is None
    assert len(decision.warnings) == 1
    assert words in decision.warnings[0]


def _with(kind: str, spec: dict[str, Any]) -> Admission:
    return admit({"kind": kind, "metadata": {"name": "x", "namespace": "shop"}, "spec": spec})


def _delayed(text: str) -> dict[str, Any]:
    fault = {"fault": {"delay": {"fixedDelay": text, "percentage": {"value": 100}}}}
    return {"hosts": ["a"], "http": [{**ROUTE, **fault}]}


_DURATIONS: list[tuple[str, str, Any]] = [
    ("VirtualService", "spec.http[0].fault.delay.fixedDelay", _delayed),
    ("VirtualService", "spec.http[0].timeout", lambda text: {"hosts": ["a"], "http": [{**ROUTE, "timeout": text}]}),
    (
        "VirtualService",
        "spec.http[0].retries.perTryTimeout",
        lambda text: {"hosts": ["a"], "http": [{**ROUTE, "retries": {"attempts": 1, "perTryTimeout": text}}]},
    ),
    *(
        ("DestinationRule", f"spec.trafficPolicy.{path}", lambda text, path=path: _policy(path, text))
        for path in (
            "outlierDetection.interval", "outlierDetection.baseEjectionTime", "connectionPool.tcp.connectTimeout",
            "connectionPool.tcp.maxConnectionDuration", "connectionPool.tcp.idleTimeout", "connectionPool.http.idleTimeout",
        )
    ),
]  # fmt: skip


def _policy(path: str, text: str) -> dict[str, Any]:
    made: Any = text
    for name in reversed(path.split(".")):
        made = {name: made}
    return {"host": "a", "trafficPolicy": made}


@pytest.mark.parametrize("text", ["-5s", "99999999h", "5 seconds", "5"])
@pytest.mark.parametrize(("kind", "path", "spec"), _DURATIONS, ids=[path for _, path, _ in _DURATIONS])
def test_a_duration_that_istio_refuses_is_refused(kind: str, path: str, spec: Any, text: str) -> None:
    refused = _with(kind, spec(text)).refused
    assert refused is not None
    assert path in refused
    assert text in refused


@pytest.mark.parametrize("text", ["+5s", "5s", "1m30s", ".5s"])
@pytest.mark.parametrize(("kind", "path", "spec"), _DURATIONS, ids=[path for _, path, _ in _DURATIONS])
def test_a_duration_that_go_reads_is_taken(kind: str, path: str, spec: Any, text: str) -> None:
    assert _with(kind, spec(text)).refused is None, path


@pytest.mark.parametrize(
    ("pattern", "taken"), [(r"/a\pL+", True), (r"\Q/a.b\E", True), ("(?=x)y", False), (r"(a)\1", False)]
)
def test_a_regular_expression_is_judged_as_envoy_reads_it(pattern: str, taken: bool) -> None:
    matched = {"hosts": ["a"], "http": [{**ROUTE, "match": [{"uri": {"regex": pattern}}]}]}
    rewritten = {"match": pattern, "rewrite": "/b"}
    rewriting = {"hosts": ["a"], "http": [{**ROUTE, "rewrite": {"uriRegexRewrite": rewritten}}]}
    for spec in (matched, rewriting):
        refused = _with("VirtualService", spec).refused
        assert (refused is None) is taken
        assert taken or "is no regular expression" in str(refused)
