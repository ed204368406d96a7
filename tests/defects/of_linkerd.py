"""Defects of the mesh, in Linkerd's words."""

from __future__ import annotations

from tests.defects.defect import Defect
from tests.defects.of_istio import OF_ISTIO
from tests.defects.scenarios import (
    BROKEN_MANIFEST,
    LIFETIME,
    MUTUAL,
    ONLY_TEAM,
    RENEWED,
    RENEWED_UNDER_LOAD,
    STRICT_TEAM,
    TEAM_BREAKER,
    TEST_PORT,
    TRIES_MANIFEST,
)

NOT_ON_LINKERD = frozenset(
    {
        "Requests beyond the limit are turned away at once",  # it limits rates, not how many are under way
        "The canary gets a copy, and the customer the stable answer",  # it mirrors nothing
    }
)
"""Scenarios that Linkerd cannot do. Any other that is skipped is one that no defect of this mesh would turn red."""
_LINKERD = "manifests/examples/linkerd"
OF_LINKERD = (
    Defect(
        "missing sidecar",
        frozenset({"Every service of the shop is in the mesh", MUTUAL, STRICT_TEAM}),
        annotations={"payment-service": {"linkerd.io/inject": "disabled"}},
        blind=True,
    ),
    Defect(
        "permissive mutual TLS",
        # Of two Servers for one port the older one decides, so the team's own ones do nothing there.
        frozenset({STRICT_TEAM, ONLY_TEAM}),
        objects="""
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {name: left-open, namespace: shop}
spec: {podSelector: {matchLabels: {app: payment-service}}, port: 8080, accessPolicy: all-unauthenticated}
""",
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
        "no time limit for a try",
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
        frozenset({RENEWED, RENEWED_UNDER_LOAD}),
        annotations={
            "notification-service": {
                "config.linkerd.io/proxy-additional-env": '[{"name": "LINKERD2_PROXY_IDENTITY_MAX_REFRESH", "value": "24h"}]'
            }
        },
    ),
    Defect(
        "breaker never opens",
        frozenset({TEAM_BREAKER}),
        edits=((f"{_LINKERD}/payment-breaker.yaml", 'max-failures: "5"', 'max-failures: "500"'),),
        blind=True,  # twenty errors in a row are no proof that it would not open at the five hundredth
    ),
    Defect(
        "breaker never closes",
        frozenset({TEAM_BREAKER}),
        edits=(
            (f"{_LINKERD}/payment-breaker.yaml", "min-penalty: 5s", "min-penalty: 1h"),
            (f"{_LINKERD}/payment-breaker.yaml", "max-penalty: 60s", "max-penalty: 2h"),
        ),
    ),
    Defect(
        "wrong canary weight",
        frozenset({"A canary gets its share, from the guide's manifest"}),
        edits=(
            (f"{_LINKERD}/canary-90-10.yaml", "weight: 90", "weight: 50"),
            (f"{_LINKERD}/canary-90-10.yaml", "weight: 10", "weight: 50"),
        ),
    ),
    Defect(
        "canary ignored",
        frozenset({"A canary gets its share, from the guide's manifest"}),
        edits=((f"{_LINKERD}/canary-90-10.yaml", "version: canary", "version: stable"),),
    ),
    Defect(
        "fault on the wrong host",
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
        frozenset({"Every service's responses reach Prometheus"}),
        annotations={"payment-service": {"prometheus.io/scrape": "false"}},
    ),
    next(defect for defect in OF_ISTIO if defect.name == "zero traffic"),
)
