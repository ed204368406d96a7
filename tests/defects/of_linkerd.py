"""Defects of the mesh, in Linkerd's words: resources, marks of pods, a team's own manifests, and what steps write.

Linkerd has one place for a timeout, for retries and for a breaker, the annotations of the Service, and the steps write there.
Nothing beside them overrides these; so for such a defect the step itself says the wrong thing.
"""

from __future__ import annotations

from tests.defects.defect import Defect
from tests.defects.scenarios import (
    ALL_STABLE,
    ALL_TRIES,
    ANSWERED,
    BROKEN_MANIFEST,
    CANARY_MANIFEST,
    CLOSED,
    CYCLE,
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
    QUERIED_LINKERD,
    RENEWED,
    RETRIED,
    SCRAPED_LINKERD,
    SMALL_PAGE,
    START,
    STRICT,
    STRICT_TEAM,
    TEAM_BREAKER,
    TENTH,
    TEST_PORT,
    TEST_SERVICE,
    TRACE,
    TRIES_MANIFEST,
    TURNED_AWAY,
)

NOT_ON_LINKERD = frozenset(
    {
        "Requests beyond the limit are turned away at once",  # it limits rates, not how many are under way
        "The canary gets a copy, and the customer the stable answer",  # it mirrors nothing
    }
)
"""Scenarios that Linkerd cannot do. Any other that is skipped is one that no defect of this mesh would turn red."""
_LINKERD = "manifests/examples/linkerd"
_TIMEOUTS = "features/resilience/timeouts_and_retries.feature"
_BREAKER = "features/resilience/circuit_breaker.feature"
_GRPC = "features/faults/grpc.feature"
_CANARY = "features/traffic/canary.feature"
_OVERHEAD = "features/load/sidecar_overhead.feature"
UNANSWERED = frozenset({"breaker never opens", "a sidecar that is slow", "a sidecar that takes longer than it may"})
"""Defects of this mesh that may leave a scenario without an answer, for the reason that stands at each."""
NEVER_RED = frozenset({MUTUAL, SMALL_PAGE, START})
"""Scenarios that are never green where they should not be, and never proved red: between two proxies of Linkerd's nothing but
mutual TLS is spoken, and where one is missing nobody counted the calls; for the others see their defects."""
_OF_THE_MESH = (
    Defect(
        "missing sidecar",
        frozenset({IN_THE_MESH, ANSWERED, TEST_SERVICE, SCRAPED_LINKERD}),
        annotations={"payment-service": {"linkerd.io/inject": "disabled"}},
        # What a proxy is to do is not written where there is none.
        refused=frozenset({TURNED_AWAY, ONLY}),
        # No proxy takes a policy, has a certificate, counts a call or logs one.
        unanswered=frozenset(
            {
                STRICT,
                STRICT_TEAM,
                ONLY_TEAM,
                MUTUAL,
                LIFETIME,
                TEST_PORT,
                LOGGED,
                TRACE,
                QUERIED_LINKERD,
            }
        ),
    ),
    Defect(
        "permissive mTLS",
        frozenset(),
        objects="""
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {name: left-open, namespace: shop}
spec: {podSelector: {matchLabels: {app: payment-service}}, port: 8080, accessPolicy: all-unauthenticated}
""",
        # Of two Servers for one port the older one decides: the team's own ones would do nothing there.
        refused=frozenset({STRICT_TEAM, ONLY_TEAM}),
    ),
    Defect(
        "permissive mTLS: of one port",
        frozenset({STRICT_TEAM}),
        edits=(
            (
                f"{_LINKERD}/strict-mutual-tls.yaml",
                "port: grpc\n  accessPolicy: all-authenticated",
                "port: grpc\n  accessPolicy: all-unauthenticated",
            ),
        ),
    ),
    Defect(
        "wrong principal allowed",
        frozenset({ONLY_TEAM}),
        edits=(
            (
                f"{_LINKERD}/payment-access.yaml",
                "kind: ServiceAccount\n    name: order-service",
                "kind: ServiceAccount\n    name: client",
            ),
        ),
    ),
    Defect(
        "wrong port open",
        frozenset({TEST_PORT}),
        edits=((f"{_LINKERD}/payment-test-port.yaml", "all-authenticated", "all-unauthenticated"),),
    ),
    Defect(
        "no timeout: of a try",
        frozenset({TRIES_MANIFEST}),
        edits=((f"{_LINKERD}/payment-retries.yaml", "    retry.linkerd.io/timeout: 300ms\n", ""),),
    ),
    Defect(
        "short-lived certificates",
        frozenset({LIFETIME}),
        # One lifetime for all; a pod has it once its proxy has asked for a certificate again, as a new one does.
        annotations={"payment-service": {"shop.example/restarted-for": "certificates of half an hour"}},
        installed="""
apiVersion: v1
kind: ConfigMap
metadata: {name: linkerd-config, namespace: linkerd}
data: {values: "identity: {issuer: {issuanceLifetime: 30m0s}}"}
""",
    ),
    Defect(
        "certificate not renewed",
        frozenset({RENEWED}),
        annotations={
            "notification-service": {
                "config.linkerd.io/proxy-additional-env": '[{"name": "LINKERD2_PROXY_IDENTITY_MAX_REFRESH", "value": "24h"}]'
            }
        },
    ),
    Defect(
        "breaker never opens: the team's own",
        frozenset(),
        edits=((f"{_LINKERD}/payment-breaker.yaml", 'max-failures: "5"', 'max-failures: "500"'),),
        # Linkerd's breaker looks at failures in a row alone, so one that never opens is one that asks for more than anybody
        # sends; and that it would not have opened at the five hundredth is more than twenty can prove.
        unanswered=frozenset({TEAM_BREAKER}),
    ),
    Defect(
        "breaker never closes: the team's own",
        frozenset({TEAM_BREAKER}),
        edits=(
            (f"{_LINKERD}/payment-breaker.yaml", "min-penalty: 5s", "min-penalty: 1h"),
            (f"{_LINKERD}/payment-breaker.yaml", "max-penalty: 60s", "max-penalty: 2h"),
        ),
    ),
    Defect(
        "wrong canary weight",
        frozenset({CANARY_MANIFEST}),
        edits=(
            (f"{_LINKERD}/canary-90-10.yaml", "weight: 90", "weight: 50"),
            (f"{_LINKERD}/canary-90-10.yaml", "weight: 10", "weight: 50"),
        ),
    ),
    Defect(
        "canary ignored",
        frozenset({CANARY_MANIFEST}),
        edits=((f"{_LINKERD}/canary-90-10.yaml", "version: canary", "version: stable"),),
    ),
    Defect(
        "fault on wrong host",
        frozenset({BROKEN_MANIFEST}),
        edits=(
            (
                f"{_LINKERD}/payment-fails-500.yaml",
                "name: payment-service\n    port",
                "name: notification-service\n    port",
            ),
        ),
    ),
    Defect(
        "telemetry missing",
        frozenset({SCRAPED_LINKERD}),
        annotations={"notification-service": {"prometheus.io/scrape": "false"}},
    ),
)
_OF_STEPS = (
    Defect(
        "no retry: in the steps",
        frozenset({RETRIED, ALL_TRIES, HIDDEN, HIDDEN_GRPC}),
        edits=(
            (_TIMEOUTS, "are retried up to 3 times", "are retried up to 1 times"),
            (_TIMEOUTS, "calls to payment-service are retried up to 5 times\n    And ", ""),
            (_GRPC, "calls to payment-service are retried up to 5 times\n    And ", ""),
        ),
    ),
    Defect(
        "timeout too long: in a step",
        frozenset({IN_TIME}),
        edits=((_TIMEOUTS, "time out after 500ms", "time out after 5s"),),
    ),
    Defect(
        "breaker never closes: in the steps",
        frozenset({CYCLE, CLOSED}),
        edits=((_BREAKER, "errors for 2s", "errors for 60s"),),
    ),
    Defect(
        "breaker opens too early",
        frozenset({FEW_ERRORS}),
        edits=((_BREAKER, "5 consecutive errors for 5s", "2 consecutive errors for 5s"),),
    ),
    Defect(
        "half of the customers see the canary",
        frozenset({TENTH, ALL_STABLE}),
        edits=(
            (_CANARY, "90% to stable and 10% to canary", "50% to stable and 50% to canary"),
            (_CANARY, "100% to stable and 0% to canary", "50% to stable and 50% to canary"),
        ),
    ),
    Defect(
        "a sidecar that is slow",
        frozenset(),
        # No resource of Linkerd's slows a proxy; a step can slow what only proxies meet, and is known for it.
        edits=(
            (
                _OVERHEAD,
                '    When "version" is sent',
                '    Given order-service is slowed by 100ms\n    When "version" is sent',
            ),
        ),
        unanswered=frozenset({SMALL_PAGE}),
    ),
    Defect(
        "a sidecar that takes longer than it may",
        frozenset(),
        edits=((_OVERHEAD, "less than 2s", "less than 1ms"),),
        # No mark of a pod makes a proxy of Linkerd's start late, so the limit is too low instead; that it took longer than one
        # millisecond shows only where a machine does nothing else.
        unanswered=frozenset({START}),
    ),
)
OF_LINKERD = (*_OF_THE_MESH, *_OF_STEPS)
