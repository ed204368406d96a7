"""Figures of the load engine, as ratios within one run: against wrk, hey and locust, and against its own schedule.

``FULL=1`` (what ``make bench`` sets) takes the sizes that the claims are made for, and holds them; without it the sizes
are small, and everything is printed and nothing of it judged but counts.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from meshbdd.load import Load, Plan, read_message
from meshbdd.units import Duration
from tests.bench import peers
from tests.bench.envoy import answering_envoy
from tests.load.server import serving

FULL = bool(os.environ.get("FULL"))
ROUNDS, SECONDS, USERS = (5, 4, 50) if FULL else (1, 1, 50)

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]


def pinned(core: int) -> list[str]:
    """The server has one core, the generator another; on a machine with one they share it."""
    cores = sorted(os.sched_getaffinity(0))
    return ["taskset", "-c", str(cores[core % len(cores)])] if shutil.which("taskset") else []


def test_requests_per_second(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    generators = {"meshbdd": peers.meshbdd}
    if peers.have("wrk"):
        generators["wrk"] = peers.wrk
    if peers.have("hey"):
        generators["hey"] = peers.hey
    if FULL and (python := peers.install_locust(pytestconfig.cache.mkdir("locust"))):  # type: ignore[union-attr]
        generators["locust"] = peers.locust(python, tmp_path)
    for missing in {"wrk", "hey", "locust"} - set(generators):
        how = "make bench installs it from PyPI" if missing == "locust" else f"as root: apt-get install {missing}"
        print(f"\nwithout {missing}: {how}")
    seen: dict[str, list[peers.Seen]] = {name: [] for name in generators}
    with answering_envoy(tmp_path, pinned(1)) as url:
        for _ in range(ROUNDS):  # in turns, so that what else the machine does meets each of them
            for name, generator in generators.items():
                command, read = generator(url, USERS, SECONDS)
                seen[name].append(peers.measure([*pinned(0), *command], read))
    print(f"\n{ROUNDS} rounds of {SECONDS} s, {USERS} connections kept alive, one core, one Envoy on another:")
    for name, rounds in seen.items():
        rate, cpu = statistics.median(r.rate for r in rounds), statistics.median(r.cpu_us for r in rounds)
        print(f"  {name:8} {rate:9.0f} requests/s  {cpu:6.1f} µs of CPU for a request")
    for name, least in (("wrk", 0.8), ("hey", None), ("locust", 5.0)):
        if name in seen:
            ratios = [ours.rate / theirs.rate for ours, theirs in zip(seen["meshbdd"], seen[name], strict=True)]
            ratio = statistics.median(ratios)
            goal = f" (goal: at least {least})" if least else ""
            print(f"  meshbdd / {name}: {ratio:.2f}{goal}, rounds {min(ratios):.2f} to {max(ratios):.2f}")
            assert not FULL or least is None or ratio >= least


def test_lag_behind_the_schedule(tmp_path: Path) -> None:
    seconds = 20 if FULL else 2
    options = ["--rate", "5000/s", "--duration", f"{seconds}s", "--json"]
    with answering_envoy(tmp_path, pinned(1)) as url:
        ran = subprocess.run(
            [*pinned(0), sys.executable, "-m", "meshbdd", "load", url, *options],
            capture_output=True,
            text=True,
            check=True,
        )
    told = json.loads(ran.stdout)
    lag = told["lag_ms"]
    print(
        f"\n5000/s for {seconds} s: {told['requests']} requests, {told['unsent']} dropped; "
        f"behind schedule p50 {lag['p50']:.3f} ms, p99 {lag['p99']:.3f} ms (goal: < 1 ms), max {lag['max']:.3f} ms"
    )
    assert told["requests"] == 5000 * seconds
    assert told["unsent"] == 0
    assert not FULL or lag["p99"] < 1


def test_counts_agree_with_the_server() -> None:
    count = 1_000_000 if FULL else 20_000
    with serving() as server:
        plan = Plan(read_message("x", f"GET {server.url('mix')}"), users=100, count=count, timeout=Duration(2))
        with Load.start(plan) as load:
            result = load.wait()
        seen = server.done
        told = {outcome.told: number for outcome, number in result.outcomes().items()}
    print(f"\n{count} requests, the server saw {dict(seen)}, the record has {told}")
    assert told == {"200": seen["ok"], "reset": seen["reset"], "timeout": seen["hang"], "503": seen["status/503"]}
    assert len(result) == seen.total() == count


def _megabytes(process: int) -> float:
    """Memory of a command and its processes, where what they share counts once (Pss, of Linux's ``smaps_rollup``)."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    rolled = (Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in (process, *children))
    return sum(int(line.split()[1]) for text in rolled for line in text.splitlines() if line.startswith("Pss:")) / 1024


def _peak_of_load(url: str, *options: str) -> tuple[int, float]:
    """Requests that ``meshbdd load`` sends, and the most memory that it takes meanwhile and while it tells of them."""
    command = [*pinned(0), sys.executable, "-m", "meshbdd", "load", url, "--json", *options]
    process, most = subprocess.Popen(command, stdout=subprocess.PIPE, text=True), 0.0
    told: list[str] = []
    assert process.stdout is not None
    reader = threading.Thread(target=lambda: told.append(process.stdout.read()))  # type: ignore[union-attr]
    reader.start()
    while process.poll() is None:
        with contextlib.suppress(OSError):  # a process that has just ended
            most = max(most, _megabytes(process.pid))
        time.sleep(0.1)  # a sample now and then
    reader.join()
    return json.loads(told[0])["requests"], most


@pytest.mark.parametrize("loop", ["closed", "open"])
def test_memory(tmp_path: Path, loop: str) -> None:
    """The whole command, its worker and its summary among them, at two sizes; ten million are extrapolated from these.

    The open loop asks for more than it can have, so that it falls behind and no two requests are equally late.
    """
    count, goal = 4_000_000 if FULL else 100_000, 10_000_000
    options = ["--users", "50"] if loop == "closed" else ["--rate", "1000000/s", "--timeout", "1h"]
    with answering_envoy(tmp_path, pinned(1)) as url:
        half, before = _peak_of_load(url, *options, "--count", str(count // 2))
        sent, after = _peak_of_load(url, *options, "--count", str(count))
    each = (after - before) / (sent - half)
    whole = after + each * (goal - sent)
    print(
        f"\n{loop} loop: {half} requests take {before:.0f} MiB in all processes, {sent} take {after:.0f} MiB, "
        f"{each * 1024 * 1024:.1f} bytes for each further one; so {goal} take {whole:.0f} MiB (goal: < 300 MB)"
    )
    assert sent == count
    assert not FULL or whole * 1024 * 1024 < 300e6
