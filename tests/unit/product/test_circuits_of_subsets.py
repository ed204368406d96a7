"""A circuit whose routes lead to several subsets: each ejects its own endpoints alone, by its own rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from meshbdd.claims.breaker import Breaker
from meshbdd.claims.calls import Call
from meshbdd.claims.circuit import is_open, opens_within
from meshbdd.claims.circuit_closing import closes_within, half_opens_within
from meshbdd.claims.circuit_phases import replay
from meshbdd.mesh.hosts_page import Host, HostsOf
from meshbdd.scenario.breakers import _breaker
from meshbdd.units import Duration
from tests.unit.product.test_oracles import ERRORS, FAILED, OPEN, PASSED, at, breaker, call, refused


def subset(endpoint: str, errors: int | None = 3, base: float = 3.0, ejected: int = 0) -> Breaker:
    out = (endpoint,) if ejected else ()
    return replace(breaker(ejected, errors=errors), base=base, sent={endpoint: 9}, out=out)


def circuit(*parts: Breaker, seen: float = 60.0) -> Breaker:
    sent = {endpoint: number for part in parts for endpoint, number in part.sent.items()}
    out = tuple(endpoint for part in parts for endpoint in part.out)
    first = next((part for part in parts if part.detects), parts[0])
    ejected, base = sum(part.ejected for part in parts), max(part.base for part in parts)
    return replace(first, endpoints=len(parts), ejected=ejected, sent=sent, out=out, base=base, parts=parts, seen=seen)


def errors_of(endpoint: str, count: int, start: float = 0.0) -> list[Call]:
    return [at(endpoint, start + n / 100) for n in range(count)]


BOTH = [*errors_of("a", 3), *errors_of("b", 3, 0.5), refused(0.6), refused(0.7)]


def states(calls: Sequence[Call], rule: Breaker) -> list[str]:
    return [phase.state for phase in replay(calls, [rule])]


def test_a_subset_without_a_breaker_leaves_no_circuit_to_open() -> None:
    calls = [*errors_of("a", 9), *errors_of("b", 3, 0.5), refused(0.6)]
    rule = circuit(subset("a", errors=None), subset("b", ejected=1))
    for verdict in (
        opens_within("payment", Duration(2), [rule], calls),
        is_open("payment", [rule], calls),
        half_opens_within("payment", Duration(2), 0.1, [rule], calls, began=5),
        closes_within("payment", Duration(2), 0.1, [rule], calls, began=5),
    ):
        assert verdict.outcome is FAILED
        assert verdict.sentence.endswith("the proxy of order has no circuit breaker for a")
    assert states(calls, rule) == []
    named = circuit(replace(subset("a", errors=None), subset="v2"), replace(subset("b"), subset="v1"))
    assert is_open("payment", [named], calls).sentence.endswith('has no circuit breaker for subset "v2"')
    verdict = opens_within("payment", Duration(2), [circuit(subset("a", None), subset("b", None))], calls)
    assert verdict.sentence.endswith("has no circuit breaker for it")


def test_each_subset_opens_by_its_own_rule() -> None:
    calls = [*errors_of("a", 3), refused(0.1), *errors_of("b", 17, 0.2), refused(0.4)]
    rule = circuit(subset("a", ejected=1), subset("b", errors=50))
    verdict = opens_within("payment", Duration(2), [rule], calls)
    assert verdict.outcome is OPEN
    assert "the circuit opens at 3 of a and 50 of b" in verdict.sentence
    found = is_open("payment", [rule], calls)
    assert found.outcome is FAILED
    assert "it was open before" not in found.sentence
    enough = [*errors_of("a", 3), refused(0.1), *errors_of("b", 50, 0.2), refused(0.8)]
    assert states(enough, rule) == ["closed", "open"]
    assert opens_within("payment", Duration(2), [rule], enough).outcome is PASSED


@pytest.mark.parametrize("same", [True, False])
def test_a_refusal_of_one_subset_says_nothing_of_the_others(same: bool) -> None:
    rule = circuit(subset("a"), subset("b", 3 if same else 2))
    early = [*errors_of("a", 3), refused(0.1), at("b", 0.2, 200)]
    assert states(early, rule) == ["closed"]
    assert opens_within("payment", Duration(2), [rule], early).outcome is OPEN
    assert states(BOTH, rule) == ["closed", "open"]
    verdict = opens_within("payment", Duration(2), [rule], BOTH)
    assert verdict.outcome is PASSED
    assert states([*errors_of("a", 3), *errors_of("b", 3, 5.0), refused(5.1)], rule) == ["closed"], "a's has ended"
    assert states([*errors_of("a", 3), at("a", 0.1, 200), *errors_of("b", 3, 0.5), refused(0.6)], rule) == ["closed"]


def test_a_look_that_finds_all_endpoints_ejected_shows_it_as_well() -> None:
    both = circuit(subset("a", ejected=1), subset("b", 50, ejected=1), seen=0.6)
    calls = [*errors_of("a", 3), *errors_of("b", 50, 0.1)]
    assert opens_within("payment", Duration(2), [both], calls).outcome is PASSED


def test_an_ejection_that_ended_early_is_measured_by_the_rule_of_its_subset() -> None:
    rule = circuit(subset("a", base=1.0), subset("b", base=9.0))
    calls = [*errors_of("a", 3), *errors_of("b", 3, 0.1), refused(0.2), at("a", 1.2, 200), at("b", 9.5, 200)]
    verdict = half_opens_within("payment", Duration(20), 0.1, [rule], calls, began=0.3)
    assert verdict.outcome is PASSED, verdict.sentence
    soon = [*calls[:-2], at("a", 0.6, 200), at("b", 9.5, 200)]
    verdict = half_opens_within("payment", Duration(20), 0.1, [rule], soon, began=0.3)
    assert verdict.outcome is OPEN
    assert "less than the base ejection time of 1.0 s" in verdict.sentence


def test_whether_a_rule_is_still_the_same_does_not_depend_on_how_many_subsets_were_called() -> None:
    assert circuit(subset("a"), subset("b")).rule == subset("a").rule
    assert circuit(subset("a"), subset("b", 50)).rule != subset("a").rule
    assert (
        circuit(subset("a", ejected=1), subset("b", 50)).rule == circuit(subset("a"), subset("b", 50, ejected=1)).rule
    )


def test_the_subsets_of_a_proxy() -> None:
    def held(name: str, detection: object) -> dict[str, object]:
        return {"cluster": {"name": name, **({"outlier_detection": detection} if detection else {})}}

    names = [f"outbound|80|{s}|pay.shop.svc.cluster.local" for s in ("v1", "v2", "none")]
    dump = {"configs": [held(names[0], None), held(names[1], {"consecutive_5xx": 3, "base_ejection_time": "5s"})]}
    clusters = [
        HostsOf(name, "pay.shop.svc.cluster.local", (Host(address, ejected=False, ready=True, sent=4, active=0),))
        for name, address in zip(names, "ab", strict=False)
    ]
    found = _breaker("order", "80", [*clusters, HostsOf(names[2], "", ())], dump)
    assert [(part.errors, list(part.sent)) for part in found.parts] == [(None, ["a"]), (3, ["b"])]
    assert (found.unguarded, found.detects, found.of("b").base) == (['subset "v1"'], False, 5.0)
    assert (found.subset, found.rule.subset) == ("", "")
    assert not _breaker("order", "80", [clusters[1], HostsOf(names[2], "", ())], dump).parts


@pytest.mark.parametrize(
    ("more", "seen", "wanted"),
    [
        ([], 60.0, OPEN),
        ([], 2.0, FAILED),
        ([], None, FAILED),
        ([call(0.6, 503, request="")], 60.0, FAILED),
        ([call(0.6, 200, request="")], 60.0, FAILED),
        ([call(9.0, 200, request="")], 60.0, OPEN),
    ],
)
def test_a_circuit_that_nobody_asked_in_time_may_have_opened(more: list[Call], seen: float | None, wanted: str) -> None:
    verdict = opens_within("payment", Duration(5), [replace(breaker(0), seen=seen)], [*ERRORS, *more])
    assert verdict.outcome == wanted, verdict.sentence
    if wanted == OPEN:
        assert "nobody called it or looked at it for as long as it may have been open" in verdict.sentence


def test_errors_since_an_ejection_are_counted_anew() -> None:
    """One error of an endpoint that is back is none of three."""
    rule = circuit(subset("a"), subset("b"))
    calls = [
        *errors_of("a", 3),
        at("b", 1.0, 200),
        at("b", 2.0, 200),
        at("a", 4.2),
        *errors_of("b", 3, 4.3),
        refused(4.5),
    ]
    assert states(calls, rule) == ["closed"]
    assert states([*calls[:5], *errors_of("a", 3, 4.2), *errors_of("b", 3, 4.3), refused(4.5)], rule) == [
        "closed",
        "open",
    ]


def test_calls_that_were_under_way_do_not_keep_an_endpoint_in() -> None:
    rule = circuit(subset("a"), subset("b"))
    late = at("a", 0.0, seconds=0.3)
    assert states([*errors_of("a", 3), late, *errors_of("b", 3, 0.1), refused(0.5)], rule) == ["closed", "open"]


def test_of_an_endpoint_that_two_routes_lead_to_nobody_knows_which_counted_its_errors() -> None:
    whole = replace(breaker(0, endpoints=2), sent={"a": 50, "b": 50}, seen=60.0)
    rule = replace(whole, endpoints=3, parts=(subset("b", errors=2), whole))
    calls = [*errors_of("a", 9), *errors_of("b", 9), refused(0.2)]
    assert states(calls, rule) == ["closed"]
    verdict = opens_within("payment", Duration(5), [replace(rule, seen=1.0)], calls)
    assert verdict.outcome is FAILED, verdict.sentence


@pytest.mark.parametrize("seen", [0.3, 60.0])
def test_a_burst_that_was_under_way_as_the_circuit_opened_does_not_prove_it_closed(seen: float) -> None:
    burst = [call(0.001 * n, 503, seconds=0.2, request="") for n in range(20)]
    verdict = opens_within("payment", Duration(5), [replace(breaker(0), seen=seen)], burst)
    assert verdict.outcome is (FAILED if seen < 1 else OPEN), verdict.sentence


def test_an_error_after_the_ejection_may_have_ended_does_not_prove_it_either() -> None:
    calls = [*ERRORS, call(5.0, 503, request="")]
    for seen in (5.1, 60.0):
        verdict = opens_within("payment", Duration(9), [replace(breaker(0), seen=seen)], calls)
        assert verdict.outcome is OPEN, verdict.sentence
