"""The oracles: each passes on what shows the claim, fails on what refutes it, and leaves thin evidence open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from meshbdd.claims import Outcome, Verdict
from meshbdd.claims.breaker import Breaker
from meshbdd.claims.bulkhead import allowed_growth, not_slowed, still_as_quick
from meshbdd.claims.calls import Call, Strangers, no_request, of_any_request, untold_statuses
from meshbdd.claims.circuit import is_open, opens_within
from meshbdd.claims.circuit_closing import closes_within, half_opens_within
from meshbdd.claims.circuit_phases import replay
from meshbdd.claims.ejection import doubts
from meshbdd.claims.retries import called_at_least, called_at_most
from meshbdd.claims.share import Stopped
from meshbdd.claims.timeouts import gives_up_within
from meshbdd.errors import BadInput, Place
from meshbdd.grpc_statuses import GRPC_CODES
from meshbdd.intents import ServiceRef
from meshbdd.load import Sample, read_message
from meshbdd.scenario.breakers import breakers
from meshbdd.scenario.call_log import tries_to
from meshbdd.sidecars import PROBE_AGENT
from meshbdd.telemetry.access_log import Entry, read_entries
from meshbdd.telemetry.proxies import Proxies
from meshbdd.units import Duration

PASSED, FAILED, OPEN = Outcome.PASSED, Outcome.FAILED, Outcome.INCONCLUSIVE


def call(
    started: float,
    status: int = 200,
    seconds: float = 0.01,
    request: str = "r1",
    flags: str = "",
    reached: bool = True,
    caller: str = "order",
) -> Call:
    return Call(caller, request, started, seconds, status, frozenset(flags.split(",")) - {""}, reached)


def aborted(started: float, request: str = "r1") -> Call:
    """A fault that the caller's own proxy injected."""
    return call(started, 503, 0.001, request, "FI", reached=False)


def refused(started: float, caller: str = "order", request: str = "") -> Call:
    """What an open circuit answers."""
    return call(started, 503, 0.001, request, "UH", reached=False, caller=caller)


# Retries


def _tries(outcomes: Sequence[int], request: str = "r1") -> list[Call]:
    return [call(0.1 * n, status, request=request) for n, status in enumerate(outcomes)]


@pytest.mark.parametrize(
    ("sent", "arrived", "wanted"),
    [
        (_tries([503, 503, 503]), _tries([503, 503, 503]), PASSED),
        (_tries([503]), _tries([503]), PASSED),
        (_tries([503, 503, 503, 503]), _tries([503] * 4), FAILED),
        (_tries([503]), _tries([503] * 4), FAILED),
        (_tries([503]), _tries([503] * 3), PASSED),
        # The caller's own fault filter answers before its router could retry: what was kept is not shown.
        ([aborted(0.0)], [], OPEN),
        ([aborted(n / 10) for n in range(3)], [], OPEN),
        ([aborted(n / 10) for n in range(4)], [], FAILED),
        ([aborted(0.0), *_tries([503, 503])], _tries([503, 503]), OPEN),
        ([aborted(0.0), *_tries([503, 503])], _tries([503, 503, 503]), FAILED),
        (_tries([200]), _tries([200]), OPEN),
        (_tries([503, 503, 200]), _tries([503, 503, 200]), OPEN),
        ([], [], OPEN),
        (_tries([503, 503, 503]), None, OPEN),
        (_tries([503, 503, 503, 503]), None, FAILED),
        ([aborted(n / 10) for n in range(3)], None, OPEN),
        ([refused(n / 10, request="r1") for n in range(3)], None, PASSED),
        # One try of them got through: who would have counted its proxy's own retries?
        ([refused(0.0, request="r1"), call(0.1, 503)], None, OPEN),
        ([call(0.0, 503), call(0.1, 503, flags="UF")], _tries([503]), OPEN),
        ([call(0.0, 503, flags="UF")], [], OPEN),
        ([*_tries([503, 503, 503], "a"), *_tries([503] * 4, "b")], [*_tries([503] * 3, "a"), *_tries([503] * 4, "b")], FAILED),
        ([*_tries([503, 503, 503], "a"), *_tries([503] * 3, "b")], [*_tries([503] * 3, "a"), *_tries([503] * 3, "b")], PASSED),
    ],
)  # fmt: skip
def test_bounded_retries(sent: list[Call], arrived: list[Call] | None, wanted: Outcome) -> None:
    assert called_at_most("order-service", "payment-service", 3, sent, arrived).outcome is wanted


@pytest.mark.parametrize(
    ("sent", "arrived", "wanted"),
    [
        (_tries([503, 503, 503]), _tries([503, 503, 503]), PASSED),
        (_tries([503]), _tries([503] * 4), PASSED),
        (_tries([503, 503]), _tries([503, 503]), FAILED),
        ([aborted(n / 10) for n in range(3)], [], PASSED),
        ([aborted(n / 10) for n in range(2)], [], OPEN),
        # Who was answered in the end had no reason to try again.
        ([*_tries([200], "a"), *_tries([503] * 3, "b")], [*_tries([200], "a"), *_tries([503] * 3, "b")], PASSED),
        ([*_tries([503] * 3, "a"), *_tries([503], "b")], [*_tries([503] * 3, "a"), *_tries([503], "b")], FAILED),
        (_tries([503, 503, 503, 200]), _tries([503, 503, 503, 200]), OPEN),
        (_tries([200]), _tries([200]), OPEN),
        (_tries([503]), None, OPEN),
        (_tries([503] * 3), None, PASSED),
        ([call(0.0, 503, flags="UF")], [], OPEN),
        ([], [], OPEN),
    ],
)
def test_nobody_gives_up_too_soon(sent: list[Call], arrived: list[Call] | None, wanted: Outcome) -> None:
    assert called_at_least("order-service", "payment-service", 3, sent, arrived).outcome is wanted


@pytest.mark.parametrize("status", [200, 404, 429])  # 200 is the HTTP status of a failed gRPC call as well
def test_of_calls_that_no_server_error_ended_it_is_not_said_that_none_failed(status: int) -> None:
    for verdict in (
        called_at_most("a", "b", 1, _tries([status]), _tries([status])),
        called_at_least("a", "b", 3, _tries([status]), _tries([status] * 3)),
    ):
        assert verdict.outcome is OPEN
        assert "no call failed" not in verdict.sentence
        assert "whether an answer (a 4xx, a gRPC status) was a reason" in verdict.sentence
        assert verdict.help == "let b fail 100% with a status of 500 or more"


@pytest.mark.parametrize(("limit", "faulted", "wanted"), [(1, True, PASSED), (1, False, OPEN), (3, True, OPEN)])
@pytest.mark.parametrize("grpc", [None, GRPC_CODES["NOT_FOUND"]])
def test_nobody_tries_again_on_the_error_that_a_fault_made(
    limit: int, faulted: bool, wanted: Outcome, grpc: int | None
) -> None:
    sent = [replace(c, grpc=grpc) for c in _tries([404 if grpc is None else 200])]
    came = [replace(c, flags=frozenset({"FI"}) if faulted else frozenset()) for c in sent]
    assert called_at_most("a", "b", limit, sent, came).outcome is wanted
    assert called_at_most("a", "b", 1, sent, came * 2).outcome is FAILED


def test_a_grpc_call_that_nobody_tries_again_is_to_fail_with_a_status_that_is_retried() -> None:
    calls = [replace(c, grpc=GRPC_CODES["NOT_FOUND"]) for c in _tries([200])]
    help_ = called_at_most("a", "b", 1, calls, calls).help or ""
    assert help_.startswith("let b fail 100% with one of the gRPC statuses CANCELLED, ")
    assert "UNAVAILABLE" in help_
    assert "500" not in help_


def test_a_verdict_on_retries_tells_the_worst_request_and_the_pauses() -> None:
    verdict = called_at_most("a", "b", 2, _tries([503, 503, 503], "the-worst"), _tries([503] * 3, "the-worst"))
    assert "a calls b at most 2 times per request: 3 times for request the-worst" in verdict.sentence
    assert verdict.numbers["pauses_seconds"] == {"least": 0.09, "median": 0.09, "most": 0.09}
    assert verdict.numbers["tries"] == {3: 1}


