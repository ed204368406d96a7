"""Linkerd's metrics at port 4191: under its names, and true to the requests that were sent."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.tools import LabUnderTest, until

RECORDED = json.loads((Path(__file__).parents[1] / "golden/data/linkerd/metrics.json").read_text())["families"]
NOT_RECORDED = {"tcp_open_connections", "identity_cert_expiration_timestamp_seconds"}
"""linkerd2-proxy has them, but the recording holds HTTP families alone."""
OWNERS = {"dst_deployment", "dst_pod_template_hash"}
"""Whose pod an endpoint is: the recording's pods are nobody's (linkerd2 ``controller/k8s/k8s.go``, ``GetPodLabels``)."""
SAMPLE = re.compile(r"^(\w+?)(_bucket|_sum|_count)?(?:\{(.*)\})? (\S+)$")
BACKENDS = """
apiVersion: v1
kind: Service
metadata: {name: order-stable}
spec: {selector: {app: order-service, version: stable}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: order-canary}
spec: {selector: {app: order-service, version: canary}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: orders}
spec:
  parentRefs: [{name: order-service, kind: Service, group: core, port: 80}]
  rules: [{backendRefs: [{name: order-stable, port: 80, weight: 70}, {name: order-canary, port: 80, weight: 30}]}]
"""
CLOSED = """
apiVersion: v1
kind: Service
metadata: {name: closed, annotations: {retry.linkerd.io/http: 5xx, retry.linkerd.io/limit: "2"}}
spec: {selector: {app: payment-service}, ports: [{name: http, port: 80, targetPort: 7777}]}
"""
SERVER = """
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {name: payments}
spec: {podSelector: {matchLabels: {app: payment-service}}, port: 8080, proxyProtocol: HTTP/1, accessPolicy: ACCESS}
"""
LIMIT = """
apiVersion: policy.linkerd.io/v1alpha1
kind: HTTPLocalRateLimitPolicy
metadata: {name: few}
spec: {targetRef: {group: policy.linkerd.io, kind: Server, name: payments}, total: {requestsPerSecond: 1}}
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[LabUnderTest]:
    lab = LabUnderTest.up("linkerd-metrics", mesh="linkerd")
    yield lab
    lab.down()


@pytest.fixture
def policies(lab: LabUnderTest) -> Iterator[Callable[[str], None]]:
    """Apply Linkerd's own kinds, which the product's client does not know."""
    applied = []

    def apply(text: str) -> None:
        lab.kubectl("apply", "-n", "shop", "-f", "-", stdin=text)
        applied.append(text)

    yield apply
    for text in reversed(applied):
        lab.kubectl("delete", "-n", "shop", "-f", "-", stdin=text)
    lab.in_routes("payment-service", "|payments", gone=True)


@pytest.fixture(autouse=True)
def clean(lab: LabUnderTest) -> Iterator[None]:
    yield
    lab.clean()
    lab.in_routes("client", "HTTPRoute.shop.", gone=True)


def _samples(lab: LabUnderTest, app: str) -> Iterator[tuple[str, str, dict[str, str], float]]:
    address = lab.pod(app)["status"]["podIP"]
    for line in requests.get(f"http://{address}:4191/metrics", timeout=5).text.splitlines():
        if line.startswith("#"):
            continue
        match = SAMPLE.match(line)
        assert match, line
        labels = dict(re.findall(r'(\w+)="([^"]*)"', match[3] or ""))
        yield match[1], match[2] or "", labels, float(match[4])


def _sum(lab: LabUnderTest, app: str, family: str, **labels: str) -> float:
    return sum(
        value
        for name, suffix, seen, value in _samples(lab, app)
        if name + suffix == family and labels.items() <= seen.items()
    )


def _counts(lab: LabUnderTest, app: str, family: str, expected: float, **labels: str) -> None:
    """A request is counted when it is over, a moment after its answer."""
    until(f"{expected} in {family} {labels}", lambda: _sum(lab, app, family, **labels) == expected)


def test_a_split_is_counted_by_backend(lab: LabUnderTest) -> None:
    lab.apply(BACKENDS)
    lab.in_routes("client", "HTTPRoute.shop.orders")
    seen = [lab.get("http://order-service/version").json()["version"] for _ in range(40)]
    route = {"route_kind": "HTTPRoute", "route_name": "orders", "parent_name": "order-service"}
    _counts(lab, "client", "outbound_http_route_request_statuses_total", 40, http_status="200", error="", **route)
    for version in ("stable", "canary"):
        backend = {"backend_name": f"order-{version}", **route}
        count = seen.count(version)
        _counts(lab, "client", "outbound_http_route_backend_requests_total", count, **backend)
        _counts(
            lab, "client", "outbound_http_route_backend_response_statuses_total", count, http_status="200", **backend
        )
        service = {"direction": "outbound", "dst_service": f"order-{version}", "tls": "true"}
        _counts(lab, "client", "request_total", count, **service)
        _counts(lab, "client", "response_total", count, classification="success", status_code="200", **service)
        _counts(lab, "client", "response_latency_ms_count", count, status_code="200", **service)
        balancer = {"backend_name": f"order-{version}", "parent_name": "order-service", "endpoint_state": "ready"}
        _counts(lab, "client", "outbound_http_balancer_endpoints", 1, **balancer)


