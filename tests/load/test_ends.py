"""How ``meshbdd load`` ends: its exit code, and the sentence why."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from meshbdd.cli.load import load as load_command
from meshbdd.cli.request_file import read_request
from meshbdd.errors import BadInput, EnvironmentBroken, Place
from meshbdd.load import Plan, Result, read_message
from meshbdd.load.answer import Outcome
from meshbdd.load.hopeless import for_ever, hopeless, without_ports
from meshbdd.load.ids import RequestIds
from meshbdd.load.record import Record
from meshbdd.load.summary import summarise
from meshbdd.scenario.vantages import check_entry
from tests.load.server import Server, serving
from tests.load.test_command import document, load
from tests.tools import until


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as made:
        yield made


@pytest.fixture
def closed() -> Iterator[socket.socket]:
    """A port that is bound and refuses connections until somebody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield unused


def url(closed: socket.socket) -> str:
    return f"http://127.0.0.1:{closed.getsockname()[1]}/"


def result(*errors: str | None) -> Result:
    record = Record(keep=0)
    for number, error in enumerate(errors):
        outcome = Outcome(None, error) if error else Outcome(503)
        record.write(number, number, 0, 0, 10, 0, record.outcome_number(outcome))
        record.finished += 1
    message = read_message("x", "GET http://a/")
    return Result(Plan(message), record, RequestIds(message), 0.0, 1.0, len(errors), 0, True)


@pytest.mark.parametrize(
    ("path", "arguments", "words"),
    [
        ("hang", ["--timeout", "100ms"], "gives no answer in time"),
        ("reset", [], "ends every connection before an answer"),
        ("cut", [], "ends every answer before its end"),
        ("ok", ["--http2"], "127.0.0.1"),
    ],
)
def test_where_nothing_is_answered_the_input_is_wrong(
    server: Server, path: str, arguments: list[str], words: str
) -> None:
    ran = load(server.url(path), "--count", "4", "--users", "2", "--json", *arguments)
    assert ran.returncode == 2, ran.stdout
    assert words in ran.stderr
    told = document(ran)
    assert told["requests"] == told["failed"] == 4
    assert told["error"]["sentence"] in ran.stderr


@pytest.mark.parametrize("error", ["refused", "unreachable", "unresolved", "tls", "timeout", "reset", "cut", "redirects", "too large", "malformed", "a new one"])  # fmt: skip
def test_every_failure_has_its_sentence_alone_and_among_others(error: str) -> None:
    for errors in ([error], [error, error, "stalled"]):
        seen = result(*errors)
        found = hopeless(seen, summarise(seen))
        assert found is not None
        assert found.exit_code == 2
    assert f"2 × {error}, 1 × stalled" in found.sentence
    answered = result(error, None)
    assert hopeless(answered, summarise(answered)) is None, "a 503 is an answer"


def test_what_gets_no_better() -> None:
    assert for_ever(summarise(result("tls", "malformed")))
    assert not for_ever(summarise(result("tls", "refused")))
    assert not for_ever(summarise(result("tls", None)))
    assert not for_ever(summarise(result()))


@pytest.mark.parametrize(
    ("requests", "seconds", "is_endless"), [(4, 3.0, False), (5, 0.9, False), (5, 1.1, True), (50, 0.1, False)]
)
def test_one_slow_moment_is_no_body_without_end(requests: int, seconds: float, is_endless: bool) -> None:
    """Some bytes came in time, and the end did not: several times, and for a second, before it is said to be so always."""
    seen = result(*["timeout"] * requests)
    for number in range(requests):
        end = round(seconds * 1e6 * number / (requests - 1))
        seen.record.write(number, 0, 0, 0, end, 10, 1)  # type: ignore[union-attr] # this one has no workers
    summary = summarise(seen)
    assert for_ever(summary) is is_endless
    found = hopeless(seen, summary)
    assert found is not None
    assert ("without end" in found.sentence) is is_endless


def test_a_machine_without_ports_says_nothing_of_the_service() -> None:
    seen = result("no port", None)
    found = without_ports(seen, seen.outcomes())
    assert found is not None
    assert found.exit_code == 4
    assert "1 of 2 requests found no free port" in found.sentence
    assert without_ports(result(None), result(None).outcomes()) is None
    with pytest.raises(EnvironmentBroken, match="found no free port"):
        check_entry(seen)
    check_entry(result(None))


