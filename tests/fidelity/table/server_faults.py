"""Faults of an EnvoyFilter: at the callee's sidecar, so that retries and outlier detection of the caller see them."""

from __future__ import annotations

from tests.fidelity.calls import Answer, Send
from tests.fidelity.checks import Check, body, count, flags, over_all, reached, share, status, took
from tests.fidelity.rows import Row
from tests.fidelity.table.faults import PAYMENT, vs
from tests.fidelity.table.outliers import GAP, LONG, breaker, opens_after
from tests.fidelity.table.routing import INNER, ORDER
from tests.fidelity.world import OUTSIDE, STRANGER

TOPIC = "Faults at the callee"

ENVOY_FILTER = """
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: payment-fault, namespace: shop}
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
        name: meshbdd.fault
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault
          FAULT
"""

ABORT = "abort: {http_status: 503, percentage: {numerator: 100, denominator: HUNDRED}}"


def envoy_filter(fault: str = ABORT) -> str:
    """The documented EnvoyFilter for a fault at payment-service."""
    return ENVOY_FILTER.replace("FAULT", fault)


def callee_flag(flag: str) -> Check:
    """Each answer that is not 200 carries a flag at the callee's sidecar."""

    def contradiction(answers: list[Answer]) -> str | None:
        wrong = [[e["response_flags"] for e in a.server] for a in answers if a.status != 200]
        return None if all(seen == [flag] for seen in wrong) else str(wrong[:3])

    return over_all(f"flag {flag} at the callee", contradiction)  # type: ignore[arg-type]


_BAGGAGE = {"baggage": "meshbdd-run=r1"}

ROWS = (
    Row(
        TOPIC, "a fault inserted at the callee is an answer of the service to its callers, and unmeshed callers meet it too", "golden 53, §4",
        (
            (Send(ORDER, INNER, times=200, at_once=2), (
                share("503", 0.5, lambda a: a.status == 503 and not a.records), status(200, 503), flags("-"), callee_flag("FI"),
            )),
            (Send("http://order-service.shop/", OUTSIDE, times=60), (share("503", 0.5, lambda a: a.status == 503),)),
        ),
        case="53-ef-inbound-fault-insert", renew=True,
    ),
    Row(
        TOPIC, "the body is the fault filter's", "§1.3, §4",
        ((Send(), (status(503), body("fault filter abort"), reached(0), callee_flag("FI"))),),
        resources=envoy_filter(), renew=True,
    ),
    Row(
        TOPIC, "a caller's retries meet it: every try fails, then URX", "§4",
        ((Send(), (status(503), flags("URX"), reached(0), over_all("4 tries", lambda answers: None if len(answers[0].server) == 4 else str(len(answers[0].server))))),),
        resources=envoy_filter() + "\n---\n" + vs("retries: {attempts: 3, retryOn: 5xx}"), renew=True, mutant=("attempts: 3", "attempts: 1"),
    ),
    Row(
        TOPIC, "retries hide a fault of 50 percent", "§4",
        ((Send(times=60), (count("succeed", 59, 60, lambda a: a.status == 200),)),),
        resources=envoy_filter(ABORT.replace("100", "50")) + "\n---\n" + vs("retries: {attempts: 20, retryOn: 5xx, backoff: 1ms}"), renew=True,
        mutant=("attempts: 20", "attempts: 1"),
    ),
    Row(
        TOPIC, "it counts for outlier detection", "§4",
        ((Send(times=6, every=GAP), (opens_after(3),)),),
        resources=envoy_filter() + "\n---\n" + breaker(LONG), renew=True,
    ),
    Row(
        TOPIC, "merged into the filter that is there, a delay for one path", "golden 54, §4",
        (
            (Send(ORDER + "checkout", INNER, times=3), (status(200), flags("-"), took(0.4, 3), reached(1))),
            (Send(ORDER + "other", INNER, times=3), (status(200), took(0, 0.38), reached(1))),
        ),
        case="54-ef-inbound-fault-merge", edits=(("2s", "0.4s"),), renew=True,
    ),
    Row(
        TOPIC, "an armed filter without settings does nothing", "golden 58, §4.1",
        ((Send(ORDER, INNER, times=10, headers=_BAGGAGE), (status(200), reached(1))),),
        case="58-ef-armed-fault-off", renew=True,
        mutant=("fault.v3.HTTPFault\n", "fault.v3.HTTPFault\n          abort: {http_status: 503, percentage: {numerator: 100}}\n"),
    ),
    Row(
        TOPIC, "an armed filter with settings strikes the requests of its scope", "golden 59, §4.1",
        (
            (Send(ORDER, INNER, times=200, at_once=2, headers=_BAGGAGE), (share("503", 0.5, lambda a: a.status == 503), callee_flag("FI"))),
            (Send(ORDER, INNER, times=20), (status(200), reached(1))),
        ),
        case="59-ef-armed-fault-on", renew=True,
    ),
    Row(
        TOPIC, "an EnvoyFilter reaches the proxies of its own namespace alone", "§4.1",
        ((Send(times=3), (status(200), reached(1))),),
        resources=envoy_filter().replace("namespace: shop", "namespace: other"), renew=True, mutant=("namespace: other", "namespace: shop"),
    ),
    Row(
        TOPIC, "in the root namespace it reaches all", "§4.1",
        ((Send(PAYMENT, STRANGER, times=3), (status(503), reached(0))),),
        resources=envoy_filter().replace("namespace: shop", "namespace: istio-system"), renew=True,
    ),
)  # fmt: skip
