"""A fault leaves the calls where they go that it does not hit: copies of rules take what the rules took."""

from __future__ import annotations

from typing import Any

import pytest

from meshbdd.errors import NotPossible
from meshbdd.intents import Fault, Scope, ServiceRef
from meshbdd.mesh.linkerd.rules import faulted_rules
from meshbdd.mesh.linkerd.scopes import Place, narrowed_rules
from meshbdd.units import Percent
from tests.unit.product.test_linkerd import PAYMENT, _route, plan

Json = dict[str, Any]
BETA = {"headers": [{"name": "x-beta", "value": "yes"}]}
TWO = {"headers": [*BETA["headers"], {"name": "x-region", "value": "eu"}]}
QUERY = {"queryParams": [{"name": "v", "value": "2"}]}


def rule(match: Json, to: str) -> Json:
    return {"matches": [match], "backendRefs": [{"name": to, "port": 80}]}


def path(value: str, kind: Any = "PathPrefix", **more: Any) -> Json:
    return {"path": {"type": kind, "value": value}, **more}


def taken(scope: Scope, *rules: Json, grpc: bool = False) -> list[str]:
    """Of which rules there are copies."""
    made = narrowed_rules(list(rules), scope, "the fault", Place(80, grpc=grpc))
    return [found["backendRefs"][0]["name"] for found, matches in zip(rules, made, strict=True) if matches]


def test_a_fault_for_a_path_leaves_its_calls_to_the_rule_with_the_longer_path() -> None:
    """The rule for a header took no call to this path; a copy of it for the path alone would take all that bear the header."""
    fault = Fault(ServiceRef("order", "shop"), Percent(20), status=500, scope=Scope(path="/version"))
    rules = [rule(BETA, "canary"), rule(path("/version"), "stable")]
    (copied,) = faulted_rules(rules, fault, Place(80, grpc=False), (), "meshbdd-1", stands_in=False)
    assert copied["matches"] == [path("/version", "Exact")]
    assert {ref["name"]: ref["weight"] for ref in copied["backendRefs"]} == {"stable": 4, "meshbdd-fault-order": 1}


SENT = Scope(path="/version")
POST = Scope(method="POST")
BETAS = Scope(headers={"X-Beta": "yes"})
COVERED = {
    "the longer prefix": (SENT, path("/version"), path("/", **TWO)),
    "an exact path": (SENT, path("/version", "Exact"), path("/", **BETA)),
    "the prefix that is the path itself": (SENT, path("/version/"), path("/", method="GET")),
    "a method": (POST, path("/v", method="POST"), path("/v", **BETA)),
    "a prefix takes the path that it is itself": (POST, path("/v", method="POST"), path("/v", "Exact", **BETA)),
    "a header": (BETAS, path("/v", **BETA), path("/v", **QUERY)),
}


@pytest.mark.parametrize(("scope", "wins", "loses"), COVERED.values(), ids=list(COVERED))
@pytest.mark.parametrize("turned", [False, True])
def test_no_copy_is_made_of_a_rule_that_takes_no_such_call(scope: Scope, wins: Json, loses: Json, turned: bool) -> None:
    rules = [rule(wins, "wins"), rule(loses, "loses")]
    assert taken(scope, *(reversed(rules) if turned else rules)) == ["wins"]


KEPT = {
    "the copy keeps its rank": (SENT, path("/version", **BETA), path("/")),
    "a prefix that is the path itself": (SENT, path("/version", **BETA), path("/version", "Exact")),
    "a method beats headers before and after": (SENT, path("/", method="GET"), path("/", **BETA)),
    "paths that the scope says nothing about": (POST, path("/version", method="POST"), path("/", **BETA)),
    "headers that exclude each other": (
        SENT,
        path("/version", headers=[{"name": "X-Beta", "value": "no"}]),
        path("/", **TWO),
    ),
    "methods that exclude each other": (SENT, path("/version", method="GET"), path("/", method="POST", **BETA)),
    "queries that exclude each other": (
        SENT,
        path("/version", queryParams=[{"name": "v", "value": "1"}]),
        path("/", **BETA, **QUERY),
    ),
    "no scope": (Scope(), path("/version"), path("/", **BETA)),
}


@pytest.mark.parametrize(("scope", "one", "two"), KEPT.values(), ids=list(KEPT))
@pytest.mark.parametrize("turned", [False, True])
def test_a_copy_is_made_of_every_other_rule(scope: Scope, one: Json, two: Json, turned: bool) -> None:
    rules = [rule(one, "one"), rule(two, "two")]
    assert sorted(taken(scope, *(reversed(rules) if turned else rules))) == ["one", "two"]


CLASHING = {
    "a prefix that takes all, and at one path alone before the other": (
        POST,
        path("/", method="POST"),
        path("/.*", "RegularExpression", **BETA),
    ),
    "each asks for something of its own": (SENT, path("/version", **QUERY), path("/", **BETA)),
    "a method and headers": (POST, path("/v", method="POST", **QUERY), path("/v", **BETA)),
    "an expression that may match as much": (
        POST,
        path("/v.*", "RegularExpression", method="POST"),
        path("/v", **BETA),
    ),
}


@pytest.mark.parametrize(("scope", "wins", "loses"), CLASHING.values(), ids=list(CLASHING))
def test_rules_whose_copies_would_share_out_calls_otherwise_are_refused(scope: Scope, wins: Json, loses: Json) -> None:
    with pytest.raises(NotPossible, match="both the rule to wins and the rule to loses go by the first one"):
        taken(scope, rule(wins, "wins"), rule(loses, "loses"))
    assert len(taken(scope, rule(wins, "same"), rule(loses, "same"))) == 2, "whoever takes them, they go there"


