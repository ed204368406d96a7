"""The seeded defects: what is wrong, how it is made wrong, and which scenarios have to see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Defect:
    """Something that is wrong with the system under test.

    Attributes:
        name: In a word or two.
        seen_by: The scenarios that turn red; every other one stays green.
        shop: Deployment → value of ``SHOP_DEFECT`` in its pods.
        labels: Deployment → labels of its pods that are set.
        annotations: Deployment → annotations of its pods that are set.
        objects: YAML that is applied before the run.
        edits: File of the project, a text in it, and the text that stands there instead.
        blind: The scenarios can tell nothing (zero traffic, a missing sidecar, a stale route): red or inconclusive.
    """

    name: str
    seen_by: frozenset[str]
    shop: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    annotations: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    objects: str = ""
    edits: tuple[tuple[str, str, str], ...] = ()
    blind: bool = False


def _orders(defect: str) -> Mapping[str, str]:
    """A defect of both versions of order-service."""
    return {"order-service": defect, "order-service-canary": defect}


_BROKEN = "Checkout answers clearly when payment is broken"
_BROKEN_MANIFEST = f"{_BROKEN}, from the guide's manifest"
_FLAKY = "Retries hide a flaky payment"
_FLAKY_MANIFEST = f"{_FLAKY}, from the guide's manifest"
_HANGS = "Checkout does not wait for a payment that hangs"
_AGAIN = "Checkout works again as soon as payment does"
_SLOW = "Checkout gives up on a slow inventory"
_SLOW_MANIFEST = f"{_SLOW}, from the guide's manifest"
_NOTIFIED = "Checkout works although notification-service is down"
_TRACE = "A trace can be followed through every service"
_MESHED = "Every service of the shop is in the mesh"
_MUTUAL = "Services speak mutual TLS to each other"
_VALID = "No certificate is about to end"
_RENEWED = "Certificates are renewed"
_ONE_CALLER = "A fault for one caller"

DEFECTS = (
    Defect("no payment retries", frozenset({_FLAKY, _FLAKY_MANIFEST}), shop=_orders("no-payment-retries")),
    Defect("payment waited for", frozenset({_HANGS}), shop=_orders("no-payment-deadline")),
    Defect("no inventory timeout", frozenset({_SLOW, _SLOW_MANIFEST}), shop=_orders("no-inventory-timeout")),
    Defect(
        "order despite a failure",
        frozenset({_BROKEN, _BROKEN_MANIFEST, _HANGS}),
        shop=_orders("order-before-payment"),
    ),
    Defect(
        "payment failure hidden",
        frozenset({_BROKEN, _BROKEN_MANIFEST, _HANGS, _AGAIN}),
        shop=_orders("order-despite-payment"),
    ),
    Defect(
        "500 instead of 503",
        frozenset({_BROKEN, _BROKEN_MANIFEST, _HANGS, _AGAIN}),
        shop=_orders("wrong-payment-status"),
    ),
    Defect("no error code", frozenset({_BROKEN, _BROKEN_MANIFEST, _HANGS}), shop=_orders("wrong-payment-error")),
    Defect(
        "any payment answer counts",
        frozenset({_BROKEN, _BROKEN_MANIFEST, _AGAIN}),
        shop=_orders("accepts-any-payment-answer"),
    ),
    Defect("notification required", frozenset({_NOTIFIED}), shop=_orders("notification-required")),
    Defect("trace headers dropped", frozenset({_TRACE}), shop=_orders("drops-trace-headers")),
    Defect(
        "missing sidecar",
        frozenset({_MESHED, _MUTUAL}),
        labels={"payment-service": {"sidecar.istio.io/inject": "false"}},
        blind=True,
    ),
    Defect(
        "mutual TLS off",
        frozenset({_MUTUAL}),
        objects="""
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: off, namespace: shop}
spec: {selector: {matchLabels: {app: payment-service}}, mtls: {mode: DISABLE}}
""",
    ),
    Defect(
        "short-lived certificate",
        frozenset({_VALID}),
        annotations={"payment-service": {"proxy.istio.io/config": "{proxyMetadata: {SECRET_TTL: 30m}}"}},
    ),
    Defect(
        "certificate not renewed",
        frozenset({_RENEWED}),
        annotations={"notification-service": {"proxy.istio.io/config": "{proxyMetadata: {SECRET_TTL: 24h}}"}},
    ),
    Defect(
        "fault on the wrong host",
        frozenset({_BROKEN_MANIFEST}),
        edits=(("manifests/examples/payment-fails-500.yaml", "payment-service", "notification-service"),),
    ),
)
