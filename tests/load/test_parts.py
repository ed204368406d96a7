"""The engine's pure parts."""

from __future__ import annotations

import itertools
import random
import statistics
from pathlib import Path

import pytest

from meshbdd.errors import BadInput, Place
from meshbdd.load import Pace, Plan, read_message
from meshbdd.load.answer import Outcome, read_answer, read_head
from meshbdd.load.ids import RequestIds
from meshbdd.load.record import ROWS, Record
from meshbdd.load.schedule import arrivals
from meshbdd.units import Duration, Rate

MESSAGE = read_message("x", "GET http://a/")


def times(pace: Pace, seconds: float, seed: int = 1) -> list[float]:
    return [when / 1e9 for when in itertools.takewhile(lambda when: when < seconds * 1e9, arrivals(pace, seed))]


def test_a_constant_rate() -> None:
    assert times(Pace(Rate(4)), 1.1) == [0, 0.25, 0.5, 0.75, 1.0]


def test_a_ramp_rises_evenly_to_the_rate_and_stays_there() -> None:
    made = times(Pace(Rate(100), ramp=Duration(10)), 12)
    per_second = [sum(second <= when < second + 1 for when in made) for second in range(12)]
    assert len(made) == 700
    assert per_second[0] in {5, 6}
    assert all(abs(count - 100 * (second + 0.5) / 10) <= 1 for second, count in enumerate(per_second[:10]))
    assert per_second[10:] == [100, 100]


def test_poisson_arrivals() -> None:
    made = times(Pace(Rate(1000), poisson=True), 50)
    assert len(made) == pytest.approx(50_000, rel=0.03)
    gaps = [b - a for a, b in itertools.pairwise(made)]
    assert statistics.stdev(gaps) == pytest.approx(statistics.mean(gaps), rel=0.03), "as exponential gaps have it"
    assert made == times(Pace(Rate(1000), poisson=True), 50), "the seed decides"
    assert made[:5] != times(Pace(Rate(1000), poisson=True), 50, seed=2)[:5]


@pytest.mark.parametrize("poisson", [False, True])
def test_workers_share_a_schedule(poisson: bool) -> None:
    pace = Pace(Rate(300), ramp=Duration(1), poisson=poisson)
    whole = list(itertools.islice(arrivals(pace, 7), 300))
    parts = [list(itertools.islice(arrivals(pace, 7, first, 3), 100)) for first in range(3)]
    assert sorted(itertools.chain(*parts)) == whole


def test_ids_are_unique_uuids_that_spread() -> None:
    ids = RequestIds(MESSAGE)
    made = [ids.of(number) for number in range(100_000)]
    assert len(set(made)) == 100_000
    assert all(len(one) == 36 and one[14] == "4" for one in made[:100])
    thousandths = [int(one[:8], 16) % 10_000 for one in made]
    assert 900 <= sum(value < 100 for value in thousandths) <= 1100, "proxies sample traces by these digits"
    assert RequestIds(MESSAGE).of(0) != RequestIds(MESSAGE).of(0)


def test_the_tester_s_own_id_stays() -> None:
    assert RequestIds(read_message("x", "GET http://a/\nX-Request-Id: mine")).of(5) == "mine"


