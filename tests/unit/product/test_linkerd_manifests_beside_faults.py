"""A team's manifest beside what steps have put in force on Linkerd: neither takes anything away without a word."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from meshbdd.errors import BadInput, NotPossible
from meshbdd.intents import CircuitBreaker, Fault, Intent, Mention, Retry, Scope, Side, Split, Timeout, Topic
from meshbdd.mesh import Linkerd
from meshbdd.sidecars import FAULT_LABEL
from meshbdd.units import Duration, Percent
from tests.unit.product.staged import Staged
from tests.unit.product.test_linkerd import ORDER, PAYMENT, Objects, _obj, _pod, _route, _service

Object = dict[str, Any]
ACCRUAL = {"balancer.linkerd.io/failure-accrual": "consecutive"}
FAULT = Fault(PAYMENT, status=503)
SLOW = Fault(PAYMENT, delay=Duration(1))
SPLIT = Split(PAYMENT, (("stable", Percent(90)), ("canary", Percent(10))))
FOR_QA = Fault(PAYMENT, status=503, scope=Scope(headers={"X-User": "qa"}))
CHARGE = Fault(PAYMENT, status=503, scope=Scope(method="POST", path="/charge"))


def world(*more: Object, said: tuple[Mention, ...] = ()) -> Staged:
    objects = Objects(_pod("payment-service", "canary"), *more).objects
    return Staged(Linkerd, [_obj("Namespace", "shop", {}), *objects], said)


def _for(path: str, **meta: Any) -> Object:
    return _route([{"matches": [{"path": {"type": "PathPrefix", "value": path}}]}], "mine", **meta)


_BETA: Object = {"headers": [{"name": "x-beta", "value": "yes"}]}


def _matching(match: Object, name: str = "mine", **meta: Any) -> Object:
    return _route([{"matches": [match]}], name, **meta)


def _annotated(name: str, **annotations: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "shop", "annotations": annotations},
    }


def _server(access: str | None = None) -> Object:
    spec: Object = {"podSelector": {"matchLabels": {"app": "payment-service"}}, "port": "http"}
    return _obj("Server", "mine", {**spec, **({"accessPolicy": access} if access else {})}, "policy.linkerd.io/v1beta3")


def _policies(identities: list[str]) -> list[Object]:
    group, version = "policy.linkerd.io", "policy.linkerd.io/v1alpha1"
    target = {"group": group, "kind": "Server", "name": "mine"}
    required = [{"group": group, "kind": "MeshTLSAuthentication", "name": "callers"}]
    return [
        _obj("MeshTLSAuthentication", "callers", {"identities": identities}, version),
        _obj("AuthorizationPolicy", "callers", {"targetRef": target, "requiredAuthenticationRefs": required}, version),
    ]


def test_a_breaker_that_would_never_see_a_fault_at_the_caller_is_refused() -> None:
    there = world()
    assert there(FAULT).side is Side.CALLER
    with pytest.raises(BadInput, match=r"has failure accrual .* which would never see the fault in force") as caught:
        there([_annotated("payment-service", **ACCRUAL)])
    assert caught.value.code == "MB0429"
    there([_annotated("order-service", **ACCRUAL)])


_RESPONSE = "timeout.linkerd.io/response"


@pytest.mark.parametrize(
    ("said", "route", "refused"),
    [
        ({_RESPONSE: "300ms"}, None, True),
        ({_RESPONSE: "2s"}, None, False),
        ({_RESPONSE: "0s"}, None, False),  # no limit
        ({_RESPONSE: "300ms"}, {"timeout.linkerd.io/request": "5s"}, False),  # no call meets the Service's
        ({"retry.linkerd.io/limit": "2"}, None, False),
    ],
)
def test_a_shorter_time_limit_of_a_manifest_is_refused_as_it_is_before_the_step(
    said: Object, route: Object | None, refused: bool
) -> None:
    there = world(*([_route([{}], "mine", annotations=route)] if route else []))
    there(Timeout(PAYMENT, Duration(1)))
    manifest = [_annotated("payment-service", **said)]
    if not refused:
        assert there(manifest).edits
        return
    with pytest.raises(BadInput, match=r"With the manifest .*response of Service payment-service is 300ms") as caught:
        there(manifest)
    assert caught.value.code == "MB0467"
    assert caught.value.help == "take that annotation out of the manifest, or let the step ask for less"


def test_a_shorter_time_limit_of_a_route_that_the_step_annotated_is_refused() -> None:
    there = world(_route([{}], "mine", annotations={"timeout.linkerd.io/request": "9s"}))
    there(Timeout(PAYMENT, Duration(1)))
    with pytest.raises(BadInput, match="response of HTTPRoute mine is 300ms") as caught:
        there([_route([{}], "mine", annotations={_RESPONSE: "300ms"})])
    assert caught.value.code == "MB0467"


def test_a_manifests_time_limit_is_held_against_the_latest_of_a_service() -> None:
    there = world()
    for service, seconds in ((PAYMENT, 5), (PAYMENT, 1), (ORDER, 5)):
        there(Timeout(service, Duration(seconds)))
    there([_annotated("payment-service", **{_RESPONSE: "2s"})])
    there = world()
    for seconds in (1, 5):
        there(Timeout(PAYMENT, Duration(seconds)))
    with pytest.raises(BadInput, match=r"time out after 5s» would not come true: .* is 2s"):
        there([_annotated("payment-service", **{_RESPONSE: "2s"})])


def test_a_breaker_comes_beside_a_fault_in_the_place_of_the_endpoints() -> None:
    """What the run itself changed in the Service is no difference of the manifest's."""
    backend = _pod("meshbdd-fault-payment-service")
    backend["metadata"]["labels"][FAULT_LABEL] = "payment-service"
    there = world(
        backend, said=(Mention(Topic.BREAKER, PAYMENT, "the circuit opens"), Mention(Topic.FAULT, PAYMENT, "it fails"))
    )
    for plan in there.mesh.scenery(there.context):
        there.write(plan)
    assert there(FAULT).side is Side.SERVER
    whole = {**_service("payment-service", annotations=ACCRUAL)}
    assert [edit.path[-1] for edit in there([whole]).edits] == list(ACCRUAL)
    whole["spec"]["ports"][0]["port"] = 81
    with pytest.raises(NotPossible, match=r"differs in spec\.ports"):
        there([whole])


