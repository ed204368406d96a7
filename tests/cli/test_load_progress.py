"""Long load as a tester watches it: a bar through behave's capture, and ``meshbdd load`` through a sidecar of the lab."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_commands import meshbdd
from tests.cli.test_load_steps import project
from tests.tools import LabUnderTest


def test_behave_s_capture_does_not_hide_the_bar(lab: LabUnderTest, tmp_path: Path) -> None:
    project(
        tmp_path,
        '  Scenario: S\n    When "version" is sent at 50/s for 3s\n    Then every response has status 200\n',
    )
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "meshbdd", "run", "-f", "plain"],
        cwd=tmp_path,
        env={**os.environ, "KUBECONFIG": str(lab.info.kubeconfig)},
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    seen = b""
    try:
        while data := os.read(ours, 65536):
            seen += data
    except OSError:  # the other side has closed the terminal
        pass
    out, _ = process.communicate(timeout=30)
    os.close(ours)
    assert process.returncode == 0, out.decode() + seen.decode()
    assert b"requests in 2 s" in seen
    assert b"requests in" not in out
    assert seen.count(b"\x1b[1A\x1b[2K") >= 1, "the bar is taken away"


def test_load_enters_at_the_sidecar_of_a_service(lab: LabUnderTest, tmp_path: Path) -> None:
    (tmp_path / "charge.http").write_text(
        'POST http://payment-service/charge\n\n{"order_id": "${uuid}", "amount": 1}\n'
    )
    options = ["--count", "20", "--users", "2", "--json", "--expect", "errors <= 0%"]
    ran = meshbdd(
        "load", "charge.http", "--via", "order-service", "--lab", lab.info.name, *options, cwd=tmp_path, lab=lab
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    told = json.loads(ran.stdout)
    assert told["requests"] == told["succeeded"] == 20
    assert told["plan"]["via"] == "order-service"
    entry = lab.log("order-service")[-1]
    assert entry["authority"].startswith("payment-service"), "it left by the sidecar of order-service"


@pytest.mark.parametrize(
    ("via", "why"), [("nobody", "there is no pod labelled app=nobody"), ("client-plain", "have no sidecar to enter at")]
)
def test_a_way_in_that_is_none_is_told_with_those_there_are(
    lab: LabUnderTest, tmp_path: Path, via: str, why: str
) -> None:
    ran = meshbdd("load", "http://order-service/version", "--via", via, "--lab", lab.info.name, cwd=tmp_path, lab=lab)
    assert ran.returncode == 2
    assert why in ran.stderr
    known = "client, inventory-service, notification-service, order-service, payment-service"
    assert f"help: use one of: {known}\n" in ran.stderr
