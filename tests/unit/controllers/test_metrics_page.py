"""A page of metrics costs time that a busy lab needs for everything else: none is made for somebody who has gone."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from meshbdd.lab.controllers import metrics
from meshbdd.lab.controllers.mesh_kind import MeshKind
from meshbdd.lab.sidecar.bootstrap import SidecarIdentity

REQUEST = b"GET /stats/prometheus HTTP/1.1\r\nhost: x\r\n\r\n"


async def _ask(address: tuple[str, int]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(REQUEST)
    await writer.drain()
    return reader, writer


def test_no_page_is_made_for_who_gave_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scrapes() -> tuple[int, bytes]:
        made, busy, released = [], asyncio.Event(), asyncio.Event()

        async def fetch(host: str, port: int, path: str) -> str:
            made.append(path)
            busy.set()
            await released.wait()
            return "counters\n"

        monkeypatch.setattr(metrics, "fetch", fetch)
        mesh = SimpleNamespace(
            metrics_port=0, metric_pages=(metrics.COUNTERS,), metrics=lambda pages, *_: pages[metrics.COUNTERS]
        )
        page = metrics.MetricsPage(cast("SidecarIdentity", SimpleNamespace(ip="127.0.0.1")), cast("MeshKind", mesh))
        await page.start()
        server: Any = page._server
        address = server.sockets[0].getsockname()
        _, first = await _ask(address)
        await busy.wait()
        gone = [await _ask(address) for _ in range(5)]
        last, writer = await _ask(address)
        while len(page._answering) < 7:  # noqa: ASYNC110 - at each turn of the loop
            await asyncio.sleep(0)
        for _, other in gone:
            other.close()
            await other.wait_closed()
        released.set()
        answer = await asyncio.wait_for(last.read(), 10)
        for one in (first, writer):
            one.close()
        page.stop()
        return len(made), answer

    made, answer = asyncio.run(scrapes())
    assert answer.endswith(b"counters\n")
    assert made == 2, "one that was being made, and one for the client that still waits"
