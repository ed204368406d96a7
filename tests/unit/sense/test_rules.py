"""Every rule breaks where it should, and keeps still just beside it."""

from __future__ import annotations

import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from meshbdd import sense
from meshbdd.sense.catalog import CHECKS
from tests.golden.meaning import DATA

_CASES = yaml.safe_load(Path(__file__).with_name("cases.yaml").read_text("utf-8"))
_ELSEWHERE = {"MB0926", "MB0927", "MB0928", "MB0990", "MB0991", "MB0994", "MB0995"}
"""Codes that features and admission give, and those for Linkerd alone: tests/unit/rehearsal/test_rehearsal.py,
tests/cli/test_check.py, tests/unit/sense/test_linkerd_worlds.py."""


def documents(text: str) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(textwrap.dedent(text)) if document]


WORLD = documents((DATA / "world.yaml").read_text("utf-8"))


@pytest.mark.parametrize("case", _CASES, ids=lambda c: c["name"])
def test_a_case_gives_its_findings_and_no_more(case: dict[str, Any]) -> None:
    found = sense.check_changes(documents(case["resources"]), WORLD)
    assert sorted(f"{f.code} {f.object}" for f in found) == sorted(case["finds"]), "\n".join(map(str, found))


def _recorded() -> list[dict[str, Any]]:
    return yaml.safe_load((DATA / "istio-analysis.yaml").read_text("utf-8"))


def test_every_code_is_found_somewhere() -> None:
    found = {entry.partition(" ")[0] for case in _CASES for entry in case["finds"]}
    found |= {f.code for case in _recorded() for f in sense.check_changes(documents(case["resources"]), WORLD)}
    assert {check.code for check in CHECKS} - _ELSEWHERE == found


def test_codes_are_unique_and_titles_say_different_things() -> None:
    assert len({check.code for check in CHECKS}) == len(CHECKS)
    assert len({check.title for check in CHECKS}) == len(CHECKS)


def test_who_applies_a_root_before_its_delegate_is_told_the_order() -> None:
    root = documents("""
        apiVersion: networking.istio.io/v1
        kind: VirtualService
        metadata: {name: root, namespace: shop}
        spec: {hosts: [payment-service], http: [{delegate: {name: leaf}}]}
        """)
    (found,) = sense.check_changes(root, WORLD)
    assert found.code == "MB0907"
    assert "Istio leaves the rule out" in found.sentence
    assert found.help.startswith("apply the delegate first")


def test_a_change_is_not_blamed_for_what_was_there_before() -> None:
    odd = documents("""
        apiVersion: v1
        kind: Service
        metadata: {name: odd, namespace: shop}
        spec: {selector: {app: nobody}, ports: [{port: 81}]}
        """)
    change = documents("""
        apiVersion: networking.istio.io/v1
        kind: VirtualService
        metadata: {name: a, namespace: shop}
        spec: {hosts: [payment-service], http: [{route: [{destination: {host: payment-service}}]}]}
        """)
    assert sense.check([*WORLD, *odd])
    assert sense.check_changes(change, [*WORLD, *odd]) == []
    assert sense.check_changes(odd, [*WORLD, *odd]), "what is written anew is judged anew"


def test_a_changed_object_takes_the_place_of_the_one_that_is_there() -> None:
    old, new = documents("""
        apiVersion: networking.istio.io/v1
        kind: VirtualService
        metadata: {name: a, namespace: shop, creationTimestamp: "2026-01-01T00:00:00Z"}
        spec: {hosts: [payment-service], http: [{route: [{destination: {host: payment-service}}]}]}
        ---
        apiVersion: networking.istio.io/v1
        kind: VirtualService
        metadata: {name: a, namespace: shop}
        spec: {hosts: [payment-service], http: [{route: [{destination: {host: order-service}}]}]}
        """)
    assert sense.check_changes([new], [*WORLD, old]) == []


