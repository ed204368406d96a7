"""Defects of the mesh, in Istio's words: resources that stand in the namespace, marks of pods, a team's own manifests."""

from __future__ import annotations

from tests.defects.defect import Defect
from tests.defects.scenarios import (
    ALL_STABLE,
    ALL_TRIES,
    ANSWERED,
    AT_SERVER,
    BACK,
    BROKEN_MANIFEST,
    CANARY_MANIFEST,
    CLOSED,
    COPY,
    CYCLE,
    DATA_TURNED_AWAY,
    FAILS_FAST,
    FEW_ERRORS,
    HIDDEN,
    HIDDEN_GRPC,
    IN_THE_MESH,
    IN_TIME,
    LIFETIME,
    LOGGED,
    MUTUAL,
    ONLY,
    ONLY_TEAM,
    QUERIED,
    RENEWED,
    RETRIED,
    SCRAPED,
    SMALL_PAGE,
    START,
    STRICT,
    STRICT_TEAM,
    TEAM_BREAKER,
    TENTH,
    TEST_CLIENT,
    TEST_PORT,
    TEST_SERVICE,
    TRACE,
    TRIES_MANIFEST,
    TURNED_AWAY,
)

_EXAMPLES = "manifests/examples"
_OVERHEAD = "features/load/sidecar_overhead.feature"


def _peers(app: str, mode: str) -> str:
    """An exception for the pods of one service."""
    return f"""
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: {app}, namespace: shop}}
spec: {{selector: {{matchLabels: {{app: {app}}}}}, mtls: {{mode: {mode}}}}}
"""


def _patch(apply_to: str, match: str, value: str) -> str:
    """Something in every caller's sidecar that overrides what VirtualServices and DestinationRules say."""
    return f"""
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {{name: patched-{apply_to.lower().replace("_", "-")}, namespace: shop}}
spec:
  configPatches:
  - applyTo: {apply_to}
    match: {{context: SIDECAR_OUTBOUND, {match}}}
    patch: {{operation: MERGE, value: {value}}}
"""


def _routes(action: str) -> str:
    """Of all routes of port 80; only what leads to payment-service has a timeout or retries that a scenario looks at."""
    return _patch("HTTP_ROUTE", "routeConfiguration: {vhost: {route: {action: ROUTE}}}", f"{{route: {action}}}")


def _breakers(settings: str) -> str:
    match = "cluster: {service: payment-service.shop.svc.cluster.local}"
    return _patch("CLUSTER", match, f"{{outlier_detection: {settings}}}")


def _subsets(stable: str, canary: str) -> str:
    """Which pods are which version; the guide's own manifest brings a rule of this name, and sees nothing of this one."""
    return f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: order-service, namespace: shop}}
spec:
  host: order-service
  subsets:
  - {{name: stable, labels: {{{stable}}}}}
  - {{name: canary, labels: {{{canary}}}}}
"""


_OF_POLICIES = (
    Defect(
        "no timeout: taken off by an EnvoyFilter",
        frozenset({IN_TIME, ALL_TRIES}),
        objects=_routes("{timeout: 0s}"),
        narrow=True,
    ),
    Defect(
        "no retry: of what an EnvoyFilter leaves out",
        frozenset({RETRIED, ALL_TRIES, HIDDEN, HIDDEN_GRPC, TRIES_MANIFEST}),
        objects=_routes("{retry_policy: {retry_on: connect-failure}}"),
        narrow=True,
    ),
    Defect(
        "too little time for a try",
        frozenset({TRIES_MANIFEST}),
        edits=((f"{_EXAMPLES}/payment-retries.yaml", "perTryTimeout: 300ms", "perTryTimeout: 100ms"),),
    ),
    Defect(
        "breaker never opens: the team's own",
        frozenset({TEAM_BREAKER}),
        edits=((f"{_EXAMPLES}/payment-breaker.yaml", "maxEjectionPercent: 100", "maxEjectionPercent: 10"),),
    ),
    Defect(
        "breaker never opens: by an EnvoyFilter",
        frozenset({CYCLE, FAILS_FAST, CLOSED, TEAM_BREAKER}),
        objects=_breakers("{max_ejection_percent: 10}"),
        narrow=True,
    ),
    Defect(
        "breaker never closes: the team's own",
        frozenset({TEAM_BREAKER}),
        edits=((f"{_EXAMPLES}/payment-breaker.yaml", "baseEjectionTime: 2s", "baseEjectionTime: 1h"),),
    ),
    Defect(
        "breaker never closes: by an EnvoyFilter",
        frozenset({CYCLE, CLOSED, TEAM_BREAKER}),
        objects=_breakers("{base_ejection_time: 3600s, max_ejection_time: 3600s}"),
        narrow=True,
    ),
    Defect(
        "breaker opens too early",
        frozenset({FEW_ERRORS}),
        objects=_breakers("{consecutive_5xx: 2}"),
        narrow=True,
    ),
)
_OF_VERSIONS = (
    Defect(
        "wrong canary weight",
        frozenset({CANARY_MANIFEST}),
        edits=(
            (f"{_EXAMPLES}/canary-90-10.yaml", "weight: 90", "weight: 50"),
            (f"{_EXAMPLES}/canary-90-10.yaml", "weight: 10", "weight: 50"),
        ),
    ),
    Defect(
        "canary ignored",
        frozenset({TENTH, COPY}),
        objects=_subsets("version: stable", "version: stable"),
        narrow=True,
    ),
    Defect(
        "canary among the stable pods",
        frozenset({TENTH, ALL_STABLE, COPY}),
        objects=_subsets("app: order-service", "version: canary"),
        narrow=True,
    ),
    Defect(
        "fault on wrong host",
        frozenset({BROKEN_MANIFEST}),
        edits=((f"{_EXAMPLES}/payment-fails-500.yaml", "payment-service", "notification-service"),),
    ),
)
_OF_SECURITY = (
    # A step that sets the mode changes exceptions as well, as its words demand, and cannot see these.
    Defect(
        "mutual TLS off",
        frozenset({MUTUAL, STRICT_TEAM}),
        objects=_peers("order-service", "DISABLE"),
        narrow=True,
    ),
    Defect(
        "permissive mTLS",
        frozenset({STRICT_TEAM}),
        objects=_peers("order-service", "PERMISSIVE"),
        narrow=True,
    ),
    Defect(
        "strict mTLS where plaintext is needed",
        frozenset({BACK}),
        objects=_peers("notification-service", "STRICT"),
        narrow=True,
    ),
    Defect(
        "mutual TLS off: at the callers",
        # Without a certificate there is no principal: a policy that names one denies whoever calls. Of two rules for a
        # host Istio takes the older one's policy, so the team's breaker is not in force either.
        frozenset({MUTUAL, ONLY, ONLY_TEAM, TEAM_BREAKER}),
        objects="""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: plaintext, namespace: shop}
