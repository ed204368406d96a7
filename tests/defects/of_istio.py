"""Defects of the mesh, in Istio's words."""

from __future__ import annotations

from tests.defects.defect import Defect
from tests.defects.scenarios import (
    AGAIN,
    BROKEN,
    BROKEN_MANIFEST,
    FLAKY,
    FLAKY_MANIFEST,
    HANGS,
    LIFETIME,
    MUTUAL,
    ONLY,
    ONLY_TEAM,
    RENEWED,
    RENEWED_UNDER_LOAD,
    STRICT_TEAM,
    TEAM_BREAKER,
    TEST_PORT,
    TRIES_MANIFEST,
)

OF_ISTIO = (
    Defect(
        "missing sidecar",
        frozenset({"Every service of the shop is in the mesh", MUTUAL, STRICT_TEAM}),
        labels={"payment-service": {"sidecar.istio.io/inject": "false"}},
        blind=True,
    ),
    Defect(
        "mutual TLS off",
        # Without a certificate there is no principal: a policy that names one denies whoever calls. Scenarios that set
        # the mode themselves change this exception as well, as a step's words demand, and cannot see it.
        frozenset({MUTUAL, STRICT_TEAM, ONLY, ONLY_TEAM}),
        unanswered=frozenset({TEST_PORT}),  # the older policy for the pods decides: the team's own one never arrives
        objects="""
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: left-off, namespace: shop}
spec: {selector: {matchLabels: {app: payment-service}}, mtls: {mode: DISABLE}}
""",
    ),
    Defect(
        "permissive mutual TLS",
        frozenset({STRICT_TEAM}),
        unanswered=frozenset({TEST_PORT}),  # as above
        objects="""
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: left-open, namespace: shop}
spec: {selector: {matchLabels: {app: payment-service}}, mtls: {mode: PERMISSIVE}}
""",
    ),
    Defect(
        "wrong principal allowed",
        frozenset({ONLY_TEAM}),
        edits=(("manifests/examples/payment-access.yaml", "sa/order-service", "sa/client"),),
    ),
    Defect(
        "wrong port open",
        frozenset({TEST_PORT}),
        edits=(("manifests/examples/payment-test-port.yaml", "mode: STRICT", "mode: PERMISSIVE"),),
    ),
    Defect(
        "too little time for a try",
        frozenset({TRIES_MANIFEST}),
        edits=(("manifests/examples/payment-retries.yaml", "perTryTimeout: 300ms", "perTryTimeout: 100ms"),),
    ),
    Defect(
        "short-lived certificate",
        frozenset({LIFETIME}),
        annotations={"payment-service": {"proxy.istio.io/config": "{proxyMetadata: {SECRET_TTL: 30m}}"}},
    ),
    Defect(
        "certificate not renewed",
        frozenset({RENEWED, RENEWED_UNDER_LOAD}),
        annotations={"notification-service": {"proxy.istio.io/config": "{proxyMetadata: {SECRET_TTL: 24h}}"}},
    ),
    Defect(
        "breaker never opens",
        frozenset({TEAM_BREAKER}),
        edits=(("manifests/examples/payment-breaker.yaml", "maxEjectionPercent: 100", "maxEjectionPercent: 10"),),
    ),
    Defect(
        "breaker never closes",
        frozenset({TEAM_BREAKER}),
        edits=(("manifests/examples/payment-breaker.yaml", "baseEjectionTime: 2s", "baseEjectionTime: 1h"),),
    ),
    Defect(
        "wrong canary weight",
        frozenset({"A canary gets its share, from the guide's manifest"}),
        edits=(
            ("manifests/examples/canary-90-10.yaml", "weight: 90", "weight: 50"),
            ("manifests/examples/canary-90-10.yaml", "weight: 10", "weight: 50"),
        ),
    ),
    Defect(
        "canary ignored",
        # The guide's manifest brings a rule of this name, with the right labels: it sees nothing of this one.
        frozenset({"A tenth of the customers see the canary"}),
        objects="""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: order-service, namespace: shop}
spec:
  host: order-service
  subsets:
  - {name: stable, labels: {version: stable}}
  - {name: canary, labels: {version: stable}}
""",
    ),
    Defect(
        "fault on the wrong host",
        frozenset({BROKEN_MANIFEST}),
        edits=(("manifests/examples/payment-fails-500.yaml", "payment-service", "notification-service"),),
    ),
    Defect(
        "telemetry missing",
        frozenset({"Every service's own metrics reach Prometheus"}),
        annotations={"payment-service": {"prometheus.io/scrape": "false"}},
        # A query that finds nothing, or holds only without the pod that is not scraped, says nothing: the claims name the pod.
        unanswered=frozenset({"Prometheus knows the requests", "Latency is in a histogram"}),
    ),
    Defect(
        "stale route",
        # Envoy refuses this listener and keeps the one it has, with its route: no change of the inbound side arrives.
        frozenset({ONLY, ONLY_TEAM, STRICT_TEAM}),
        objects="""
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: refused, namespace: shop}
spec:
  workloadSelector: {labels: {app: payment-service}}
  configPatches:
  - applyTo: HTTP_FILTER
    match:
      context: SIDECAR_INBOUND
      listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager}}}
    patch:
      operation: INSERT_BEFORE
      value:
        name: refused
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault
          abort: {http_status: 700, percentage: {numerator: 0}}
""",
        blind=True,
    ),
    Defect(
        "zero traffic",
        frozenset({BROKEN, BROKEN_MANIFEST, FLAKY, FLAKY_MANIFEST, AGAIN, HANGS}),
        edits=(
            (
                "features/faults/payment_fails.feature",
                "POST http://order-service/checkout",
                "GET http://order-service/version",
            ),
        ),
        blind=True,
    ),
)
