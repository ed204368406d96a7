"""When a machine was late itself, told from a service that is too slow; with a clock that the tests turn."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from meshbdd.load import Sample
from meshbdd.load.lapses import LONGEST_WAIT, Lapse, Lapses, Own, excused

MS = 1_000_000
BEGAN = 5_000 * MS


class Loop:
    """An engine's loop on a clock of its own."""

    def __init__(self) -> None:
        self.now = BEGAN
        self.lapses = Lapses(BEGAN)

    def turn(self, *, work: float = 0.1, sleep: float = 0.0, late: float = 0.0, under_way: int = 1) -> None:
        """One turn, in milliseconds; what sleeps for longer than it is let was not woken up in time."""
        self.now += round((work + sleep) * MS)
        self.lapses.slept(round(sleep * MS), LONGEST_WAIT)
        self.lapses.turned(self.now, round(late * MS), under_way)

    def found(self) -> list[tuple[int, int, int]]:
        """Begin, end and own time of the lapses, in whole milliseconds."""
        return [(lapse.begin // 1000, lapse.end // 1000, lapse.own // 1000) for lapse in self.lapses.found]


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    monkeypatch.setattr(Lapses, "_running", lambda _self: 0)
    return Loop()


def quiet(loop: Loop, milliseconds: int) -> None:
    for _ in range(milliseconds):
        loop.turn(work=0.1, sleep=0.9)


@pytest.mark.parametrize("halt", [{"sleep": 3000.0}, {"work": 3000.0}])
def test_a_halt_asleep_or_at_work(loop: Loop, halt: dict[str, float]) -> None:
    quiet(loop, 100)
    loop.turn(**halt, late=2990)
    assert loop.lapses.lasting
    loop.turn(late=0)
    assert loop.found() == [(100, 3100, 3000 if "work" in halt else 2980)]


def test_a_service_without_free_connections_is_no_lapse(loop: Loop) -> None:
    for late in range(0, 5000, 20):
        loop.turn(sleep=19.9, late=late, under_way=1000)
    assert not loop.lapses.lasting
    assert loop.found() == []


def test_a_lapse_lasts_until_its_burst_is_over(loop: Loop) -> None:
    quiet(loop, 100)
    loop.turn(work=500, late=490, under_way=3)
    for late in range(480, 0, -20):
        loop.turn(sleep=9.9, late=late, under_way=1000)
    assert loop.lapses.lasting, "caught up, but the service has hundreds of requests at a time"
    for under_way in range(900, 2, -100):
        assert loop.lapses.lasting
        loop.turn(sleep=0.9, under_way=under_way)
    loop.turn(sleep=0.9, under_way=1)
    assert not loop.lapses.lasting
    assert loop.found()[0][2] == 500


def test_a_service_that_stays_slow_after_a_lapse_is_not_excused_for_ever(loop: Loop) -> None:
    quiet(loop, 100)
    loop.turn(work=100, late=90)
    for _ in range(12):
        loop.turn(sleep=9.9, under_way=50)
    assert not loop.lapses.lasting, "not longer than it was itself"
    quiet(loop, 100)
    loop.turn(work=100, late=90)
    for late in range(90, 240, 10):
        loop.turn(sleep=9.9, late=late, under_way=1000)
    assert not loop.lapses.lasting, "it lags by more than the lapse can have made it"
    assert [own for _, _, own in loop.found()] == [100, 100]


def test_short_turns_without_rest_are_a_lapse(loop: Loop) -> None:
    for late in range(1000):
        loop.turn(work=0.9, sleep=0.1, late=late, under_way=1000)
    assert loop.lapses.lasting
    loop.lapses.close(loop.now)
    ((begin, end, own),) = loop.found()
    assert begin <= 40
    assert end == 1000
    assert own > 850


def test_work_without_rest_that_is_in_time_is_none(loop: Loop) -> None:
    for _ in range(1000):
        loop.turn(work=0.99, sleep=0.01, late=3)
    assert loop.found() == []
    assert not loop.lapses.lasting


def test_what_waits_through_a_lapse_waits_for_this_machine(loop: Loop) -> None:
    quiet(loop, 100)
    loop.turn(work=300, late=290)
    assert loop.lapses.own_since(BEGAN + 200 * MS) == 300 * MS
    loop.turn()
    quiet(loop, 50)
    assert loop.lapses.own_since(BEGAN + 350 * MS) == pytest.approx(300 * MS, rel=1e-3)
    assert loop.lapses.own_since(BEGAN + 410 * MS) == 0


def test_thousands_of_lapses_stay_few(loop: Loop) -> None:
    quiet(loop, 1)
    for _ in range(1500):
        loop.turn(work=20, late=15)
        loop.turn()
        quiet(loop, 5)
    assert len(loop.lapses.found) == 1000
    assert sum(lapse.own for lapse in loop.lapses.found) == pytest.approx(1500 * 20_000, rel=1e-3)
    assert loop.lapses.found[-1].end == pytest.approx((loop.now - BEGAN) / 1000, abs=10_000)


def test_a_halt_in_a_closed_loop_is_over_with_its_end(loop: Loop) -> None:
    """Nothing is late for its schedule there, and no burst follows: as many requests are under way as before."""
    for _ in range(100):
        loop.turn(work=0.1, sleep=0.9, under_way=50)
    loop.turn(sleep=3000, under_way=50)
    assert not loop.lapses.lasting
    assert loop.found() == [(100, 3100, 2980)]


def test_how_much_of_a_request_is_this_machines_doing() -> None:
    own = Own([Lapse(100, 200, 80), Lapse(1000, 1500, 300), Lapse(1400, 1600, 50)])
    assert own.whole == 430
    assert [own.during(*span) for span in ((0, 100), (0, 101), (199, 300), (200, 300), (150, 1200), (1550, 1560))] == [0, 80, 80, 0, 430, 10]  # fmt: skip
    assert not Own([])
    assert excused(50, 100)
    assert not excused(49, 100)
    assert not excused(0, 0)
    assert excused(100, 100, 100)
    assert not excused(99, 100, 100)


def test_an_answer_in_a_closed_loop_is_the_services_unless_the_machine_stood_still() -> None:
    closed = Sample("", 0.0, 0.15, 503, own=0.09)
    assert not closed.excused
    assert replace(closed, own=0.1).excused, "the service may have stood still as well"
    assert replace(closed, scheduled=0.0).excused, "a burst may have been too much for it"
    assert replace(closed, status=None, error="timeout").excused, "nobody was there to see the answer"
    assert not replace(closed, status=None, error="timeout", own=0.07).excused
    assert not replace(closed, status=200, own=0.1).excused, "there is nothing to excuse"


def test_a_thread_without_a_processor_runs_late() -> None:
    """Two that are always busy share one core: each is ready to run all the time, and runs half of it."""
    core = str(min(os.sched_getaffinity(0)))
    spin = [sys.executable, "-c", "while True: pass"]
    measure = """
import os, sys, time
os.sched_setaffinity(0, {int(sys.argv[1])})
from meshbdd.load.lapses import Lapses
made, began, ran = Lapses(0), time.perf_counter(), time.thread_time()
before = made._running()
while time.perf_counter() - began < 0.5: pass
print((made._running() - before) / 1e9, time.perf_counter() - began, time.thread_time() - ran)
"""
    other = subprocess.Popen(["taskset", "-c", core, *spin])
    try:
        told = subprocess.run([sys.executable, "-c", measure, core], capture_output=True, text=True, check=True).stdout
    finally:
        other.send_signal(signal.SIGKILL)
        other.wait()
    running, wall, ran = map(float, told.split())
    assert ran < 0.8 * wall, "the point of this test"
    assert running == pytest.approx(wall, rel=0.1)