def test_a_clash_with_a_rule_that_takes_no_such_call_is_none() -> None:
    rules = [rule(path("/a/b", **BETA), "beta"), rule(path("/", **TWO), "two"), rule(path("/a", **QUERY), "query")]
    assert taken(Scope(path="/a/b/c"), *rules) == ["beta", "query"]


def test_of_rules_that_are_equally_specific_the_first_takes_what_both_match() -> None:
    beta, eu = rule(BETA, "beta"), rule({"headers": TWO["headers"][1:]}, "eu")
    assert taken(BETAS, beta, eu) == ["beta"]
    assert taken(BETAS, eu, beta) == ["eu", "beta"]


def called(**more: Any) -> Json:
    return {"method": {"type": "Exact", **more}}


def test_of_grpc_the_longest_service_and_method_take_a_call() -> None:
    charge = Scope(path="/pay.Pay/Charge")
    rules = [rule(dict(BETA), "canary"), rule(called(service="pay.Pay"), "stable")]
    assert taken(charge, *rules, grpc=True) == ["stable"]
    assert taken(charge, rules[1], rule(called(service="pay.Pay", method="Charge"), "exact"), grpc=True) == ["exact"]
    assert taken(Scope(headers={"x-user": "qa"}), *rules, grpc=True) == ["canary", "stable"]
    beta = rule(called(service="pay.Pay") | BETA, "beta")
    assert taken(BETAS, rule(called(service="pay.Pay", method="Charge"), "exact"), beta, grpc=True) == ["exact", "beta"]


# Routes beside each other


def _beside(older: list[Json], younger: list[Json], intent: Fault, **theirs: Any) -> tuple[list[Json], list[Json]]:
    """The copies that a fault puts into two routes of payment-service."""
    first = _route(older, "older", creationTimestamp="2026-01-01T00:00:00Z")
    second = _route(younger, "younger", creationTimestamp="2026-01-02T00:00:00Z")
    second["spec"] |= theirs
    _, objects = plan(intent, first, second)
    there = {o["metadata"]["name"]: o["spec"]["rules"] for o in (first, second, *objects) if o["kind"] == "HTTPRoute"}
    return there["older"][: len(there["older"]) - len(older)], there["younger"][: len(there["younger"]) - len(younger)]


CHARGES = Fault(PAYMENT, Percent(20), status=500, scope=Scope(path="/charge"))
PLAIN, LONGER = rule(path("/"), "payment-service"), rule(path("/charge"), "canary")


def test_a_copy_takes_no_calls_of_a_route_beside_its_own() -> None:
    """Copies for a path tie, and then the older route's wins: it would lead the calls past the canary."""
    assert [len(copies) for copies in _beside([PLAIN], [LONGER], CHARGES)] == [0, 1]
    assert [len(copies) for copies in _beside([LONGER], [PLAIN], CHARGES)] == [1, 1], "the younger one's takes nothing"
    everything = Fault(PAYMENT, Percent(20), status=500)
    assert [len(copies) for copies in _beside([PLAIN], [LONGER], everything)] == [1, 1]


def test_routes_beside_each_other_whose_copies_would_share_out_calls_otherwise_are_refused() -> None:
    theirs = rule(path("/charge", **QUERY), "canary")
    with pytest.raises(NotPossible, match="the rule to canary and the rule to payment-service go by the first one"):
        _beside([rule(path("/", **BETA), "payment-service")], [theirs], CHARGES)


def test_what_a_route_redirects_is_redirected_beside_a_copy_in_another_one() -> None:
    redirected = {"matches": [BETA], "filters": [{"type": "RequestRedirect", "requestRedirect": {"statusCode": 302}}]}
    (copied,), (sent,) = _beside([redirected], [PLAIN], CHARGES)
    assert copied["matches"] == [path("/charge", "Exact", **BETA)]
    assert "backendRefs" not in copied
    assert len(sent["backendRefs"]) == 2


def test_routes_for_other_host_names_take_none_of_each_others_calls() -> None:
    other = {"hostnames": ["pay.example"]}
    assert [len(copies) for copies in _beside([PLAIN], [LONGER], CHARGES, **other)] == [1, 1]


def test_routes_for_callers_of_other_namespaces_take_none_of_each_others_calls() -> None:
    _, objects = plan(CHARGES, *_apart("east", [PLAIN], "west", [LONGER]))
    assert sorted(len(o["spec"]["rules"]) for o in objects if o["kind"] == "HTTPRoute") == [2, 2, 2]


def test_the_same_words_mean_the_same_backend_in_another_namespace() -> None:
    longer = rule(path("/charge"), "payment-service")
    assert [len(copies) for copies in _beside([PLAIN], [longer], CHARGES)] == [1, 1], (
        "whoever takes them, they go there"
    )
    _, objects = plan(CHARGES, *_apart("east", [PLAIN], "shop", [longer]))
    assert sorted(o["metadata"]["name"] for o in objects if o["kind"] == "HTTPRoute") == ["older", "younger"]


def test_a_route_for_some_callers_takes_no_calls_of_others() -> None:
    """A copy in the route for everybody is for the callers elsewhere, and would take calls of those in the east."""
    with pytest.raises(NotPossible, match="the rule to canary and the rule to payment-service go by the first one"):
        plan(CHARGES, *_apart("shop", [PLAIN], "east", [LONGER]))


def _apart(namespace: str, older: list[Json], other: str, younger: list[Json]) -> list[Json]:
    """Two routes of payment-service in two namespaces."""
    found = [
        _route(older, "older", namespace=namespace, creationTimestamp="2026-01-01T00:00:00Z"),
        _route(younger, "younger", namespace=other, creationTimestamp="2026-01-02T00:00:00Z"),
    ]
    for route in found:
        route["spec"]["parentRefs"][0]["namespace"] = "shop"
    return found
