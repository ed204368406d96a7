"""The seeded defects: what is wrong, how it is made wrong, and which scenarios have to see it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Defect:
    """Something that is wrong with the system under test.

    Attributes:
        name: In a word or two.
        seen_by: The scenarios that turn red; every other one stays green. Thought through, not recorded from a run.
        shop: Deployment → value of ``SHOP_DEFECT`` in its pods.
        labels: Deployment → labels of its pods that are set.
        annotations: Deployment → annotations of its pods that are set.
        objects: YAML that is applied before the run.
        edits: File of the project, a text in it, and the text that stands there instead.
        unanswered: Scenarios whose question has no answer any more: they are inconclusive, never green.
        blind: The scenarios can tell nothing (zero traffic, a missing sidecar, a stale route): each of them is red or
            inconclusive, and so may be others.
    """

    name: str
    seen_by: frozenset[str]
    shop: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    annotations: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    objects: str = ""
    edits: tuple[tuple[str, str, str], ...] = ()
    unanswered: frozenset[str] = frozenset()
    blind: bool = False


def _orders(defect: str) -> Mapping[str, str]:
    """A defect of both versions of order-service."""
    return {"order-service": defect, "order-service-canary": defect}


# Scenarios that more than one defect turns red.
_BROKEN = "Checkout answers clearly when payment is broken"
_BROKEN_MANIFEST = f"{_BROKEN}, from the guide's manifest"
_FLAKY = "Retries hide a flaky payment"
_FLAKY_MANIFEST = f"{_FLAKY}, from the guide's manifest"
_FLAKY_ENOUGH = f"{_FLAKY}, by as many requests as it takes"
_HANGS = "Checkout does not wait for a payment that hangs"
_PATIENCE = "The shop's own patience with payment is bounded"
_AGAIN = "Checkout works again as soon as payment does"
_SLOW = "Checkout gives up on a slow inventory"
_SLOW_MANIFEST = f"{_SLOW}, from the guide's manifest"
_MUTUAL = "Services speak mutual TLS to each other"
_STRICT_TEAM = "The team's own strict policy leaves no service open"
_ONE_CALLER = "A fault for one caller"
_ONLY = "Only order-service may charge"
_ONLY_TEAM = f"{_ONLY}, by the team's own policy"
_TEAM_BREAKER = "The team's own breaker opens, and closes again"

_OF_THE_SHOP = (
    Defect(
        "no payment retries", frozenset({_FLAKY, _FLAKY_MANIFEST, _FLAKY_ENOUGH}), shop=_orders("no-payment-retries")
    ),
    Defect(
        "retry storm",
        frozenset({"The shop's own retries are bounded"}),
        shop=_orders("endless-payment-retries"),
    ),
    Defect("payment waited for", frozenset({_HANGS, _PATIENCE}), shop=_orders("no-payment-deadline")),
    Defect("payment timeout too long", frozenset({_HANGS, _PATIENCE}), shop=_orders("long-payment-deadline")),
    Defect("no inventory timeout", frozenset({_SLOW, _SLOW_MANIFEST}), shop=_orders("no-inventory-timeout")),
    Defect("inventory timeout too long", frozenset({_SLOW, _SLOW_MANIFEST}), shop=_orders("long-inventory-timeout")),
    Defect(
        "order despite a failure",
        frozenset({_BROKEN, _BROKEN_MANIFEST, _HANGS}),
        shop=_orders("order-before-payment"),
    ),
    Defect(
        "payment failure hidden",
        frozenset({_BROKEN, _BROKEN_MANIFEST, _HANGS, _AGAIN, _ONE_CALLER}),
        shop=_orders("order-despite-payment"),
    ),
    Defect(
        "500 instead of 503",
        frozenset({_BROKEN, _BROKEN_MANIFEST, _HANGS, _AGAIN, _ONE_CALLER}),
        shop=_orders("wrong-payment-status"),
    ),
    Defect("no error code", frozenset({_BROKEN, _BROKEN_MANIFEST, _HANGS}), shop=_orders("wrong-payment-error")),
    Defect(
        "any payment answer counts",
        frozenset({_BROKEN, _BROKEN_MANIFEST, _AGAIN, _ONE_CALLER}),
        shop=_orders("accepts-any-payment-answer"),
    ),
    Defect(
        "notification required",
        frozenset(
            {
                "Checkout works although notification-service is down",
                "Customers do not notice that notifications fail for a while",
            }
        ),
        shop=_orders("notification-required"),
    ),
    Defect(
        "trace headers dropped",
        frozenset({"A trace can be followed through every service"}),
        shop=_orders("drops-trace-headers"),
    ),
)

_OF_THE_MESH = (
    Defect(
        "missing sidecar",
        frozenset({"Every service of the shop is in the mesh", _MUTUAL, _STRICT_TEAM}),
        labels={"payment-service": {"sidecar.istio.io/inject": "false"}},
        blind=True,
    ),
    Defect(
        "mutual TLS off",
        # Without a certificate there is no principal: a policy that names one denies whoever calls. Scenarios that set
        # the mode themselves change this exception as well, as a step's words demand, and cannot see it.
        frozenset({_MUTUAL, _STRICT_TEAM, _ONLY, _ONLY_TEAM}),
        objects="""
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: left-off, namespace: shop}
spec: {selector: {matchLabels: {app: payment-service}}, mtls: {mode: DISABLE}}
""",
    ),
    Defect(
        "permissive mutual TLS",
        frozenset({_STRICT_TEAM}),
        objects="""
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: left-open, namespace: shop}
spec: {selector: {matchLabels: {app: payment-service}}, mtls: {mode: PERMISSIVE}}
""",
    ),
    Defect(
        "wrong principal allowed",
        frozenset({_ONLY_TEAM}),
        edits=(("manifests/examples/payment-access.yaml", "sa/order-service", "sa/client"),),
    ),
    Defect(
        "short-lived certificate",
        frozenset({"No certificate is about to end"}),
        annotations={"payment-service": {"proxy.istio.io/config": "{proxyMetadata: {SECRET_TTL: 30m}}"}},
    ),
    Defect(
        "certificate not renewed",
        frozenset({"Certificates are renewed", "Certificates are renewed under load without a failed request"}),
        annotations={"notification-service": {"proxy.istio.io/config": "{proxyMetadata: {SECRET_TTL: 24h}}"}},
    ),
    Defect(
        "breaker never opens",
        frozenset({_TEAM_BREAKER}),
        edits=(("manifests/examples/payment-breaker.yaml", "maxEjectionPercent: 100", "maxEjectionPercent: 10"),),
    ),
    Defect(
        "breaker never closes",
        frozenset({_TEAM_BREAKER}),
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
        frozenset({_BROKEN_MANIFEST}),
        edits=(("manifests/examples/payment-fails-500.yaml", "payment-service", "notification-service"),),
    ),
    Defect(
        "telemetry missing",
        frozenset({"Every service's own metrics reach Prometheus"}),
        annotations={"payment-service": {"prometheus.io/scrape": "false"}},
        # An empty result is never taken for zero: the claim names the label that matches nothing.
        unanswered=frozenset({"Prometheus knows the requests"}),
    ),
    Defect(
        "stale route",
        # Envoy refuses this listener and keeps the one it has, with its route: no change of the inbound side arrives.
        frozenset({_ONLY, _ONLY_TEAM, _STRICT_TEAM}),
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
        frozenset({_BROKEN, _BROKEN_MANIFEST, _FLAKY, _FLAKY_MANIFEST, _AGAIN, _HANGS}),
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

_LINKERD = "manifests/examples/linkerd"
_OF_LINKERD = (
    Defect(
        "missing sidecar",
        frozenset({"Every service of the shop is in the mesh", _MUTUAL, _STRICT_TEAM}),
        annotations={"payment-service": {"linkerd.io/inject": "disabled"}},
        blind=True,
    ),
    Defect(
        "permissive mutual TLS",
        # Of two Servers for one port the older one decides, so the team's own ones do nothing there.
        frozenset({_STRICT_TEAM, _ONLY_TEAM}),
        objects="""
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {name: left-open, namespace: shop}
spec: {podSelector: {matchLabels: {app: payment-service}}, port: 8080, accessPolicy: all-unauthenticated}
""",
    ),
    Defect(
        "wrong principal allowed",
        frozenset({_ONLY_TEAM}),
        edits=(
            (
                f"{_LINKERD}/payment-access.yaml",
                "kind: ServiceAccount\n    name: order-service",
                "kind: ServiceAccount\n    name: client",
            ),
        ),
    ),
    Defect(
        "breaker never opens",
        frozenset({_TEAM_BREAKER}),
        edits=((f"{_LINKERD}/payment-breaker.yaml", 'max-failures: "5"', 'max-failures: "500"'),),
        blind=True,  # twenty errors in a row are no proof that it would not open at the five hundredth
    ),
    Defect(
        "breaker never closes",
        frozenset({_TEAM_BREAKER}),
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
        frozenset({_BROKEN_MANIFEST}),
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
        frozenset({"Every service's own metrics under Linkerd's names reach Prometheus"}),
        annotations={"payment-service": {"prometheus.io/scrape": "false"}},
    ),
    next(defect for defect in _OF_THE_MESH if defect.name == "zero traffic"),
)

MESH = os.environ.get("MESH", "istio")
"""The mesh on which the defects are seeded."""
DEFECTS = (*_OF_THE_SHOP, *(_OF_LINKERD if MESH == "linkerd" else _OF_THE_MESH))