def test_a_header_that_stands_twice_is_not_dropped_without_a_word() -> None:
    with pytest.raises(BadInput, match="the header 'x-user' stands twice") as caught:
        read_message("x", "GET http://a/\nX-User: qa\nx-user: dev")
    assert caught.value.code == "MB0501"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("POST http://a/\nX-User: qä\n\n{}", 2, "the header 'X-User' has 'ä', which no request can carry"),
        ("POST http://a/\nX-User: q\x01\n\n{}", 2, r"the header 'X-User' has '\x01', which no request can carry"),
        ("GET http://a/\x01", 1, "is no address"),
        ("\n  \nPOST http://a/\nbad header\n\n{}", 4, "'bad header' is no header"),
        ("\n\nGET nowhere", 3, "'nowhere' is no address"),
        ('POST http://a/\nX-A: 1\n\n{"a":\n"${uuuid}"}', 5, "'${uuuid}' is no variable"),
        ("POST http://a/\nX-A: ${id}", 2, "'${id}' is no variable"),
        ("POST http://a/\nContent-Length: 500\n\n{}", 2, "its Content-Length is '500', and its body has 2 bytes"),
        ("POST http://a/\nX-A: 1\nContent-Length: 8\n\n${uuid}", 3, "its body has 36 bytes"),
        ("GET http://a/\nContent-Length: 5", 2, "its body has 0 bytes"),
        ("GET http://a/\nContent-Length:", 2, "its Content-Length is ''"),
    ],
)
def test_what_no_request_can_be_is_told_at_its_line_when_it_is_read(text: str, line: int, words: str) -> None:
    with pytest.raises(BadInput) as caught:
        read_message("x", text, Place(Path("x.feature"), 10), offset=0)
    assert words in caught.value.sentence
    assert caught.value.code == "MB0501"
    assert caught.value.place == Place(Path("x.feature"), 9 + line)


@pytest.mark.parametrize(
    "text",
    [
        "POST http://a/\nContent-Length: 3\n\n{ä",
        "POST http://a/\ncontent-length: 36\n\n${uuid}",
        "POST http://a/\nContent-Length: 0",
        "POST http://a/\nContent-Type: application/grpc\nContent-Length: 7\n\nab",
    ],
)
def test_a_length_that_is_true_may_be_said(text: str) -> None:
    assert read_message("x", text).header("content-length")


def test_interim_answers_and_trailers() -> None:
    head = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/2 200 \r\nA: 1\r\na: 2\r\n\r\ngrpc-status: 7\r\n\r\n"
    assert read_head(head) == (200, {"a": "1, 2", "grpc-status": "7"})
    assert not read_answer(head, b"").succeeded


def test_rows_come_back_as_written() -> None:
    record = Record(keep=0)
    chosen = random.Random(3)
    ok = record.outcome_number(Outcome(200))
    wrote = {}
    for number in chosen.sample(range(3 * ROWS), 2000):
        values = tuple(chosen.randrange(1 << bits) for bits in (48, 32, 32, 32, 32))
        record.write(number, *values, ok)
        wrote[number] = values
    read = {r.number: (r.start, r.lag, r.first_byte, r.end, r.size) for r in record.rows()}
    assert read == wrote
    assert [r.number for r in record.rows(ROWS + 5)] == sorted(n for n in wrote if n >= ROWS + 5)


def test_values_beyond_a_column_are_recorded_as_its_largest() -> None:
    record = Record(keep=0)
    record.write(0, 0, 1 << 40, 0, 1 << 33, 1 << 50, record.outcome_number(Outcome(200)))
    row = next(record.rows())
    assert row.lag == row.end == row.size == 0xFFFFFFFF


def test_too_many_different_values_are_dropped_and_said() -> None:
    record = Record(keep=0)
    numbers = {record.outcome_number(Outcome(200, fields=(("id", str(n)),))) for n in range(30_000)}
    last = record.outcomes[record.outcome_number(Outcome(200, fields=(("id", "new"),))) - 1]
    assert len(numbers) < 65_536
    assert not last.complete
    assert last.status == 200


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"users": 0}, "cannot be sent by 0 users"),
        ({"count": 0}, "cannot be sent 0 times"),
        ({"duration": Duration(0)}, "cannot be sent for 0ms"),
        ({"timeout": Duration(0)}, "cannot be given 0ms"),
        ({"timeout": Duration(7200)}, "cannot be given 2h"),
        ({"connections": 0}, "0 connections"),
    ],
)
def test_plans_that_make_no_sense(options: dict[str, object], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        Plan(MESSAGE, **options)  # type: ignore[arg-type]
