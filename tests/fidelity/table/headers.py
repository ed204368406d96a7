"""Headers that the sidecars add, change and take away."""

from __future__ import annotations

from tests.fidelity.calls import Send
from tests.fidelity.checks import answer_header, over_all, path, saw, saw_part, status
from tests.fidelity.rows import Row
from tests.fidelity.table.faults import PAYMENT, vs
from tests.fidelity.table.routing import INNER, ORDER
from tests.fidelity.world import OUTSIDE, STRANGER

TOPIC = "Headers"
IDENTITY = "spiffe://cluster.local/ns/shop/sa/order-service"

_NOTHING = vs("name: plain")


def _service_time(answers: object) -> str | None:
    assert isinstance(answers, list)
    values = [a.headers.get("x-envoy-upstream-service-time", "") for a in answers]
    return None if all(value.isdigit() for value in values) else str(values)


ROWS = (
    Row(
        TOPIC, "the application is told who calls: x-forwarded-client-cert names both identities", "golden 01, §2.6",
        (
            (Send(), (saw_part("x-forwarded-client-cert", f"URI={IDENTITY}"),
                      saw_part("x-forwarded-client-cert", "By=spiffe://cluster.local/ns/shop/sa/payment-service"))),
            (Send(PAYMENT, STRANGER), (saw_part("x-forwarded-client-cert", "URI=spiffe://cluster.local/ns/other/sa/client"),)),
        ),
        resources=_NOTHING, mutant=(_NOTHING, "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: payment}\nspec: {host: payment-service, trafficPolicy: {tls: {mode: DISABLE}}}"),
    ),
    Row(
        TOPIC, "the host is as the caller wrote it; the scheme is in x-forwarded-proto", "golden 01, §2.7",
        ((Send(PAYMENT), (saw("host", "payment-service.shop"), saw("x-forwarded-proto", "http"))),),
        resources=_NOTHING, mutant=("name: plain", "rewrite: {authority: somebody}"),
    ),
    Row(
        TOPIC, "a request is attempt 1 without any retry", "golden 01, §2.2",
        ((Send(), (saw("x-envoy-attempt-count", "1"),)),),
        resources=_NOTHING, mutant=("name: plain", "headers: {request: {set: {x-envoy-attempt-count: \"7\"}}}"),
    ),
    Row(
        TOPIC, "words between the sidecars do not reach the application", "§0 (peer metadata)",
        ((Send(), (saw("x-meshbdd-lab-peer", None), saw("x-envoy-peer-metadata", None), saw("x-envoy-peer-metadata-id", None))),),
        resources=_NOTHING, mutant=("name: plain", "headers: {request: {set: {x-envoy-peer-metadata: x}}}"),
    ),
    Row(
        TOPIC, "an answer through the caller's sidecar says server: envoy and how long the service took", "golden 01, §1.3",
        ((Send(times=3), (answer_header("server", "envoy"), over_all("x-envoy-upstream-service-time", _service_time))),),
        resources=_NOTHING, mutant=("name: plain", "headers: {response: {remove: [x-envoy-upstream-service-time]}}"),
    ),
    Row(
        TOPIC, "a caller without a sidecar sees the callee's: server: istio-envoy", "golden 01, §1.3",
        ((Send(PAYMENT, OUTSIDE), (status(200), answer_header("server", "istio-envoy"))),),
        resources=_NOTHING, mutant=(_NOTHING, "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: default}\nspec: {mtls: {mode: STRICT}}"),
    ),
    Row(
        TOPIC, "header operations: set replaces, add appends, remove removes, on route and destination", "golden 26",
        ((Send(ORDER, INNER, headers={"x-a": "0", "x-b": "0", "x-c": "0"}), (
            saw("x-a", "1"), over_all("x-b twice", lambda answers: None if [v for n, v in answers[0].records[0]["headers"] if n == "x-b"] in (["0", "2"], ["0,2"]) else str(answers[0].records[0]["headers"])),
            saw("x-c", None), answer_header("x-d", "4"), answer_header("x-e", "5"), path("/"),
        )),),
        case="26-vs-header-operations",
    ),
)  # fmt: skip