@pytest.mark.parametrize(("apart", "wanted"), [("90ms", PASSED), ("91ms", PASSED), ("95ms", FAILED)])
def test_pauses_between_tries(apart: str, wanted: Outcome) -> None:
    tries = _tries([503, 503, 503])
    assert called_at_most("a", "b", 3, tries, tries, Duration.parse(apart)).outcome is wanted


def test_the_shortest_pause_decides_by_whichever_proxy_saw_more_tries() -> None:
    apart = Duration.parse("200ms")
    uneven = [call(0.0, 503), call(0.05, 503), call(2.0, 503)]
    verdict = called_at_most("a", "b", 3, uneven, uneven, apart)
    assert verdict.outcome is FAILED
    assert "two tries were only 40 ms apart" in verdict.sentence
    repeated = [call(0.0, 503, 0.3), call(1.0, 503)], [*_tries([503, 503]), call(1.0, 503)]
    assert called_at_most("a", "b", 3, *repeated, apart).outcome is FAILED, "the caller's proxy tried again at once"
    unreached = [refused(n / 10, request="r1") for n in range(3)]
    assert called_at_most("a", "b", 3, unreached, [], apart).outcome is FAILED
    patient = [call(n / 2, 503) for n in range(3)]
    assert called_at_most("a", "b", 3, patient, patient, apart).outcome is PASSED


def test_why_a_bound_on_tries_is_not_shown_is_told_truly() -> None:
    for claim in (called_at_most, called_at_least):
        assert "no call was seen" in claim("a", "b", 3, [], []).sentence
        some = [*_tries([503, 200], "x"), *_tries([200], "y")]
        assert "every request was answered in the end" in claim("a", "b", 3, some, some).sentence
        assert "b has no proxy that could count" in claim("a", "b", 3, _tries([503]), None).sentence
    once = called_at_least("a", "b", 2, _tries([503]), _tries([503]))
    assert "a calls b at least 2 times per request: only once for request r1" in once.sentence


def test_one_try_has_no_pause_to_judge() -> None:
    assert called_at_most("a", "b", 3, _tries([503]), _tries([503]), Duration(0.1)).outcome is OPEN


def test_calls_of_requests_that_the_caller_is_not_through_with_are_no_evidence() -> None:
    verdict = called_at_most("a", "b", 3, [], [], strangers=Strangers(4))
    assert verdict.outcome is OPEN
    assert "4 calls were seen, and none has the id of a request that a is through with" in verdict.sentence
    assert "4 calls were seen" in gives_up_within("a", "b", Duration(3), [], strangers=Strangers(4)).sentence


def test_calls_with_an_id_that_nobody_sent_may_be_tries_of_any_request() -> None:
    unknown = Strangers(2, unknown=2)
    kept, few = _tries([503] * 3), _tries([503])
    assert called_at_most("a", "b", 3, kept, kept).outcome is PASSED
    verdict = called_at_most("a", "b", 3, kept, kept, strangers=unknown)
    assert verdict.outcome is OPEN
    assert "2 more calls bear an id that nobody sent" in verdict.sentence
    assert called_at_most("a", "b", 2, kept, kept, strangers=unknown).outcome is FAILED, "so many there were already"
    assert called_at_least("a", "b", 3, few, few).outcome is FAILED
    assert called_at_least("a", "b", 3, few, few, strangers=unknown).outcome is OPEN
    assert called_at_least("a", "b", 3, kept, kept, strangers=unknown).outcome is PASSED, "so many there were already"
    left = [call(0, 0, seconds=2, flags="DC")]
    assert gives_up_within("a", "b", Duration(3), left).outcome is PASSED
    assert gives_up_within("a", "b", Duration(3), left, strangers=unknown).outcome is OPEN
    assert gives_up_within("a", "b", Duration(1), left, strangers=unknown).outcome is FAILED


# Timeouts


@pytest.mark.parametrize(
    ("calls", "left", "still", "wanted"),
    [
        ([call(0, 0, 2.5, flags="DC")], {}, None, PASSED),
        ([call(0, 504, 2.5, flags="UT")], {}, None, PASSED),
        ([call(0, 0, 2.5, flags="DC,DI")], {}, None, PASSED),
        ([call(0, 0, 3.1, flags="DC")], {}, None, FAILED),
        ([call(0, 200, 5.0)], {}, None, FAILED),
        ([call(0, 200, 0.5)], {}, None, OPEN),
        ([call(0, 503, 0.5)], {}, None, OPEN),
        ([], {}, None, OPEN),
        ([call(0, 0, 1.6, flags="DC"), call(1.7, 0, 1.6, flags="DC")], {}, None, FAILED),
        ([call(0, 0, 1.4, flags="DC"), call(1.5, 0, 1.4, flags="DC")], {}, None, PASSED),
        ([call(0, 0, 1.4, flags="DC"), call(1.5, 200, 0.1)], {}, None, OPEN),
        ([call(0, 0, 2.5, flags="DC")], {"r1": 2.51}, None, OPEN),
        ([call(0, 0, 2.5, flags="DC")], {"r1": 9.0}, None, PASSED),
        ([call(0, 0, 2.5, flags="DC")], {}, 3.5, FAILED),
        ([call(0, 0, 2.5, flags="DC")], {}, 0.5, PASSED),
        ([call(0, 0, 2.5, request="a", flags="DC"), call(9, 0, 3.5, request="b", flags="DC")], {}, None, FAILED),
    ],
)  # fmt: skip
def test_giving_up(calls: list[Call], left: dict[str, float], still: float | None, wanted: Outcome) -> None:
    assert gives_up_within("order-service", "inventory-service", Duration(3), calls, left, still).outcome is wanted


def test_under_a_load_nobody_knows_how_long_calls_are_waited_for_that_have_not_ended() -> None:
    gave_up = [Call("a-1", "r1", 0.0, 1.5, 0, frozenset({"DC"}))]

    def verdict(still: float | None, limit: float = 2) -> Verdict:
        return gives_up_within("a", "b", Duration(limit), gave_up, {}, still, loading=True)

    assert verdict(2.1).outcome is OPEN
    assert "calls were under way all the 2.1 s" in verdict(2.1).sentence
    assert verdict(None).outcome is PASSED
    assert verdict(1.1, limit=1).outcome is FAILED, "one that has ended took too long"


# Circuit breakers

ERRORS = [call(n / 10, 503, request="") for n in range(5)]
OPENED = [*ERRORS, *[refused(0.5 + n / 10) for n in range(30)]]
CLOSED_AGAIN = [*OPENED, *[call(3.6 + n / 10, 200, request="") for n in range(5)]]


def breaker(ejected: int, endpoints: int = 1, caller: str = "order", errors: int | None = 5) -> Breaker:
    return Breaker(caller, endpoints, ejected, 10, errors, 3.0, 1.0, 100.0)


def sightings(callers: Sequence[str]) -> list[Breaker]:
    """Their circuits as they were seen open after the first errors."""
    return [replace(breaker(1, caller=caller), seen=0.45) for caller in callers]


def test_the_full_cycle_is_replayed() -> None:
    states = [
        (p.state, round(p.began, 2), p.ended and round(p.ended, 2), p.run, p.refused)
        for p in replay(CLOSED_AGAIN, [breaker(0)])
    ]
    assert states == [
        ("closed", 0.0, 0.41, 5, 0),
        ("open", 0.41, 3.6, 0, 30),
        ("half-open", 3.6, 3.61, 0, 0),
        ("closed", 3.61, None, 0, 0),
    ]
    assert doubts(replay(CLOSED_AGAIN, [breaker(0)]), [breaker(0)], CLOSED_AGAIN) == []


