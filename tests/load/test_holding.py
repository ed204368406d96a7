"""Whether a rate was held, and whose doing it is where it was not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hamcrest import assert_that

from meshbdd.claims import Claim, Outcome, Verdict, quantiles, responses, shares
from meshbdd.load import Load, Message, Pace, Plan, Result
from meshbdd.load.answer import Outcome as Answer
from meshbdd.load.holding import Holding, holding
from meshbdd.load.ids import RequestIds
from meshbdd.load.lapses import Lapse
from meshbdd.load.record import Record
from meshbdd.load.summary import summarise
from meshbdd.scenario.loaded import LoadedSamples, at_rate
from meshbdd.units import Duration, Percent, Rate
from tests.load.server import Server, serving
from tests.tools import until
from tests.verdicts import is_inconclusive, is_passed

EVERY_10_MS = Pace(Rate(100))
GREEN = Verdict.of(True, "it holds")


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as made:
        yield made


def paced(
    *lags_ms: float, pace: Pace | None = EVERY_10_MS, crowded: bool = False, unsent: int = 0, **more: object
) -> Result:
    """Requests that were due every 10 ms and started so much later."""
    record = Record(keep=0)
    for number, milliseconds in enumerate(lags_ms):
        lag = round(milliseconds * 1000)
        record.write(number, number * 10_000 + lag, lag, 10, 20, 2, record.outcome_number(Answer(200)))
        record.finished += 1
    plan = Plan(Message("it", "GET", "http://a/", {}, None), pace=pace, timeout=Duration(2))
    result = Result(plan, record, RequestIds(plan.message), 0.0, 10.0, len(lags_ms), unsent, True, crowded=crowded)
    return replace(result, **more)  # type: ignore[arg-type] # fields of a result


def seen_of(result: Result) -> Holding:
    seen = holding(result, summarise(result))
    assert seen is not None
    return seen


def test_a_rate_that_was_held() -> None:
    seen = seen_of(paced(*[0.1] * 1000))
    assert seen.held
    assert not seen.by_this_machine
    assert seen.wanted == seen.reached == pytest.approx(100)
    assert seen.lag_p99 == pytest.approx(0.0001, rel=1e-2)
    assert "the rate was held: 100.0/s were started, late by 0.1 ms at the p99" in seen.told
    for nothing in (paced(pace=None), paced()):
        assert holding(nothing, summarise(nothing)) is None


def test_a_stall_that_was_caught_up_with_is_no_lower_rate() -> None:
    seen = seen_of(paced(*[0] * 400, *[1000 - 10 * n for n in range(100)], *[0] * 500))
    assert seen.held
    assert seen.lag_p99 == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize(("crowded", "why"), [(True, "all 1000 connections"), (False, "this machine was too busy")])
def test_a_rate_that_was_not_held(crowded: bool, why: str) -> None:
    """At the end it is a second behind, of ten."""
    seen = seen_of(paced(*range(1000), crowded=crowded))
    assert not seen.held
    assert seen.by_this_machine is not crowded
    assert why in seen.told
    assert seen.wanted == pytest.approx(100)
    assert seen.reached == pytest.approx(1000 / 11, rel=1e-2)


def test_requests_that_were_never_started_count_for_what_was_due() -> None:
    seen = seen_of(paced(*[0] * 50, unsent=150, crowded=True))
    assert not seen.held
    assert not seen.by_this_machine
    assert seen.wanted == pytest.approx(100)
    assert seen.reached == pytest.approx(25), "50 were started in two seconds"
    assert "150 requests were never started" in seen.told
    nothing = seen_of(paced(unsent=150, crowded=True))
    assert nothing.wanted == pytest.approx(100)
    assert nothing.reached == 0
    assert nothing.lag_p99 is None
    assert "late by" not in nothing.told


def test_a_lapse_at_the_end_is_this_machines_though_the_service_was_slow_before() -> None:
    lags = [*[0] * 900, *range(0, 1000, 10)]
    assert not seen_of(paced(*lags, crowded=True)).by_this_machine
    lapse = Lapse(begin=9_000_000, end=11_000_000, own=1_000_000)
    seen = seen_of(paced(*lags, crowded=True, lapses=[lapse]))
    assert seen.by_this_machine
    assert "this machine was too busy and all 1000 connections" in seen.told
    missed = seen_of(paced(*[0] * 900, missed=100))
    assert missed.by_this_machine
    assert not missed.held


def test_no_claim_is_green_where_this_machine_was_too_slow() -> None:
    held, ours, theirs = (
        LoadedSamples(paced(*lags, crowded=crowded))
        for lags, crowded in (([0] * 1000, False), (range(1000), False), (range(1000), True))
    )
    assert_that(at_rate(GREEN, held), is_passed())
    assert_that(at_rate(GREEN, theirs), is_passed())
    assert "not held" in at_rate(GREEN, theirs).notes[-1]
    assert_that(at_rate(GREEN, ours), is_inconclusive())
    assert "this machine was too busy" in at_rate(GREEN, ours).sentence
    assert at_rate(GREEN, list(ours)) is GREEN, "no rate was asked for"


def judged(claim: Claim, result: Result) -> Outcome:
    samples = LoadedSamples(result)
    return at_rate(claim.judge(samples), samples).outcome


def test_no_claim_is_red_by_what_this_machine_missed() -> None:
    failing, success = shares.fail_at_most(Percent(1)), shares.every_status_is(200)
    missed, theirs = paced(*[0] * 900, missed=100), paced(*[0] * 900, unsent=100, crowded=True)
    for claim in (failing, success, quantiles.latency_below(99, Duration(1)), responses.status_is([200])):
        assert judged(claim, missed) is Outcome.INCONCLUSIVE, claim.text
        assert judged(claim, theirs) is Outcome.FAILED, claim.text
    sentence = failing.judge(LoadedSamples(missed)).sentence
    assert "for 100 of them this machine was late" in sentence


def test_a_claim_is_red_whatever_had_become_of_what_this_machine_missed() -> None:
    both = paced(*[0] * 800, missed=100, unsent=100, crowded=True)
    assert judged(shares.fail_at_most(Percent(1)), both) is Outcome.FAILED, "100 of 1000 failed at best"
    assert judged(shares.fail_at_most(Percent(11)), both) is Outcome.INCONCLUSIVE


def test_a_lapse_excuses_no_more_than_it_was_long() -> None:
    """A second of waiting, of which the machine was late for 0.2."""
    lapse = Lapse(begin=0, end=20_000_000, own=200_000)
    slow = paced(*[1000] * 1000, crowded=True, lapses=[lapse])
    assert judged(quantiles.latency_below(50, Duration(0.75)), slow) is Outcome.FAILED
    assert judged(quantiles.latency_below(50, Duration(0.85)), slow) is Outcome.INCONCLUSIVE
    assert judged(quantiles.latency_below(50, Duration(1.1)), slow) is Outcome.PASSED
    waited = paced(*[1000] * 1000, crowded=True)
    assert judged(quantiles.latency_below(50, Duration(0.85)), waited) is Outcome.FAILED, "the service's doing"


def test_a_slow_service_has_all_connections(server: Server) -> None:
    message = Message("it", "GET", server.url("hang"), {}, None)
    plan = Plan(message, pace=Pace(Rate(100)), duration=Duration(1), connections=5, timeout=Duration(0.5))
    with Load.start(plan) as load:
        result = load.wait()
    seen = seen_of(result)
    assert not seen.held
    assert result.unsent > 0
    assert not seen.by_this_machine or result.lapses, "unless the machine that runs this test stood still, too"
    assert seen.connections == 5
    assert seen.never > 0


@pytest.mark.parametrize("rate", [100, 1000])
def test_a_machine_that_stands_still_is_told_and_judged_by_nobody(server: Server, rate: int) -> None:
    """The process that sends is held up over the end of its schedule, for longer than a request may take.

    At the higher rate what is sent afterwards fills all connections: a consequence of the halt, not the service's doing.
    """
    command = [sys.executable, "-m", "meshbdd", "load", server.url("ok"), "--rate", f"{rate}/s", "--duration", "2s"]
    options = ["--json", "--timeout", "1500ms", "--expect", "errors < 1%, p99 < 1s, errors > 30%"]
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
    assert told["unsent"] == 0
    assert told["missed"] > 0
    assert told["requests"] + told["missed"] == 2 * rate
    assert server.seen["ok"] == sum(one["requests"] for one in told["outcomes"])
    assert told["rate"]["held"] is False
    assert told["rate"]["wanted"] == rate
    assert told["rate"]["reached"] < 0.9 * rate
    assert {one["met"] for one in told["expectations"]} == {None}, "neither good nor bad"


def test_what_is_red_is_red_on_a_machine_that_stood_still(server: Server) -> None:
    command = [sys.executable, "-m", "meshbdd", "load", server.url("status/503"), "--rate", "100/s", "--duration", "3s"]
    process = subprocess.Popen([*command, "--expect", "errors < 1%"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until("requests", lambda: server.seen["status/503"] > 150)
    (worker,) = (int(child) for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split())
    os.kill(worker, signal.SIGSTOP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(2)
    os.kill(worker, signal.SIGCONT)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 1, out


def loaded(server: Server, path: str, *options: str) -> tuple[subprocess.Popen[str], int]:
    """A command that loads a server by users, and the process that sends, which has requests under way."""
    command = [sys.executable, "-m", "meshbdd", "load", server.url(path), "--json", "--duration", "2s", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until("requests", lambda: server.seen[path] > 50)
    (worker,) = (int(child) for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split())
    return process, worker


def halt(process: subprocess.Popen[str], worker: int, seconds: float) -> None:
    os.kill(worker, signal.SIGSTOP)
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(seconds)
    finally:
        os.kill(worker, signal.SIGCONT)


def test_users_that_stand_still_with_their_machine_say_nothing_of_the_service(server: Server) -> None:
    """It answered each request in time, and nobody was there to see it before that was over."""
    expected = "errors < 0.1%, max < 1s, p50 < 700ms, max > 1s"
    process, worker = loaded(server, "slowly", "--users", "20", "--timeout", "1s", "--expect", expected)
    halt(process, worker, 1.5)
    out, err = process.communicate(timeout=30)
    told = {one["text"]: one for one in json.loads(out)["expectations"]}
    assert process.returncode == 4, err
    assert "inconclusive: this machine was late" in err
    assert told["errors < 0.1%"]["met"] is not False, told
    assert told["max < 1s"]["met"] is None, told
    assert told["p50 < 700ms"]["met"] is True, "most requests were in time"


def test_a_service_that_stands_still_under_users_is_to_blame(server: Server) -> None:
    process, _ = loaded(server, "slowly", "--users", "20", "--timeout", "2s", "--expect", "errors < 0.1%, max < 500ms")
    server.stall(3)
    out, err = process.communicate(timeout=30)
    told = {one["text"]: one["met"] for one in json.loads(out)["expectations"]}
    assert process.returncode == 1, err
    assert told["max < 500ms"] is False
    assert told["errors < 0.1%"] is False


def test_answers_to_users_are_red_on_a_machine_that_stood_still(server: Server) -> None:
    process, worker = loaded(server, "status/503", "--users", "20", "--expect", "errors < 50%")
    halt(process, worker, 1.0)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 1, out + err


def users(*lapses: Lapse, status: int | None = 200, milliseconds: float = 200) -> Result:
    """Users whose last request took so long, a second after the begin."""
    record = Record(keep=1)
    outcome = Answer(status, None if status else "timeout")
    for number, (started, took, became) in enumerate(
        [(0, 10, Answer(200)), (1_000_000, round(milliseconds * 1000), outcome)]
    ):
        record.write(number, started, 0, 0, took, 2, record.outcome_number(became))
        record.finished += 1
    plan = Plan(Message("it", "GET", "http://a/", {}, None))
    return Result(plan, record, RequestIds(plan.message), 0.0, 2.0, 2, 0, True, lapses=lapses)


def test_a_single_answer_that_hangs_on_this_machine_is_open_either_way() -> None:
    lapse = Lapse(begin=900_000, end=1_150_000, own=150_000)

    def outcome(claim: Claim, result: Result) -> Outcome:
        return claim.judge(list(result.samples())).outcome

    for claim in (responses.arrives_within(Duration(0.1)), responses.takes_at_least(Duration(0.1))):
        assert outcome(claim, users(lapse)) is Outcome.INCONCLUSIVE, claim.text
    assert outcome(responses.arrives_within(Duration(0.1)), users()) is Outcome.FAILED
    assert outcome(responses.takes_at_least(Duration(0.1)), users()) is Outcome.PASSED
    assert outcome(responses.arrives_within(Duration(0.04)), users(lapse)) is Outcome.FAILED, "without it, 50 ms"
    assert outcome(responses.status_is([200]), users(lapse, status=None)) is Outcome.INCONCLUSIVE
    brief = Lapse(begin=1_000_000, end=1_150_000, own=90_000)
    assert outcome(responses.status_is([200]), users(brief, status=503, milliseconds=100)) is Outcome.FAILED


def test_nobody_fails_because_this_machine_did_not_look() -> None:
    lapse = Lapse(begin=900_000, end=1_150_000, own=150_000)
    claim = shares.fail_at_least(Percent(50))
    assert_that(claim.judge(list(users(status=None).samples())), is_passed())
    assert_that(claim.judge(list(users(lapse, status=None).samples())), is_inconclusive())
