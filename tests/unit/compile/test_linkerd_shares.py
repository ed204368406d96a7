"""The shares of a split's backends, as weights of Envoy's localities and endpoints."""

from __future__ import annotations

from fractions import Fraction

import pytest

from meshbdd.lab.linkerd.envoy.clusters import Part, assignment
from meshbdd.lab.linkerd.read.destinations import Place


def _part(name: str, weight: int, *pods: str) -> Part:
    return Part(name, weight, tuple(Place(f"127.0.0.{pod[1:]}", 80, pod, "shop", "default", "", None) for pod in pods))


def _shares(*parts: Part) -> dict[str, Fraction]:
    """Which pod gets which share of all requests."""
    localities = assignment("c", parts)["endpoints"]
    whole = sum(locality["load_balancing_weight"] for locality in localities)
    found: dict[str, Fraction] = {}
    for locality in localities:
        within = sum(endpoint["load_balancing_weight"] for endpoint in locality["lb_endpoints"])
        for endpoint in locality["lb_endpoints"]:
            pod = endpoint["metadata"]["filter_metadata"]["linkerd"]["pod"]
            assert pod not in found, "Envoy takes an endpoint once"
            share = Fraction(endpoint["load_balancing_weight"], within)
            found[pod] = share * Fraction(locality["load_balancing_weight"], whole)
    return found


@pytest.mark.parametrize(
    ("parts", "shares"),
    [
        ([_part("a", 90, "p1", "p2"), _part("b", 10, "p3")], {"p1": "9/20", "p2": "9/20", "p3": "1/10"}),
        ([_part("all", 50, "p1", "p2"), _part("canary", 50, "p2")], {"p1": "1/4", "p2": "3/4"}),
        ([_part("all", 80, "p1", "p2"), _part("canary", 20, "p2")], {"p1": "2/5", "p2": "3/5"}),
        ([_part("canary", 1, "p2"), _part("all", 2, "p1", "p2", "p3")], {"p1": "2/9", "p2": "5/9", "p3": "2/9"}),
        ([_part("a", 0, "p1"), _part("b", 3, "p1", "p2")], {"p1": "1/2", "p2": "1/2"}),
        ([_part("a", 7), _part("b", 3, "p1")], {"p1": "1"}),
    ],
)
def test_each_pod_gets_the_shares_of_all_its_backends(parts: list[Part], shares: dict[str, str]) -> None:
    assert _shares(*parts) == {pod: Fraction(share) for pod, share in shares.items()}


def test_weights_of_backends_that_share_nothing_are_as_written() -> None:
    made = assignment("c", [_part("a", 9, "p1", "p2"), _part("b", 1, "p3", "p4", "p5")])
    assert [locality["load_balancing_weight"] for locality in made["endpoints"]] == [9, 1]
    assert {e["load_balancing_weight"] for locality in made["endpoints"] for e in locality["lb_endpoints"]} == {1}