def test_a_manifests_breaker_needs_the_failing_endpoint_as_one_that_a_step_names() -> None:
    backend = _pod("meshbdd-fault-payment-service")
    backend["metadata"]["labels"][FAULT_LABEL] = "payment-service"
    there = world(backend, said=(Mention(Topic.FAULT, PAYMENT, "it fails"),))
    assert there.mesh.scenery(there.context) == ()
    there([_annotated("payment-service", **ACCRUAL)])
    [needed] = there.mesh.scenery(there.context)
    assert [edit.path for edit in needed.edits] == [("spec", "selector")]
    there.write(needed)
    assert there.mesh.scenery(there.context) == (), "it stands from then on"
    assert there(FAULT).side is Side.SERVER


@pytest.mark.parametrize(
    ("rule", "past"),
    [
        ({"backendRefs": [{"name": "canary", "port": 80, "weight": 1}]}, True),
        ({"backendRefs": [{"name": PAYMENT.name, "port": 80}]}, False),
    ],
)
def test_a_fault_that_a_breaker_is_to_see_is_refused_where_calls_go_past_the_endpoint(rule: Object, past: bool) -> None:
    there = world(_service("payment-service", annotations=ACCRUAL), _route([rule], "mine"))
    if past:
        with pytest.raises(NotPossible, match=r"the route leads to canary, past the endpoint that fails"):
            there(FAULT)
    else:
        assert there(FAULT).side is Side.SERVER


@pytest.mark.parametrize(
    ("step", "manifest"),
    [
        (FAULT, _for("/")),
        (FAULT, _for("/charge")),
        (CHARGE, _matching({"path": {"type": "Exact", "value": "/charge"}, "method": "POST", **_BETA})),
        (CHARGE, _matching({"path": {"type": "RegularExpression", "value": "/ch.*"}, "method": "POST", **_BETA})),
        (FOR_QA, _matching({**_BETA, "method": "POST"})),
        (FAULT, _matching(_BETA)),
        (SPLIT, _for("/charge")),
        (CHARGE, {**_route([{"matches": [{"method": {"service": "shop.Stock"}}]}], "mine"), "kind": "GRPCRoute"}),
        (Timeout(PAYMENT, Duration(1)), _route([{"timeouts": {"request": "9s"}}], "mine")),
        (Retry(PAYMENT, 2), _route([{}], "mine", annotations={"retry.linkerd.io/limit": "1"})),
    ],
)
def test_a_route_that_takes_calls_from_what_is_in_force_is_refused(step: Intent, manifest: Object) -> None:
    there = world()
    there(step)
    with pytest.raises(BadInput) as caught:
        there([manifest])
    told = {"MB0472": "of the manifest", "MB0462": "would do nothing"}
    assert told[caught.value.code] in caught.value.sentence
    assert caught.value.help == "apply the manifest before that step"


