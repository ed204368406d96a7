"""HTTPRoutes, delegates, Sidecars and rules for single workloads, by traffic."""

from __future__ import annotations

import pytest

from tests.tools import LabUnderTest, until

CHARGE = "http://payment-service/charge"
HTTP_ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: payment}
spec:
  parentRefs: [{group: "", kind: Service, name: payment-service, port: 80}]
  rules:
  - matches: [{headers: [{name: x-user, value: qa}]}]
    filters:
    - {type: RequestRedirect, requestRedirect: {path: {type: ReplaceFullPath, replaceFullPath: /elsewhere}, statusCode: 302}}
  - matches: [{path: {type: PathPrefix, value: /nowhere}}]
    backendRefs: [{name: nobody, port: 80}]
  - matches: [{path: {type: PathPrefix, value: /prefix}}]
    filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}]
    backendRefs: [{name: payment-service, port: 80}]
  - matches: [{path: {type: PathPrefix, value: /empty}}]
    backendRefs: [{name: payment-service, port: 80, weight: 0}]
  - backendRefs: [{name: payment-service, port: 80}]
"""
DELEGATED = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: root}
spec:
  hosts: [payment-service]
  http:
  - {match: [{uri: {prefix: /charge}}], delegate: {name: charge}}
  - {route: [{destination: {host: payment-service}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: charge}
spec:
  http:
  - match: [{headers: {x-user: {exact: qa}}}]
    directResponse: {status: 299}
  - route: [{destination: {host: payment-service}}]
"""
SIDECAR = """
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: client}
spec:
  workloadSelector: {labels: {app: client}}
  egress: [{hosts: ["./payment-service.shop.svc.cluster.local"]}]
  outboundTrafficPolicy: {mode: REGISTRY_ONLY}
"""
FOR_ONE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: client-only}
spec:
  host: payment-service
  workloadSelector: {matchLabels: {app: client}}
  trafficPolicy: {connectionPool: {http: {http2MaxRequests: 77}}}
"""


def test_an_http_route_is_obeyed(lab: LabUnderTest) -> None:
    lab.kubectl("apply", "-f", "-", stdin=HTTP_ROUTE)
    try:
        until("the route", lambda: lab.post(CHARGE, headers={"x-user": "qa"}, allow_redirects=False).status_code == 302)
        answer = lab.post(CHARGE, headers={"x-user": "qa"}, allow_redirects=False)
        assert answer.headers["location"] == "http://payment-service/elsewhere"
        assert lab.post(CHARGE).status_code == 200
        assert lab.get("http://payment-service/nowhere").status_code == 500
        assert lab.get("http://payment-service/empty").status_code == 500
        assert lab.get("http://payment-service/prefix/healthz").status_code == 200
        # A prefix ends where a segment ends.
        assert lab.get("http://payment-service/prefixes/healthz").status_code == 404
        shown = lab.kubectl("get", "httproutes.v1beta1.gateway.networking.k8s.io", "payment", "-o", "yaml").stdout
        assert "weight: 1" in shown
    finally:
        lab.kubectl("delete", "httproute", "payment")
    until("its absence", lambda: lab.get("http://payment-service/nowhere").status_code == 404)


def test_a_delegate_stands_for_the_roots_rule(lab: LabUnderTest) -> None:
    lab.apply(DELEGATED)
    until("the delegate", lambda: lab.post(CHARGE, headers={"x-user": "qa"}).status_code == 299)
    assert lab.post(CHARGE).status_code == 200
    assert lab.get("http://payment-service/healthz", headers={"x-user": "qa"}).status_code == 200


def test_a_sidecar_hides_what_it_does_not_import(lab: LabUnderTest) -> None:
    assert lab.get("http://inventory-service/healthz").status_code == 200
    lab.apply(SIDECAR)
    until("the narrow view", lambda: lab.get("http://inventory-service/healthz").status_code == 502)
    assert lab.post(CHARGE).status_code == 200
    assert lab.get("http://inventory-service/healthz", "order-service").status_code == 200
    assert "inventory-service" not in lab.admin("client", "/clusters")


STRICT = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict}
spec: {selector: {matchLabels: {app: inventory-service}}, mtls: {mode: STRICT}}
"""


@pytest.mark.parametrize(
    "host", ["inventory-service", "inventory-service.shop:80", "inventory-service.shop.svc.cluster.local"]
)
def test_what_a_sidecar_hides_is_called_past_the_mesh_where_every_host_is_allowed(lab: LabUnderTest, host: str) -> None:
    """Istio's sidecar passes the connection on to the Service's address, in plaintext."""
    lab.apply(SIDECAR.replace("  outboundTrafficPolicy: {mode: REGISTRY_ONLY}\n", ""))
    until("the narrow view", lambda: "outbound|80||inventory-service" not in lab.admin("client", "/clusters"))
    assert lab.get(f"http://{host}/healthz").status_code == 200
    assert lab.get("http://no-such-service/healthz").status_code == 503
    lab.apply(STRICT)
    until("the end of plaintext", lambda: lab.get(f"http://{host}/healthz").status_code == 503)


def test_a_rule_for_one_workload_is_nobody_elses(lab: LabUnderTest) -> None:
    lab.apply(FOR_ONE)
    name = "outbound|80||payment-service.shop.svc.cluster.local::default_priority::max_requests::"
    until("the limit", lambda: f"{name}77" in lab.admin("client", "/clusters"))
    assert f"{name}77" not in lab.admin("order-service", "/clusters")
