"""What this machine does not allow is told, and never looks like a failure of the service."""

from __future__ import annotations

import subprocess
import sys

from tests.load.server import serving


def _run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout


def test_more_connections_than_files_may_be_open_by_default() -> None:
    with serving() as server:
        told = _run(f"""
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
from meshbdd.load import Load, Plan, read_message
plan = Plan(read_message("x", "GET {server.url("ok")}"), users=300, count=600)
print(dict((o.told, n) for o, n in Load.start(plan).wait().outcomes().items()))
""")
    assert told == "{'200': 600}\n"


def test_more_connections_than_the_machine_allows() -> None:
    told = _run("""
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (300, 300))
from meshbdd.errors import EnvironmentBroken
from meshbdd.load import Load, Plan, read_message
try:
    Load.start(Plan(read_message("x", "GET http://127.0.0.1:1/"), users=300, count=600))
except EnvironmentBroken as error:
    print(error.sentence)
""")
    assert told == "A process may have 300 files open here, and 300 connections need 556.\n"
