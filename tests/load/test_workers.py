"""Loads in processes of their own: they send what one would, are merged exactly, and lose nothing when they are ended."""

from __future__ import annotations

import gc
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from meshbdd.errors import BadInput, EnvironmentBroken
from meshbdd.load import Pace, Plan, Result, read_message
from meshbdd.load.record import BLOCK
from meshbdd.load.shared import SharedMemory
from meshbdd.load.summary import summarise
from meshbdd.load.worker import Ready
from meshbdd.load.workers import _MAIN, _READY_SECONDS, Workers, split
from meshbdd.units import Duration, Rate
from tests.load.server import Server, serving
from tests.tools import until


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as made:
        yield made


def plan(server: Server, path: str, **options: object) -> Plan:
    return Plan(read_message("x", f"GET {server.url(path)}"), **options)  # type: ignore[arg-type]


def told(result: Result) -> dict[str, int]:
    return {outcome.told: count for outcome, count in result.outcomes().items()}


def test_three_workers_are_merged_exactly(server: Server) -> None:
    with Workers.start(plan(server, "mix", users=20, count=10_000, timeout=Duration(2)), 3) as load:
        result = load.wait()
    seen = server.done
    assert told(result) == {
        "200": seen["ok"],
        "reset": seen["reset"],
        "timeout": seen["hang"],
        "503": seen["status/503"],
    }
    assert server.seen["mix"] == len(result) == result.sent == 10_000
    summary = summarise(result)
    assert summary.requests == 10_000
    assert summary.answered == seen["ok"] + seen["status/503"] == summary.latency.get_total_count()
    assert sum(slot.requests for slot in summary.series) == 10_000
    assert sum(slot.failed for slot in summary.series) == summary.failed == 10_000 - seen["ok"]
    samples = list(result.samples())
    assert sorted(sample.request_id for sample in samples) == sorted(server.ids)
    assert [row.number for row in result.rows(9_000)] == list(range(9_000, 10_000))
    assert any(sample.body == b"ok" for sample in samples), "answers come with the end"


def test_workers_keep_one_schedule(server: Server) -> None:
    pace = Pace(Rate(300), poisson=True)
    with Workers.start(plan(server, "ok", pace=pace, duration=Duration(1), seed=5), 2) as load:
        two = [row.start - row.lag for row in load.wait().rows()]
    with Workers.start(plan(server, "ok", pace=pace, duration=Duration(1), seed=5), 1) as load:
        one = [row.start - row.lag for row in load.wait().rows()]
    assert len(one) == len(two)
    assert all(abs(a - b) <= 2 for a, b in zip(one, two, strict=True)), "microseconds"


def test_stop_at_once_keeps_what_has_finished(server: Server) -> None:
    with Workers.start(plan(server, "mix", users=100, timeout=Duration(60)), 2) as load:
        until("requests that hang", lambda: server.done["hang"] >= 3)
        result = load.stop(at_once=True)
    assert result.stopped >= 3
    assert len(result) + result.stopped == result.sent
    assert len(result) == sum(1 for _ in result.rows())


def test_a_killed_worker_is_told_and_its_requests_are_kept(server: Server) -> None:
    load = Workers.start(plan(server, "ok", users=4), 2)
    until("some requests", lambda: load.progress().finished > 200)
    os.kill(load._workers[0].process.pid, signal.SIGKILL)
    with pytest.raises(EnvironmentBroken, match="A worker process of the load could not do its part"):
        load.stop()
    result = load.result()
    load.close()
    assert len(result) == sum(1 for _ in result.rows()) > 200
    assert server.seen["ok"] - 4 <= len(result) <= server.seen["ok"]
    assert result.sent == len(result) + result.stopped


@pytest.mark.parametrize("orders", [0, 1])
def test_a_worker_whose_starter_goes_before_it_begins_says_nothing(server: Server, orders: int) -> None:
    (order,) = split(plan(server, "ok", users=1), 1, seed=1)
    ours, theirs = socket.socketpair()
    memory = SharedMemory(BLOCK)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-c", _MAIN, str(theirs.fileno()), str(memory.descriptor)],
            pass_fds=(theirs.fileno(), memory.descriptor),
            stderr=subprocess.PIPE,
            text=True,
        )
    pipe = Connection(ours.detach())
    if orders:
        pipe.send(order)
        assert isinstance(pipe.recv(), Ready)
    pipe.close()
    assert process.communicate(timeout=30)[1] == ""
    assert process.returncode == 0
    memory.close()
    assert not server.ids


def test_ctrl_c_while_workers_start_leaves_none(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes while the first of them is still importing what it needs."""
    made: list[subprocess.Popen[bytes]] = []

    class Interrupted(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            if made and timeout == _READY_SECONDS:
                raise KeyboardInterrupt
            return super().wait(timeout)

    def start(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        made.append(popen(*arguments, **options))
        return made[-1]

    popen = subprocess.Popen
    monkeypatch.setattr("meshbdd.load.workers.subprocess.Popen", start)
    monkeypatch.setattr("meshbdd.load.workers.threading.Event", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        Workers.start(plan(server, "ok", users=2), 2)
    assert len(made) == 2
    assert all(process.poll() is not None for process in made)


def descriptors() -> set[str]:
    """Those of shared memory."""
    links = [(file.name, str(file.readlink())) for file in Path("/proc/self/fd").iterdir() if file.is_symlink()]
    return {name for name, target in links if "meshbdd-load" in target}


def test_nothing_stays(server: Server) -> None:
    def use() -> None:
        with Workers.start(plan(server, "ok", users=4), 2) as load:
            until("some requests", lambda: load.progress().finished > 200)
            pids = [worker.process.pid for worker in load._workers]
        assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
        assert len(list(load.result().rows())) > 200, "the rows are there as long as somebody has them"

    gc.collect()  # what earlier tests left goes at any time
    before = descriptors()
    use()
    gc.collect()
    assert descriptors() == before
    assert "meshbdd-load-workers" not in {thread.name for thread in threading.enumerate()}


def test_an_unknown_host_is_a_sentence_before_a_process_starts() -> None:
    with pytest.raises(BadInput, match=r"The host 'no-such-host\.invalid' is not known here"):
        Workers.start(Plan(read_message("x", "GET http://no-such-host.invalid/"), count=1), 2)


def test_fewer_users_than_workers(server: Server) -> None:
    with Workers.start(plan(server, "ok", users=2, count=9), 8) as load:
        assert len(load._workers) == 2
        assert Counter(told(load.wait())) == {"200": 9}
