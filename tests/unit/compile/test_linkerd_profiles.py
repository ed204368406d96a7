"""What the destination service tells of a ServiceProfile, and what a proxy makes of it.

Expectations: linkerd2 controller/api/destination/{profile_translator,server}.go, pkg/profiles/profiles.go,
pkg/util/http.go; linkerd2-proxy linkerd/service-profiles/src/proto.rs
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
import yaml

from meshbdd.lab.linkerd.envoy.pod import Compiler
from meshbdd.lab.linkerd.envoy.profiles import failures
from meshbdd.lab.linkerd.policies import Policies
from meshbdd.lab.linkerd.read.destinations import Budget, ProfileRoute
from tests.unit.compile.linkerd_worlds import told, world

_PLACE = "GetProfile order.shop:80 from shop"
_ROUTE = "{method: GET}"


def _told(condition: str = _ROUTE, classes: str = "[]", more: str = "") -> dict[str, Any]:
    return told(f"""
apiVersion: linkerd.io/v1alpha2
kind: ServiceProfile
metadata: {{name: order.shop.svc.cluster.local}}
spec: {{routes: [{{name: r, condition: {condition}, responseClasses: {classes}}}]{more}}}
""")


def _profile(condition: str = _ROUTE, classes: str = "[]", more: str = "") -> dict[str, Any]:
    return dict(_told(condition, classes, more)["profile"][_PLACE])


def _routes(spec: str) -> list[dict[str, Any]]:
    """Envoy's routes for the profile's route ``r``."""
    profile = f"""