@pytest.mark.parametrize(
    ("step", "manifest"),
    [
        (CHARGE, _for("/refund")),
        (CHARGE, _for("/charge")),
        (CHARGE, _matching({"path": {"type": "RegularExpression", "value": "/ch.*"}})),
        (FOR_QA, _matching(_BETA)),
        (FOR_QA, _matching({"headers": [{"name": "x-user", "value": "else"}, *_BETA["headers"]]})),
        (Timeout(PAYMENT, Duration(1)), _for("/charge")),
        (Timeout(PAYMENT, Duration(1)), _route([{}], "mine", annotations={"retry.linkerd.io/limit": "1"})),
        (CircuitBreaker(PAYMENT, 5, Duration(3)), _for("/charge")),
        (Fault(ORDER, status=503), _for("/charge")),
    ],
)
def test_a_route_that_takes_nothing_from_it_is_applied(step: Intent, manifest: Object) -> None:
    there = world()
    there(step)
    assert [str(edit) for edit in there([manifest]).edits] == ["HTTPRoute mine.shop"]


@pytest.mark.parametrize(
    ("step", "match"),
    [
        (replace(CHARGE, share=Percent(20)), {"path": {"type": "PathPrefix", "value": "/charge"}}),
        (replace(CHARGE, status=None, delay=Duration(1)), _BETA),
        (replace(FOR_QA, share=Percent(20)), _BETA),
    ],
)
def test_a_fault_for_some_calls_keeps_no_others_from_a_route(step: Fault, match: Object) -> None:
    """Those that it leaves alone would go where the fault's own route leads, not the manifest's."""
    there, manifest = world(), _route([{"matches": [match], "backendRefs": [{"name": "order-service", "port": 80}]}])
    there(step)
    with pytest.raises(BadInput, match=r"would lead calls astray that it leaves alone: HTTPRoute theirs of") as caught:
        there([manifest])
    assert caught.value.code == "MB0472"
    there = world()
    there([manifest])
    if step.delay is None:
        there(step)


def test_a_fault_for_some_calls_lets_a_route_be_that_would_not_have_had_them() -> None:
    there = world(_matching({"path": {"value": "/charge"}}, "old", creationTimestamp="2024-01-01T00:00:00Z"))
    there(replace(CHARGE, share=Percent(20)))
    there([_matching(_BETA)])
    there([_route([{"matches": [{"path": {"value": "/refund"}}]}, {"matches": [{"method": "POST"}]}], "another")])


def test_what_an_expression_matches_nobody_can_tell_and_that_is_said() -> None:
    there = world()
    there(CHARGE)
    with pytest.raises(BadInput, match=r"might miss calls: HTTPRoute mine of the manifest may lead them past"):
        there([_matching({"path": {"type": "RegularExpression", "value": "/ch.*"}, "method": "POST", **_BETA})])
    with pytest.raises(BadInput, match=r"would miss calls: HTTPRoute mine of the manifest leads them past"):
        there([_matching({"path": {"type": "Exact", "value": "/charge"}, "method": "POST", **_BETA})])


def test_of_equals_the_older_route_wins() -> None:
    old, young = {"creationTimestamp": "2024-01-01T00:00:00Z"}, {"creationTimestamp": "2025-01-01T00:00:00Z"}
    there = world(_matching({"method": "GET"}, "old", **old), _matching({}, "young", **young))
    there(FOR_QA)
    there([_matching(_BETA)])
    there = world(_matching({"method": "GET"}, "old", **old), _matching({}, "young", **young))
    there(CHARGE)  # for which the older one has no rule
    with pytest.raises(BadInput, match="would miss calls: HTTPRoute old of the manifest leads them past"):
        there([_matching({"path": {"value": "/charge"}, "method": "POST"}, "old")])


