"""VirtualServices, by Istio's rules: what a route does, which of several counts, and for whom."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.compile.worlds import CLIENT, ORDER, compile_for, routes, virtual_host

PAYMENT = "payment-service.shop.svc.cluster.local"


def service(http: str, name: str = "a", host: str = "payment-service", extra: str = "", namespace: str = "shop") -> str:
    """A VirtualService with these rules."""
    return (
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
        f"metadata: {{name: {name}, namespace: {namespace}}}\nspec:\n  hosts: ['{host}']\n  {extra}\n  http: {http}\n---\n"
    )


def first(http: str, caller: str = ORDER) -> dict[str, Any]:
    return routes(compile_for(caller, service(http)), "payment-service")[0]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("rewrite: {authority: one}, headers: {request: {set: {Host: two}}}", "one"),
        ("headers: {request: {set: {host: two}, add: {':authority': three}}}", "two"),
        ("headers: {request: {add: {':authority': three}}}", "three"),
        ("timeout: 1s", "four"),
    ],
)
def test_who_names_the_host(said: str, expected: str) -> None:
    route = "route: [{destination: {host: payment-service}, headers: {request: {set: {HOST: four}}}}]"
    made = first(f"[{{{said}, {route}}}]")
    assert made["route"]["host_rewrite_literal"] == expected
    assert "request_headers_to_add" not in made


def test_headers_of_the_route_come_before_those_of_its_only_destination() -> None:
    made = first(
        "[{headers: {request: {set: {b: '1', a: '2'}, add: {c: '3'}, remove: [d]}},"
        " route: [{destination: {host: payment-service}, headers: {request: {add: {e: '4'}}}}]}]"
    )
    assert [h["header"]["key"] for h in made["request_headers_to_add"]] == ["a", "b", "c", "e"]
    assert made["request_headers_to_add"][0]["append_action"] == "OVERWRITE_IF_EXISTS_OR_ADD"
    assert made["request_headers_to_remove"] == ["d"]


@pytest.mark.parametrize(
    ("said", "share"),
    [
        ("mirror: {host: order-stable}", {"numerator": 100}),
        ("mirror: {host: order-stable}, mirrorPercent: 7", {"numerator": 7}),
        ("mirror: {host: order-stable}, mirrorPercentage: {value: 0.5}", {"numerator": 5000, "denominator": "MILLION"}),
        (
            "mirror: {host: order-stable}, mirrorPercentage: {value: 1.13}",
            {"numerator": 11299, "denominator": "MILLION"},
        ),
        ("mirrors: [{destination: {host: order-stable}}]", {"numerator": 100}),
        ("mirror: {host: order-stable}, mirrorPercentage: {value: 0}", None),
        ("mirrors: [{destination: {host: order-stable}, percentage: {value: 0}}]", None),
    ],
)
def test_what_share_is_mirrored(said: str, share: dict[str, Any] | None) -> None:
    made = first(f"[{{{said}, route: [{{destination: {{host: payment-service}}}}]}}]")["route"]
    shares = [m["runtime_fraction"]["default_value"] for m in made.get("request_mirror_policies", [])]
    assert shares == ([share] if share else [])


@pytest.mark.parametrize(
    ("value", "millionths"), [(0.57, 5699), (1.13, 11_299), (0.0003, 2), (0.0001, 1), (33.3333, 333_333), (50, 500_000)]
)
def test_a_share_is_cut_by_istios_arithmetic(value: float, millionths: int) -> None:
    """The figures are those of ``uint32(value * 10000)`` in Go, where 1.13 * 10000 is 11299.999999999998."""
    share = f"percentage: {{value: {value}}}"
    made = first(
        f"[{{fault: {{abort: {{httpStatus: 503, {share}}}, delay: {{fixedDelay: 1s, {share}}}}}, {TO_PAYMENT}}}]"
    )
    fault = made["typed_per_filter_config"]["envoy.filters.http.fault"]
    assert [fault[kind]["percentage"]["numerator"] for kind in ("abort", "delay")] == [millionths] * 2


@pytest.mark.parametrize(
    ("said", "port"),
    [
        ("port: 80", None), ("port: 443", 443), ("port: 443, scheme: https", None), ("port: 80, scheme: https", 80),
        ("derivePort: FROM_REQUEST_PORT", None), ("derivePort: FROM_REQUEST_PORT, scheme: https", 80),
        ("derivePort: FROM_PROTOCOL_DEFAULT", None),
    ],
)  # fmt: skip
def test_a_redirect_leaves_out_its_schemes_own_port(said: str, port: int | None) -> None:
    assert first(f"[{{redirect: {{uri: /x, {said}}}}}]")["redirect"].get("port_redirect") == port


@pytest.mark.parametrize(("code", "name"), [(301, None), (302, "FOUND"), (307, "TEMPORARY_REDIRECT")])
def test_the_code_of_a_redirect(code: int, name: str | None) -> None:
    assert first(f"[{{redirect: {{uri: /x, redirectCode: {code}}}}}]")["redirect"].get("response_code") == name


@pytest.mark.parametrize(
    ("retries", "expected"),
    [
        ("{attempts: 0}", None),
        ("{attempts: 3}", (3, "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes", None, True)),
        ("{attempts: 1, retryOn: '5xx,429,503'}", (1, "5xx,retriable-status-codes", [429, 503], True)),
        ("{attempts: 1, retryOn: reset, retryIgnorePreviousHosts: false}", (1, "reset", None, False)),
    ],
)  # fmt: skip
def test_retries(retries: str, expected: Any) -> None:
    policy = first(f"[{{retries: {retries}, route: [{{destination: {{host: payment-service}}}}]}}]")["route"].get(
        "retry_policy"
    )
    if expected is None:
        assert policy is None
        return
    found = policy["num_retries"], policy["retry_on"], policy.get("retriable_status_codes")
    assert (*found, "retry_host_predicate" in policy) == expected


def test_two_tries_are_what_a_route_has_that_says_nothing() -> None:
    assert first("[{route: [{destination: {host: payment-service}}]}]")["route"]["retry_policy"]["num_retries"] == 2


def test_a_destination_without_a_port_is_at_the_port_that_is_called() -> None:
    made = first("[{route: [{destination: {host: order-stable, subset: s}}]}]")
    assert made["route"]["cluster"] == "outbound|80|s|order-stable.shop.svc.cluster.local"
    made = first("[{route: [{destination: {host: order-stable, port: {number: 81}}}]}]")
    assert made["route"]["cluster"] == "outbound|81||order-stable.shop.svc.cluster.local"


def test_of_several_weights_one_of_0_is_not_named() -> None:
    made = first(
        "[{route: [{destination: {host: order-stable}, weight: 30}, {destination: {host: order-canary}, weight: 0},"
        " {destination: {host: payment-service}, weight: 70}]}]"
    )
    weights = [
        (c["name"].split("|")[3].split(".")[0], c["weight"]) for c in made["route"]["weighted_clusters"]["clusters"]
    ]
    assert weights == [("order-stable", 30), ("payment-service", 70)]


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ("{uri: {exact: /a}}", {"path": "/a", "case_sensitive": True}),
        ("{uri: {prefix: /a}, ignoreUriCase: true}", {"prefix": "/a", "case_sensitive": False}),
        ("{uri: {regex: '/a.*'}}", {"safe_regex": {"regex": "/a.*"}, "case_sensitive": True}),
        ("{headers: {x: {}}}", {"prefix": "/", "case_sensitive": True, "headers": [{"name": "x", "present_match": True}]}),
        ("{headers: {x: {regex: '*'}}}", {"prefix": "/", "case_sensitive": True, "headers": [{"name": "x", "present_match": True}]}),
        ("{withoutHeaders: {x: {}}}", {"prefix": "/", "case_sensitive": True, "headers": [
            {"name": "x", "present_match": True, "invert_match": True}]}),
        ("{withoutHeaders: {x: {exact: a}}}", {"prefix": "/", "case_sensitive": True, "headers": [
            {"name": "x", "string_match": {"exact": "a"}, "invert_match": True, "treat_missing_header_as_empty": True}]}),
        ("{method: {exact: GET}, headers: {b: {exact: '1'}, a: {prefix: '2'}}}", {
            "prefix": "/", "case_sensitive": True, "headers": [
                {"name": "a", "string_match": {"prefix": "2"}}, {"name": "b", "string_match": {"exact": "1"}},
                {"name": ":method", "string_match": {"exact": "GET"}}]}),
        ("{queryParams: {q: {exact: a}}}", {"prefix": "/", "case_sensitive": True, "query_parameters": [
            {"name": "q", "string_match": {"exact": "a"}}]}),
    ],
)  # fmt: skip
def test_matches(match: str, expected: dict[str, Any]) -> None:
    assert first(f"[{{match: [{match}], directResponse: {{status: 200}}}}]")["match"] == expected


@pytest.mark.parametrize(
    ("match", "callers"),
    [
        ("{sourceLabels: {app: client}}", [CLIENT]),
        ("{sourceLabels: {app: client, version: none}}", []),
        ("{sourceNamespace: shop}", [ORDER]),
        ("{gateways: [mesh]}", [ORDER, CLIENT]),
        ("{gateways: [elsewhere]}", []),
        ("{port: 80}", [ORDER, CLIENT]),
        ("{port: 81}", []),
    ],
)
def test_whom_a_match_is_for(match: str, callers: list[str]) -> None:
    text = service(f"[{{name: mine, match: [{match}], directResponse: {{status: 200}}}}]")
    assert [
        c for c in (ORDER, CLIENT) if routes(compile_for(c, text), "payment-service")[0]["name"] != "default"
    ] == callers


def test_each_match_is_a_route_with_a_name_of_its_own() -> None:
    text = service(
        "[{name: rule, match: [{name: one, uri: {exact: /1}}, {uri: {exact: /2}}], directResponse: {status: 200}}]"
    )
    names = [route.get("name") for route in routes(compile_for(ORDER, text), "payment-service")]
    assert names == ["rule.one", "rule"]


def test_a_rule_that_everything_matches_ends_the_list() -> None:
    text = service("[{name: all, directResponse: {status: 200}}, {name: never, directResponse: {status: 201}}]")
    assert [route["name"] for route in routes(compile_for(ORDER, text), "payment-service")] == ["all"]


def test_one_that_is_not_for_the_caller_leaves_the_host_to_the_next() -> None:
    text = service("[{name: labels, match: [{sourceLabels: {app: client}}], directResponse: {status: 200}}]") + service(
        "[{name: rest, directResponse: {status: 201}}]", "b"
    )
    assert routes(compile_for(ORDER, text), "payment-service")[0]["name"] == "rest"
    assert routes(compile_for(CLIENT, text), "payment-service")[0]["name"] == "labels"


def test_of_two_for_a_host_the_older_counts_and_one_that_is_exported_to_the_caller_before_public_ones() -> None:
    public = service("[{name: public, directResponse: {status: 200}}]")
    narrow = service("[{name: narrow, directResponse: {status: 201}}]", "b", extra="exportTo: [other]")
    assert routes(compile_for(CLIENT, public + narrow), "payment-service")[0]["name"] == "narrow"
    assert routes(compile_for(ORDER, public + narrow), "payment-service")[0]["name"] == "public"
    second = service("[{name: second, directResponse: {status: 202}}]", "c")
    assert routes(compile_for(ORDER, public + second), "payment-service")[0]["name"] == "public"


def test_the_older_counts_whatever_the_names_and_at_one_age_the_name() -> None:
    def made(name: str, created: str) -> str:
        text = service(f"[{{name: {name}, directResponse: {{status: 200}}}}]", name)
        assert text.count(f"name: {name}") == 2  # the resource and its route
        return text.replace(f"{{name: {name}, ", f"{{name: {name}, creationTimestamp: '{created}', ", 1)

    younger, older = made("a", "2026-03-02T10:00:01Z"), made("b", "2026-03-02T10:00:00Z")
    for text in (younger + older, older + younger):
        assert routes(compile_for(ORDER, text), "payment-service")[0]["name"] == "b"
    twin = made("a", "2026-03-02T10:00:00Z")
    for text in (twin + older, older + twin):
        assert routes(compile_for(ORDER, text), "payment-service")[0]["name"] == "a"


def test_a_host_that_is_no_services_is_at_port_80_by_its_very_name() -> None:
    made = compile_for(ORDER, service("[{directResponse: {status: 200}}]", host="example.org"))
    assert virtual_host(made, "example.org")["domains"] == ["example.org"]
    tables = [name for name, table in made.routes.items() if "example.org" in str(table)]
    assert tables == ["80"]


def test_a_pattern_governs_the_services_that_no_closer_one_names() -> None:
    text = service("[{name: wide, directResponse: {status: 200}}]", host="*.shop.svc.cluster.local") + service(
        "[{name: exact, directResponse: {status: 201}}]", "b"
    )
    made = compile_for(ORDER, text)
    assert routes(made, "payment-service")[0]["name"] == "exact"
    assert routes(made, "inventory-service")[0]["name"] == "wide"


def test_one_at_gateways_alone_touches_no_sidecar() -> None:
    text = service("[{name: mine, directResponse: {status: 200}}]", extra="gateways: [shop/edge]")
    assert compile_for(ORDER, text).to_json() == compile_for(ORDER, "").to_json()


# Delegates

ROOT = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: root, namespace: shop}
spec:
  hosts: [payment-service]
  http:
  - {name: r, match: [%s], timeout: 2s, delegate: {name: d, namespace: other}}
  - {name: rest, directResponse: {status: 404}}
---
"""


