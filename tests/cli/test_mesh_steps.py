"""What the mesh says of itself, asked as a tester asks: true where it is true, red where it is not, else inconclusive."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.test_commands import CHECKOUT, folder, meshbdd
from tests.tools import LabUnderTest, until

__all__ = ["folder"]

SEND = '    When "checkout" is sent 5 times\n'
STRICT = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict, namespace: shop}
spec: {mtls: {mode: STRICT}}
"""
BARE = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: bare, namespace: shop}
spec:
  selector: {matchLabels: {app: bare}}
  template:
    metadata:
      labels: {app: bare, sidecar.istio.io/inject: "false"}
    spec:
      containers: [{name: app, image: meshbdd/shop, args: [payment-service], ports: [{containerPort: 8080}]}]
---
apiVersion: v1
kind: Service
metadata: {name: bare, namespace: shop}
spec: {selector: {app: bare}, ports: [{name: http, port: 80, targetPort: 8080}]}
"""


@pytest.mark.parametrize(
    ("steps", "code", "words"),
    [
        (SEND + '    Then the query "sum(istio_requests_total{destination_service="payment-service"})" is at least 5\n', 4,
         'the nearest series there is has destination_service="payment-service.shop.svc.cluster.local"'),
        (SEND + '    Then the query "istio_requests_total" is at least 5\n', 2, "series, and a claim needs one number"),
        (SEND + "    Then the mesh reports at least 6 requests from client to order-service\n", 1, "counted 5"),
        ("    Then the mesh reports at least 1 requests from client to order-service\n", 4, "sent no request before"),
        ("    Then calls from client to order-service use mutual TLS\n", 4, "counted a call from client.shop"),
        (SEND + "    Then the access log of payment-service has at least 1 requests with status 500\n", 1, "it has 5 × 200"),
        (SEND + "    Then every pod of paymnt-service has a sidecar\n", 2, 'Service "paymnt-service" does not exist'),
        ('    Given order-service is down\n    When "checkout" is sent from outside the mesh\n    Then the connection is refused\n', 0,
         "1 passed"),
        ("    Then payment-service rejects plaintext\n", 1, "answered a client without a certificate"),
        ("    Then the certificate of payment-service is valid for at least 25h\n", 1, "is valid for at least 25h"),
        ("    Then the certificate of payment-service rotates within 1s\n", 1, "is the same after"),
    ],
)  # fmt: skip
def test_verdicts(lab: LabUnderTest, folder: Path, steps: str, code: int, words: str) -> None:
    (folder / "features" / "x.feature").write_text(f"Feature: F\n  Scenario: S\n{CHECKOUT}{steps}")
    if "query" in steps and not lab.info.prometheus:
        pytest.skip("Prometheus is not installed here")
    ran = meshbdd("run", "-f", "plain", cwd=folder, lab=lab)
    assert ran.returncode == code, ran.stdout + ran.stderr
    assert words in ran.stdout
    assert "Traceback" not in ran.stdout + ran.stderr


def test_strict_rejects_plaintext(lab: LabUnderTest, folder: Path) -> None:
    lab.apply(STRICT)
    steps = "    Then payment-service rejects plaintext\n    And inventory-service rejects plaintext\n"
    (folder / "features" / "x.feature").write_text(f"Feature: F\n  Scenario: S\n{steps}")
    ran = meshbdd("run", "-f", "plain", cwd=folder, lab=lab)
    assert ran.returncode == 0, ran.stdout


def test_a_service_without_a_sidecar_is_caught_by_name(lab: LabUnderTest, folder: Path) -> None:
    for document in BARE.split("---"):
        lab.apply(document)
    until("the pod running", lambda: [p["status"].get("phase") for p in lab.pods("bare")] == ["Running"])
    steps = "    Then every pod of bare has a sidecar\n"
    (folder / "features" / "x.feature").write_text(f"Feature: F\n  Scenario: S\n{steps}")
    ran = meshbdd("run", "-f", "plain", cwd=folder, lab=lab)
    assert ran.returncode == 1, ran.stdout
    assert "has none: its label sidecar.istio.io/inject is false" in ran.stdout