def test_a_service_that_is_still_broken_gets_many_calls_between_two_openings() -> None:
    """Half-open is not one request on trial: Envoy heeds no error for about a second after an ejection ends."""
    errors = [call(3.6 + n / 10, 503, request="") for n in range(14)]
    phases = replay([*OPENED, *errors, *[refused(5.0 + n / 10) for n in range(60)]], [breaker(0)])
    assert [(p.state, p.run) for p in phases] == [("closed", 5), ("open", 0), ("half-open", 14), ("open", 0)]
    assert opens_within("payment", Duration(2), [breaker(1)], [*OPENED, *errors, refused(5.0)]).outcome is PASSED
    assert opens_within("payment", Duration(1), [breaker(1)], [*OPENED, *errors, refused(5.0)]).outcome is FAILED


def test_calls_under_way_when_the_circuit_opens_change_nothing() -> None:
    slow = call(0.35, 503, 0.4, request="")
    assert [p.state for p in replay([*ERRORS, slow, *[refused(0.5 + n / 10) for n in range(5)]], [breaker(0)])] == [
        "closed",
        "open",
    ]


def test_each_caller_has_a_circuit_of_its_own() -> None:
    others = [call(n / 10, 200, request="", caller="client") for n in range(10)]
    phases = replay([*OPENED, *others], [breaker(0), breaker(0, caller="client")])
    assert {(p.caller, p.state) for p in phases} == {("order", "closed"), ("order", "open"), ("client", "closed")}
    assert is_open("payment", [breaker(1), breaker(0, caller="client")], [*OPENED, *others]).outcome is FAILED
    assert is_open("payment", [breaker(1), breaker(0, caller="client")], OPENED).outcome is PASSED


def test_an_opening_that_was_too_short_is_doubted() -> None:
    calls = [*ERRORS, refused(0.5), call(1.0, 200, request="")]
    (doubt,) = doubts(replay(calls, [breaker(0)]), [breaker(0)], calls)
    assert (
        "opening 1 let calls through to its endpoint after 590 ms, less than the base ejection time of 3.0 s" in doubt
    )


@pytest.mark.parametrize(
    ("breakers", "calls", "wanted"),
    [
        ([breaker(1)], OPENED, PASSED),
        ([breaker(0)], OPENED, FAILED),
        ([breaker(1, endpoints=2)], OPENED, FAILED),
        ([breaker(2, endpoints=2)], OPENED, PASSED),
        ([breaker(0, errors=None)], ERRORS, FAILED),
        ([breaker(0, endpoints=0)], ERRORS, OPEN),
        ([], [], OPEN),
        ([Breaker("order", 1, 0, 0, 5)], None, OPEN),
        ([breaker(1)], None, PASSED),
        ([breaker(1)], [], OPEN),
    ],
)
def test_the_circuit_is_open(breakers: list[Breaker], calls: list[Call] | None, wanted: Outcome) -> None:
    assert is_open("payment", breakers, calls).outcome is wanted


def test_a_circuit_that_was_open_until_just_now_is_told_from_one_that_never_was() -> None:
    over = "it was open before, at order for 3.0 s or more, and that was over when this was asked"
    assert over in is_open("payment", [breaker(0)], OPENED).sentence
    for held, calls in ([breaker(0)], ERRORS), ([breaker(1)], OPENED), ([breaker(0, caller="client")], OPENED):
        assert "open before" not in is_open("payment", held, calls).sentence


@pytest.mark.parametrize(
    ("breakers", "calls", "limit", "wanted"),
    [
        ([breaker(1)], OPENED, 1.0, PASSED),
        ([breaker(0)], CLOSED_AGAIN, 1.0, PASSED),
        # Errors since it has closed want an opening of their own.
        ([breaker(0)], [*CLOSED_AGAIN, *[call(6 + n / 10, 503, request="") for n in range(2)]], 1.0, OPEN),
        ([breaker(0)], [*CLOSED_AGAIN, *[call(6 + n / 10, 503, request="") for n in range(9)]], 1.0, FAILED),
        ([breaker(1)], [*CLOSED_AGAIN, *[call(6 + n / 10, 503, request="") for n in range(5)]], 1.0, PASSED),
        ([breaker(1)], OPENED, 0.3, FAILED),
        ([breaker(1)], ERRORS, 1.0, PASSED),
        ([breaker(0)], [call(n / 10, 503, request="") for n in range(40)], 1.0, FAILED),
        ([breaker(0)], ERRORS[:4], 1.0, OPEN),
        ([breaker(0)], [call(n / 10, 503 if n % 5 else 200, request="") for n in range(40)], 1.0, OPEN),
        ([breaker(0)], [call(n / 10, 503, request="", flags="FI", reached=False) for n in range(40)], 1.0, OPEN),
        ([breaker(0, errors=None)], ERRORS, 1.0, FAILED),
        ([], [], 1.0, OPEN),
    ],
)
def test_the_circuit_opens(breakers: list[Breaker], calls: list[Call], limit: float, wanted: Outcome) -> None:
    assert opens_within("payment", Duration(limit), breakers, calls).outcome is wanted


def test_a_breaker_that_can_eject_nobody_is_named() -> None:
    errors = [call(n / 10, 503, request="") for n in range(40)]
    verdict = opens_within("payment", Duration(1), [Breaker("order", 1, 0, 10, 5)], errors)
    assert verdict.outcome is FAILED
    assert verdict.sentence.endswith("its circuit did not open: maxEjectionPercent 10 of 1 endpoint is none")
    assert "is none" in is_open("payment", [Breaker("order", 9, 0, 10, 5)], errors).sentence
    assert "is none" not in is_open("payment", [Breaker("order", 10, 0, 10, 5)], errors).sentence


HALF_OPEN = [*OPENED, *[call(3.6 + n / 10, 503, request=f"t{n}") for n in range(3)]]


@pytest.mark.parametrize(
    ("breakers", "waited", "were_open", "calls", "wanted"),
    [
        ([breaker(0)], 2.0, (), CLOSED_AGAIN, PASSED),
        ([breaker(0)], 4.1, (), CLOSED_AGAIN, FAILED),
        ([breaker(1)], 4.0, ("order",), OPENED, FAILED),
        ([breaker(1)], 2.0, (), CLOSED_AGAIN, FAILED),
        ([breaker(1, endpoints=2)], 4.0, ("order",), OPENED, FAILED),
        # An ejection that has ended shows nothing by itself: calls have to succeed.
        ([breaker(0)], 2.0, ("order",), OPENED, OPEN),
        ([breaker(0)], 2.0, (), HALF_OPEN, FAILED),
        ([breaker(0)], 2.0, (), [*HALF_OPEN, call(3.9, 200, request="t3")], PASSED),
        ([breaker(0)], 2.0, (), [*CLOSED_AGAIN, call(9, 503, request="")], PASSED),
        ([breaker(0)], 2.0, (), [*CLOSED_AGAIN, *[call(9 + n / 10, 503, request="") for n in range(5)]], OPEN),
        # It is counted until the first call that succeeds, not until the ejection has ended.
        ([breaker(0)], 2.0, (), [*OPENED, call(4.2, 200, request="")], FAILED),
        # Nobody called while it was open, so that nobody was refused: its proxy said that it was open.
        ([breaker(0)], 2.0, ("order",), [*ERRORS, call(3.6, 200, request="")], PASSED),
        ([breaker(0)], 2.0, ("order",), [*ERRORS, call(3.6, 503, request="t0")], FAILED),
        ([breaker(0)], 2.0, ("order",), ERRORS, OPEN),
        ([breaker(0)], 2.0, ("order",), [call(-1, 200, request=""), *ERRORS], OPEN),
        ([breaker(0)], 2.0, ("order",), None, OPEN),
        # One caller's success is none of another's.
        ([breaker(0), breaker(0, caller="client")], 2.0, ("client",), CLOSED_AGAIN, OPEN),
        ([breaker(0)], 0.0, (), ERRORS, OPEN),
        ([], 0.0, ("order",), [], OPEN),
    ],
)
def test_the_circuit_closes(
    breakers: list[Breaker], waited: float, were_open: Sequence[str], calls: list[Call] | None, wanted: Outcome
) -> None:
    verdict = closes_within(
        "payment",
        Duration(4),
        waited,
        breakers,
        calls,
        began=0.0,
        sightings=sightings(were_open),
        trials=["t0", "t1", "t2"],
    )
    assert verdict.outcome is wanted, verdict.sentence


