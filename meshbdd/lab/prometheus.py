"""A real Prometheus beside the lab, on loopback, as a child process: never a system service."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from meshbdd.lab.addresses import PROMETHEUS_PORT
from meshbdd.lab.controllers.metrics import fetch
from meshbdd.lab.processes import Child, ProcessTable
from meshbdd.units import Duration
from meshbdd.waiting import NotYet, eventually_async

SCRAPE_SECONDS = 0.5
"""Istio's sample configuration scrapes every 15 s; on one machine half a second costs little and claims wait less."""

HOW_TO_INSTALL = "apt-get install --no-install-recommends prometheus (Debian, Ubuntu), or brew install prometheus"


def find_prometheus() -> Path | None:
    """The prometheus binary of this machine, or ``None``."""
    found = shutil.which("prometheus")
    return Path(found) if found else None


def _config(targets: Path, name: str) -> str:
    job = {
        "job_name": name,
        "metrics_path": "/stats/prometheus",
        "file_sd_configs": [{"files": [str(targets)], "refresh_interval": "1s"}],
    }
    return str(
        yaml.safe_dump({"global": {"scrape_interval": f"{SCRAPE_SECONDS * 1000:.0f}ms"}, "scrape_configs": [job]})
    )


class Prometheus:
    """One Prometheus that scrapes the sidecars of one lab.

    Args:
        binary: The prometheus binary.
        address: Loopback address to listen at.
        folder: For its configuration, targets and data.
        table: Starts it.
        job: What it calls its scraping.
    """

    def __init__(self, binary: Path, address: str, folder: Path, table: ProcessTable, job: str) -> None:
        self._binary = binary
        self._address = address
        self._folder = folder
        self._table = table
        self._job = job
        self._child: Child | None = None
        self._targets = folder / "targets.json"

    @property
    def url(self) -> str:
        """Where its HTTP API is."""
        return f"http://{self._address}:{PROMETHEUS_PORT}"

    async def start(self) -> None:
        """Start it and wait until it is ready.

        Raises:
            EnvironmentBroken: it does not get ready.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        config = self._folder / "prometheus.yml"
        config.write_text(_config(self._targets, self._job))
        self.set_targets([])
        argv = [
            str(self._binary), f"--config.file={config}", f"--storage.tsdb.path={self._folder / 'data'}",
            f"--web.listen-address={self._address}:{PROMETHEUS_PORT}", "--log.level=warn", "--storage.tsdb.retention.time=1d",
        ]  # fmt: skip
        environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        with (self._folder / "prometheus.log").open("ab") as output:
            self._child = self._table.start(argv, environment=environment, cwd=self._folder, output=output)
        await eventually_async(
            self._ready,
            what=f"Prometheus ({self._binary}) getting ready",
            within=Duration(10),
            code="MB0712",
            help="mend what it names, or take prometheus off PATH: everything but PromQL works without it",
        )

    def _last_line(self) -> str:
        lines = (self._folder / "prometheus.log").read_text(errors="replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), "none")[:300]

    async def _ready(self) -> None:
        if self._child is not None and self._child.ended.is_set():
            raise NotYet(f"it ended with exit code {self._child.exit_code}, last line: {self._last_line()}")
        try:
            page = await asyncio.wait_for(fetch(self._address, PROMETHEUS_PORT, "/-/ready"), 2)
        except (OSError, TimeoutError) as error:
            raise NotYet(str(error)) from None
        if "Ready" not in page:
            raise NotYet(page.strip()[:200])

    def set_targets(self, targets: Sequence[tuple[str, Mapping[str, str]]]) -> None:
        """Scrape exactly these: address and labels of each; Prometheus sees the change by itself."""
        groups = [{"targets": [address], "labels": dict(labels)} for address, labels in targets]
        part = self._targets.with_suffix(".part")
        part.write_text(json.dumps(groups))
        part.replace(self._targets)
