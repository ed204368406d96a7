"""Defects of the mesh, in Linkerd's words."""

from __future__ import annotations

from tests.defects.defect import Defect
from tests.defects.of_istio import OF_ISTIO
from tests.defects.scenarios import (
    BROKEN_MANIFEST,
    MUTUAL,
    ONLY_TEAM,
    STRICT_TEAM,
    TEAM_BREAKER,
    TEST_PORT,
)

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
        frozenset({"A timeout for each try is multiplied by the tries, by the team's own manifest"}),
        edits=((f"{_LINKERD}/payment-retries.yaml", "    retry.linkerd.io/timeout: 300ms\n", ""),),
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