@pytest.mark.parametrize(
    ("breakers", "were_open", "calls", "wanted"),
    [
        ([breaker(0)], (), HALF_OPEN, PASSED),
        ([breaker(1)], (), [*HALF_OPEN, refused(5)], PASSED),
        ([breaker(0)], (), CLOSED_AGAIN, PASSED),
        ([breaker(0)], (), [*OPENED, call(4.2, 503, request="")], FAILED),
        ([breaker(1)], (), OPENED, FAILED),
        ([breaker(0)], (), OPENED, OPEN),
        ([breaker(0)], (), ERRORS, OPEN),
        ([breaker(0)], ("order",), ERRORS, OPEN),
        ([breaker(1)], ("order",), ERRORS, FAILED),
        ([breaker(0)], ("order",), [*ERRORS, call(3.6, 503, request="t0")], PASSED),
        ([breaker(0)], ("order",), [*ERRORS, call(4.6, 503, request="t0"), call(4.7, 503, request="t1")], FAILED),
        ([breaker(0), breaker(0, caller="client")], ("client",), HALF_OPEN, OPEN),
        ([], ("order",), [], OPEN),
    ],
)
def test_the_circuit_is_half_open(
    breakers: list[Breaker], were_open: Sequence[str], calls: list[Call] | None, wanted: Outcome
) -> None:
    verdict = half_opens_within(
        "payment", Duration(4), 4.0, breakers, calls, began=0.0, sightings=sightings(were_open), trials=["t0", "t1"]
    )
    assert verdict.outcome is wanted, verdict.sentence


def test_a_circuit_that_is_open_again_was_half_open_before_the_claim() -> None:
    calls = [*HALF_OPEN, *[refused(5 + n / 10) for n in range(30)]]
    verdict = half_opens_within("payment", Duration(0.3), 0.3, [breaker(1)], calls, began=8.0, trials=["t9"])
    assert verdict.outcome is FAILED, verdict.sentence
    assert half_opens_within("payment", Duration(4), 0.3, [breaker(0)], HALF_OPEN, began=5.0).outcome is PASSED


def looks(*seen: tuple[float, int]) -> list[Breaker]:
    """A breaker as it was seen: at what time, and how many it had ejected."""
    return [replace(breaker(ejected), seen=at) for at, ejected in seen]


FREE_IN_TIME = looks((0.45, 1), (3.4, 1), (3.6, 0), (4.0, 0))


@pytest.mark.parametrize(
    ("sightings", "wanted"),
    [
        (FREE_IN_TIME, PASSED),
        ((), FAILED),
        (looks((0.45, 1), (3.6, 0), (3.8, 1), (4.3, 0)), FAILED),
        # Before the base ejection time is over, a look that sees it free has come before the ejection was told to all threads.
        (looks((0.41, 0)), FAILED),
    ],
)
def test_who_tries_a_circuit_late_does_not_make_it_late(sightings: Sequence[Breaker], wanted: Outcome) -> None:
    failing = [*OPENED, call(5, 503, request="t0")]
    verdict = half_opens_within(
        "payment", Duration(4), 6.0, [breaker(0)], failing, began=0.0, sightings=sightings, trials=["t0"]
    )
    assert verdict.outcome is wanted, verdict.sentence
    succeeding = [*OPENED, call(5, 200, request="t0")]
    verdict = closes_within(
        "payment", Duration(4), 3.6, [breaker(0)], succeeding, began=0.0, sightings=sightings, trials=["t0"]
    )
    assert verdict.outcome is wanted, verdict.sentence


def test_a_circuit_is_not_closed_while_its_calls_fail_though_it_was_seen_free() -> None:
    calls = [*OPENED, call(4.5, 503, request=""), call(5, 200, request="t0")]
    verdict = closes_within("payment", Duration(4), 3.6, [breaker(0)], calls, began=0.0, sightings=FREE_IN_TIME)
    assert verdict.outcome is FAILED, verdict.sentence


def test_one_call_is_no_plural() -> None:
    assert "1 call was seen" in no_request([], 1, "order", "payment")[0]
    assert of_any_request(1, "order")[0].startswith("1 more call bears an id that nobody sent, and may be a try for")
    assert untold_statuses([replace(ERRORS[0], untold=True)]) == (
        "1 call speaks gRPC, and the access log does not tell its gRPC status",
        'add "grpc_status": "%GRPC_STATUS_NUMBER%" to meshConfig.accessLogFormat',
    )


def test_a_circuit_that_its_trials_opened_anew_is_told_so() -> None:
    anew = [*OPENED, *[call(4 + n / 10, 503, request=f"t{n}") for n in range(5)]]
    verdict = closes_within(
        "payment",
        Duration(9),
        8.0,
        [breaker(0)],
        anew,
        began=0.0,
        sightings=[replace(breaker(1), seen=4.6)],
        trials=["t0", "t1", "t2"],
    )
    assert verdict.outcome is FAILED, verdict.sentence
    assert "what was let through at order failed and opened it anew, and no call has come since" in verdict.sentence
    assert "0 errors" not in verdict.sentence


def test_a_circuit_that_a_trial_opened_says_nothing_of_one_that_nobody_tried() -> None:
    """One of two callers was to be tried, and the trial came to the other one."""
    other = [replace(call(4 + n / 10, 503, request="t0"), caller="canary") for n in range(5)]
    breakers = [breaker(0), breaker(1, caller="canary")]
    verdict = half_opens_within("payment", Duration(4), 5.0, breakers, [*OPENED, *other], began=0.0, trials=["t0"])
    assert verdict.outcome is OPEN, verdict.sentence
    assert "no call of order has reached it since" in verdict.sentence


# Bulkheads


def samples(seconds: float, count: int = 200, status: int | None = 200, tail: int = 0) -> list[Sample]:
    return [
        Sample(f"r{n}", float(n), seconds + (5.0 if n % 10 < tail else 0.001 * (n % 3)), status) for n in range(count)
    ]


SLOW = [call(n, 200, 5.0) for n in range(5)]


@pytest.mark.parametrize(
    ("after", "slow", "wanted"),
    [
        (samples(0.010), SLOW, PASSED),
        (samples(0.200), SLOW, PASSED),
        (samples(5.010, count=20), SLOW, FAILED),
        (samples(0.010, tail=5), SLOW, FAILED),
        (samples(0.010, status=None, count=20), SLOW, FAILED),
        (samples(0.010, status=503, count=20), SLOW, FAILED),
        (samples(0.010), [], OPEN),
        (samples(0.010), [call(n, 200, 0.02) for n in range(5)], OPEN),
        (samples(0.010, count=3), SLOW, OPEN),
    ],
)
def test_a_slow_service_and_the_others(after: list[Sample], slow: list[Call], wanted: Outcome) -> None:
    before, growth = samples(0.010, count=30), allowed_growth(5.0)
    now = still_as_quick(before, growth).judge_enough(after, stopped=Stopped("and no more may be sent", "send more"))
    assert now is not None
    assert not_slowed("inventory-service", "version", before, now, growth, slow).outcome is wanted


def test_what_counts_as_slower() -> None:
    assert [allowed_growth(s).seconds for s in (0.1, 2.0, 60.0)] == [0.05, 0.2, 0.5]


# What a proxy's pages say of a circuit breaker

HOST = "payment-service.shop.svc.cluster.local"


