"""Timeouts and retries: the router's work at the caller's sidecar."""

from __future__ import annotations

from tests.fidelity.calls import Send
from tests.fidelity.checks import answer_header, count, flags, reached, saw, server_flags, status, took
from tests.fidelity.rows import Row
from tests.fidelity.table.faults import GRPC, vs
from tests.fidelity.world import STRANGER

TOPIC = "Timeouts and retries"
ORDER = "http://order-service.shop/"

_BOTH_PODS = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: order}
spec:
  hosts: [order-service]
  http:
  - {retries: {attempts: 1, retryOn: 5xx}, route: [{destination: {host: order-service}}]}
"""


def _retries(words: str, more: str = "") -> str:
    return vs(f"retries: {{{words}}}{more}")


ROWS = (
    Row(
        TOPIC, "a route without a timeout has none", "golden 01, §2.3",
        ((Send(does="200@1500ms"), (status(200), flags("-"), took(1.5, 4))),),
        resources=vs("name: plain"), mutant=("name: plain", "timeout: 100ms"),
    ),
    Row(
        TOPIC, "a timeout ends the request with 504", "golden 20, §2.3",
        ((Send("http://inventory-service/", does="hang"), (status(504), flags("UT"), reached(1), took(1.5, 3))),),
        case="20-vs-timeout",
    ),
    Row(
        TOPIC, "by default an application's 503 is not retried", "golden 01, §2.4",
        ((Send(does="503, 200"), (status(503), flags("-"), reached(1))),),
        resources=vs("retries: {attempts: 2}"), mutant=("attempts: 2", "attempts: 2, retryOn: 5xx"),
    ),
    Row(
        TOPIC, "by default a gRPC answer UNAVAILABLE is retried twice", "golden 01, §2.4",
        ((Send(headers=GRPC, does="grpc14"), (answer_header("grpc-status", "14"), reached(3))),),
        resources=vs("name: as-by-default"), mutant=("name: as-by-default", "retries: {attempts: 0}"),
    ),
    Row(
        TOPIC, "by default a connection that the application resets is not tried again; the callee's sidecar answers 503", "§2.4",
        ((Send(does="reset, 200"), (status(503), reached(1), server_flags("UC"))),),
        resources=vs("name: as-by-default"), mutant=("name: as-by-default", "retries: {attempts: 2, retryOn: 5xx}"),
    ),
    Row(
        TOPIC, "attempts alone keep Istio's conditions: an application's 500 is not retried", "golden 21, §2.4",
        ((Send(does="500, 200"), (status(500), flags("-"), reached(1))),),
        case="21-vs-retries-attempts-only", mutant=("{attempts: 3}", "{attempts: 3, retryOn: 5xx}"),
    ),
    Row(
        TOPIC, "attempts alone raise the number of tries: UNAVAILABLE is tried 1 + 3 times", "golden 21, §2.4",
        ((Send(headers=GRPC, does="grpc14"), (reached(4),)),),
        case="21-vs-retries-attempts-only",
    ),
    Row(
        TOPIC, "attempts 0 retries nothing", "golden 23, §2.4",
        ((Send(headers=GRPC, does="grpc14, grpc0"), (answer_header("grpc-status", "14"), reached(1))),),
        case="23-vs-retries-off",
    ),
    Row(
        TOPIC, "n attempts are 1 + n requests; when all fail, the last answer comes with URX", "§2.4, §5.3",
        ((Send(does="503"), (status(503), flags("URX"), reached(4))),),
        resources=_retries("attempts: 3, retryOn: 5xx"),
    ),
    Row(
        TOPIC, "a retry that succeeds is all that the caller sees", "§2.4",
        ((Send(does="500, 503, 200"), (status(200), flags("-"), reached(3))),),
        resources=_retries("attempts: 3, retryOn: 5xx"),
    ),
    Row(
        TOPIC, "each attempt tells its number in x-envoy-attempt-count", "golden 01, §2.2",
        ((Send(does="503, 503, 200"), (saw("x-envoy-attempt-count", "1", "2", "3"),)),),
        resources=_retries("attempts: 3, retryOn: 5xx"),
    ),
    Row(
        TOPIC, "gateway-error retries 502, 503, 504 and not 500", "§2.4",
        (
            (Send(does="502, 503, 504, 200"), (status(200), reached(4))),
            (Send(does="500, 200"), (status(500), reached(1))),
        ),
        resources=_retries("attempts: 3, retryOn: gateway-error"),
    ),
    Row(
        TOPIC, "numbers in retryOn are the statuses to retry", "golden 22, §2.4",
        (
            (Send(does="503, 504, 200"), (status(200), reached(3))),
            (Send(does="500, 200"), (status(500), reached(1))),
        ),
        case="22-vs-retries-full",
    ),
    Row(
        TOPIC, "attempts 4: five tries, then URX", "golden 22, §2.4",
        ((Send(does="503"), (status(503), flags("URX"), reached(5))),),
        case="22-vs-retries-full",
    ),
    Row(
        TOPIC, "the per-try timeout starts the next try", "§2.4",
        ((Send(does="hang, 200"), (status(200), reached(2), took(0.2, 2))),),
        resources=_retries("attempts: 2, perTryTimeout: 200ms, retryOn: 5xx"),
    ),
    Row(
        TOPIC, "when every try runs out of its time, the answer is 504", "§2.4",
        ((Send(does="hang"), (status(504), flags("URX,UT"), reached(3), took(0.6, 3))),),
        resources=_retries("attempts: 2, perTryTimeout: 200ms, retryOn: 5xx"),
    ),
    Row(
        TOPIC, "without a per-try timeout a hanging try uses up the whole timeout", "§2.4, trap 20",
        ((Send(does="hang, 200"), (status(504), flags("UT"), reached(1), took(0.3, 2))),),
        resources=_retries("attempts: 2, retryOn: 5xx", ", timeout: 300ms"),
        mutant=("attempts: 2", "attempts: 2, perTryTimeout: 50ms"),
    ),
    Row(
        TOPIC, "the route's timeout includes all tries", "§2.4",
        ((Send(does="503@200ms"), (status(504), flags("UT"), reached(2, 3), took(0.5, 2))),),
        resources=_retries("attempts: 9, retryOn: 5xx", ", timeout: 500ms"),
    ),
    Row(
        TOPIC, "a retry goes to another endpoint, as far as five draws of a host find one", "golden 01, §2.4",
        ((Send(ORDER, STRANGER, does="503", times=100), (
            status(503), reached(2),
            count("to the other one", 85, 100, lambda a: len({record["pod"] for record in a.records}) == 2),
        )),),
        resources=_BOTH_PODS, mutant=("5xx", "5xx, retryIgnorePreviousHosts: false"),
    ),
    Row(
        TOPIC, "a caller's own x-envoy- headers change nothing: its sidecar strips them, as from any peer that is not internal",
        "golden 01 (use_remote_address)",
        (
            (Send(does="503, 200", headers={"x-envoy-retry-on": "5xx", "x-envoy-max-retries": "1"}), (
                status(503), reached(1), saw("x-envoy-retry-on", None),
            )),
            (Send(does="200@400ms", headers={"x-envoy-upstream-rq-timeout-ms": "100"}), (status(200), reached(1))),
        ),
        resources=vs("name: plain"), mutant=("name: plain", "retries: {attempts: 1, retryOn: 5xx}"),
    ),
)  # fmt: skip
