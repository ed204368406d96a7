"""``meshbdd load`` as a tester uses it."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import os
import pty
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hdrh.histogram import HdrHistogram

from meshbdd.cli.load import load as load_command
from meshbdd.errors import BadInput
from tests.load.server import Server, serving
from tests.tools import until


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as made:
        yield made


def load(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "meshbdd", "load", *arguments],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
        cwd=cwd,
    )


def document(ran: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Standard output, which is JSON and nothing else, and as the published schema says."""
    made: dict[str, Any] = json.loads(ran.stdout)
    jsonschema.validate(made, json.loads(load("--schema").stdout), jsonschema.Draft202012Validator)
    return made


def test_json_as_published(server: Server) -> None:
    ran = load(server.url("mix"), "--count", "300", "--users", "4", "--timeout", "2s", "--json", "--workers", "2")
    assert ran.returncode == 0, ran.stderr
    told = document(ran)
    assert server.seen["mix"] == told["requests"] == 300
    assert told["failed"] == server.done["reset"] + server.done["status/503"]
    assert {one["told"]: one["requests"] for one in told["outcomes"]} == {
        "200": server.done["ok"],
        "503": server.done["status/503"],
        "reset": server.done["reset"],
    }
    assert told["requests_per_second"] == pytest.approx(300 / told["seconds"], rel=1e-3)
    assert HdrHistogram.decode(told["histogram"]["counts"]).get_total_count() == 300 - server.done["reset"]
    assert told["latency_ms"]["p99"] is None, "six of 300 were reset"
    assert told["error"] is None
    assert told["plan"]["workers"] == 2


def test_a_rate_and_expectations(server: Server) -> None:
    ran = load(
        server.url("ok"), "--rate", "100/s", "--duration", "1s", "--json", "--expect", "p99 < 30s, errors < 1%, rate > 1000/s"
    )  # fmt: skip
    assert ran.returncode == 1
    told = document(ran)
    assert told["requests"] == 100 == server.seen["ok"]
    assert [one["met"] for one in told["expectations"]] == [True, True, False]
    assert told["lag_ms"]["p50"] >= 0
    assert load(server.url("ok"), "--count", "5", "--expect", "errors <= 0%").returncode == 0


def test_a_file_with_a_request(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "order.http"
    file.write_text(f'POST {server.url("echo")}\nX-A: 1\n\n{{"id": "${{uuid}}"}}\n')
    ran = load(str(file), "--count", "3", "--users", "1", "--json")
    assert ran.returncode == 0, ran.stderr
    assert document(ran)["plan"]["method"] == "POST"
    assert server.seen["echo"] == 3
    file.write_text(f"GET {server.url('ok')}\nno header\n")
    ran = load("order.http", cwd=tmp_path)
    assert ran.returncode == 2
    assert "'no header' is no header" in ran.stderr
    assert "--> order.http:2" in ran.stderr


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("loop", "redirects without end"),
        ("endless", "sends bodies of more than 64 MiB"),
        ("garbage", "answers with something that is not HTTP"),
        ("trickle", "sends bodies without end"),
    ],
)
def test_what_cannot_be_loaded_is_one_sentence_and_the_result_is_told(server: Server, path: str, words: str) -> None:
    ran = load(
        server.url(path),
        "--duration",
        "100s",
        "--users",
        "2",
        "--json",
        "--timeout",
        "500ms" if path == "trickle" else "30s",
    )
    assert ran.returncode == 2, ran.stdout
    assert words in ran.stderr
    assert "Traceback" not in ran.stderr
    told = document(ran)
    assert told["requests"] == told["failed"] > 0, "partial results are not lost"
    assert told["seconds"] < 90, "it does not go on until its end"
    assert told["error"]["sentence"] in ran.stderr


def test_a_refused_port() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        ran = load(f"http://127.0.0.1:{unused.getsockname()[1]}/", "--users", "2", "--json")
    assert ran.returncode == 2
    assert "refuses every connection" in ran.stderr
    assert {one["told"] for one in document(ran)["outcomes"]} == {"refused"}


def test_tls_that_nobody_vouches_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tls.pem").write_bytes(_self_signed())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "tls.pem")
    with socket.create_server(("127.0.0.1", 0)) as listener, context.wrap_socket(listener, server_side=True) as secure:
        threading.Thread(target=_answer_tls, args=(secure,), daemon=True).start()
        url = f"https://127.0.0.1:{secure.getsockname()[1]}/"
        ran = load(url, "--count", "2", "--users", "1", "--json")
        assert ran.returncode == 2
        assert "fails at TLS" in ran.stderr
        assert "self-signed certificate" in ran.stderr
        ran = load(url, "--count", "2", "--users", "1", "--json", "--insecure")
        assert ran.returncode == 0, ran.stderr
        assert document(ran)["succeeded"] == 2
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "tls.pem"))
        ran = load(url, "--count", "2", "--users", "1")
        assert ran.returncode == 0, ran.stderr