@pytest.mark.parametrize(
    ("name", "selector"), [("default", "{}"), ("meshbdd-payment-service", "{matchLabels: {app: payment-service}}")]
)
def test_a_change_is_blamed_for_what_it_does_to_others(name: str, selector: str) -> None:
    theirs, mine = documents(f"""
        apiVersion: networking.istio.io/v1
        kind: DestinationRule
        metadata: {{name: theirs, namespace: shop}}
        spec: {{host: payment-service, trafficPolicy: {{tls: {{mode: DISABLE}}}}}}
        ---
        apiVersion: security.istio.io/v1
        kind: PeerAuthentication
        metadata: {{name: {name}, namespace: shop}}
        spec: {{selector: {selector}, mtls: {{mode: STRICT}}}}
        """)
    for changed, there in ((theirs, mine), (mine, theirs)):
        (finding,) = sense.check_changes([changed], [*WORLD, there])
        assert (finding.code, finding.object) == ("MB0936", "DestinationRule shop/theirs")


def test_a_pattern_s_breaker_names_the_services_that_it_governs_and_never_opens_for() -> None:
    objects = documents("""
        apiVersion: networking.istio.io/v1
        kind: DestinationRule
        metadata: {name: all, namespace: shop}
        spec: {host: "*.shop.svc.cluster.local", trafficPolicy: {outlierDetection: {consecutive5xxErrors: 5}}}
        ---
        apiVersion: networking.istio.io/v1
        kind: DestinationRule
        metadata: {name: few, namespace: shop}
        spec: {host: "*-service.shop.svc.cluster.local", trafficPolicy: {loadBalancer: {simple: RANDOM}}}
        ---
        apiVersion: apps/v1
        kind: Deployment
        metadata: {name: many, namespace: shop}
        spec: {replicas: 10, selector: {matchLabels: {app: many}}, template: {metadata: {labels: {app: many, sidecar.istio.io/inject: "true"}}, spec: {containers: []}}}
        ---
        apiVersion: v1
        kind: Service
        metadata: {name: many, namespace: shop}
        spec: {selector: {app: many}, ports: [{name: http, port: 80}]}
        """)
    (found,) = sense.check_changes(objects, WORLD)
    assert (found.code, found.object, found.help) == (
        "MB0934",
        "DestinationRule shop/all",
        "set maxEjectionPercent to 100",
    )
    assert "the default, of 1 endpoint of order-canary.shop, 1 endpoint of order-stable.shop is less" in found.sentence


def test_a_subset_of_a_rule_that_is_overruled_is_told_with_the_rule_that_counts() -> None:
    objects = documents("""
        apiVersion: networking.istio.io/v1
        kind: DestinationRule
        metadata: {name: all, namespace: shop}
        spec: {host: "*.shop.svc.cluster.local", subsets: [{name: stable, labels: {version: stable}}]}
        ---
        apiVersion: networking.istio.io/v1
        kind: DestinationRule
        metadata: {name: own, namespace: shop}
        spec: {host: order-service, trafficPolicy: {loadBalancer: {simple: RANDOM}}}
        ---
        apiVersion: networking.istio.io/v1
        kind: VirtualService
        metadata: {name: a, namespace: shop}
        spec: {hosts: [order-service], http: [{route: [{destination: {host: order-service, subset: stable}}]}]}
        """)
    (found,) = sense.check_changes(objects, WORLD)
    assert "which DestinationRule shop/all defines, but callers take DestinationRule shop/own" in found.sentence
    assert found.help == "define the subset in DestinationRule shop/own"
    (found,) = sense.check_changes(objects[2:], WORLD)
    assert "which no DestinationRule defines" in found.sentence


_STABLE = "{destination: {host: order-service, subset: stable}"