def test_retries_and_their_end_are_counted(lab: LabUnderTest) -> None:
    lab.apply(CLOSED)
    lab.in_routes("client", '"name": "Service.shop.closed:80"')
    lab.in_listeners("payment-service", "meshed:7777")  # who takes no connection at all is given no request to count
    assert lab.get("http://closed/").status_code == 502
    closed = {"parent_name": "closed", "route_kind": "default", "route_name": "http"}
    _counts(lab, "client", "outbound_http_route_backend_requests_total", 3, **closed)
    _counts(lab, "client", "outbound_http_route_request_statuses_total", 1, http_status="502", **closed)
    _counts(lab, "client", "outbound_http_route_retry_requests_total", 2, **closed)
    _counts(lab, "client", "outbound_http_route_retry_limit_exceeded_total", 1, **closed)
    _counts(lab, "client", "outbound_http_route_retry_successes_total", 0, **closed)
    _counts(lab, "client", "request_total", 3, dst_service="closed")


@pytest.mark.parametrize(("app", "caller"), [("client", "true"), ("client-plain", "no_identity")])
def test_who_is_denied_is_counted_where_it_is_denied(
    lab: LabUnderTest, policies: Callable[[str], None], app: str, caller: str
) -> None:
    policies(SERVER.replace("ACCESS", "deny"))
    lab.in_routes("payment-service", "server|payments")
    assert lab.get("http://payment-service/health", app).status_code == 403
    server = {"srv_kind": "server", "srv_name": "payments", "tls": caller}
    before = {"srv_name": "payments"}
    _counts(lab, "payment-service", "inbound_http_authz_deny_total", 1, **server)
    _counts(lab, "payment-service", "request_total", 0, **before)
    who = "client.shop.serviceaccount.identity.linkerd.cluster.local"
    _counts(lab, "payment-service", "inbound_http_authz_deny_total", float(caller == "true"), client_id=who, **server)


def test_who_is_allowed_is_counted_with_what_allowed_it(lab: LabUnderTest, policies: Callable[[str], None]) -> None:
    policies(SERVER.replace("ACCESS", "all-unauthenticated"))
    lab.in_routes("payment-service", "server|payments")
    allowed = {"srv_name": "payments", "authz_kind": "default", "authz_name": "all-unauthenticated"}
    counted = _sum(lab, "payment-service", "inbound_http_authz_allow_total", **allowed)
    status = lab.get("http://payment-service/health").status_code
    _counts(lab, "payment-service", "inbound_http_authz_allow_total", counted + 1, **allowed)
    _counts(lab, "payment-service", "response_total", 1, status_code=str(status), direction="inbound", **allowed)


def test_who_is_limited_is_counted_and_never_a_request(lab: LabUnderTest, policies: Callable[[str], None]) -> None:
    policies(SERVER.replace("ACCESS", "all-unauthenticated"))
    policies(LIMIT)
    lab.in_routes("payment-service", "HTTPLocalRateLimitPolicy|few")
    requests_before = _sum(lab, "payment-service", "request_total", srv_name="payments", direction="inbound")
    statuses = [lab.get("http://payment-service/health").status_code for _ in range(12)]
    assert 1 <= statuses.count(429) < 12
    limited: dict[str, Any] = {"srv_name": "payments", "ratelimit_name": "few", "ratelimit_scope": "total"}
    _counts(lab, "payment-service", "inbound_http_local_ratelimit_total", statuses.count(429), **limited)
    passed = requests_before + 12 - statuses.count(429)
    _counts(lab, "payment-service", "request_total", passed, srv_name="payments", direction="inbound")


def test_nobody_to_answer_is_told_as_fail_fast(lab: LabUnderTest) -> None:
    lab.apply(
        CLOSED.replace("closed", "empty")
        .replace("payment-service", "nobody")
        .replace("retry.linkerd.io/http: 5xx, ", "")
    )
    lab.in_routes("client", '"name": "Service.shop.empty:80"')
    assert [lab.get("http://empty/").status_code for _ in range(2)] == [504, 503]
    empty = {"parent_name": "empty", "http_status": ""}
    _counts(lab, "client", "outbound_http_route_request_statuses_total", 1, error="FAIL_FAST", **empty)
    _counts(lab, "client", "outbound_http_route_request_statuses_total", 1, error="LOAD_SHED", **empty)


def test_every_family_and_label_is_one_that_linkerd_was_seen_to_serve(lab: LabUnderTest) -> None:
    """Last, so that the pages hold what the tests above have caused."""
    seen = set()
    assert lab.post("http://order-service/checkout").status_code == 200
    for app in ("client", "order-service", "payment-service"):
        for name, suffix, labels, _ in _samples(lab, app):
            seen.add(name)
            if name in NOT_RECORDED:
                continue
            recorded = RECORDED[name]
            assert (suffix != "") == (recorded["type"] == "histogram")
            assert labels.keys() - OWNERS <= recorded["labels"].keys(), name
            assert labels.keys() >= OWNERS or "dst_pod" not in labels, "the shop's pods are of Deployments"
            for label, value in ((label, value) for label, value in labels.items() if label not in OWNERS):
                words = recorded["labels"][label]
                if isinstance(words, list) and label not in {"le", "http_status", "status_code", "grpc_status"}:
                    assert value in words, (name, label)
    assert {"request_total", "response_total", "inbound_http_authz_allow_total", *NOT_RECORDED} <= seen
