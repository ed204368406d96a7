"""Several callers, each with a circuit of its own: none is judged by what another one met, and the slowest decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from meshbdd.claims.breaker import Breaker
from meshbdd.claims.calls import Call
from meshbdd.claims.circuit import is_open, opens_within
from meshbdd.claims.circuit_closing import closes_within, half_opens_within
from meshbdd.claims.circuit_phases import replay
from meshbdd.units import Duration
from tests.unit.product.test_oracles import (
    BOTH_EJECTED,
    CLOSED_AGAIN,
    ERRORS,
    FAILED,
    FREE_IN_TIME,
    OPEN,
    OPENED,
    PASSED,
    at,
    breaker,
    call,
    looks,
    refused,
    sightings,
    two,
)


def by(caller: str, calls: Sequence[Call], later: float = 0.0) -> list[Call]:
    return [replace(c, caller=caller, started=c.started + later) for c in calls]


def seen_by(caller: str, seen: Sequence[Breaker]) -> list[Breaker]:
    return [replace(b, caller=caller) for b in seen]


def fine(caller: str) -> list[Call]:
    return [call(n / 10, caller=caller, request="") for n in range(60)]


CALLERS = ["client", "zone"]
"""One that stands before ``order`` in the alphabet, and one that stands behind it."""


@pytest.mark.parametrize("other", CALLERS)
def test_each_callers_circuit_has_to_open_and_in_time(other: str) -> None:
    breakers = [breaker(1), breaker(1, caller=other)]
    both = [*OPENED, *by(other, OPENED)]
    assert opens_within("payment", Duration(1), breakers, both).outcome is PASSED
    slow = [*OPENED, *by(other, [call(n, 503) for n in range(5)]), *by(other, [refused(4.5)])]
    verdict = opens_within("payment", Duration(1), breakers, slow)
    assert verdict.outcome is FAILED
    assert f"{other} after 4.0 s" in verdict.sentence
    never = [*OPENED, *by(other, [call(n / 10, 503) for n in range(40)])]
    verdict = opens_within("payment", Duration(1), [breaker(1), breaker(0, caller=other)], never)
    assert verdict.outcome is FAILED
    assert f"{other} met 40 errors in a row, and its circuit did not open" in verdict.sentence


@pytest.mark.parametrize("other", CALLERS)
def test_a_caller_that_knows_no_ready_endpoint_leaves_it_open(other: str) -> None:
    breakers = [breaker(1), replace(breaker(0, caller=other), unready=1)]
    assert is_open("payment", breakers, [*OPENED, *by(other, OPENED)]).outcome is OPEN


def test_how_fast_an_open_circuit_refuses_is_told() -> None:
    slow = [*OPENED, replace(refused(4), seconds=0.2)]
    assert "; 31 calls were refused, the slowest after 200 ms" in is_open("payment", [breaker(1)], slow).sentence
    assert "refused" not in is_open("payment", [breaker(1)], ERRORS).sentence


def test_what_is_not_ready_need_not_fail_for_a_circuit_to_open() -> None:
    rule = replace(breaker(0, endpoints=2), unready=1)
    assert opens_within("payment", Duration(1), [rule], [call(n / 10, 503) for n in range(9)]).outcome is FAILED


def test_an_opening_for_which_no_error_is_logged_shows_no_time() -> None:
    verdict = opens_within("payment", Duration(1), [breaker(1)], [call(0.1, 200)])
    assert verdict.outcome is OPEN, verdict.sentence


def test_who_refuses_calls_and_can_eject_nobody_has_no_circuit_that_opened() -> None:
    """The service went down after its errors."""
    rule = Breaker("order", 1, 0, 10, 5)
    assert [phase.state for phase in replay(OPENED, [rule])] == ["closed"]
    assert opens_within("payment", Duration(1), [rule], OPENED).outcome is FAILED


def test_an_opening_under_an_earlier_breaker_is_none_of_this_one() -> None:
    calls = [call(2 + n / 10) for n in range(5)]
    states = [
        [phase.state for phase in replay(calls, [replace(breaker(0), since=since)], sightings(["order"]))]
        for since in (0.2, 0.45, 1.0)
    ]
    assert states == [*[["closed", "open", "half-open", "closed"]] * 2, ["closed"]]


def test_calls_that_were_sent_while_the_opening_was_told_to_all_threads_are_part_of_no_opening() -> None:
    late = call(0.44, 503, 0.9, request="")
    _, opening = replay([*ERRORS, refused(0.5), late, replace(refused(2.0), seconds=0.2), refused(3)], [breaker(0)])
    assert (opening.state, opening.refused, opening.slowest_refusal) == ("open", 3, 0.2)
    assert (opening.first_error, opening.last_error, opening.run) == (None, None, 0)


def test_a_circuit_that_is_seen_open_after_a_success_opened_no_sooner_than_it_was_seen() -> None:
    seen = replace(breaker(1), seen=2.0)
    phases = replay([*ERRORS, call(0.6, 200)], [breaker(0)], [seen])
    assert [(phase.state, phase.began) for phase in phases] == [("closed", 0.0), ("open", 2.0)]


@pytest.mark.parametrize("other", CALLERS)
@pytest.mark.parametrize(
    ("own", "others", "wanted"),
    [
        (FREE_IN_TIME, (), PASSED),
        # An endpoint of two that another caller keeps ejected is free for this one.
        (FREE_IN_TIME, [replace(breaker(1, endpoints=2), seen=4.5)], PASSED),
        # And what another caller saw free shows nothing of this one.
        (looks((0.45, 1)), looks((3.6, 0)), FAILED),
    ],
)
def test_when_an_endpoint_was_free_is_told_by_the_callers_own_proxy(
    other: str, own: Sequence[Breaker], others: Sequence[Breaker], wanted: object
) -> None:
    calls = [*OPENED, call(5, 200, request="t0"), *fine(other)]
    breakers = [replace(breaker(0, caller=other), base=30.0), breaker(0)]
    seen = [*own, *seen_by(other, others)]
    for claim in (closes_within, half_opens_within):
        verdict = claim("payment", Duration(4), 3.6, breakers, calls, began=0.0, sightings=seen, trials=["t0"])
        assert verdict.outcome is wanted, verdict.sentence


@pytest.mark.parametrize("other", CALLERS)
def test_a_circuit_that_another_caller_opened_later_does_not_make_this_one_late(other: str) -> None:
    later = [*by(other, OPENED[:8], later=0.6), call(3.95, 200, caller=other, request="t1")]
    calls, breakers = [*OPENED, call(5, 200, request="t0"), *later], [breaker(0), breaker(0, caller=other)]
    seen = looks((0.45, 1), (3.6, 0))
    verdict = closes_within("payment", Duration(4), 3.6, breakers, calls, began=0.0, sightings=seen)
    assert verdict.outcome is PASSED, verdict.sentence


def test_a_circuit_that_opens_again_after_it_let_calls_through_did_so_when_it_was_free() -> None:
    again = [*[call(5 + n / 10, 503, request="t0") for n in range(5)], refused(5.6), refused(5.7)]
    verdict = half_opens_within(
        "payment",
        Duration(4),
        6.0,
        [breaker(1)],
        [*OPENED, *again],
        began=0.0,
        sightings=[*FREE_IN_TIME, *looks((5.6, 1))],
        trials=["t0"],
    )
    assert verdict.outcome is PASSED, verdict.sentence


def test_a_look_in_the_time_of_a_second_ejection_shows_no_free_endpoint() -> None:
    once_more = [*[call(3.6 + n / 10, 503) for n in range(5)], refused(4.2), call(9, 200, request="t0")]
    verdict = closes_within(
        "payment", Duration(6), 5.0, [breaker(0)], [*OPENED, *once_more], began=0.0, sightings=looks((4.3, 0))
    )
    assert verdict.outcome is FAILED, verdict.sentence


@pytest.mark.parametrize(("seen", "wanted"), [(3.0, FAILED), (3.35, PASSED)])
def test_an_endpoint_is_free_when_the_base_ejection_time_is_over_but_for_what_logs_leave_open(
    seen: float, wanted: object
) -> None:
    calls = [*OPENED, call(5, 200, request="t0")]
    verdict = closes_within("payment", Duration(4), 3.4, [breaker(0)], calls, began=0.0, sightings=looks((seen, 0)))
    assert verdict.outcome is wanted, verdict.sentence


@pytest.mark.parametrize("other", CALLERS)
def test_one_callers_trial_is_none_of_anothers(other: str) -> None:
    breakers, seen = [breaker(0), breaker(0, caller=other)], sightings(["order", other])
    calls = [*CLOSED_AGAIN, call(4.5, 200, request="t0"), *by(other, ERRORS)]
    verdict = closes_within("payment", Duration(4), 2.0, breakers, calls, began=0.0, sightings=seen, trials=["t0"])
    assert verdict.outcome is OPEN, verdict.sentence
    assert f"no call of {other} has reached it since" in verdict.sentence
    held = [breaker(0), breaker(1, caller=other)]
    assert closes_within("payment", Duration(4), 2.0, held, calls, began=0.0, sightings=seen).outcome is FAILED


def test_a_trial_that_was_refused_has_tried_nothing() -> None:
    calls = [*OPENED, refused(3.7, request="t0")]
    for claim in (closes_within, half_opens_within):
        verdict = claim("payment", Duration(4), 2.0, [breaker(0)], calls, began=0.0, trials=["t0"])
        assert verdict.outcome is OPEN, verdict.sentence


@pytest.mark.parametrize(("endpoint", "wanted"), [("a", OPEN), ("b", FAILED)])
def test_a_trial_shows_that_a_circuit_is_not_closed_where_it_came_to_what_fails(endpoint: str, wanted: object) -> None:
    later = [at("a", 5.0, 200), at("b", 5.1, 200), *[at("b", 6 + n / 10) for n in range(5)]]
    trial = replace(at(endpoint, 7.0, 503 if endpoint == "b" else 200), request_id="t0")
    calls = [*BOTH_EJECTED, *later, trial]
    verdict = closes_within("payment", Duration(9), 1.0, [two()], calls, began=0.0, trials=["t0"])
    assert verdict.outcome is wanted, verdict.sentence


def test_where_nothing_is_counted_there_is_no_circuit_that_could_close() -> None:
    verdict = closes_within("payment", Duration(4), 2.0, [breaker(0, errors=None)], CLOSED_AGAIN, began=0.0)
    assert verdict.outcome is FAILED
    assert "has no circuit breaker for it" in verdict.sentence


def test_a_caller_that_went_away_and_had_no_open_circuit_is_no_reason() -> None:
    gone = [replace(breaker(0, caller="gone"), seen=0.2)]
    calls = [call(0.1), *by("gone", [call(0.1)])]
    verdict = closes_within("payment", Duration(4), 2.0, [breaker(0)], calls, began=0.0, sightings=gone)
    assert "it was never open since the breaker was set" in verdict.sentence