def test_a_service_may_come_up_while_the_load_runs(closed: socket.socket) -> None:
    command = [sys.executable, "-m", "meshbdd", "load", url(closed), "--rate", "50/s", "--duration", "5s", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with pytest.raises(subprocess.TimeoutExpired):  # it would have given up: it looks several times a second
        process.wait(3)
    server = Server(closed)
    server.start()
    try:
        until("the load's end", lambda: process.poll() is not None, 30)
    finally:
        server.stop()
    out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    told = json.loads(out)
    outcomes = {one["told"] for one in told["outcomes"]}
    assert outcomes == {"refused", "404"}
    assert told["requests"] == 250


def test_expectations_of_a_service_that_is_down(closed: socket.socket) -> None:
    ran = load(url(closed), "--count", "5", "--expect", "errors > 99%", "--json")
    assert ran.returncode == 0, ran.stderr
    assert document(ran)["expectations"][0]["met"] is True
    for wrong in ("errors < 1%", "errors > 99%, p99 > 1ms", "rate < 5/s"):
        ran = load(url(closed), "--count", "5", "--expect", wrong)
        assert ran.returncode == 2, wrong
        assert "refuses every connection" in ran.stderr


def test_a_service_that_serves_nothing_is_neither_quick_nor_slow(server: Server) -> None:
    for term in ("p99 < 10s", "p99 > 0.001ms", "rate > 1/s", "rate < 1/s"):
        ran = load(server.url("status/503"), "--count", "20", "--expect", term)
        assert ran.returncode == 1, term
        assert "no request succeeded" in ran.stdout


def test_a_sentence_comes_before_numbers(closed: socket.socket) -> None:
    command = [sys.executable, "-m", "meshbdd", "load", url(closed), "--count", "2"]
    ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert ran.stdout.startswith("MB0532 error: ")
    assert "latency" not in ran.stdout, "there is none"


@pytest.mark.parametrize("arguments", [["--json"], [], ["--schema"]])
def test_standard_output_that_cannot_be_written(server: Server, arguments: list[str]) -> None:
    command = [sys.executable, "-m", "meshbdd", "load", server.url("ok"), "--count", "2", *arguments]
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ran.returncode == 4
    assert ran.stderr.splitlines() == [
        "MB0258 error: The result cannot be written to standard output: No space left on device.",
        "  help: make room, or send it somewhere else",
    ]


def test_standard_output_that_is_closed(server: Server) -> None:
    command = f"{sys.executable} -m meshbdd load {server.url('ok')} --count 2 --json >&-"
    ran = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, text=True, check=False)
    assert ran.returncode == 4
    assert "The result cannot be written to standard output: that is closed." in ran.stderr


@pytest.mark.parametrize("where", [">/dev/full 2>/dev/full", ">/dev/full 2>&-", ">&- 2>&-"])
def test_neither_output_can_be_written(server: Server, where: str) -> None:
    for arguments, code in (
        (f"{server.url('ok')} --count 2 --json", 4),
        ("http://127.0.0.1/ --users 0", 2),
        ("--x", 2),
    ):
        command = f"{sys.executable} -m meshbdd load {arguments} {where}"
        assert subprocess.run(["sh", "-c", command], check=False).returncode == code, arguments


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("GET http://a/\n\n###\nGET http://b/\n", 4),
        ("GET http://a/\nX-A: 1\n\nGET http://b/\n", 4),
        ("GET http://a/\n\n### the second\nPOST http://b/\n\nx\n", 4),
        ("POST http://a/\n\nx\n\n### again\n# twice\n\nPOST http://b/\n\ny\n", 8),
        ('POST http://a/\nX: 1\n\n{"a": 1}\n\nPOST http://b/\n\n{"b": 2}\n', 6),
        ("DELETE http://a/\n\nGET http://b/ HTTP/1.1\n", 3),
        ("POST http://a/\n\nx\n\nGET /b HTTP/1.1\nHost: b\n", 5),
    ],
)
def test_a_file_with_two_requests(text: str, line: int, tmp_path: Path) -> None:
    file = tmp_path / "two.http"
    file.write_text(text)
    ran = CliRunner().invoke(load_command, [str(file)], standalone_mode=False)
    assert isinstance(ran.exception, BadInput)
    assert "holds more than one request" in ran.exception.sentence
    assert ran.exception.place is not None
    assert ran.exception.place.line == line


def test_a_body_may_look_like_much(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "one.http"
    post = f"POST {server.url('echo')}"
    for text in (
        f"GET {server.url('ok')}",
        f"{post}\n\n### a title\nPOST is a method\n",
        f"{post}\n\nPOST is a method\nPOST http://b/\n\nPOST http://b/ too\n",
    ):
        file.write_text(text)
        ran = load(str(file), "--count", "1")
        assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("before", ["", "\n\n", "### first\n", "# a comment\n\n// another\n", "### a\n# b\n"])
@pytest.mark.parametrize("after", ["", "\n", "\n###\n", "\n\n### the end\n\n# of it\n"])
def test_what_editors_write_around_a_request(before: str, after: str) -> None:
    for request, body in (("GET http://a/\nX: 1", None), ("POST http://a/\nX: 1\n\n# a\n\n## b", "# a\n\n## b")):
        message = read_request(Path("one.http"), f"{before}{request}{after}", ("http",))
        assert (message.url, message.headers["X"]) == ("http://a/", "1")
        assert (message.body or "").rstrip("\n") == (body or "")
    with pytest.raises(BadInput) as caught:
        read_request(Path("one.http"), f"{before}GET http://a/\nno header{after}", ("http",))
    assert caught.value.place == Place(Path("one.http"), before.count("\n") + 2)


def test_more_users_than_a_machine_has_ports() -> None:
    ran = CliRunner().invoke(load_command, ["http://127.0.0.1/", "--users", "1000000"], standalone_mode=False)
    assert isinstance(ran.exception, BadInput | click.UsageError)
    assert "1000000 users at a time" in str(ran.exception)
