"""The engine against a server that misbehaves on demand."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator

import pytest

from meshbdd.errors import BadInput, Inconclusive
from meshbdd.load import Load, Pace, Plan, Result, read_message
from meshbdd.units import Duration, Rate
from tests.load.server import Server, serving
from tests.tools import until


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as made:
        yield made


def run(server: Server, path: str, text: str = "", **options: object) -> Result:
    message = read_message("x", f"GET {server.url(path)}\n{text}")
    options.setdefault("count", 1)
    with Load.start(Plan(message, **options)) as load:  # type: ignore[arg-type]
        return load.wait(Duration(60))


def told(result: Result) -> dict[str, int]:
    found: Counter[str] = Counter()
    for outcome, count in result.outcomes().items():
        found[outcome.told] += count
    return dict(found)


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("ok", "200"),
        ("status/503", "503"),
        ("reset", "reset"),
        ("cut", "cut"),
        ("close", "200"),
        ("hang", "timeout"),
        ("loop", "302"),
        ("garbage", "malformed"),
    ],
)
@pytest.mark.parametrize("fresh", [False, True])
def test_each_way_to_end_has_its_word(server: Server, path: str, word: str, fresh: bool) -> None:
    result = run(server, path, count=6, users=2, fresh=fresh, timeout=Duration(0.2))
    assert told(result) == {word: 6}
    assert server.seen[path] == 6, "the server saw each request once"


def test_a_refused_port(server: Server) -> None:
    server.stop()
    until("the port being closed", lambda: told(run(server, "ok")) == {"refused": 1})


def test_a_reset_on_a_kept_connection_is_not_sent_again(server: Server) -> None:
    """libcurl would: the server would see more requests than the record has, and a reset would look like a success."""
    result = run(server, "mix", count=500, users=1, timeout=Duration(1))
    assert told(result)["reset"] == server.done["reset"] == 10
    assert server.seen["mix"] == 500


@pytest.mark.parametrize(("count", "users"), [(50_000, 60), (10_000, 200)], ids=["a sweep", "by the socket"])
def test_counts_agree_with_the_server(server: Server, count: int, users: int) -> None:
    """Each number of users has the engine's other way to let libcurl work."""
    result = run(server, "mix", count=count, users=users, timeout=Duration(2))
    seen = server.done
    assert told(result) == {
        "200": seen["ok"],
        "reset": seen["reset"],
        "timeout": seen["hang"],
        "503": seen["status/503"],
    }
    assert len(result) == result.sent == count == server.seen["mix"]
    assert seen["hang"] == count // 1000
    ids = [sample.request_id for sample in result.samples()]
    assert len(set(ids)) == count
    assert sorted(ids) == sorted(server.ids), "each id arrived once"


def test_users_keep_their_connections(server: Server) -> None:
    run(server, "ok", count=300, users=7)
    assert server.connections == 7


def test_fresh_connections(server: Server) -> None:
    run(server, "ok", count=30, users=3, fresh=True)
    assert server.connections == 30


def test_the_rate_is_held_and_every_request_knows_its_time(server: Server) -> None:
    result = run(server, "ok", count=None, pace=Pace(Rate(500)), duration=Duration(1))
    assert len(result) == 500
    rows = list(result.rows())
    assert [row.number for row in rows] == list(range(500))
    due = [row.start - row.lag for row in rows]
    assert all(abs(when - 2000 * number) <= 2 for number, when in enumerate(due)), "due every 2 ms"
    samples = list(result.samples())
    assert all(s.scheduled is not None and s.started >= s.scheduled - 1e-5 for s in samples)


def test_a_stall_of_the_server_shows_in_the_latencies(server: Server) -> None:
    """No coordinated omission: what should have been sent while the server stood still waited, and that counts."""
    with Load.start(
        Plan(read_message("x", f"GET {server.url('ok')}"), pace=Pace(Rate(200)), duration=Duration(4), connections=5)
    ) as load:
        until("a second of load", lambda: load.progress().finished > 100)
        server.stall(1.0)
        result = load.wait(Duration(30))
    seconds = sorted(sample.seconds for sample in result.samples())
    assert len(seconds) == 800
    assert result.unsent == 0
    slow = [s for s in seconds if s > 0.1]
    assert len(slow) >= 150, "about 180 requests were due more than 0.1 s before the stall's end"
    assert seconds[int(len(seconds) * 0.99)] > 0.9, "the p99 tells of the stall"
    served = sorted((row.end) / 1e6 for row in result.rows())
    assert served[int(len(served) * 0.99)] < seconds[int(len(seconds) * 0.99)], "time on the wire alone hides it"


