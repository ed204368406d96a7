"""Faults of a VirtualService: at the caller's sidecar, before everything that the router does."""

from __future__ import annotations

from tests.fidelity.calls import Send
from tests.fidelity.checks import answer_header, body, details, flags, reached, share, status, took
from tests.fidelity.rows import Row
from tests.fidelity.world import CALLER, OUTSIDE, STRANGER

TOPIC = "Faults at the caller"
PAYMENT = "http://payment-service.shop/"
GRPC = {"content-type": "application/grpc", "te": "trailers"}

VS = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: payment}
spec:
  hosts: [payment-service]
  http:
  - {RULE, route: [{destination: {host: payment-service}}]}
"""


def vs(rule: str) -> str:
    """A VirtualService for payment-service with one rule in front of its route."""
    return VS.replace("RULE", rule)


def _abort(value: float, status_: str = "httpStatus: 503") -> str:
    return f"fault: {{abort: {{{status_}, percentage: {{value: {value:g}}}}}}}"


BREAKER = """
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: payment}
spec:
  host: payment-service
  trafficPolicy: {outlierDetection: {consecutive5xxErrors: 2, interval: 1s, baseEjectionTime: 30s, maxEjectionPercent: 100}}
"""

ROWS = (
    Row(
        TOPIC, "an abort is answered by the caller's sidecar; the service sees nothing", "§1.3",
        ((Send(times=20), (
            status(500), flags("FI"), details("fault_filter_abort"), body("fault filter abort"), reached(0),
            answer_header("server", "envoy"),
        )),),
        case="02-vs-abort-500-all",
    ),
    Row(
        TOPIC, "an abort without a percentage aborts nothing", "§1.1",
        ((Send(times=30), (status(200), flags("-"), reached(1))),),
        case="03-vs-abort-no-percentage", mutant=("{httpStatus: 503}", "{httpStatus: 503, percentage: {value: 100}}"),
    ),
    Row(
        TOPIC, "percentages are drawn for each request; fractions count", "§1.2",
        ((Send(times=600, at_once=2), (share("aborted", 0.125, lambda a: a.flags == "FI"), status(200, 503))),),
        resources=vs(_abort(12.5)),
    ),
    Row(
        TOPIC, "a quarter of a percent is not a quarter", "§1.2",
        ((Send(times=400, at_once=2), (share("aborted", 0.0025, lambda a: a.flags == "FI"),)),),
        case="04-vs-abort-fraction", mutant=("0.25", "25"),
    ),
    Row(
        TOPIC, "a gRPC abort is HTTP 200 with grpc-status", "§1.3",
        ((Send(times=200, at_once=2, headers=GRPC), (
            status(200),
            share("UNAVAILABLE", 0.5, lambda a: a.headers.get("grpc-status") == "14" and a.flags == "FI"),
        )),),
        case="05-vs-abort-grpc",
    ),
    Row(
        TOPIC, "an HTTP abort of a gRPC call becomes the gRPC status of that code: 503 is UNAVAILABLE", "§1.3",
        ((Send(headers=GRPC), (status(200), answer_header("grpc-status", "14"), flags("FI"))),),
        resources=vs(_abort(100)),
    ),
    Row(
        TOPIC, "an HTTP abort of a gRPC call becomes the gRPC status of that code: 500 is UNKNOWN", "§1.3",
        ((Send(headers=GRPC), (status(200), answer_header("grpc-status", "2"), flags("FI"))),),
        case="02-vs-abort-500-all",
    ),
    Row(
        TOPIC, "a delay holds the request back, then it is served", "golden 06, §1.3",
        ((Send("http://inventory-service/", times=3), (status(200), flags("DI"), reached(1), took(0.4, 2))),),
        case="06-vs-delay-5s", edits=(("5s", "400ms"),),
    ),
    Row(
        TOPIC, "delay and abort are drawn apart; where both fall, the delay comes first", "§1.3",
        ((Send(times=160, at_once=16), (
            share("delayed and aborted", 0.12, lambda a: a.status == 503 and a.flags in {"DI,FI", "FI,DI"} and a.seconds >= 0.25),
            share("delayed alone", 0.28, lambda a: a.status == 200 and a.flags == "DI" and a.seconds >= 0.25),
            share("aborted alone", 0.18, lambda a: a.status == 503 and a.flags == "FI"),
        )),),
        case="07-vs-delay-and-abort",
    ),
    Row(
        TOPIC, "an aborted request is not retried by its route", "§1.3",
        ((Send(times=300, at_once=2), (share("503", 0.3, lambda a: a.status == 503 and not a.records),)),),
        case="08-vs-fault-with-retries-timeout",
    ),
    Row(
        TOPIC, "a delay is not bounded by the route's timeout", "§1.3",
        ((Send(), (status(200), flags("DI"), took(0.5, 3), reached(1))),),
        resources=vs("fault: {delay: {fixedDelay: 500ms, percentage: {value: 100}}}, timeout: 100ms"),
    ),
    Row(
        TOPIC, "a fault with a header match strikes only requests with that header", "§1.7",
        (
            (Send(times=5, headers={"baggage": "a=b,meshbdd-run=abc"}), (status(500), flags("FI"), reached(0))),
            (Send(times=5, headers={"baggage": "meshbdd-run=other"}), (status(200), reached(1))),
            (Send(times=5), (status(200), reached(1))),
        ),
        case="09-vs-fault-header-match",
    ),
    Row(
        TOPIC, "sourceLabels bind a fault to callers with those labels", "§1.5",
        ((Send(times=3), (status(500), flags("FI"))), (Send(PAYMENT, STRANGER, times=3), (status(200), reached(1)))),
        case="10-vs-fault-source-labels",
    ),
    Row(
        TOPIC, "sourceNamespace binds a fault to callers of that namespace", "§1.5",
        ((Send(times=3), (status(200), reached(1))), (Send(PAYMENT, STRANGER, times=3), (status(500), flags("FI")))),
        case="11-vs-source-namespace",
    ),
    Row(
        TOPIC, "a fault behind a match-all rule is unreachable", "§1.7",
        ((Send(times=3, headers={"x-user": "qa"}), (status(200), flags("-"), reached(1))),),
        case="15-vs-unreachable-after-catch-all",
        mutant=("  - route: [{destination: {host: payment-service}}]\n", ""),
    ),
    Row(
        TOPIC, "of two VirtualServices for one host the older wins; the other's fault never strikes", "§1.6",
        ((Send(times=3), (status(200), flags("-"), reached(1))),),
        case="29-vs-two-for-one-host", edits=(("name: payment-a", "name: z"), ("name: payment-b", "name: a")), apart=True,
        mutant=("hosts: [payment-service]\n  http:\n  - timeout: 1s", "hosts: [nobody]\n  http:\n  - timeout: 1s"),
    ),
    Row(
        TOPIC, "a VirtualService bound to a gateway alone touches no sidecar", "§1.5",
        ((Send(times=3), (status(200), reached(1))),),
        case="32-vs-gateway-only", mutant=("gateways: [ingress]", "gateways: [ingress, mesh]"),
    ),
    Row(
        TOPIC, "a caller without a sidecar meets no fault", "§1.5",
        ((Send(PAYMENT, OUTSIDE), (status(200), reached(1))), (Send(PAYMENT, CALLER), (status(503), flags("FI")))),
        resources=vs(_abort(100)),
    ),
    Row(
        TOPIC, "an aborted request never counts for outlier detection", "§1.3",
        (
            (Send(times=10, headers={"x-fail": "1"}), (status(503), flags("FI"))),
            (Send(times=3), (status(200), flags("-"), reached(1))),
        ),
        resources=vs(f"match: [{{headers: {{x-fail: {{}}}}}}], {_abort(100)}").replace(
            "host: payment-service}}]}\n", "host: payment-service}}]}\n  - {route: [{destination: {host: payment-service}}]}\n"
        )
        + BREAKER,
    ),
)  # fmt: skip
