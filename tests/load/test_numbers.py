"""The numbers of a load, and what is expected of them."""

from __future__ import annotations

import io
import math
from dataclasses import replace

import pytest
from hdrh.histogram import HdrHistogram

from meshbdd.errors import BadInput
from meshbdd.load import Plan, Result, read_message
from meshbdd.load.answer import STOPPED, Outcome
from meshbdd.load.expectation import read_expectations
from meshbdd.load.ids import RequestIds
from meshbdd.load.lapses import Lapse
from meshbdd.load.load import Progress
from meshbdd.load.record import Record
from meshbdd.load.summary import Summary, _rounded, summarise
from meshbdd.load.watching import watch
from meshbdd.units import Duration

MESSAGE = read_message("x", "GET http://a/")
OK, REFUSED, BROKEN, CUT_OFF = Outcome(200), Outcome(None, "refused"), Outcome(503), Outcome(None, STOPPED)
LATE = Outcome(None, "timeout")


def summary(*requests: tuple[Outcome, float], unsent: int = 0) -> Summary:
    """Of requests with latencies in milliseconds, one every 50 ms."""
    record = Record(keep=0)
    for number, (outcome, milliseconds) in enumerate(requests):
        end = round(milliseconds * 1000)
        record.write(number, number * 50_000, 0, end, end, 10, record.outcome_number(outcome))
        record.finished += outcome is not CUT_OFF
        record.stopped += outcome is CUT_OFF
    result = Result(Plan(MESSAGE), record, RequestIds(MESSAGE), 0.0, 10.0, len(requests), unsent, True)
    return summarise(result)


def test_quantiles_by_the_nearest_rank() -> None:
    seen = summary(*[(OK, milliseconds) for milliseconds in range(1, 101)])
    for percent in (1, 50, 90, 99, 100):
        assert seen.latency_ms(percent) == pytest.approx(percent, rel=1e-3)
    assert seen.latency_ms(99.9) == pytest.approx(100, rel=1e-3)
    assert seen.latency_ms(0) == pytest.approx(1, rel=1e-3)


def test_a_request_without_an_answer_is_slower_than_any_limit() -> None:
    """Else a service that refuses everything would be the quickest of all."""
    seen = summary(*[(OK, 10.0)] * 97, *[(REFUSED, 0.1)] * 3)
    assert seen.latency_ms(97) == pytest.approx(10, rel=1e-3)
    assert math.isinf(seen.latency_ms(98))
    assert math.isinf(summary(*[(OK, 10.0)] * 97, unsent=3).latency_ms(98))


def test_a_request_that_still_waited_when_the_load_was_stopped_is_slower_than_any_limit_and_no_failure() -> None:
    seen = replace(summary(*[(OK, 10.0)] * 97), overdue=3)
    assert math.isinf(seen.latency_ms(98))
    assert seen.failed == 0


def test_what_was_stopped_under_way_counts_nowhere_else() -> None:
    seen = summary((OK, 10), (CUT_OFF, 5), (BROKEN, 20))
    assert (seen.requests, seen.succeeded, seen.failed, seen.stopped) == (2, 1, 1, 1)
    assert set(seen.outcomes) == {OK, BROKEN}


def test_the_series_has_a_slot_for_each_tenth_of_a_second() -> None:
    seen = summary((OK, 10), (BROKEN, 30), (OK, 120), (OK, 1))
    assert [slot.requests for slot in seen.series] == [2, 1, 1]
    assert [slot.failed for slot in seen.series] == [1, 0, 0]
    assert [slot.longest_ms for slot in seen.series] == [30, 1, 120]


@pytest.mark.parametrize(
    ("text", "met"),
    [
        ("p99 < 300ms", True),
        ("p50 < 50.9ms", True),
        ("p50 <50ms", False),
        ("p50<= 50.1ms", True),
        ("max < 100ms", False),
        ("max < 1s", True),
        ("errors < 1%", True),
        ("errors <= 0%", True),
        ("errors > 0%", False),
        ("rate > 0/s", True),
        ("p100 < 100.2ms", True),
        ("p100 < 99ms", False),
        ("errors < 1%,", True),
        ("rate > 9.9/s", True),
        ("rate >= 11/s", False),
        ("p99.9 < 99ms", False),
    ],
)
def test_expectations(text: str, met: bool) -> None:
    seen = summary(*[(OK, milliseconds) for milliseconds in range(1, 101)])
    (one,) = read_expectations(text)
    assert one.judge(seen, seen)[0] is met


def test_nothing_is_expected_to_be_quick_that_was_not_answered() -> None:
    (one,) = read_expectations("p50 < 10s")
    seen = summary((REFUSED, 0.1))
    assert one.judge(seen, seen) == (False, "no answer; no request succeeded")


