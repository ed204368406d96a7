"""Whether a rate was held, and whose doing it is where it was not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshbdd.claims import Outcome, Verdict
from meshbdd.load import Load, Message, Pace, Plan, Result
from meshbdd.load.answer import Outcome as Answer
from meshbdd.load.holding import holding
from meshbdd.load.ids import RequestIds
from meshbdd.load.record import Record
from meshbdd.scenario.loaded import LoadedSamples, at_rate
from meshbdd.units import Duration, Rate
from tests.load.server import Server, serving
from tests.tools import until

EVERY_10_MS = Pace(Rate(100))
GREEN, RED = Verdict.of(True, "it holds"), Verdict.of(False, "it does not")


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as made:
        yield made


def paced(*lags_ms: float, crowded: bool = False, unsent: int = 0, pace: Pace | None = EVERY_10_MS) -> Result:
    """Requests that were due every 10 ms and started so much later."""
    record = Record(keep=0)
    for number, milliseconds in enumerate(lags_ms):
        lag = round(milliseconds * 1000)
        record.write(number, number * 10_000 + lag, lag, 10, 20, 2, record.outcome_number(Answer(200)))
        record.finished += 1
    plan = Plan(Message("it", "GET", "http://a/", {}, None), pace=pace)
    return Result(plan, record, RequestIds(plan.message), 0.0, 10.0, len(lags_ms), unsent, True, 0, crowded)


def test_a_rate_that_was_held() -> None:
    seen = holding(paced(*[0.1] * 1001))
    assert seen is not None
    assert seen.held
    assert not seen.by_this_machine
    assert seen.wanted == pytest.approx(100)
    assert seen.lag_p99 == pytest.approx(0.0001)
    assert "the rate was held: 100.0/s were started, late by 0.1 ms at the p99" in seen.told
    assert holding(paced(pace=None)) is None
    assert holding(paced()) is None


def test_a_stall_that_was_caught_up_with_is_no_lower_rate() -> None:
    seen = holding(paced(*[0] * 400, *[1000 - 10 * n for n in range(100)], *[0] * 501))
    assert seen is not None
    assert seen.held
    assert seen.lag_p99 == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize(("crowded", "why"), [(True, "all 1000 connections"), (False, "this machine was too busy")])
def test_a_rate_that_was_not_held(crowded: bool, why: str) -> None:
    """At the end it is a second behind, of ten."""
    seen = holding(paced(*range(1001), crowded=crowded))
    assert seen is not None
    assert not seen.held
    assert seen.by_this_machine is not crowded
    assert why in seen.told
    assert seen.reached == pytest.approx(1000 / 11, rel=1e-3)
    never = holding(paced(0, 0, unsent=3, crowded=crowded))
    assert never is not None
    assert not never.held
    assert "3 requests could not be started at all" in never.told


def test_no_claim_is_green_where_this_machine_was_too_slow() -> None:
    held, ours, theirs = (
        LoadedSamples(paced(*lags, crowded=crowded))
        for lags, crowded in (([0] * 1001, False), (range(1001), False), (range(1001), True))
    )
    assert at_rate(GREEN, held).outcome is Outcome.PASSED
    assert at_rate(GREEN, theirs).outcome is Outcome.PASSED
    assert "not held" in at_rate(GREEN, theirs).notes[-1]
    assert at_rate(GREEN, ours).outcome is Outcome.INCONCLUSIVE
    assert "this machine was too busy" in at_rate(GREEN, ours).sentence
    assert at_rate(RED, ours).outcome is Outcome.FAILED
    assert at_rate(GREEN, list(ours)) is GREEN, "no rate was asked for"


def test_a_slow_service_has_all_connections(server: Server) -> None:
    message = Message("it", "GET", server.url("hang"), {}, None)
    plan = Plan(message, pace=Pace(Rate(100)), duration=Duration(1), connections=5, timeout=Duration(0.5))
    with Load.start(plan) as load:
        seen = holding(load.wait())
    assert seen is not None
    assert not seen.held
    assert seen.connections == 5
    assert seen.never > 0


def test_a_machine_that_stands_still_is_told_and_judged_by_nobody(server: Server) -> None:
    """The process that sends is held up over the end of its schedule."""
    command = [sys.executable, "-m", "meshbdd", "load", server.url("ok"), "--rate", "100/s", "--duration", "2s"]
    options = ["--json", "--expect", "errors < 1%"]
    process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until("requests", lambda: server.seen["ok"] > 20)
    (worker,) = (int(child) for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split())
    os.kill(worker, signal.SIGSTOP)
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(3)
    finally:
        os.kill(worker, signal.SIGCONT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 4, err
    assert "this machine was too busy" in err
    told = json.loads(out)
    assert told["requests"] == 200 == server.seen["ok"]
    assert told["rate"]["held"] is False
    assert told["rate"]["reached"] < 95
