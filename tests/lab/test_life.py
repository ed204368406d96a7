"""Labs come and go, and leave nothing behind."""

from __future__ import annotations

import json
import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from meshbdd.errors import BadInput, EnvironmentBroken
from meshbdd.lab import lifecycle
from meshbdd.lab.sidecar.binary import find_envoy
from meshbdd.lab.state import state_root
from tests.tools import LabUnderTest, processes_below, until

ECHO = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = os.environ.get("GREETING", "hello").encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer((os.environ.get("WHERE", os.environ["HOST"]), int(os.environ["PORT"])), Handler).serve_forever()
"""

SERVICE = """
apiVersion: v1
kind: ConfigMap
metadata: {name: words}
data: {greeting: "guten tag"}
---
apiVersion: v1
kind: Service
metadata: {name: echo}
spec:
  selector: {app: echo}
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: echo}
spec:
  selector: {matchLabels: {app: echo}}
  template:
    metadata: {labels: {app: echo}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: app
        image: example/echo:1.2
        %s
        env:
        - name: GREETING
          valueFrom: {configMapKeyRef: {name: words, key: greeting}}
        %s
        ports: [{containerPort: 8080}]
"""


def _yaml(tmp_path, command='command: [python3, "$(SCRIPT)"]', extra=""):
    script = tmp_path / "echo.py"
    script.write_text(ECHO)
    file = tmp_path / "echo.yaml"
    file.write_text(SERVICE % (command, f"- {{name: SCRIPT, value: {script}}}\n        {extra}"))
    return file


def _sockets(lab: LabUnderTest) -> Path:
    return Path(json.loads((lab.info.folder / "options.json").read_text())["sockets"])


def test_a_lab_that_is_taken_down_leaves_nothing() -> None:
    lab = LabUnderTest.up("gone")
    sockets = _sockets(lab)
    assert sockets.is_dir()
    folder, address = lab.info.folder, lab.info.url.partition("//")[2].partition(":")[0]
    assert processes_below(folder)
    lab.down()
    assert not processes_below(folder)
    assert not folder.exists()
    assert not sockets.exists()
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind((address, 6443))


def test_a_killed_lab_leaves_no_orphan() -> None:
    lab = LabUnderTest.up("killed")
    try:
        assert processes_below(lab.info.folder)
        os.kill(lab.info.pid, signal.SIGKILL)
        until("the end of every child", lambda: not processes_below(lab.info.folder), seconds=3)
        assert lifecycle.find("killed") is None
        sockets = _sockets(lab)
        assert sockets.is_dir(), "nobody was left to remove it"
    finally:
        lab.down()
    assert not sockets.exists()


def test_a_lab_of_the_same_name_removes_what_a_killed_one_left() -> None:
    killed = LabUnderTest.up("killed", shop=False)
    try:
        left = _sockets(killed)
        os.kill(killed.info.pid, signal.SIGKILL)
        until("the end of the lab", lambda: lifecycle.find("killed") is None, seconds=3)
        lab = LabUnderTest.up("killed", shop=False)
        assert not left.exists()
        assert _sockets(lab).is_dir()
    finally:
        lifecycle.down("killed")


def test_no_folder_but_a_labs_own_is_removed_with_it(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    mine = tmp_path / "mine"
    mine.mkdir()
    for text in (json.dumps({"sockets": str(mine)}), "{}", "[]", "no json"):
        folder = tmp_path / "state" / "meshbdd" / "labs" / "odd"
        folder.mkdir(parents=True)
        (folder / "options.json").write_text(text)
        assert not lifecycle.down("odd")
        assert not folder.exists()
    assert mine.is_dir()


def test_two_labs_side_by_side(shop_lab: LabUnderTest) -> None:
    other = LabUnderTest.up("other")
    try:
        assert other.info.url != shop_lab.info.url
        for lab in (shop_lab, other):
            assert lab.post("http://order-service/checkout").status_code == 200
        assert {info.name for info in lifecycle.running()} >= {"shared", "other"}
    finally:
        other.down()
    assert shop_lab.post("http://order-service/checkout").status_code == 200


def test_a_lab_is_up_once(shop_lab: LabUnderTest) -> None:
    with pytest.raises(BadInput, match="is up already"):
        lifecycle.up("shared")


def test_a_service_of_the_users_own(tmp_path) -> None:
    lab = LabUnderTest.up("own", shop=False, manifests=[_yaml(tmp_path)])
    try:
        answer = lab.get("http://echo/")
        assert (answer.status_code, answer.text) == (200, "guten tag")
    finally:
        lab.down()


def test_an_image_is_mapped_to_a_command(tmp_path) -> None:
    file = _yaml(tmp_path, command="imagePullPolicy: Always")
    images = {"example/echo": ("python3", "$(SCRIPT)")}
    lab = LabUnderTest.up("mapped", shop=False, manifests=[file], images=images)
    try:
        assert lab.get("http://echo/").text == "guten tag"
    finally:
        lab.down()


@pytest.mark.parametrize(
    ("command", "extra", "words"),
    [
        ("imagePullPolicy: Always", "", "tool.meshbdd.images"),
        ("command: [no-such-program]", "", "is no command on this machine"),
        ("command: [python3, -c, \"raise SystemExit('no licence')\"]", "", "no licence"),
        ('command: [python3, "$(SCRIPT)"]', '- {name: WHERE, value: "0.0.0.0"}', "at $HOST:$PORT"),
    ],
)
def test_a_pod_that_cannot_get_ready_is_named_with_the_fix(tmp_path, monkeypatch, command, extra, words) -> None:
    monkeypatch.setattr(lifecycle, "UP_TIMEOUT", lifecycle.Duration(10))
    with pytest.raises(EnvironmentBroken, match="echo") as caught:
        lifecycle.up("broken", shop=False, manifests=[_yaml(tmp_path, command, extra)])
    assert words in caught.value.sentence
    assert not caught.value.sentence.endswith("..")
    assert lifecycle.find("broken") is None


def test_an_object_that_is_refused_is_told_with_an_action(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    route = "{route: [{destination: {host: a}, weight: -1}]}"
    head = "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: a}"
    file.write_text(f"{head}, spec: {{hosts: [a], http: [{route}]}}}}")
    with pytest.raises(BadInput, match=r"VirtualService a in shop: spec\.http\[0\]\.route\[0\]\.weight: -1") as caught:
        lifecycle.up("refusing", shop=False, manifests=[file])
    assert caught.value.help == "correct the object, and bring the lab up again"
    assert lifecycle.find("refusing") is None


def test_a_missing_envoy_is_one_sentence(monkeypatch) -> None:
    monkeypatch.setenv("MESHBDD_ENVOY", "/no/such/envoy")
    with pytest.raises(EnvironmentBroken, match="MESHBDD_ENVOY names '/no/such/envoy'"):
        lifecycle.up("noenvoy")


def _envoys(lab: LabUnderTest) -> list[int]:
    """The sidecars' processes: children of the lab that are started with a file of its folder."""
    children = Path(f"/proc/{lab.info.pid}/task/{lab.info.pid}/children").read_text().split()
    lines = {int(pid): Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") for pid in children}
    return [pid for pid, line in lines.items() if Path(line[0].decode()).name == "envoy"]


def test_an_envoy_that_crashes_at_its_start_is_named(tmp_path, monkeypatch) -> None:
    envoy = tmp_path / "envoy"
    envoy.write_text(
        f'#!/bin/sh\ncase "$*" in *--version*) exec {find_envoy({})} --version;; esac\necho "no memory" >&2\nexit 139\n'
    )
    envoy.chmod(0o755)
    monkeypatch.setenv("MESHBDD_ENVOY", str(envoy))
    monkeypatch.setattr(lifecycle, "UP_TIMEOUT", lifecycle.Duration(4))
    with pytest.raises(EnvironmentBroken) as caught:
        lifecycle.up("crashing", shop=False)
    assert "container=istio-proxy: it ended with exit code 139, last line: no memory" in caught.value.sentence
    assert lifecycle.find("crashing") is None
    assert not (state_root() / "crashing").exists()


def test_an_envoy_that_crashes_comes_back_and_the_lab_goes_on(tmp_path) -> None:
    lab = LabUnderTest.up("crashes", shop=False, manifests=[_yaml(tmp_path)])
    try:
        envoys = _envoys(lab)
        assert len(envoys) >= 2
        for pid in envoys:
            os.kill(pid, signal.SIGSEGV)

        def proxies() -> list[dict[str, Any]]:
            pods = lab.cluster.list("Pod", "shop", labels="security.istio.io/tlsMode=istio")
            return [s for pod in pods for s in pod["status"]["containerStatuses"] if s["name"] == "istio-proxy"]

        until("the return of every sidecar", lambda: all(s["restartCount"] == 1 and s["ready"] for s in proxies()))
        assert {s["lastState"]["terminated"]["exitCode"] for s in proxies()} == {139}
        until("an answer", lambda: lab.get("http://echo/").status_code == 200)
    finally:
        lab.down()


def test_a_sidecar_that_came_back_logs_into_its_new_log(tmp_path) -> None:
    lab = LabUnderTest.up("relogs", shop=False, manifests=[_yaml(tmp_path)])
    try:

        def proxy() -> dict[str, Any]:
            return next(s for s in lab.pod("client")["status"]["containerStatuses"] if s["name"] == "istio-proxy")

        name = lab.pod("client")["metadata"]["name"].encode()
        (envoy,) = [pid for pid in _envoys(lab) if name in Path(f"/proc/{pid}/cmdline").read_bytes()]
        os.kill(envoy, signal.SIGSEGV)  # no Service selects the pod, so nothing but its own return is news to it
        until("the return of the client's sidecar", lambda: proxy()["restartCount"] == 1 and proxy()["ready"])
        until("an answer", lambda: lab.get("http://echo/").status_code == 200)
        until("the call in the log", lambda: any(line["authority"] == "echo" for line in lab.log("client")))
    finally:
        lab.down()


@pytest.mark.parametrize("name", ["Upper", "../up", "", "a" * 40])
def test_a_bad_name_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match="no name for a lab"):
        lifecycle.up(name)