def late(*requests: tuple[Outcome, float], missed: int = 0, own_ms: float = 0.0) -> Result:
    """Requests every 50 ms, in the course of which this machine was late for so long."""
    record = Record(keep=0)
    for number, (outcome, milliseconds) in enumerate(requests):
        record.write(number, number * 50_000, 0, 0, round(milliseconds * 1000), 10, record.outcome_number(outcome))
        record.finished += 1
    lapses = [Lapse(0, 10_000_000, round(own_ms * 1000))] if own_ms else []
    made = Result(Plan(MESSAGE), record, RequestIds(MESSAGE), 0.0, 10.0, len(requests), 0, True)
    return replace(made, missed=missed, lapses=lapses)


@pytest.mark.parametrize(
    ("text", "result", "met"),
    [
        ("errors < 1%", late(*[(OK, 1.0)] * 99, missed=1), None),
        ("errors <= 1%", late(*[(OK, 1.0)] * 99, missed=1), True),
        ("errors < 1%", late(*[(OK, 1.0)] * 90, *[(REFUSED, 1.0)] * 9, missed=1), False),
        ("errors > 9%", late(*[(OK, 1.0)] * 90, *[(REFUSED, 1.0)] * 9, missed=1), None),
        ("p99 < 300ms", late(*[(OK, 1.0)] * 90, missed=10), None),
        ("p50 < 300ms", late(*[(OK, 1.0)] * 90, missed=10), True),
        ("max < 300ms", late(*[(OK, 1.0)] * 90, (OK, 500.0), own_ms=250), None),
        ("max < 300ms", late(*[(OK, 1.0)] * 90, (OK, 500.0), own_ms=150), False),
        ("errors < 1%", late(*[(OK, 1.0)] * 90, (LATE, 100.0), own_ms=50), None),
        ("errors < 1%", late(*[(OK, 1.0)] * 90, (LATE, 102.0), own_ms=50), False),
        ("errors < 1%", late(*[(OK, 1.0)] * 90, (BROKEN, 100.0), own_ms=50), False),
        ("errors < 1%", late(*[(OK, 1.0)] * 90, (BROKEN, 200.0), own_ms=100), None),
        ("errors < 1%", late(*[(OK, 1.0)] * 90, (BROKEN, 202.0), own_ms=100), False),
        ("rate > 9.5/s", late(*[(OK, 1.0)] * 90, own_ms=1000), None),
        ("rate > 11/s", late(*[(OK, 1.0)] * 90, own_ms=1000), False),
    ],
)
def test_nothing_is_expected_in_vain_of_a_machine_that_was_late(text: str, result: Result, met: bool | None) -> None:
    (one,) = read_expectations(text)
    judged, told = one.judge(summarise(result), summarise(result, at_best=True))
    assert judged is met, told
    assert ("this machine was late" in told) is (met is None)


def test_counts_in_the_histogram_stay_few_and_true() -> None:
    """As many counts as there are requests would take ten times as much memory as their rows."""
    values = [round(1.001**n) for n in range(16_000)]
    counted, told = HdrHistogram(1, 1 << 32, 3), HdrHistogram(1, 1 << 32, 3)
    for value in values:
        counted.record_value(value)
        told.record_value(_rounded(value) if value >= 1 << 11 else value)
    assert told.encode() == counted.encode()
    assert len({_rounded(value) for value in range(1 << 11, 1 << 17)}) <= 6 * 1024 + 1


@pytest.mark.parametrize(
    "text",
    ["", "p99", "p99 < 300", "p99 = 3ms", "p101 < 1s", "p0 < 1s", "errors < 1", "errors < 1ms", "rate > 1", "mean < 1s", "p99 < 1s,,", ",", "p99 < 1s errors < 1%", "errors < 101%", "p99 < -1s"],
)  # fmt: skip
def test_what_is_no_expectation(text: str) -> None:
    with pytest.raises(BadInput):
        read_expectations(text)


class _Clock:
    """A load that takes a minute, without the minute."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._seconds = 0.0

    def progress(self) -> Progress:
        return Progress(self._seconds, int(self._seconds * 100), int(self._seconds * 100), 7)

    def wait(self, within: Duration | None = None) -> Result:
        self._seconds += within.seconds if within else 100
        over = self._seconds >= 60
        return Result(self.plan, Record(0), RequestIds(MESSAGE), 0.0, self._seconds, 0, 0, over)


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_line_every_15_seconds_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    assert watch(_Clock(Plan(MESSAGE, duration=Duration(60))), "checkout", stream).over
    lines = stream.getvalue().splitlines()
    assert lines == [
        f"meshbdd: checkout: {second}00 requests in {second} s (100/s), 7 failed" for second in (15, 30, 45)
    ]


def test_a_bar_on_a_terminal_that_leaves_nothing_behind() -> None:
    stream = _Terminal()
    watch(_Clock(Plan(MESSAGE, duration=Duration(60))), "checkout", stream)
    written = stream.getvalue()
    assert "3000 requests in 30 s (100/s), 7 failed" in written
    assert "checkout" in written
    assert written.endswith("\x1b[1A\x1b[2K"), "up a line, and that erased"
    assert written.count("\n") == 1, "it is drawn in one line"