class _OneProxy:
    """A pod whose proxy has sent 7 requests to the service, and has ejected its one endpoint."""

    def __init__(self, detection: dict[str, Any] | None, *more: dict[str, Any]) -> None:
        self._detection, self._more = detection, more

    def every(self) -> list[dict[str, Any]]:
        return [{"metadata": {"name": "order", "namespace": "shop"}}]

    def tunnel(self, _pod: object, _port: int) -> _OneProxy:
        return self

    def get(self, path: str) -> dict[str, Any]:
        if path.startswith("/clusters"):
            used = {"stats": [{"name": "rq_total", "value": "7"}], "health_status": {"failed_outlier_check": True}}
            idle = {"stats": [{"name": "rq_total"}], "health_status": {}}
            return {
                "cluster_statuses": [
                    {"name": f"outbound|80||{HOST}", "host_statuses": [used, *self._more]},
                    {"name": f"outbound|9000||{HOST}", "host_statuses": [idle]},
                    {"name": f"inbound|80||{HOST}", "host_statuses": [idle]},
                    {"name": "outbound|80||other.shop.svc.cluster.local", "host_statuses": [idle]},
                ]
            }
        cluster = {
            "name": f"outbound|80||{HOST}",
            "common_lb_config": {"healthy_panic_threshold": {}},
            **({"outlier_detection": self._detection} if self._detection is not None else {}),
        }
        return {"configs": [{"cluster": cluster}]}


@pytest.mark.parametrize(
    ("detection", "errors", "gateway_errors"),
    [
        (None, None, None),
        ({"interval": "1s"}, 5, None),
        ({"consecutive_5xx": 7, "interval": "1s"}, 7, None),
        ({"consecutive_5xx": 7, "consecutive_gateway_failure": 3, "enforcing_consecutive_gateway_failure": 100}, 7, 3),
        ({"consecutive_gateway_failure": 3}, 5, None),
        ({"enforcing_consecutive_5xx": 0, "interval": "1s"}, None, None),
        ({"enforcing_consecutive_5xx": 0, "enforcing_consecutive_gateway_failure": 100}, None, 5),
    ],
)
def test_what_opens_a_circuit_is_read_from_the_proxy(
    detection: dict[str, Any] | None, errors: int | None, gateway_errors: int | None
) -> None:
    found, other = breakers(cast("Proxies", _OneProxy(detection)), HOST)
    assert (found.caller, found.port, found.endpoints, found.ejected, found.requests) == ("order", "80", 1, 1, 7)
    assert (other.port, other.endpoints, other.ejected, other.requests) == ("9000", 1, 0, 0), "another cluster"
    assert (found.errors, found.gateway_errors) == (errors, gateway_errors)
    assert breakers(cast("Proxies", _OneProxy(detection)), HOST, callers={"client"}) == []


def test_endpoints_that_are_not_ready_close_no_circuit() -> None:
    away = {"health_status": {"eds_health_status": "UNHEALTHY"}}
    found, _ = breakers(cast("Proxies", _OneProxy({"consecutive_5xx": 5}, away)), HOST)
    assert (found.endpoints, found.ejected, found.unready) == (2, 1, 1)
    assert found.is_open
    found, _ = breakers(cast("Proxies", _OneProxy({}, {"health_status": {"eds_health_status": "HEALTHY"}})), HOST)
    assert not found.is_open
    assert not Breaker("order", 2, 0, 10, 5, unready=2).is_open, "nothing was ejected"
    verdict = is_open("payment", [Breaker("order", 2, 0, 10, 5, unready=2)], None)
    assert (verdict.outcome, "no ready endpoint" in verdict.sentence) == (Outcome.INCONCLUSIVE, True)


def test_the_times_of_a_circuit_are_read_from_the_proxy() -> None:
    detection = {"base_ejection_time": "3s", "interval": "0.500s", "max_ejection_percent": 100}
    found, _ = breakers(cast("Proxies", _OneProxy(detection)), HOST)
    assert (found.base, found.interval, found.most_percent) == (3.0, 0.5, 100.0)
    found, _ = breakers(cast("Proxies", _OneProxy({"consecutive_5xx": 5})), HOST)
    assert (found.base, found.interval, found.most_percent) == (30.0, 10.0, 10.0)


def test_an_ejection_that_a_change_of_ours_ended_is_no_closed_circuit() -> None:
    soon = [*ERRORS, refused(0.5), call(1.0, 200, request="")]
    for claim in (closes_within, half_opens_within):
        verdict = claim(
            "payment", Duration(4), 1.0, [breaker(0)], soon, began=0.0, changes=[(0.7, "mutual TLS is strict")]
        )
        assert verdict.outcome is OPEN, verdict.sentence
        assert "the ejections ended with the change «mutual TLS is strict»" in verdict.sentence
    verdict = closes_within("payment", Duration(4), 1.0, [breaker(0)], soon, began=0.0, changes=[(0.1, "x")])
    assert verdict.outcome is OPEN
    assert "ends no ejection by itself so soon" in verdict.sentence
    unseen = [*ERRORS, call(1.0, 200, request="")]
    assert (
        closes_within(
            "payment", Duration(4), 1.0, [breaker(0)], unseen, began=0.0, sightings=sightings(["order"])
        ).outcome
        is OPEN
    )
    assert closes_within("payment", Duration(4), 3.7, [breaker(0)], CLOSED_AGAIN, began=0.0).outcome is PASSED


def test_a_circuit_that_went_away_with_its_caller_was_open_nevertheless() -> None:
    new = [breaker(0, caller="order-2")]
    calls = [call(9.0, 200, caller="order-2")]
    for log in ([*OPENED, *calls], [*ERRORS, *calls]):
        verdict = closes_within("payment", Duration(4), 1.0, new, log, began=0.0, sightings=sightings(["order"]))
        assert verdict.outcome is OPEN
        assert "that of order was open, and went away with its pod" in verdict.sentence
    verdict = closes_within("payment", Duration(4), 1.0, new, calls, began=0.0)
    assert "it was never open since the breaker was set" in verdict.sentence


# What a breaker counts, and since when


def at(endpoint: str, started: float, status: int = 503, **more: Any) -> Call:
    return replace(call(started, status, request=""), endpoint=endpoint, **more)


def test_errors_are_counted_for_each_endpoint() -> None:
    """Eight errors in a row, four of each endpoint, are too few for a breaker of five."""
    calls = [at("ab"[n % 2], n / 10) for n in range(8)]
    verdict = opens_within("order", Duration(2), [breaker(0, endpoints=2)], calls)
    assert verdict.outcome is OPEN
    assert "met 4 and 4 errors in a row of 2 endpoints, and the circuit opens at 5 of each endpoint" in verdict.sentence
    assert verdict.help == "send more requests that fail, one right after the other"
    verdict = opens_within("order", Duration(2), [breaker(0, endpoints=2)], [at("a", 0.1, 200)])
    assert "let order fail at its own side" in str(verdict.help)
    calls = [at("ab"[n % 2], n / 10) for n in range(10)]
    assert opens_within("order", Duration(2), [breaker(0, endpoints=2)], calls).outcome is FAILED
    assert opens_within("order", Duration(2), [breaker(0, endpoints=3)], calls).outcome is OPEN, "one was not called"


def one_by_one(again: float, second: float, *under_way: Call) -> list[Call]:
    """Two endpoints that are ejected one after the other, so that the circuit is open while both are, and are called again."""
    errors = [at("a", n / 10) for n in range(5)] + [at("b", 3.0 + n / 10) for n in range(5)]
    return [*errors, *under_way, refused(3.45), at("a", again, 200), at("b", second, 200)]


def test_of_several_endpoints_each_is_ejected_for_its_own_time() -> None:
    slow = at("a", 0.35, seconds=2.0)  # was under way when its endpoint was ejected
    for calls in one_by_one(3.5, 6.5), one_by_one(3.5, 6.5, slow):
        phases = replay(calls, [breaker(0, endpoints=2)])
        assert [(p.state, round(p.began, 2)) for p in phases][1:3] == [("open", 3.41), ("half-open", 3.5)]
        assert doubts(phases, [breaker(0, endpoints=2)], calls) == []
        for claim in closes_within, half_opens_within:
            verdict = claim("payment", Duration(9), 6.6, [breaker(0, endpoints=2)], calls, began=0.0)
            assert verdict.outcome is PASSED, verdict.sentence