def delegate(rule: str, export: str = "") -> str:
    return (
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: d, namespace: other}\n"
        f"spec: {{{export} http: [{{name: x, {rule}}}]}}\n---\n"
    )


TO_PAYMENT = f"route: [{{destination: {{host: {PAYMENT}}}}}]"


@pytest.mark.parametrize(
    ("root", "match", "expected"),
    [
        ("{uri: {prefix: /a}}", "{uri: {prefix: /a/b}}", {"prefix": "/a/b"}),
        ("{uri: {prefix: /a}}", "{uri: {exact: /a/b}}", {"path": "/a/b"}),
        ("{uri: {prefix: /a}}", "{method: {exact: GET}}", {"prefix": "/a"}),
        ("{uri: {prefix: /a}}", "{uri: {prefix: /b}}", None),
        ("{uri: {exact: /a}}", "{uri: {prefix: /a}}", None),
        ("{uri: {regex: /a}}", "{uri: {exact: /a}}", None),
        ("{headers: {h: {exact: '1'}}}", "{headers: {h: {exact: '2'}}}", None),
        ("{headers: {h: {exact: '1'}}}", "{headers: {g: {exact: '2'}}}", {"prefix": "/"}),
        ("{port: 80}", "{port: 81}", None),
        ("{sourceNamespace: shop}", "{uri: {exact: /a}}", None),
    ],
)
def test_a_delegate_narrows_its_root_or_is_left_out(root: str, match: str, expected: dict[str, Any] | None) -> None:
    text = ROOT % root + delegate(f"match: [{match}], {TO_PAYMENT}")
    made = routes(compile_for(ORDER, text), "payment-service")
    if expected is None:
        assert [route["name"] for route in made] == ["rest"]
        return
    assert made[0]["name"] == "r-x"
    assert expected.items() <= made[0]["match"].items()
    assert made[0]["route"]["timeout"] == "2s"


def test_a_delegates_own_word_counts_and_one_that_is_not_exported_is_not_there() -> None:
    own = routes(
        compile_for(ORDER, ROOT % "{uri: {prefix: /a}}" + delegate(f"timeout: 5s, {TO_PAYMENT}")), "payment-service"
    )
    assert own[0]["route"]["timeout"] == "5s"
    hidden = delegate(TO_PAYMENT, "exportTo: ['.'],")
    assert [
        r["name"] for r in routes(compile_for(ORDER, ROOT % "{uri: {prefix: /a}}" + hidden), "payment-service")
    ] == ["rest"]
