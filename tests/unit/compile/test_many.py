"""Many objects at once: the time is linear in their number, and bounded."""

from __future__ import annotations

import time
from typing import Any

import pytest

from meshbdd.lab.compile import Mesh, compile_pod
from tests.golden.meaning import world

LIMIT = 3.0
"""Seconds of processor time for a thousand virtual services and one sidecar; measured: about 0.1 on one quiet core."""


def many(count: int) -> list[dict[str, Any]]:
    """As many hosts, each with a fault for one caller."""
    return [
        {
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {"name": f"vs-{n}", "namespace": "shop", "creationTimestamp": f"2026-01-01T{n // 3600:02d}:{n // 60 % 60:02d}:{n % 60:02d}Z"},
            "spec": {"hosts": [f"host-{n}.example"], "http": [
                {"match": [{"headers": {"x": {"exact": "1"}}}], "fault": {"abort": {"httpStatus": 503, "percentage": {"value": 50}}},
                 "route": [{"destination": {"host": "payment-service"}}]},
                {"route": [{"destination": {"host": "payment-service"}}]},
            ]},
        }
        for n in range(count)
    ]  # fmt: skip


def test_a_thousand_virtual_services(capsys: pytest.CaptureFixture[str]) -> None:
    objects = [*world(), *many(1000)]
    start = time.process_time()
    mesh = Mesh.read(objects)
    read = time.process_time()
    made = compile_pod(mesh, "order-stable-1", "shop")
    done = time.process_time()
    with capsys.disabled():
        print(f"\n1000 virtual services: read in {read - start:.2f} s, compiled for one sidecar in {done - read:.2f} s")
    names = {host["name"] for host in made.routes["80"]["virtual_hosts"]}
    assert {f"host-{n}.example:80" for n in range(1000)} <= names
    assert done - start < LIMIT