def test_an_ejection_of_one_of_several_endpoints_that_was_too_short_is_named() -> None:
    for claim in closes_within, half_opens_within:
        verdict = claim(
            "payment",
            Duration(9),
            5.0,
            [breaker(0, endpoints=2)],
            one_by_one(3.5, 4.0),
            began=0.0,
            changes=[(3.7, "x")],
        )
        assert verdict.outcome is OPEN
        assert "let calls through to b after 590 ms, less than the base ejection time of 3.0 s" in verdict.sentence
        assert verdict.sentence.endswith("the ejections ended with the change «x»")
    new = [*[at("a", n / 10) for n in range(5)], refused(0.5), at("new", 1.0, 200), at("a", 3.6, 200)]
    verdict = closes_within("payment", Duration(9), 5.0, [breaker(0, endpoints=2)], new, began=0.0)
    assert "let calls through to new after 590 ms" in verdict.sentence


def test_an_ejection_that_a_change_ended_is_none_that_ended_though_the_circuit_is_open_anew() -> None:
    anew = [*ERRORS, refused(0.5), *[call(1.0 + n / 10, 503, request="") for n in range(12)], refused(2.3)]
    verdict = half_opens_within("payment", Duration(4), 2.5, [breaker(1)], anew, began=0.0, changes=[(0.7, "x")])
    assert verdict.outcome is OPEN, verdict.sentence
    assert "the ejections ended with the change «x»" in verdict.sentence


@pytest.mark.parametrize(("grpc", "limit", "wanted"), [(14, 3.0, PASSED), (14, 1.0, FAILED), (0, 3.0, OPEN)])
def test_grpc_errors_are_errors(grpc: int, limit: float, wanted: Outcome) -> None:
    calls = [at("a", 0.6 * n, 200, grpc=grpc, seconds=0.6) for n in range(5)]
    verdict = opens_within("payment", Duration(limit), [breaker(0)], [*calls, refused(3.1)])
    assert verdict.outcome is wanted, verdict.sentence


def test_a_circuit_whose_grpc_calls_still_fail_is_not_closed() -> None:
    calls = [replace(c, status=200, grpc=14) if c.reached else c for c in HALF_OPEN]
    verdict = closes_within("payment", Duration(4), 2.0, [breaker(0)], calls, began=0.0, trials=["t0"])
    assert verdict.outcome is FAILED, verdict.sentence


@pytest.mark.parametrize(
    ("code", "http"),
    [(0, 200), (1, 499), (2, 500), (4, 504), (5, 404), (8, 429), (12, 501), (13, 500), (14, 503), (15, 500), (99, 500)],
)
def test_envoy_counts_a_grpc_status_as_one_of_http(code: int, http: int) -> None:
    assert at("a", 0.0, 200, grpc=code).code == http
    assert at("a", 0.0, 503, grpc=code).code == 503, "an answer without a gRPC status of its own"


def test_a_log_that_tells_no_grpc_status_shows_no_circuit_and_no_tries() -> None:
    calls = [at("a", n / 10, 200, untold=True, request_id="r1") for n in range(9)]
    for verdict in (
        opens_within("payment", Duration(2), [breaker(0)], calls),
        closes_within("payment", Duration(2), 1.0, [breaker(0)], calls, began=0.0, sightings=sightings(["order"])),
        called_at_most("order", "payment", 9, calls, calls),
    ):
        assert verdict.outcome is OPEN
        assert "9 calls speak gRPC, and the access log does not tell their gRPC status" in verdict.sentence


def test_tries_of_a_grpc_call_that_fails_are_counted() -> None:
    tries = [replace(c, status=200, grpc=14) for c in _tries([200] * 4)]
    assert called_at_most("order", "payment", 4, tries[:1], tries).outcome is PASSED
    assert called_at_most("order", "payment", 3, tries[:1], tries).outcome is FAILED
    assert called_at_least("order", "payment", 4, tries[:1], tries).outcome is PASSED
    assert called_at_least("order", "payment", 5, tries[:1], tries).outcome is FAILED


def test_only_the_statuses_that_a_breaker_takes_for_errors_count() -> None:
    rule = replace(breaker(0), codes=(429,))
    answers = [at("a", n / 10, 429) for n in range(5)]
    assert opens_within("payment", Duration(2), [rule], [*answers, refused(0.6)]).outcome is PASSED
    still = [*answers, refused(0.6), *[at("a", 4 + n / 10, 429, request_id=f"t{n}") for n in range(2)]]
    verdict = closes_within("payment", Duration(4), 3.0, [rule], still, began=0.0, trials=["t0", "t1"])
    assert verdict.outcome is FAILED, verdict.sentence
    others = [at("a", n / 10, 503) for n in range(9)]
    assert opens_within("payment", Duration(2), [rule], others).outcome is OPEN
    lost = [at("a", n / 10, 503, flags=frozenset({"UF"})) for n in range(9)]
    assert opens_within("payment", Duration(2), [rule], lost).outcome is FAILED, "no answer, so none is looked at"


def test_gateway_errors_are_counted_beside_the_others() -> None:
    rule = replace(breaker(0), gateway_errors=3)
    verdict = opens_within("payment", Duration(2), [rule], [at("a", n / 10, 500) for n in range(3)])
    assert verdict.outcome is OPEN
    assert "opens at 5 or 3 with status 502, 503 or 504" in verdict.sentence
    assert opens_within("payment", Duration(2), [rule], [at("a", n / 10, 503) for n in range(3)]).outcome is FAILED
    mixed = [at("a", n / 10, status) for n, status in enumerate((503, 503, 500, 503))]
    assert opens_within("payment", Duration(2), [rule], mixed).outcome is OPEN
    only = replace(rule, errors=None)
    assert opens_within("payment", Duration(2), [only], [at("a", n / 10, 500) for n in range(9)]).outcome is OPEN


def test_calls_that_their_caller_left_are_no_errors_of_the_endpoint() -> None:
    left = [at("a", n / 10, 0, flags=frozenset({"DC"})) for n in range(9)]
    assert opens_within("payment", Duration(2), [breaker(0)], left).outcome is OPEN


def test_a_service_that_was_down_is_no_open_circuit() -> None:
    down = [*[refused(n / 10) for n in range(20)], call(3.0, 200, request="")]
    for rule in (breaker(0, errors=50), Breaker("order", 1, 0, 10, 5, 0.5, 1.0, 10.0)):
        assert [phase.state for phase in replay(down, [rule])] == ["closed"]
        assert opens_within("payment", Duration(2), [rule], down).outcome is OPEN
        verdict = closes_within("payment", Duration(10), 1.0, [rule], down, began=0.0)
        assert verdict.outcome is OPEN, verdict.sentence
    few = [*ERRORS[:3], *[refused(0.5 + n / 10) for n in range(9)], call(3.0, 200, request="")]
    assert closes_within("payment", Duration(10), 1.0, [breaker(0)], few, began=0.0).outcome is OPEN


def test_an_endpoint_that_gets_calls_though_it_is_ejected_is_no_open_circuit() -> None:
    panics = replace(breaker(1), panic_percent=50.0)
    calls = [call(n / 10, 503, request="") for n in range(40)]
    for verdict in is_open("payment", [panics], calls), opens_within("payment", Duration(2), [panics], calls):
        assert verdict.outcome is FAILED
        assert "minHealthPercent 50 lets calls go to ejected endpoints" in verdict.sentence
    assert closes_within("payment", Duration(4), 1.0, [panics], calls, began=0.0).outcome is not PASSED


def test_a_breaker_counts_since_it_was_set() -> None:
    rule = replace(breaker(1), since=10.0)
    before = [call(n, 503, request="") for n in range(6)]
    after = [call(10.1 + n / 10, 503, request="") for n in range(5)]
    assert opens_within("payment", Duration(2), [rule], [*before, *after, refused(10.7)]).outcome is PASSED
    few = opens_within("payment", Duration(2), [replace(rule, ejected=0)], [*before, *after[:2]])
    assert (few.outcome, "met 2 errors in a row" in few.sentence) == (OPEN, True), few.sentence
    second = replace(breaker(0, errors=500), since=5.0)
    verdict = opens_within("payment", Duration(2), [second], [*CLOSED_AGAIN, *after[:3]])
    assert (verdict.outcome, "met 3 errors in a row" in verdict.sentence) == (OPEN, True), verdict.sentence
    nobody = is_open("payment", [replace(breaker(0), since=99.0)], before)
    assert (nobody.outcome, "nobody called it since its breaker was set" in nobody.sentence) == (OPEN, True)


