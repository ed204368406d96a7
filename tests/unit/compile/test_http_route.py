"""HTTPRoutes on Services, by the rules that Istio turns them by."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.compile.worlds import CLIENT, ORDER, compile_for, routes

TO_PAYMENT = "backendRefs: [{name: payment-service, namespace: shop, port: 80}]"


def route(rules: str, name: str = "a", namespace: str = "shop", parent: str = "") -> str:
    """An HTTPRoute on payment-service."""
    return (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n"
        f"metadata: {{name: {name}, namespace: {namespace}}}\nspec:\n"
        f"  parentRefs: [{{group: '', kind: Service, name: payment-service, namespace: shop{parent}}}]\n"
        f"  rules: {rules}\n---\n"
    )


def made(rules: str, caller: str = ORDER) -> list[dict[str, Any]]:
    return routes(compile_for(caller, route(rules)), "payment-service")


def paths(found: list[dict[str, Any]]) -> list[str]:
    return [
        next(str(r["match"][k]) for k in ("path", "path_separated_prefix", "prefix") if k in r["match"]) for r in found
    ]


def test_matches_are_sorted_by_what_they_say() -> None:
    found = made(
        f"[{{matches: [{{path: {{value: /a}}}}, {{path: {{value: /long}}}}, {{path: {{type: Exact, value: /a}}}},"
        f" {{path: {{value: /a}}, method: GET}}, {{path: {{value: /a}}, headers: [{{name: h, value: v}}]}}], {TO_PAYMENT}}}]"
    )
    assert paths(found) == ["/a", "/long", "/a", "/a", "/a"]
    assert "path" in found[0]["match"]
    assert [[h["name"] for h in r["match"].get("headers", [])] for r in found[2:]] == [[":method"], ["h"], []]


def test_a_prefix_ends_at_a_segment() -> None:
    assert made(f"[{{matches: [{{path: {{value: /a/}}}}], {TO_PAYMENT}}}]")[0]["match"]["path_separated_prefix"] == "/a"
    assert made(f"[{{{TO_PAYMENT}}}]")[0]["match"]["prefix"] == "/"


@pytest.mark.parametrize(
    ("timeouts", "retry", "expected"),
    [
        ("request: 3s", "", ("3s", None)),
        ("backendRequest: 2s", "", ("2s", None)),
        ("request: 3s, backendRequest: 2s", "retry: {attempts: 2},", ("3s", "2s")),
        ("request: 0s", "", ("0s", None)),
    ],
)
def test_timeouts(timeouts: str, retry: str, expected: tuple[str, str | None]) -> None:
    action = made(f"[{{timeouts: {{{timeouts}}}, {retry} {TO_PAYMENT}}}]")[0]["route"]
    assert (action["timeout"], action["retry_policy"].get("per_try_timeout")) == expected


def test_what_is_tried_again() -> None:
    policy = made(f"[{{retry: {{codes: [500, 503], attempts: 4, backoff: 10ms}}, {TO_PAYMENT}}}]")[0]["route"][
        "retry_policy"
    ]
    assert policy["num_retries"] == 4
    assert policy["retriable_status_codes"] == [500, 503]
    assert policy["retry_back_off"] == {"base_interval": "0.010s"}


def test_weights() -> None:
    found = made(
        "[{backendRefs: [{name: order-stable, port: 80, weight: 1}, {name: order-canary, port: 80, weight: 3},"
        " {name: payment-service, port: 80, weight: 0}]}]"
    )[0]["route"]["weighted_clusters"]["clusters"]
    assert [(c["name"], c["weight"]) for c in found] == [
        ("outbound|80||order-stable.shop.svc.cluster.local", 1), ("outbound|80||order-canary.shop.svc.cluster.local", 3),
    ]  # fmt: skip


@pytest.mark.parametrize("backends", ["backendRefs: [{name: payment-service, port: 80, weight: 0}]", "name: nothing"])
def test_without_a_backend_that_has_weight_the_answer_is_500(backends: str) -> None:
    assert made(f"[{{{backends}}}]")[0]["direct_response"]["status"] == 500


def test_a_backend_of_an_unknown_kind_leads_nowhere() -> None:
    action = made("[{backendRefs: [{group: other.io, kind: Thing, name: x, port: 80}]}]")[0]["route"]
    assert action["cluster_not_found_response_code"] == "INTERNAL_SERVER_ERROR"


def test_a_copy_to_a_share() -> None:
    found = made(
        "[{filters: [{type: RequestMirror, requestMirror: {backendRef: {name: order-stable, port: 80}, percent: 25}},"
        " {type: RequestMirror, requestMirror: {backendRef: {name: order-canary, port: 80}}}], " + TO_PAYMENT + "}]"
    )[0]["route"]["request_mirror_policies"]
    assert [m["runtime_fraction"]["default_value"]["numerator"] for m in found] == [250000, 100]


@pytest.mark.parametrize(
    ("caller", "namespace", "governed"),
    [
        (ORDER, "shop", True),  # the producer's route holds for everyone
        (CLIENT, "shop", True),
        (CLIENT, "other", True),  # a consumer's for its own namespace
        (ORDER, "other", False),
    ],
)
def test_whom_a_route_is_for(caller: str, namespace: str, governed: bool) -> None:
    text = route(f"[{{name: mine, {TO_PAYMENT}}}]", namespace=namespace)
    assert (routes(compile_for(caller, text), "payment-service")[0]["name"] == "mine") == governed


def test_a_consumers_route_goes_before_the_producers() -> None:
    text = route(f"[{{name: producer, {TO_PAYMENT}}}]") + route(f"[{{name: consumer, {TO_PAYMENT}}}]", "b", "other")
    assert routes(compile_for(CLIENT, text), "payment-service")[0]["name"] == "consumer"
    assert routes(compile_for(ORDER, text), "payment-service")[0]["name"] == "producer"


def test_routes_of_one_parent_are_sorted_together() -> None:
    text = route(f"[{{matches: [{{path: {{value: /a}}}}], {TO_PAYMENT}}}]") + route(
        f"[{{matches: [{{path: {{value: /a/longer}}}}], {TO_PAYMENT}}}]", "b"
    )
    assert paths(routes(compile_for(ORDER, text), "payment-service")) == ["/a/longer", "/a"]


def test_a_parents_port_chooses_the_port() -> None:
    text = route(f"[{{name: mine, {TO_PAYMENT}}}]", parent=", port: 81")
    assert routes(compile_for(ORDER, text), "payment-service")[0]["name"] == "default"
    text = route(f"[{{name: mine, {TO_PAYMENT}}}]", parent=", port: 80")
    assert routes(compile_for(ORDER, text), "payment-service")[0]["name"] == "mine"


def test_one_that_hangs_on_a_gateway_touches_no_sidecar() -> None:
    text = (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: a}\n"
        "spec: {parentRefs: [{name: edge}], rules: [{backendRefs: [{name: payment-service, port: 80}]}]}\n"
    )
    assert compile_for(ORDER, text).to_json() == compile_for(ORDER, "").to_json()


CORS = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: a}
spec:
  parentRefs: [{group: "", kind: Service, name: payment-service}]
  rules:
  - filters:
    - type: CORS
      cors: {allowOrigins: ["*", "http://a", "http://*", "http://*.b.c"], allowCredentials: true, allowMethods: [GET, PUT], maxAge: 5}
    backendRefs: [{name: payment-service, port: 80}]
"""


def test_cors_is_a_route_s() -> None:
    (route,) = routes(compile_for(ORDER, CORS), "payment-service")
    policy = route["typed_per_filter_config"]["envoy.filters.http.cors"]
    assert policy["allow_origin_string_match"] == [
        {"safe_regex": {"regex": r"^[a-zA-Z][a-zA-Z0-9+.-]*://[^/\s?#]+$"}},
        {"exact": "http://a"},
        {"prefix": "http://"},
        {"safe_regex": {"regex": r"^http://.*\.b\.c$"}},
    ]
    assert policy["allow_methods"] == "GET,PUT"
    assert (policy["max_age"], policy["allow_credentials"]) == ("5", True)
    assert policy["forward_not_matching_preflights"] is False


def test_a_filter_that_istio_does_not_have_takes_the_route_away() -> None:
    extended = CORS.replace("type: CORS\n", "type: ExtensionRef\n")
    (route,) = routes(compile_for(ORDER, extended), "payment-service")
    assert route["name"] == "default"