def test_stop_waits_for_what_is_under_way(server: Server) -> None:
    load = Load.start(Plan(read_message("x", f"GET {server.url('ok')}"), users=4))
    until("some requests", lambda: load.progress().finished > 50)
    result = load.stop()
    assert load.over
    assert result.stopped == 0
    assert len(result) == result.sent == server.seen["ok"]


def test_stop_at_once_keeps_what_has_finished(server: Server) -> None:
    load = Load.start(Plan(read_message("x", f"GET {server.url('mix')}"), users=100, timeout=Duration(60)))
    until("a request that hangs", lambda: server.done["hang"] >= 3)
    result = load.stop(at_once=True)
    assert result.stopped >= 3
    assert len(result) + result.stopped == result.sent
    assert "stopped" not in told(result)
    until("all arriving", lambda: server.seen["mix"] in range(result.sent - result.stopped, result.sent + 1))


def test_samples_come_while_the_load_runs(server: Server) -> None:
    with Load.start(Plan(read_message("x", f"GET {server.url('ok')}"), users=3)) as load:
        first = [sample for _, sample in zip(range(20), load.samples(), strict=False)]
        assert not load.over
    assert [s.status for s in first] == [200] * 20
    assert [s.started for s in first] == sorted(s.started for s in first)


def test_asked_fields_and_headers_are_kept_without_the_answers(server: Server) -> None:
    result = run(server, "json/x", count=400, keep=0, fields=("version", "n.1.deep", "nothing"), headers=("x-version",))
    samples = list(result.samples())
    assert Counter(s.field("version") for s in samples) == {"stable": 360, "canary": 40}
    assert samples[0].field("n.1.deep") == "yes"
    assert (samples[0].headers or {})["x-version"] == "7"
    assert samples[0].flags == "FI"
    with pytest.raises(LookupError, match="no field 'nothing'"):
        samples[0].field("nothing")
    assert not samples[0].kept
    with pytest.raises(Inconclusive, match="too much was sent"):
        samples[0].field("other")
    assert samples[-1].kept, "the last answers are kept in any case"
    assert samples[-1].field("n.0") == 1


def test_what_is_sent(server: Server) -> None:
    message = read_message("x", f"POST {server.url('echo')}?a=${{uuid}}\nX-Own: ${{uuid}}\n\n" + '{"id": "${uuid}"}')
    with Load.start(Plan(message, count=3)) as load:
        samples = list(load.wait().samples())
    made = set()
    for sample in samples:
        head, _, body = sample.body.decode().partition("\r\n{")
        lines = head.split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
        own = json.loads("{" + body)["id"]
        assert lines[0] == f"POST /echo?a={own} HTTP/1.1"
        assert headers["x-own"] == own
        assert headers["x-request-id"] == sample.request_id != own
        assert headers["user-agent"] == "meshbdd"
        assert headers["content-type"] == "application/json"
        assert "expect" not in headers
        made.add(own)
    assert len(made) == 3


def test_redirects_are_followed_only_when_asked(server: Server) -> None:
    result = run(server, "on", count=4, follow=5)
    assert told(result) == {"200": 4}
    assert server.seen == {"on": 4, "ok": 4}
    assert told(run(server, "loop", follow=5)) == {"redirects": 1}


def test_an_endless_answer_ends(server: Server) -> None:
    result = run(server, "endless", timeout=Duration(30))
    assert told(result) == {"too large": 1}


def test_an_unknown_host_is_a_sentence_before_anything_is_sent() -> None:
    with pytest.raises(BadInput, match=r"The host 'no-such-host\.invalid' is not known here"):
        Load.start(Plan(read_message("x", "GET http://no-such-host.invalid/"), count=1))


def test_no_thread_stays(server: Server) -> None:
    run(server, "ok", count=10)
    until("its thread ending", lambda: "meshbdd-load" not in {t.name for t in threading.enumerate()})
