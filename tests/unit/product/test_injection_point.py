"""A fault goes where the scenario's claims mean something, and says why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from meshbdd.errors import BadInput, Place
from meshbdd.intents import CircuitBreaker, Fault, Mention, Retry, Scope, ServiceRef, Side, Timeout, Topic
from meshbdd.mesh.base import Context, Plan
from meshbdd.mesh.istio.injection import choose, refuse_hidden
from meshbdd.mesh.istio.standing import Objects
from meshbdd.scenario import StepText, mentions
from meshbdd.units import Duration, Percent

PAYMENT, ORDER = ServiceRef("payment-service", "shop"), ServiceRef("order-service", "shop")
FAULT = Fault(PAYMENT, status=503)


def _vs(**route: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "theirs", "namespace": "shop"},
        "spec": {"hosts": ["payment-service"], "http": [{**route, "route": []}]},
    }


def _rule(**policy: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "theirs", "namespace": "shop"},
        "spec": {"host": "payment-service", "trafficPolicy": policy},
    }


def _in_force(intent: Retry | Timeout | CircuitBreaker) -> Context:
    return Context((Plan(str(intent), (), intent=intent, service=intent.service),))


def test_nothing_needs_it_so_it_stays_at_the_caller() -> None:
    other = _in_force(Retry(ORDER, 2))
    choice = choose(FAULT, other, Objects([_vs(retries={"attempts": 0}, timeout="0s")], [_rule(loadBalancer={})]))
    assert choice.side is Side.CALLER
    assert "nothing in this scenario" in choice.reason


@pytest.mark.parametrize(
    ("context", "virtual_service", "rule", "words"),
    [
        (_in_force(Retry(PAYMENT, 2)), _vs(), _rule(), "retried up to 2 times» is in force"),
        (_in_force(Timeout(PAYMENT, Duration(1))), _vs(), _rule(), "time out after 1s» is in force"),
        (_in_force(CircuitBreaker(PAYMENT, 5, Duration(3))), _vs(), _rule(), "circuit breaker"),
        (Context((), (Mention(Topic.BREAKER, PAYMENT, "the circuit to payment-service is open"),)), _vs(), _rule(),
         "the step «the circuit to payment-service is open» is about its circuit breaker"),
        (Context(), _vs(retries={"attempts": 2}), _rule(), "VirtualService theirs retries its calls"),
        (Context(), _vs(timeout="3s"), _rule(), "VirtualService theirs gives its calls a timeout"),
        (Context(), _vs(mirror={"host": "payment-service", "subset": "canary"}), _rule(),
         "VirtualService theirs mirrors its calls"),
        (Context(), _vs(mirrors=[{"destination": {"host": "payment-service"}}]), _rule(), "theirs mirrors its calls"),
        (Context(), _vs(), _rule(outlierDetection={"interval": "1s"}), "DestinationRule theirs has outlier detection"),
        (Context(), _vs(), _rule(outlierDetection={}), "DestinationRule theirs has outlier detection"),
        (Context(), _vs(), _rule(portLevelSettings=[{"connectionPool": {"http": {}}}]), "theirs limits its connections"),
    ],
)  # fmt: skip
def test_what_must_see_the_fault_moves_it_to_the_server(
    context: Context, virtual_service: dict[str, Any], rule: dict[str, Any], words: str
) -> None:
    choice = choose(FAULT, context, Objects([virtual_service], [rule]))
    assert choice.side is Side.SERVER
    assert words in choice.reason


@pytest.mark.parametrize(
    ("spec", "side"),
    [
        ({"subsets": [{"name": "v1"}, {"name": "v2", "trafficPolicy": {"loadBalancer": {}}}]}, Side.CALLER),
        ({"subsets": [{"name": "v1"}, {"name": "v2", "trafficPolicy": {"outlierDetection": {"interval": "1s"}}}]}, Side.SERVER),
        ({"subsets": [{"name": "v2", "trafficPolicy": {"portLevelSettings": [{"connectionPool": {"tcp": {}}}]}}]}, Side.SERVER),
    ],
)  # fmt: skip
def test_what_stands_for_one_subset_alone_has_to_see_the_fault_too(spec: dict[str, Any], side: Side) -> None:
    rule = {"metadata": {"name": "theirs", "namespace": "shop"}, "spec": {"host": "payment-service", **spec}}
    assert choose(FAULT, Context(), Objects((), [rule])).side is side


@pytest.mark.parametrize(
    ("caller", "callers", "side"),
    [
        (None, ("shop",), Side.CALLER),  # the rule that delegates is for others
        (None, ("other", "shop"), Side.SERVER),
        (ServiceRef("client", "other"), ("shop",), Side.SERVER),
        (ServiceRef("order-service", "shop"), ("other", "shop"), Side.CALLER),
    ],
)
def test_a_rule_that_delegates_counts_where_the_faults_callers_go_by_it(
    caller: ServiceRef | None, callers: tuple[str, ...], side: Side
) -> None:
    private = {
        "metadata": {"name": "private", "namespace": "other"},
        "spec": {
            "hosts": ["payment-service.shop.svc.cluster.local"],
            "exportTo": ["."],
            "http": [{"delegate": {"name": "leaf"}}],
        },
    }
    fault = replace(FAULT, scope=Scope(called_by=caller))
    choice = choose(fault, Context(), Objects([_vs(), private], callers=lambda: callers))
    assert choice.side is side
    assert ("VirtualService private delegates routes of payment-service" in choice.reason) is (side is Side.SERVER)


def _slow(**more: Any) -> Fault:
    return Fault(PAYMENT, delay=Duration(1), **more)


@pytest.mark.parametrize(
    ("first", "at", "fault", "side", "hidden"),
    [
        (FAULT, Side.CALLER, FAULT, Side.CALLER, True),
        (FAULT, Side.CALLER, FAULT, Side.SERVER, True),
        (FAULT, Side.CALLER, _slow(), Side.SERVER, True),
        (FAULT, Side.CALLER, _slow(), Side.CALLER, False),  # one filter delays a call before it fails it
        (FAULT, Side.SERVER, _slow(), Side.SERVER, True),
        (FAULT, Side.SERVER, FAULT, Side.CALLER, False),
        (_slow(), Side.CALLER, FAULT, Side.CALLER, False),
        (Fault(PAYMENT, Percent(99), status=503), Side.CALLER, FAULT, Side.CALLER, False),
        (Fault(PAYMENT, status=503, scope=Scope(method="POST")), Side.CALLER, FAULT, Side.CALLER, False),
        (Fault(PAYMENT, status=503, scope=Scope(method="POST")), Side.CALLER,
         Fault(PAYMENT, status=500, scope=Scope(method="POST", path="/charge")), Side.CALLER, True),
        (Fault(ORDER, status=503), Side.CALLER, FAULT, Side.CALLER, False),
    ],
)  # fmt: skip
def test_a_fault_that_another_one_answers_before_is_refused(
    first: Fault, at: Side, fault: Fault, side: Side, hidden: bool
) -> None:
    context = Context((Plan(str(first), (), intent=first, service=first.service, side=at),))
    if not hidden:
        refuse_hidden(fault, context, side)
        return
    with pytest.raises(BadInput, match="would hit no call") as caught:
        refuse_hidden(fault, context, side)
    assert str(caught.value.help).startswith("slow it before it fails" if fault.delay else "let the first one recover")


def _policy(selector: dict[str, str] | None = None, namespace: str = "shop", **spec: Any) -> dict[str, Any]:
    chosen = {"selector": {"matchLabels": selector}} if selector else {}
    return {"metadata": {"name": "theirs", "namespace": namespace}, "spec": {**chosen, **spec}}


@pytest.mark.parametrize(
    ("policy", "side"),
    [
        (_policy(), Side.SERVER),
        (_policy({"app": "payment-service"}, action="DENY"), Side.SERVER),
        (_policy({"version": "canary"}), Side.SERVER),  # it judges what comes to one of the pods
        (_policy(namespace="istio-system"), Side.SERVER),
        (_policy({"app": "order-service"}), Side.CALLER),
        (_policy(namespace="money"), Side.CALLER),
        (_policy(action="AUDIT"), Side.CALLER),
        (_policy(targetRefs=[{"kind": "Gateway", "name": "waypoint"}]), Side.CALLER),
        (_policy(targetRef={"kind": "Gateway", "name": "waypoint"}), Side.CALLER),
        ({"metadata": {"name": "theirs", "namespace": "shop"}}, Side.SERVER),  # no spec: it allows nobody
    ],
)
def test_a_policy_that_stands_before_the_service_is_asked_before_the_fault(policy: dict[str, Any], side: Side) -> None:
    labels = [{"app": "payment-service", "version": name} for name in ("stable", "canary")]
    choice = choose(FAULT, Context(), Objects(policies=[policy], pods=lambda _: labels))
    assert choice.side is side
    assert ("AuthorizationPolicy theirs says who may call it" in choice.reason) is (side is Side.SERVER)
    assert choose(FAULT, Context(), Objects(policies=[policy])).side is Side.CALLER, "no sidecar would ask it"


def test_the_table_decides_unless_a_step_would_then_prove_nothing() -> None:
    at_server, at_caller = Fault(PAYMENT, status=503, at=Side.SERVER), Fault(PAYMENT, status=503, at=Side.CALLER)
    assert choose(at_server, Context(), Objects()).side is Side.SERVER
    stands = choose(at_caller, Context(), Objects([_vs(retries={"attempts": 2})]))
    assert stands.side is Side.CALLER
    assert "meanwhile VirtualService theirs retries its calls does not see it" in stands.reason
    with pytest.raises(BadInput, match="would never reach") as caught:
        choose(at_caller, _in_force(Retry(PAYMENT, 2)), Objects())
    assert caught.value.help


def test_the_steps_of_a_scenario_say_what_is_to_come() -> None:
    place = Place(Path("x.feature"), 1)
    texts = [
        "payment-service fails 100%",
        "payment-service is slowed by 2s",
        "calls to order-service.other are retried up to 3 times",
        "calls to payment-service time out after 1s",
        "payment-service has a circuit breaker that opens after 5 consecutive errors for 3s",
        "the circuit to payment-service opens within 5s",
        "order-service calls payment-service at most 6 times per request",
        "client calls payment-service at least 4 times per request",
        "payment-service accepts at most 2 concurrent requests",
        "traffic to payment-service is mirrored to canary",
        '"checkout" is sent',
        "the response status is 200",
    ]
    found = [(m.topic, str(m.service)) for m in mentions((StepText(text, place) for text in texts), "shop")]
    assert found == [
        (Topic.FAULT, "payment-service.shop"),
        (Topic.FAULT, "payment-service.shop"),
        (Topic.RETRIES, "order-service.other"),
        (Topic.TIMEOUT, "payment-service.shop"),
        (Topic.BREAKER, "payment-service.shop"),
        (Topic.BREAKER, "payment-service.shop"),
        (Topic.RETRIES, "payment-service.shop"),
        (Topic.RETRIES, "payment-service.shop"),
        (Topic.LIMIT, "payment-service.shop"),
        (Topic.MIRROR, "payment-service.shop"),
    ]


ON_REPORTS = [
    "the mesh reports at least 5 requests from client to payment-service",
    "calls from order-service to payment-service use mutual TLS",
    "the access log of payment-service has at least 5 requests with status 503",
    "the trace context reaches payment-service",
    'the query "sum(istio_requests_total{reporter="destination",destination_service_name="payment-service"})" is at least 1',
    (
        'the query "sum(istio_requests_total{destination_service="payment-service.shop.svc.cluster.local",reporter="destination"})" '
        "is at least 1"
    ),
    "only order-service may call payment-service",
    "the request is denied",
    "the request is turned away",
]


def _context(*texts: str) -> Context:
    place = Place(Path("x.feature"), 1)
    steps = [StepText(text, place) for text in ("payment-service fails 100%", *texts)]
    return Context((), tuple(mentions(steps, "shop")))


@pytest.mark.parametrize("text", ON_REPORTS)
def test_a_claim_about_what_the_services_own_proxy_does_wants_the_fault_there(text: str) -> None:
    choice = choose(FAULT, _context(text), Objects())
    assert (choice.side, f"«{text}»" in choice.reason) == (Side.SERVER, True)
    asked = replace(FAULT, at=Side.CALLER)
    assert choose(asked, _context(text), Objects()).side is Side.CALLER, "of a share of the calls the rest come there"


@pytest.mark.parametrize(
    "text",
    [
        "the mesh reports at least 5 requests from payment-service to order-service",
        "the access log of order-service has at least 5 requests with status 503",
        'the query "sum(istio_requests_total{reporter="source",destination_service_name="payment-service"})" is at least 1',
        "the response status is 503",
    ],
)
def test_a_claim_about_others_leaves_it_at_the_caller(text: str) -> None:
    assert choose(FAULT, _context(text), Objects()).side is Side.CALLER
