"""A circuit that no call came to though somebody called the service: rules led the calls elsewhere, or answered them."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from meshbdd.claims import Outcome, Verdict
from meshbdd.claims.breaker import Breaker
from meshbdd.scenario import circuits
from meshbdd.scenario.call_log import CallLog
from meshbdd.scenario.circuits import Circuits
from meshbdd.sidecars import ISTIO, LINKERD, Sidecars
from meshbdd.telemetry.access_log import Entry
from meshbdd.units import Duration
from meshbdd.waiting import NotYet
from tests.unit.product.test_tries import BACK, EDGE, Cluster, came, made


def _at_once(probe: Callable[[], Verdict], otherwise: Callable[[], Verdict], _limit: Duration) -> Verdict:
    try:
        return probe()
    except NotYet:
        return otherwise()


def _claims(
    entries: list[Entry], monkeypatch: pytest.MonkeyPatch, sidecars: Sidecars = ISTIO, since: float = 0.0
) -> list[Verdict]:
    """What each claim on the circuit to ``edge`` says, whose breaker was set at a time."""
    held = Breaker("client", 1, 0, 0, errors=3, since=since)
    monkeypatch.setattr(circuits, "breakers", lambda *_asked: [held])
    monkeypatch.setattr(circuits, "in_time", lambda probe, _limit: None)
    monkeypatch.setattr(circuits, "or_nothing", _at_once)
    environment = SimpleNamespace(
        cluster=Cluster(), target="lab", require=lambda *_asked: None, mesh=SimpleNamespace(sidecars=sidecars),
        sent=SimpleNamespace(are_ours=lambda _id: True),
    )  # fmt: skip
    traffic = cast("Any", SimpleNamespace(loading=False, changes=()))
    log = CallLog(cast("Any", environment), traffic, [])
    log.settled = lambda: entries  # type: ignore[method-assign]
    log.entries = lambda: entries  # type: ignore[method-assign]
    asked, limit = Circuits(cast("Any", environment), traffic, log), Duration(2)
    return [asked.is_open(EDGE), asked.opens(EDGE, limit), asked.closes(EDGE, limit), asked.half_opens(EDGE, limit)]


def test_a_circuit_past_which_a_rule_led_the_calls_names_the_service_to_which_it_did(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    led = [made(BACK, "edge"), made(BACK, "edge.team:80"), made(BACK, "back")]
    for verdict in _claims(led, monkeypatch):
        assert verdict.outcome is Outcome.INCONCLUSIVE
        assert verdict.sentence.endswith(
            ": no call came to its own endpoints, which a circuit is about: a rule led the calls to edge.team elsewhere (2 to back.team)"
        )
        assert verdict.help.startswith("claim it of back.team,")


def test_a_circuit_before_which_a_rule_answered_the_calls_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = [made(BACK, "edge", service="", upstream="", backend="")] * 3
    for verdict in _claims(answered, monkeypatch):
        assert "the callers' proxies answered the calls to edge.team themselves (3 with status 503)" in verdict.sentence
        assert verdict.help == "have the rule that answers them in another scenario"


@pytest.mark.parametrize("sidecars", [ISTIO, LINKERD])
def test_a_circuit_to_a_service_that_nobody_asked_for_was_called_by_nobody(
    sidecars: Sidecars, monkeypatch: pytest.MonkeyPatch
) -> None:
    for verdict in _claims([made(BACK, "back")], monkeypatch, sidecars):
        assert verdict.sentence.endswith(": nobody called it")
        assert verdict.help == "send requests that make somebody call edge.team"


def test_a_circuit_that_only_copies_of_calls_came_to_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    copies = [came(EDGE, "back.team", copied=True)] * 2
    for verdict in _claims([made(BACK, "back.team"), came(BACK, "back.team"), *copies], monkeypatch):
        assert verdict.outcome is Outcome.INCONCLUSIVE
        assert verdict.sentence.endswith(
            ": nobody called it itself: 2 mirrored copies of calls came to it, which no caller's proxy logs"
        )
        assert verdict.help == "send requests that make somebody call edge.team"


def test_a_circuit_that_calls_came_to_is_judged_by_these(monkeypatch: pytest.MonkeyPatch) -> None:
    both = [made(BACK, "edge"), made(EDGE, "edge")]
    for verdict in _claims(both, monkeypatch):
        assert "elsewhere" not in verdict.sentence
    for verdict in _claims(both, monkeypatch, since=9.0):
        assert "no call came to its own endpoints since its breaker was set, which" in verdict.sentence