spec: {host: payment-service, trafficPolicy: {tls: {mode: DISABLE}}}
""",
        narrow=True,
        refused=frozenset(
            {STRICT, STRICT_TEAM, TURNED_AWAY, ANSWERED, DATA_TURNED_AWAY, TEST_PORT, TEST_SERVICE, TEST_CLIENT}
        ),  # nobody could call payment-service any more
    ),
    Defect(
        "wrong principal allowed",
        frozenset({ONLY_TEAM}),
        edits=((f"{_EXAMPLES}/payment-access.yaml", "sa/order-service", "sa/client"),),
    ),
    Defect(
        "wrong port open",
        frozenset({TEST_PORT}),
        edits=((f"{_EXAMPLES}/payment-test-port.yaml", "mode: STRICT", "mode: PERMISSIVE"),),
    ),
    Defect(
        "short-lived certificate",
        frozenset({LIFETIME}),
        annotations={"payment-service": {"proxy.istio.io/config": "{proxyMetadata: {SECRET_TTL: 30m}}"}},
    ),
    Defect(
        "certificate not renewed",
        frozenset({RENEWED}),
        annotations={"notification-service": {"proxy.istio.io/config": "{proxyMetadata: {SECRET_TTL: 24h}}"}},
    ),
)
_OF_PODS = (
    Defect(
        "missing sidecar",
        frozenset({IN_THE_MESH, MUTUAL, STRICT, STRICT_TEAM, ANSWERED, TEST_PORT, TEST_SERVICE, SCRAPED}),
        labels={"payment-service": {"sidecar.istio.io/inject": "false"}},
        # What a sidecar is to do is not written where there is none.
        refused=AT_SERVER | {TURNED_AWAY, ONLY},
        # No proxy takes a policy, has a certificate, counts a call or logs one.
        unanswered=frozenset({ONLY_TEAM, LIFETIME, LOGGED, TRACE, QUERIED}),
    ),
    Defect(
        "telemetry missing",
        # A query about another service does not miss what this one would have told.
        frozenset({SCRAPED}),
        annotations={"notification-service": {"prometheus.io/scrape": "false"}},
    ),
    Defect(
        "a sidecar that takes its time",
        frozenset({START}),
        # So much later that the slowest start without a sidecar, on a busy machine, is no excuse.
        annotations={"notification-service": {"readiness.status.sidecar.istio.io/initialDelaySeconds": "6"}},
    ),
    Defect(
        "a sidecar that is slow",
        frozenset({SMALL_PAGE}),
        edits=((_OVERHEAD, "order-service/version\n", "order-service/version\n      X-Page: small\n"),),
        objects="""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: order-service, namespace: shop}
spec:
  hosts: [order-service]
  http:
  - match: [{headers: {x-page: {exact: small}}}]
    fault: {delay: {fixedDelay: 0.1s, percentage: {value: 100}}}
    route: [{destination: {host: order-service}}]
  - route: [{destination: {host: order-service}}]
""",
        narrow=True,
    ),
    Defect(
        "stale route",
        frozenset(),
        objects="""
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: refused, namespace: shop}
spec:
  workloadSelector: {labels: {app: order-service}}
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
        # Envoy refuses this listener and keeps the one it has, with its routes: no mode that is set for all arrives there.
        unanswered=frozenset({STRICT, STRICT_TEAM, ANSWERED, DATA_TURNED_AWAY, TEST_SERVICE, TEST_CLIENT}),
    ),
)
OF_ISTIO = (*_OF_POLICIES, *_OF_VERSIONS, *_OF_SECURITY, *_OF_PODS)