apiVersion: linkerd.io/v1alpha2
kind: ServiceProfile
metadata: {{name: order.shop.svc.cluster.local}}
spec: {{{spec}}}
"""
    hosts = Compiler(Policies(world(profile))).compile("order-1", "shop").routes["outbound"]["virtual_hosts"]
    return [r for host in hosts for r in host["routes"] if r["name"] == "ServiceProfile.r"]


_NO_REQUEST = "A request match must have a field set"


@pytest.mark.parametrize(
    ("condition", "status", "fault"),
    [
        ("{method: GET}", "{min: 500, max: 599}", None),
        ("{all: []}", "{min: 100}", None),
        ("{}", "{min: 500}", _NO_REQUEST),
        ("{method: ''}", "{min: 500}", _NO_REQUEST),
        ("{not: {}}", "{min: 500}", _NO_REQUEST),
        ("{all: [{method: GET}, {}]}", "{min: 500}", _NO_REQUEST),
        ("{any: [{not: {pathRegex: ''}}]}", "{min: 500}", _NO_REQUEST),
        (_ROUTE, "{}", None),
        (_ROUTE, "{min: 99}", "Range minimum must be between 100 and 599, inclusive"),
        (_ROUTE, "{min: 600}", "Range minimum must be between 100 and 599, inclusive"),
        (_ROUTE, "{max: 600}", "Range maximum must be between 100 and 599, inclusive"),
        (_ROUTE, "{min: 500, max: 499}", "Range maximum cannot be smaller than minimum"),
    ],
)
def test_a_condition_that_is_none_keeps_the_whole_profile_back(condition: str, status: str, fault: str | None) -> None:
    made = _told(condition, f"[{{condition: {{status: {status}}}, isFailure: true}}]")
    assert made["log"] == ([] if fault is None else [f"error {fault}"])
    if fault is None:
        assert len(made["profile"][_PLACE]["routes"]) == 1
    else:
        assert made["profile"][_PLACE] == {"error": "no update was sent"}


@pytest.mark.parametrize("condition", ["{}", "{not: {}}", "{all: [{}]}"])
def test_a_response_class_needs_a_condition(condition: str) -> None:
    assert _profile(classes=f"[{{condition: {condition}}}]") == {"error": "no update was sent"}


@pytest.mark.parametrize(
    ("condition", "shown"),
    [
        ("{method: get}", {"method": {"registered": "GET"}}),
        ("{method: foo}", {"method": {"unregistered": "FOO"}}),
        ("{all: []}", {"all": {"matches": []}}),
    ],
)
def test_conditions_of_requests(condition: str, shown: dict[str, Any]) -> None:
    assert _profile(condition)["routes"][0]["condition"] == shown


@pytest.mark.parametrize(
    ("status", "shown"),
    [
        ("{min: 500, max: 503}", {"min": 500, "max": 503}),
        ("{min: 500}", {"min": 500, "max": 0}),
        ("{max: 503}", {"min": 0, "max": 503}),
        ("{}", {"min": 0, "max": 0}),
    ],
)
def test_a_range_is_told_as_it_stands(status: str, shown: dict[str, int]) -> None:
    (found,) = _profile(classes=f"[{{condition: {{status: {status}}}}}]")["routes"][0]["response_classes"]
    assert found["condition"] == {"status": shown}


@pytest.mark.parametrize(
    ("condition", "alternatives"),
    [
        ("{any: []}", 0),
        ("{all: []}", 1),
        ("{not: {any: []}}", 1),
        ("{not: {all: []}}", 0),
        (f"{{any: [], all: [{_ROUTE}]}}", 0),
    ],
)
def test_of_no_conditions_none_holds_and_all_do(condition: str, alternatives: int) -> None:
    """linkerd2-proxy linkerd/service-profiles/src/http.rs, ``RequestMatch::is_match``."""
    assert len(_routes(f"routes: [{{name: r, condition: {condition}}}]")) == alternatives


_DEFAULT = list(range(500, 600))


@pytest.mark.parametrize(
    ("condition", "failing"),
    [
        ("{status: {min: 404, max: 404}}", [404, *_DEFAULT]),
        # The proxy passes over a range without both ends, and with it what is nothing else.
        ("{status: {min: 404}}", _DEFAULT),
        ("{status: {max: 404}}", _DEFAULT),
        ("{not: {status: {min: 404}}}", _DEFAULT),
        ("{all: [{status: {min: 404}}]}", _DEFAULT),
        ("{all: []}", _DEFAULT),
        ("{all: [{status: {min: 404}}, {status: {min: 404, max: 404}}]}", [404, *_DEFAULT]),
        ("{any: [{status: {min: 404}}, {status: {min: 404, max: 405}}]}", [404, 405, *_DEFAULT]),
        ("{not: {status: {min: 200, max: 498}}}", [499, *_DEFAULT]),
    ],
)
def test_what_a_proxy_takes_for_failures(condition: str, failing: list[int]) -> None:
    said = yaml.safe_load(condition)
    assert failures(ProfileRoute("r", {}, ({"condition": said, "isFailure": True},))) == failing


@pytest.mark.parametrize(("ttl", "shown"), [("0s", {}), ("10s", {"ttl": "10s"}), ("1m30s", {"ttl": "90s"})])
def test_a_budget_of_no_time_is_told_without_one(ttl: str, shown: dict[str, str]) -> None:
    budget = _profile(more=f", retryBudget: {{retryRatio: 0.1, minRetriesPerSecond: 1, ttl: {ttl}}}")["retry_budget"]
    assert {name: value for name, value in budget.items() if name == "ttl"} == shown


@pytest.mark.parametrize(
    ("budget", "usable"),
    [
        (Budget(), True),
        (Budget(ttl=Decimal(0)), False),
        (Budget(ttl=Decimal("0.5")), False),
        (Budget(ttl=Decimal(60)), True),
        (Budget(ttl=Decimal(61)), False),
        (Budget(ratio=1000.0), True),
        (Budget(ratio=1000.5), False),
        (Budget(ratio=-0.1), False),
    ],
)
def test_a_proxy_retries_nothing_without_a_budget_that_it_takes(budget: Budget, usable: bool) -> None:
    assert budget.usable == usable


@pytest.mark.parametrize(("ttl", "retried"), [("10s", True), ("0s", False), ("2m", False)])
def test_such_a_budget_leaves_no_retries_in_a_sidecar(ttl: str, retried: bool) -> None:
    routes = f"routes: [{{name: r, condition: {_ROUTE}, isRetryable: true}}]"
    (route,) = _routes(f"{routes}, retryBudget: {{retryRatio: 0.1, minRetriesPerSecond: 1, ttl: {ttl}}}")
    assert ("retry_policy" in route["route"]) == retried


def test_of_a_port_that_the_service_does_not_have_nothing_is_told() -> None:
    route = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec: {parentRefs: [{group: '', kind: Service, name: order, port: 9999}]}
"""
    empty = {"fully_qualified_name": "", "opaque_protocol": False, "routes": [], "dst_overrides": []}
    assert told(route)["profile"]["GetProfile order.shop:9999 from shop"] == empty