def test_a_call_that_is_held_until_the_circuit_lets_it_go_was_refused_when_it_came() -> None:
    """Linkerd holds it; the next call comes in the very millisecond in which it is given up."""
    held = replace(refused(0.411), seconds=3.0)
    calls = [*ERRORS, held, call(3.412, 503, 0.001, request="t0")]
    assert [(p.state, p.run) for p in replay(calls, [breaker(0)])] == [("closed", 5), ("open", 0), ("half-open", 1)]
    assert opens_within("payment", Duration(1), [breaker(0)], calls).outcome is PASSED


def test_a_refusal_may_seem_to_come_before_the_error_that_led_to_it() -> None:
    early = [*ERRORS[:4], call(0.4, 503, 0.004, request=""), replace(refused(0.402), seconds=0.0)]
    assert [(p.state, p.run) for p in replay(early, [breaker(0)])] == [("closed", 5), ("open", 0)]


def test_an_opening_that_was_seen_is_told_from_the_errors_of_a_trial() -> None:
    """As many calls as open it, so that nobody is refused; then a trial fails, and the next call succeeds."""
    cycle = [*ERRORS, call(3.6, 503, request="t0"), call(4.4, 200, request="t1")]
    verdict = closes_within("payment", Duration(4), 1.0, [breaker(0)], cycle, began=4.0, sightings=sightings(["order"]))
    assert verdict.outcome is PASSED, verdict.sentence
    states = [phase.state for phase in replay(cycle, [breaker(0)], sightings(["order"]))]
    assert states == ["closed", "open", "half-open", "closed"]


def test_that_one_subset_had_no_endpoint_left_is_no_opening_of_the_service() -> None:
    calls = [replace(each, endpoint="127.1.0.8" if each.reached else "") for each in OPENED]
    for sent, told in ({"127.1.0.8": 5}, True), ({"127.1.0.8": 5, "127.1.0.9": 3}, False):
        sentence = is_open("payment", [replace(breaker(1, endpoints=2), sent=sent)], calls).sentence
        assert ("it was open before" in sentence) is told


def test_what_is_said_of_an_earlier_opening_was_measured() -> None:
    closed = is_open("payment", [replace(breaker(0), base=20.0)], CLOSED_AGAIN)
    assert "it was open before, at order for 3.2 s, and that was over" in closed.sentence


def test_callers_that_are_gone_are_not_waited_for() -> None:
    seen = sightings(["order", "gone"])
    verdict = closes_within("payment", Duration(4), 2.0, [breaker(0)], CLOSED_AGAIN, began=0.0, sightings=seen)
    assert verdict.outcome is PASSED, verdict.sentence


class _Split(_OneProxy):
    """A proxy that called a service, whose one endpoint was ejected only after its traffic was split."""

    def get(self, path: str) -> dict[str, Any]:
        stats = {"stats": [{"name": "rq_total", "value": "4"}]}
        if path.startswith("/clusters"):
            names = {"": False, "stable": True, "canary": False}
            return {
                "cluster_statuses": [
                    {
                        "name": f"outbound|80|{subset}|{HOST}",
                        "host_statuses": [{**stats, "health_status": {"failed_outlier_check": ejected}}],
                    }
                    for subset, ejected in names.items()
                ]
            }
        if path.endswith("dynamic_route_configs"):
            parts = [
                {"name": f"outbound|80|{subset}|{HOST}", "weight": n} for subset, n in (("stable", 100), ("canary", 0))
            ]
            routes = [{"match": {"prefix": "/"}, "route": {"weighted_clusters": {"clusters": parts}}}]
            return {"configs": [{"route_config": {"virtual_hosts": [{"routes": routes}]}}]}
        held = {
            "name": f"outbound|80|stable|{HOST}",
            "outlier_detection": {"consecutive_5xx": 3},
            "common_lb_config": {"healthy_panic_threshold": {"value": 30}},
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "outlier_detection": {"error_matcher": {"or_match": {"rules": [_status(429), _status(500)]}}}
                }
            },
        }
        return {"configs": [{"cluster": held, "last_updated": "2026-01-01T00:00:01.500Z"}]}


def _status(code: int) -> dict[str, Any]:
    headers = [{"name": ":status", "string_match": {"exact": str(code)}}]
    return {"http_response_headers_match": {"headers": headers}}


def test_a_breaker_is_read_where_the_routes_lead() -> None:
    (found,) = breakers(cast("Proxies", _Split(None)), HOST)
    assert (found.endpoints, found.ejected, found.ejects_all, found.errors) == (1, 1, True, 3)
    assert (found.since, found.panic_percent, found.codes) == (1767225601.5, 30.0, (429, 500))
    assert not found.is_open, "it panics"


class _ByHeader(_Split):
    """A proxy that sent the requests of a header's value to one subset, whose endpoint is ejected, and none to the other."""

    def __init__(self, other: str) -> None:
        super().__init__(None)
        self._other = other

    def get(self, path: str) -> dict[str, Any]:
        if path.startswith("/clusters"):
            met = ("stable", "127.1.0.1", "4", True), ("canary", self._other, "0", False)
            return {
                "cluster_statuses": [
                    {
                        "name": f"outbound|80|{subset}|{HOST}",
                        "host_statuses": [
                            {
                                "address": {"socket_address": {"address": address, "port_value": 8080}},
                                "stats": [{"name": "rq_total", "value": sent}],
                                "health_status": {"failed_outlier_check": ejected},
                            }
                        ],
                    }
                    for subset, address, sent, ejected in met
                ]
            }
        if path.endswith("dynamic_route_configs"):
            routes = [{"route": {"cluster": f"outbound|80|{subset}|{HOST}"}} for subset in ("stable", "canary")]
            return {"configs": [{"route_config": {"virtual_hosts": [{"routes": routes}]}}]}
        return super().get(path)


@pytest.mark.parametrize(("other", "endpoints"), [("127.1.0.2", 2), ("127.1.0.1", 1)])
def test_an_endpoint_that_routes_lead_to_and_nobody_called_is_not_ejected(other: str, endpoints: int) -> None:
    """One that is ejected where it was called, and in no other cluster, is."""
    (found,) = breakers(cast("Proxies", _ByHeader(other)), HOST)
    assert (found.endpoints, found.ejected, found.ejects_all) == (endpoints, 1, endpoints == 1)


# One circuit for each port, closed only once each endpoint answers

HTTP, GRPC = "80", "9000"


def through(port: str, calls: Sequence[Call]) -> list[Call]:
    return [replace(c, port=port) for c in calls]


def held(port: str, ejected: int, **more: Any) -> Breaker:
    return replace(breaker(ejected), port=port, **more)


def test_calls_to_one_port_close_no_circuit_to_another() -> None:
    """Envoy has a cluster, with counters of its own, for each port: here a healthy gRPC call beside broken HTTP."""
    healthy = through(GRPC, [call(4.0, 200, request="")])
    calls = [*through(HTTP, OPENED), *healthy]
    states = {(p.port, p.state) for p in replay(calls, [held(HTTP, 0), held(GRPC, 0)])}
    assert states == {(HTTP, "closed"), (HTTP, "open"), (GRPC, "closed")}
    verdict = closes_within("payment", Duration(9), 1.0, [held(HTTP, 0), held(GRPC, 0)], calls, began=0.0)
    assert (verdict.outcome, verdict.numbers["untried"]) == (OPEN, ["order (port 80)"]), verdict.sentence
    calls += through(HTTP, [call(4.2, 200, request="")])
    verdict = closes_within("payment", Duration(9), 1.0, [held(HTTP, 0), held(GRPC, 0)], calls, began=0.0)
    assert verdict.outcome is PASSED, verdict.sentence


