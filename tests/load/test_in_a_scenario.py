"""Loads as a scenario uses them: in the background, and as samples that are made when claims look at them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pycurl
import pytest

from meshbdd.claims import Outcome, quantiles, shares
from meshbdd.load import Load, Message, Pace, Plan
from meshbdd.load.driving import Watching
from meshbdd.scenario import loaded
from meshbdd.scenario.background import NOTED, Background
from meshbdd.scenario.loaded import LoadedSamples
from meshbdd.units import Duration, Percent, Rate
from tests.load.server import Server
from tests.tools import until


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    server.start()
    yield server
    server.stop()


def plan(server: Server, path: str = "ok", **what: object) -> Plan:
    return Plan(Message("it", "GET", server.url(path), {}, None), **what)  # type: ignore[arg-type] # fields of a plan


@pytest.mark.parametrize("kept", [0, 1000])
def test_samples_are_a_sequence_in_the_order_of_the_starts(
    server: Server, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loaded, "_KEPT", kept)
    with Load.start(plan(server, count=50)) as load:
        samples = LoadedSamples(load.wait())
    whole = list(samples)
    assert len(samples) == len(whole) == 50
    assert [s.started for s in whole] == sorted(s.started for s in whole)
    for index in (0, 7, -1, -50):
        assert samples[index] == whole[index]
    for part in (slice(3), slice(10, 20, 3), slice(-5, None), slice(None, None, -1)):
        assert samples[part] == whole[part]
    with pytest.raises(IndexError):
        samples[50]


def test_requests_that_could_not_even_be_sent_are_failures(server: Server) -> None:
    """One connection, a server that hangs: most of what is due finds no connection within its timeout."""
    pace = Pace(Rate(50))
    hanging = plan(server, "hang", pace=pace, duration=Duration(1), connections=1, timeout=Duration(0.2))
    with Load.start(hanging) as load:
        result = load.wait()
    samples = LoadedSamples(result)
    assert result.unsent > 0, "the point of this test"
    assert len(samples) == len(list(samples)) == len(result) + result.unsent + result.missed
    assert samples[-1].told == "unsent"
    assert shares.fail_at_most(Percent(99)).judge(samples).outcome is Outcome.FAILED
    mixed = LoadedSamples(replace(result, unsent=3))
    assert [s.error for s in mixed].count("unsent") == 3


def test_a_stall_shows_in_the_quantiles(server: Server) -> None:
    """No coordinated omission: requests due during the stall count from when they were due."""
    with Load.start(plan(server, pace=Pace(Rate(200)), duration=Duration(2))) as load:
        until("some answers", lambda: load.progress().finished > 100)
        server.stall(0.5)
        samples = LoadedSamples(load.wait())
    assert len(samples) == 400
    stalled = quantiles.latency_below(95, Duration(0.25)).judge(samples).outcome
    late = any(sample.own > 0.1 for sample in samples)  # where the machine that runs this test stands still, too
    assert stalled is Outcome.FAILED or (late and stalled is Outcome.INCONCLUSIVE)
    assert quantiles.latency_below(50, Duration(5)).judge(samples).outcome is Outcome.PASSED


def test_a_load_that_is_stopped_sends_what_was_due(server: Server) -> None:
    """No coordinated omission by stopping either: what waited for a service that stood still is no less late for it."""
    load = Background("it")
    load.start(plan(server, pace=Pace(Rate(200)), connections=2))
    until("some answers", lambda: len(server.ids) > 20)
    server.stall(1.0)
    began = time.monotonic()
    until("most of the stall", lambda: time.monotonic() > began + 0.8)
    result = load.stop()
    assert result is not None
    samples = LoadedSamples(result)
    late = [s for s in samples if s.seconds > 0.1]
    assert len(late) > 100, "some 140 were due more than 0.1 s before the stall's end"
    assert result.unsent == result.overdue == 0
    assert len(samples) == len(server.ids) == result.sent, "each was sent, late"
    assert quantiles.latency_below(90, Duration(0.1)).judge(samples).outcome is not Outcome.PASSED


def test_nothing_that_was_due_is_dropped_when_a_load_is_stopped_at_once(server: Server) -> None:
    with Load.start(plan(server, "hang", pace=Pace(Rate(200)), connections=1, timeout=Duration(60))) as load:
        until("a backlog", lambda: load.progress().seconds > 0.5)
        result = load.stop(at_once=True)
    assert result.sent == result.stopped == 1
    result = replace(result, overdue=result.overdue + result.missed, missed=0)  # on a machine that is late, too
    due = result.sent + result.overdue
    assert 0.5 * 200 <= due <= result.seconds * 200 + 1
    samples = LoadedSamples(result)
    assert len(samples) == result.overdue, "they waited in vain"
    assert quantiles.latency_below(50, Duration(30)).judge(samples).outcome is Outcome.FAILED


def test_a_background_load_tells_once_what_ran_meanwhile(server: Server) -> None:
    load = Background("it")
    load.start(plan(server, pace=Pace(Rate(200))))
    try:
        first = until("requests", load.fresh)
        second = until("more requests", load.fresh)
        assert not set(first) & set(second)
        until("many more", lambda: len(server.ids) > len(first) + len(second) + 20)
        load.skip()
        skipped = len(server.ids)
        later = until("requests after that", load.fresh)
        assert len(later) <= NOTED
        assert not set(later) & {*first, *second}
        assert set(later) <= set(server.ids)
        assert skipped > len(first) + len(second)
    finally:
        result = load.stop()
    assert result is not None
    samples = LoadedSamples(result)
    assert {*first, *second, *later} < {sample.request_id for sample in samples}
    assert all(sample.status == 200 for sample in samples)


def test_a_load_is_stopped_at_once_while_answers_are_missing(server: Server) -> None:
    load = Background("it")
    load.start(plan(server, "hang", pace=Pace(Rate(100)), timeout=Duration(60)))
    until("requests under way", lambda: server.seen.total() > 5)
    result = load.stop(at_once=True)
    assert result is not None
    assert list(LoadedSamples(result)) == [], "they have no outcome, so nothing is claimed of them"


def test_a_load_may_end_just_before_it_is_woken() -> None:
    """``stop`` tells the engine, and then wakes it: meanwhile it may have seen that, and ended."""
    driver = Watching(pycurl.CurlMulti())
    driver.close()
    driver.wake()
