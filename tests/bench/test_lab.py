"""Figures of the lab: coming up, a change in effect at every sidecar, many services, compiling.

``FULL=1`` (what ``make bench`` sets) holds the figures that are claimed.
"""

from __future__ import annotations

import http.client
import os
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from meshbdd.lab import lifecycle
from meshbdd.lab.compile import Mesh, compile_pod
from meshbdd.lab.compile.command import complete
from tests.bench.lab import descendants, resident_bytes, services
from tests.cli.test_commands import meshbdd
from tests.tools import OUTBOUND, LabUnderTest, until

FULL = bool(os.environ.get("FULL"))
CHANGES = 200 if FULL else 20
STAYS_SECONDS = 10 if FULL else 1

pytestmark = [pytest.mark.bench, pytest.mark.timeout(300)]


def test_up_with_the_shop(tmp_path: Path) -> None:
    """The command as a user types it, from its start to its end: every pod is ready then."""
    seen = []
    for _ in range(4 if FULL else 2):  # the first one warms the machine's caches
        began = time.monotonic()
        ran = meshbdd("lab", "up", "bench-up", cwd=tmp_path)
        seen.append(time.monotonic() - began)
        try:
            assert ran.returncode == 0, ran.stderr
        finally:
            lifecycle.down("bench-up")
    warm = seen[1:]
    print(f"\nmeshbdd lab up with the shop, warm: {', '.join(f'{s:.2f}' for s in warm)} s (first: {seen[0]:.2f} s)")
    assert not FULL or statistics.median(warm) < 3


class _Sidecar:
    """One sidecar, asked by requests on one connection which change its routes decide."""

    def __init__(self, pod: dict[str, object]) -> None:
        outbound = pod["metadata"]["annotations"][OUTBOUND]  # type: ignore[index]
        host, _, port = str(outbound).rpartition(":")
        self._connection = http.client.HTTPConnection(host, int(port), timeout=5)

    def change(self) -> str:
        self._connection.request("GET", "http://payment-service/bench")
        return self._connection.getresponse().read().decode(errors="replace")

    def close(self) -> None:
        self._connection.close()


@contextmanager
def _sidecars(lab: LabUnderTest) -> Iterator[list[_Sidecar]]:
    made = [_Sidecar(pod) for pod in lab.cluster.list("Pod", "shop", labels="security.istio.io/tlsMode=istio")]
    yield made
    for sidecar in made:
        sidecar.close()


ROUTE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: bench}
spec:
  hosts: [payment-service]
  http:
  - match: [{uri: {exact: /bench}}]
    directResponse: {status: 200, body: {string: change-0}}
  - route: [{destination: {host: payment-service}}]
"""


def test_a_change_in_effect_at_every_sidecar(lab: LabUnderTest) -> None:
    """From before the write to the first answer of the last sidecar by the new routes.

    Sidecars are asked one after the other, so a change is seen late by up to one request to each that is still asked.
    """
    lab.apply(ROUTE)
    live = lab.cluster.get("VirtualService", "bench", "shop")
    seen, answered, asked = [], [], []
    with _sidecars(lab) as sidecars:
        until("the first route", lambda: all(sidecar.change() == "change-0" for sidecar in sidecars))
        for number in range(1, CHANGES + 1):
            live["spec"]["http"][0]["directResponse"]["body"]["string"] = f"change-{number}"
            began = time.perf_counter()
            live = lab.cluster.replace(live)
            answered.append((time.perf_counter() - began) * 1000)
            waiting = sidecars
            while waiting:
                before = time.perf_counter()
                still = [sidecar for sidecar in waiting if sidecar.change() != f"change-{number}"]
                asked.append((time.perf_counter() - before) / len(waiting))
                waiting = still
                assert before - began < 10, f"change {number} does not come to {len(waiting)} sidecars"
            seen.append((time.perf_counter() - began) * 1000)
        count = len(sidecars)
    half, late = statistics.median(seen), statistics.quantiles(seen, n=100, method="inclusive")[98]
    print(f"\n{CHANGES} changes in effect at all {count} sidecars: p50 {half:.1f} ms, p99 {late:.1f} ms,", end=" ")
    print(f"most {max(seen):.1f} ms; the write is answered after {statistics.median(answered):.1f} ms,", end=" ")
    print(f"asking one sidecar takes {statistics.median(asked) * 1000:.1f} ms, load average {os.getloadavg()[0]:.1f}")
    assert count >= 5
    assert not FULL or late < 50


@pytest.mark.parametrize(("count", "goal"), [(20, None), (50, 20.0)] if FULL else [(20, None)])
def test_many_services_come_up_and_stay_up(tmp_path: Path, count: int, goal: float | None) -> None:
    file = tmp_path / "services.yaml"
    file.write_text(yaml.safe_dump_all(services(count)), "utf-8")
    name = f"bench-{count}"
    client = lifecycle.shipped("vantage") / "client.yaml"
    began = time.monotonic()
    lab = LabUnderTest.up(name, shop=False, manifests=[file, client])
    took = time.monotonic() - began
    try:
        answers = rounds = 0
        until("each service answering", lambda: all(_answers(lab, number) for number in range(count)))
        began = time.monotonic()
        while not rounds or time.monotonic() - began < STAYS_SECONDS:
            answers += sum(_answers(lab, number) for number in range(count))
            rounds += 1
        restarts = sum(
            status["restartCount"] for pod in lab.pods() for status in pod["status"].get("containerStatuses", [])
        )
        processes = descendants(lab.info.pid)
        size = resident_bytes(processes) / 2**30
        print(
            f"\n{count} meshed services: up in {took:.1f} s, {size:.2f} GiB RSS in {len(processes)} processes;", end=" "
        )
        print(
            f"{answers} of {rounds * count} requests answered in {time.monotonic() - began:.0f} s, {restarts} restarts"
        )
        assert len(processes) > 2 * count, "an Envoy and an application each"
        assert all(lab._ready(pod) for pod in lab.pods())
        assert restarts == 0
        assert answers == rounds * count
        if goal is not None:
            assert took < goal
            assert size < 6
    finally:
        lab.down()


def _answers(lab: LabUnderTest, number: int) -> bool:
    return lab.get(f"http://service-{number}/").text == f"service-{number}"


def test_compiling_grows_linearly() -> None:
    """One sidecar's configuration, from the objects of the world to Envoy's form."""
    each = {}
    for count in (10, 50, 200):
        objects = complete(services(count))
        seen = []
        for _ in range(5):
            began = time.process_time()
            compile_pod(Mesh.read(objects), "service-0-1", "shop")
            seen.append(time.process_time() - began)
        each[count] = min(seen) * 1000 / count
    told = ", ".join(f"{took:.2f} at {count}" for count, took in each.items())
    print(f"\ncompiling for one sidecar, ms per service: {told} (Python {sys.version.split()[0]})")
    assert each[200] < 2 * each[10], "twice as much for each service is no longer linear"