def test_errors_at_two_ports_are_counted_apart() -> None:
    calls = [*through(HTTP, ERRORS[:3]), *through(GRPC, ERRORS[:3])]
    verdict = opens_within("payment", Duration(2), [held(HTTP, 0), held(GRPC, 0)], calls)
    assert verdict.outcome is OPEN
    assert "order (port 80) met 3 errors in a row, and the circuit opens at 5" in verdict.sentence


def test_a_port_that_nobody_called_in_this_scenario_decides_nothing() -> None:
    calls = through(HTTP, OPENED)
    both = [held(HTTP, 1), held(GRPC, 0, requests=99)]
    assert is_open("payment", both, calls).outcome is PASSED
    assert opens_within("payment", Duration(2), both, calls).outcome is PASSED
    verdict = is_open("payment", both, [*calls, *through(GRPC, [call(1.0, 200)])])
    assert verdict.outcome is FAILED
    assert "order (port 80) has ejected 1 of 1, order (port 9000) has ejected 0 of 1" in verdict.sentence
    assert "was over" not in verdict.sentence, "the circuit that was open still is"


BOTH_EJECTED = [*[at("ab"[n % 2], n / 10) for n in range(10)], *[refused(1.1 + n / 10) for n in range(20)]]


def two(**more: Any) -> Breaker:
    return replace(breaker(0, endpoints=2), **{"sent": {"a": 9, "b": 9}, **more})


@pytest.mark.parametrize(
    ("later", "sent", "wanted", "told"),
    [
        ([("a", 200), ("b", 200)], ("a", "b"), PASSED, ""),
        ([("a", 200)], ("a", "b"), OPEN, "no call of order has reached b since"),
        ([("a", 200), ("b", 503), ("a", 200)], ("a", "b"), FAILED, "met 1 error in a row of b, and no success there"),
        ([("a", 200), ("b", 503)], ("a",), PASSED, ""),  # its pod is gone, so that it is looked at no more
        ([("c", 200)], ("c",), PASSED, ""),
        ([("a", 503)], ("a", "b"), FAILED, "order met 1 error in a row and no success"),
        # It was ejected once more, by itself, and nobody knows what it answers now.
        ([("a", 200), ("b", 200), *[("b", 503)] * 5, ("a", 200)], ("a", "b"), OPEN, "has reached b since"),
        ([("a", 200), ("b", 200), *[("b", 503)] * 5, ("b", 200)], ("a", "b"), PASSED, ""),
    ],
)
def test_a_circuit_is_closed_once_each_endpoint_answers(
    later: list[tuple[str, int]], sent: tuple[str, ...], wanted: Outcome, told: str
) -> None:
    calls = [*BOTH_EJECTED, *[at(endpoint, 5 + n / 10, status) for n, (endpoint, status) in enumerate(later)]]
    rule = two(sent=dict.fromkeys(sent, 9))
    verdict = closes_within("payment", Duration(9), 1.0, [rule], calls, began=0.0)
    assert verdict.outcome is wanted, verdict.sentence
    assert told in verdict.sentence


def test_an_endpoint_that_was_seen_ejected_has_to_answer() -> None:
    """Its errors came before the log's mark, so that only its proxy tells."""
    seen = replace(two(), ejected=2, seen=1.0, out=("a", "b"))
    calls = [at("a", 5.0, 200)]
    verdict = closes_within("payment", Duration(9), 1.0, [two()], calls, began=0.0, sightings=[seen])
    assert (verdict.outcome, verdict.numbers["owing"]) == (OPEN, {"order": ["b"]}), verdict.sentence


def test_the_tries_of_two_ports_are_told_apart() -> None:
    """One request's calls by HTTP and by gRPC, of which the second was repeated."""
    service, address = ServiceRef("payment-service", "shop"), {"client": "10.0.0.1", "payment": "10.0.0.2"}
    made = [
        Entry("client", True, HOST, "", 200, frozenset(), "r1", 0.0, 0.1, "10.0.0.2:8080", port=HTTP),
        Entry("client", True, HOST, "", 503, frozenset(), "r1", 1.0, 0.9, "10.0.0.2:9090", port=GRPC),
    ]
    came = [
        Entry("payment", False, "", "", code, frozenset(), "r1", began, 0.1, downstream="10.0.0.1:9", port=port)
        for code, began, port in ((200, 0.0, "8080"), (503, 1.0, "9090"), (503, 1.5, "9090"))
    ]
    found = tries_to(service, [*made, *came], address)
    assert [(c.port, c.code) for c in found] == [(HTTP, 200), (GRPC, 503), (GRPC, 503)]


@pytest.mark.parametrize(
    ("cluster", "port"),
    [
        (f"outbound|80|v1|{HOST}", "80"),
        ("inbound|8080||", "8080"),
        ("Service.shop.payment-service:80/Service.shop.payment-service:80", "80"),
        ("PassthroughCluster", ""),
    ],
)
def test_the_port_is_read_from_the_log(cluster: str, port: str) -> None:
    (entry,) = read_entries("p", b'{"upstream_cluster": "%s", "response_code": 200}\n' % cluster.encode())
    assert entry.port == port


def test_each_try_of_a_repeated_call_counts() -> None:
    service, address = ServiceRef("payment-service", "shop"), {"client": "10.0.0.1", "payment": "10.0.0.2"}
    made = Entry("client", True, HOST, "", 200, frozenset({"UH"}), "r1", 0.0, 2.0, "10.0.0.2:80", grpc=14)
    came = [
        Entry("payment", False, "", "", 200, frozenset(), "r1", 0.6 * n, 0.6, downstream="10.0.0.1:9", grpc=14)
        for n in range(3)
    ]
    other = Entry("payment", False, "", "", 200, frozenset(), "r1", downstream="10.0.0.7:9")
    found = tries_to(service, [made, *came, other], address)
    assert [(c.caller, c.reached, c.endpoint, c.code) for c in found] == [
        *[("client", True, "10.0.0.2", 503)] * 3,
        ("client", False, "", 503),
    ]
    assert found[-1].refused
    once = replace(made, flags=frozenset())
    assert [c.seconds for c in tries_to(service, [once, came[0]], address)] == [2.0]
    assert [
        c.code
        for c in tries_to(
            service, [once, *[replace(e, status=0, grpc=None, flags=frozenset({"DC"})) for e in came]], address
        )
    ] == [504] * 3


def test_a_log_line_tells_of_grpc() -> None:
    line = b'{"response_code": 200, "method": "POST", "protocol": "HTTP/2", "path": "/shop.Payment/Charge"%s}\n'
    for more, wanted in (
        (b', "grpc_status": 14', (14, False)),
        (b', "grpc_status": null', (None, False)),
        (b"", (None, True)),
    ):
        (entry,) = read_entries("p", line % more)
        assert (entry.grpc, entry.untold) == wanted
    (entry,) = read_entries("p", (line % b"").replace(b"shop.Payment/Charge", b"checkout"))
    assert not entry.untold


def test_a_request_that_no_claim_would_count_is_refused() -> None:
    for name in ("User-Agent", "user-agent"):
        with pytest.raises(BadInput, match="which no claim counts") as caught:
            read_message(
                "x", f"GET http://a/\nX-User: qa\n{name}: {PROBE_AGENT}", Place(Path("x.feature"), 10), offset=0
            )
        assert caught.value.place is not None
        assert caught.value.place.line == 12
    assert read_message("x", f"GET http://a/\nUser-Agent: {PROBE_AGENT}/2").header("user-agent")


def test_a_fixed_request_id_makes_one_of_all_requests() -> None:
    assert read_message("x", "GET http://a/\nX-Request-Id: mine").fixed_id
    assert not read_message("x", "GET http://a/\nX-Request-Id: a-${uuid}").fixed_id
    assert not read_message("x", "GET http://a/").fixed_id