def test_a_rule_that_says_what_an_earlier_manifest_says_is_no_mistake_beside_one_of_its_own() -> None:
    there = world()
    there([_route([{}], "base")])
    with pytest.raises(BadInput, match="HTTPRoute mine of the manifest would do nothing"):
        there([_route([{}], "mine")])
    there([_route([{"matches": [_BETA]}, {}], "mine")])
    there(FAULT)
    with pytest.raises(BadInput, match=r"Rule 2 of HTTPRoute late .* would do nothing"):
        there([_route([{"matches": [{"method": "PUT"}]}, {"backendRefs": [{"name": "canary", "port": 80}]}], "late")])


def test_an_older_route_that_comes_to_the_port_keeps_its_age() -> None:
    elsewhere = _matching({}, "old", creationTimestamp="2024-01-01T00:00:00Z")
    elsewhere["spec"]["parentRefs"][0]["name"] = "order-service"
    there = world(elsewhere, _matching({}, "young", creationTimestamp="2025-01-01T00:00:00Z"))
    there(FAULT)
    with pytest.raises(BadInput, match="HTTPRoute old of the manifest leads them past the route"):
        there([_matching({}, "old")])


def test_a_route_without_words_of_its_own_takes_nothing_from_retries() -> None:
    there = world(_service("payment-service", grpc=True))
    there(Retry(PAYMENT, 2))
    route = {**_matching({"method": {"service": "shop.Payment", "method": "Refund"}}), "kind": "GRPCRoute"}
    route["spec"]["parentRefs"][0]["port"] = 9000
    assert [str(edit) for edit in there([route]).edits] == ["GRPCRoute mine.shop"]


def test_of_two_routes_that_a_run_makes_in_one_second_the_name_decides() -> None:
    there = world()
    there(FOR_QA)
    with pytest.raises(
        BadInput, match=r"might miss calls: HTTPRoute base .* within one second the one whose name comes"
    ):
        there([_matching(_BETA, "base")])


@pytest.mark.parametrize(
    ("step", "before", "after", "what"),
    [
        (FAULT, _for("/"), _for("/x"), "HTTPRoute mine"),
        (
            CircuitBreaker(PAYMENT, 5, Duration(3)),
            _annotated("payment-service"),
            _annotated(
                "payment-service", **ACCRUAL | {"balancer.linkerd.io/failure-accrual-consecutive-max-failures": "9"}
            ),
            "metadata.annotations.balancer.linkerd.io/failure-accrual-consecutive-max-failures of Service payment-service",
        ),
    ],
)
def test_what_a_step_has_changed_is_not_replaced(step: Intent, before: Object, after: Object, what: str) -> None:
    there = world()
    there([before])
    there(step)
    with pytest.raises(BadInput) as caught:
        there([after])
    assert (caught.value.code, caught.value.help) == ("MB0471", "apply the manifest before that step")
    assert f"would replace {what}, by which" in caught.value.sentence


_ANYBODY, _SOME = (["*"], ["order-service.shop.serviceaccount.identity.linkerd.cluster.local"])


@pytest.mark.parametrize(
    ("step", "there_already", "manifest", "refused"),
    [
        (SLOW, [], [_server()], True),
        (SLOW, [], [_server("all-authenticated")], False),
        (FAULT, [], [_server("all-authenticated")], False),
        (FAULT, [], [_server(), *_policies(_ANYBODY)], False),
        (SLOW, [], [_server(), *_policies(_ANYBODY)], False),
        (SLOW, [], [_server(), *_policies(_SOME)], True),
        (SLOW, _policies(_ANYBODY), [_server()], False),
        (SLOW, [_server(), *_policies(_ANYBODY)], _policies(_SOME)[:1], True),
    ],
)
def test_a_server_that_denies_is_refused_where_a_fault_backend_passes_calls_on(
    step: Intent, there_already: list[Object], manifest: list[Object], refused: bool
) -> None:
    """Policies add up, the manifest's with those that are there, and one that lets everybody in lets the backend in."""
    there = world(*there_already)
    there(step)
    if refused:
        with pytest.raises(
            NotPossible, match="With the manifest Server mine lets only some callers of payment-service"
        ):
            there(manifest)
    else:
        there(manifest)