def _self_signed() -> bytes:
    """Key and certificate of 127.0.0.1, as nobody's bundle of authorities has it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nobody")])
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now, now + dt.timedelta(1)
    )
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = builder.add_extension(address, critical=False).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    return key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()) + made.public_bytes(
        pem
    )


def _answer_tls(secure: ssl.SSLSocket) -> None:
    while True:
        try:
            connection, _ = secure.accept()
        except ssl.SSLError:
            continue
        except OSError:
            return
        with connection:
            while connection.recv(65536):
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["http://no-such-host.invalid/"], "'no-such-host.invalid' is not known here"),
        (["http://a:port/"], "is no address"),
        (["ftp://a/"], "is no address"),
        (["http:///x"], "is no address"),
        (["no-file.http"], "is no URL, and no file"),
        ([], "No URL and no file"),
        (["http://127.0.0.1/", "--users", "0"], "cannot be sent by 0 users"),
        (["http://127.0.0.1/", "--rate", "fast"], "'fast' is not a rate"),
        (["http://127.0.0.1/", "--rate", "0/s"], "'0/s' is not a rate"),
        (["http://127.0.0.1/", "--rate", "5/s", "--users", "3"], "contradict each other"),
        (["http://127.0.0.1/", "--poisson"], "need a rate"),
        (["http://127.0.0.1/", "--ramp", "3s"], "need a rate"),
        (["http://127.0.0.1/", "--duration", "3"], "'3' has no unit"),
        (["http://127.0.0.1/", "--duration", "0s"], "cannot be sent for"),
        (["http://127.0.0.1/", "--count", "0"], "cannot be sent 0 times"),
        (["http://127.0.0.1/", "--count", "many"], "is not a valid integer"),
        (["http://127.0.0.1/", "--timeout", "0s"], "cannot be given"),
        (["http://127.0.0.1/", "--workers", "0"], "0 processes send nothing"),
        (["http://127.0.0.1/", "--expect", "quick"], "'quick' is no expectation"),
        (["http://127.0.0.1/", "--via", "x", "--lab", "no-such-lab"], "no lab 'no-such-lab' runs"),
    ],
)
def test_bad_input_is_one_sentence_before_anything_is_sent(arguments: list[str], words: str) -> None:
    ran = CliRunner().invoke(load_command, arguments, standalone_mode=False)
    assert isinstance(ran.exception, BadInput | click.UsageError)
    assert ran.exception.exit_code == 2
    assert words in str(ran.exception)
    assert not ran.output


def interrupted(number: signal.Signals, ready: Callable[[], bool], *arguments: str) -> tuple[dict[str, Any], str]:
    """What a load that is interrupted prints, and its standard error."""
    # Where a shell runs the tests in the background, they and all below them would ignore Ctrl-C.
    command = ["env", "--default-signal=INT", sys.executable, "-m", "meshbdd", "load", *arguments, "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until("some requests", ready)
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130, err
    told: dict[str, Any] = json.loads(out)
    assert told["interrupted"] is True
    return told, err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_was_sent_until_ctrl_c_is_told(server: Server, number: signal.Signals) -> None:
    arguments = server.url("ok"), "--duration", "60s", "--workers", "2"
    told, err = interrupted(number, lambda: server.seen["ok"] > 200, *arguments)
    assert "interrupted" in err
    assert told["requests"] > 100
    assert told["failed"] == 0
    assert told["stopped"] <= 10, "one for each user"
    seen = server.seen["ok"]
    assert told["requests"] <= seen <= told["requests"] + told["stopped"], "what has no outcome may not have arrived"


def test_ctrl_c_at_any_time_is_no_traceback(server: Server) -> None:
    """Also while Python still imports what the command needs; only its own start, before ``meshbdd.start``, is not ours."""
    command = ["env", "--default-signal=INT", sys.executable, "-v", "-m", "meshbdd", "load", server.url("ok")]
    for imported in (
        "click.types",
        "meshbdd.cli.load",
        "meshbdd.load.workers",
        "meshbdd.load.watching",
    ):
        process = subprocess.Popen([*command, "--duration", "60s"], stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith(f"import '{imported}'"):
                break
        else:
            pytest.fail(f"it never imports {imported}")
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(30) in {130, -signal.SIGINT}, rest
        assert "Traceback" not in rest, imported


def test_what_was_due_until_ctrl_c_is_told(server: Server) -> None:
    """A service that hangs has all connections; what waits for one is neither sent nor forgotten."""
    arguments = server.url("hang"), "--rate", "2000/s", "--duration", "60s"

    def backlog() -> bool:
        return len(server.at) >= 1000 and time.time() > server.at[999] + 0.3

    told, _ = interrupted(signal.SIGINT, backlog, *arguments)
    assert told["requests"] == told["failed"] == told["unsent"] == 0
    assert told["stopped"] == server.seen["hang"] == 1000
    waited = told["overdue"] + told["missed"]  # the latter where the machine that runs this test is late, too
    assert 0.25 * 2000 < waited <= 2000 * told["seconds"]
    assert set(told["latency_ms"].values()) == {None}, "slower than any limit"


def test_a_bar_on_a_terminal_only(server: Server) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "meshbdd", "load", server.url("ok"), "--rate", "20/s", "--duration", "3s"],
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
    out, _ = process.communicate(timeout=20)
    os.close(ours)
    assert process.returncode == 0
    assert b"requests in 2 s" in seen
    assert b"\x1b" not in out
    assert load(server.url("ok"), "--rate", "20/s", "--duration", "3s").stderr == ""
