"""Other load generators on the same target: how to run each, and how to read what it says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

LOCUST = "locust==2.*"
_LOCUSTFILE = """
from locust import FastHttpUser, task

class User(FastHttpUser):
    @task
    def get(self):
        self.client.get("/")
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a generator did.

    Attributes:
        rate: Requests per second, as it says itself.
        cpu_us: Microseconds of processor time for a request, its own start included.
    """

    rate: float
    cpu_us: float


def measure(command: Sequence[str], read: Callable[[str], tuple[float, int]]) -> Seen:
    """Run a generator.

    Args:
        command: The whole command.
        read: Gives requests per second and the number of requests from what it prints.
    """
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    out = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"{command}: exit code {process.returncode}\n{out}"
    rate, requests = read(out)
    return Seen(rate, (usage.ru_utime + usage.ru_stime) / requests * 1e6)


def meshbdd(url: str, users: int, seconds: int) -> tuple[list[str], Callable[[str], tuple[float, int]]]:
    def read(out: str) -> tuple[float, int]:
        told = json.loads(out)
        assert told["failed"] == 0, told["outcomes"]
        return told["requests_per_second"], told["requests"]

    options = ["--users", str(users), "--duration", f"{seconds}s", "--json"]
    return [sys.executable, "-m", "meshbdd", "load", url, *options], read


def wrk(url: str, users: int, seconds: int) -> tuple[list[str], Callable[[str], tuple[float, int]]]:
    def read(out: str) -> tuple[float, int]:
        rate, requests = re.search(r"Requests/sec:\s+([\d.]+)", out), re.search(r"(\d+) requests in", out)
        assert rate and requests and "errors" not in out, out
        return float(rate[1]), int(requests[1])

    return ["wrk", "-t1", f"-c{users}", f"-d{seconds}s", url], read


def hey(url: str, users: int, seconds: int) -> tuple[list[str], Callable[[str], tuple[float, int]]]:
    def read(out: str) -> tuple[float, int]:
        rate = re.search(r"Requests/sec:\s+([\d.]+)", out)
        requests = re.search(r"\[200\]\s+(\d+) responses", out)
        assert rate and requests, out
        return float(rate[1]), int(requests[1])

    return ["hey", "-c", str(users), "-z", f"{seconds}s", "-cpus", "1", url], read


def locust(
    python: Path, folder: Path
) -> Callable[[str, int, int], tuple[list[str], Callable[[str], tuple[float, int]]]]:
    """Locust with its quick client, in a virtual environment of its own."""
    file = folder / "locustfile.py"
    file.write_text(_LOCUSTFILE)

    def made(url: str, users: int, seconds: int) -> tuple[list[str], Callable[[str], tuple[float, int]]]:
        def read(out: str) -> tuple[float, int]:
            (told,) = json.loads(out)
            requests = told["num_requests"]
            return requests / (told["last_request_timestamp"] - told["start_time"]), requests

        options = ["--headless", "-u", str(users), "-r", "1000", "-t", f"{seconds}s", "--host", url.rstrip("/")]
        return [str(python), "-m", "locust", "-f", str(file), *options, "--json"], read

    return made


def install_locust(folder: Path) -> Path | None:
    """A Python with locust; ``None`` where it cannot be had. It patches sockets, so it never meets meshbdd's own."""
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        steps = [
            [sys.executable, "-m", "venv", str(folder)],
            [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", LOCUST],
        ]
        if any(subprocess.run(step, capture_output=True, check=False).returncode for step in steps):
            return None
        (folder / "ready").touch()
    return python


def have(program: str) -> bool:
    """Whether a program is here; as root it is installed from Debian if need be."""
    if shutil.which(program) is None and os.geteuid() == 0 and shutil.which("apt-get"):
        quiet = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", program]
        subprocess.run(quiet, capture_output=True, check=False)
    return shutil.which(program) is not None