@pytest.mark.parametrize(
    ("rule", "lost"),
    [
        (f"{{route: [{_STABLE}}}]}}", "their calls get 503."),
        (f"{{route: [{_STABLE}, weight: 0}}]}}", "their calls get 503."),
        (
            f"{{route: [{_STABLE}, weight: 1}}, {{destination: {{host: order-service}}, weight: 9}}]}}",
            "10% of their calls get 503.",
        ),
        (f"{{route: [{_STABLE}, weight: 0}}, {{destination: {{host: order-service}}, weight: 9}}]}}", ""),
        (f"{{route: [{_STABLE}}}, {{destination: {{host: order-service}}, weight: 100}}]}}", ""),
        (
            "{route: [{destination: {host: order-service}}], mirror: {host: order-service, subset: stable}}",
            "the copies of their calls are lost.",
        ),
        (
            f"{{route: [{{destination: {{host: order-service}}}}], mirrors: [{_STABLE}}}]}}",
            "the copies of their calls are lost.",
        ),
        (
            f"{{route: [{{destination: {{host: order-service}}}}], mirrors: [{_STABLE}, percentage: {{value: 0}}}}]}}",
            "",
        ),
    ],
)
def test_what_callers_lose_that_do_not_have_a_subset_is_told_as_much_as_the_route_leads_there(
    rule: str, lost: str
) -> None:
    objects = documents(f"""
        apiVersion: networking.istio.io/v1
        kind: DestinationRule
        metadata: {{name: private, namespace: shop}}
        spec: {{host: order-service, exportTo: ["."], subsets: [{{name: stable, labels: {{version: stable}}}}]}}
        ---
        apiVersion: networking.istio.io/v1
        kind: VirtualService
        metadata: {{name: a, namespace: shop}}
        spec: {{hosts: [order-service], http: [{rule}]}}
        """)
    found = [f.sentence for f in sense.check_changes(objects, WORLD) if f.code == "MB0942"]
    assert [sentence.rpartition("for that host; ")[2] for sentence in found] == ([lost] if lost else [])


def _shop_of(size: int) -> list[dict[str, Any]]:
    """A sound world of so many services, each with pods, rules and policies of its own."""
    template = """
        {{kind: Service, metadata: {{name: s{n}, namespace: shop}}, spec: {{selector: {{app: s{n}}}, ports: [{{name: http, port: 80, targetPort: 8080}}]}}}}
        ---
        {{kind: Pod, metadata: {{name: s{n}, namespace: shop, labels: {{app: s{n}, security.istio.io/tlsMode: istio}}}}, spec: {{containers: [{{ports: [{{containerPort: 8080}}]}}]}}}}
        ---
        {{kind: VirtualService, metadata: {{name: s{n}, namespace: shop}}, spec: {{hosts: [s{n}], http: [{{route: [{{destination: {{host: s{n}, subset: v}}}}]}}]}}}}
        ---
        {{kind: DestinationRule, metadata: {{name: s{n}, namespace: shop}}, spec: {{host: s{n}, subsets: [{{name: v, labels: {{app: s{n}}}}}], trafficPolicy: {{tls: {{mode: ISTIO_MUTUAL}}}}}}}}
        ---
        {{kind: AuthorizationPolicy, metadata: {{name: s{n}, namespace: shop}}, spec: {{selector: {{matchLabels: {{app: s{n}}}}}, rules: [{{to: [{{operation: {{ports: ["8080"]}}}}]}}]}}}}
        ---
        {{kind: PeerAuthentication, metadata: {{name: s{n}, namespace: shop}}, spec: {{selector: {{matchLabels: {{app: s{n}}}}}, mtls: {{mode: STRICT}}}}}}
        """
    return [document for n in range(size) for document in documents(template.format(n=n))]


def test_eight_times_as_many_services_do_not_take_two_hundred_times_as_long() -> None:
    """A rule that looks at all pairs of three kinds would take 512 times as long; CPU time, on any machine."""

    def cost(world: list[dict[str, Any]]) -> float:
        began = time.process_time()
        assert sense.check(world) == []
        return time.process_time() - began

    small, large = _shop_of(15), _shop_of(120)
    assert cost(large) < 200 * max(min(cost(small) for _ in range(3)), 0.002)
