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
_ELSEWHERE = {"MB0927", "MB0990"}
"""Codes that features and admission give: tests/unit/sense/test_scenarios.py, tests/cli/test_check.py."""


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


def test_a_change_is_blamed_for_what_it_does_to_others() -> None:
    mine, theirs = documents("""
        apiVersion: networking.istio.io/v1
        kind: DestinationRule
        metadata: {name: theirs, namespace: shop}
        spec: {host: payment-service, trafficPolicy: {tls: {mode: DISABLE}}}
        ---
        apiVersion: security.istio.io/v1
        kind: PeerAuthentication
        metadata: {name: default, namespace: shop}
        spec: {mtls: {mode: STRICT}}
        """)
    (finding,) = sense.check_changes([theirs], [*WORLD, mine])
    assert (finding.code, finding.object) == ("MB0936", "DestinationRule shop/theirs")


def test_a_thousand_objects_take_no_time() -> None:
    objects = [
        document
        for number in range(1000)
        for document in documents(f"""
            apiVersion: networking.istio.io/v1
            kind: VirtualService
            metadata: {{name: v{number}, namespace: shop}}
            spec: {{hosts: [h{number}.example], http: [{{route: [{{destination: {{host: payment-service}}}}]}}]}}
            """)
    ]
    began = time.process_time()
    assert sense.check_changes(objects, WORLD) == []
    assert time.process_time() - began < 20, "a quadratic rule"
