"""Log, port-forward and proxy: a server in this process with a backend whose one pod is a real TCP server."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import requests
from conftest import Server
from kubernetes import client
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import portforward

from meshbdd.lab.api.backend import LogOptions
from meshbdd.lab.api.core import Api
from meshbdd.lab.api.credentials import kubeconfig, self_signed
from meshbdd.lab.api.errors import bad_request
from meshbdd.lab.api.server import ApiServer

Forward = Callable[[int], tuple[subprocess.Popen[str], int]]

LINES = [f"line {number}\n".encode() for number in range(100)]


class OnePod:
    """A pod whose port 8080 is an HTTP server that tells what it was asked."""

    def __init__(self) -> None:
        self.port = 0
        self.grown = asyncio.Event()

    async def listen(self) -> asyncio.Server:
        listening = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = listening.sockets[0].getsockname()[1]
        return listening

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        size = next(
            (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0
        )
        body = await reader.readexactly(size)
        told = head.split(b"\r\n")[0] + b"|" + body
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nx-pod: one\r\ncontent-length: %d\r\n\r\n" % len(told)
            + told
        )
        await writer.drain()
        writer.close()

    async def logs(self, namespace: str, pod: str, container: str, options: LogOptions) -> AsyncIterator[bytes]:
        if options.previous:
            raise bad_request(f'previous terminated container "{container}" in pod "{pod}" not found')
        for line in LINES[-options.tail_lines if options.tail_lines else 0 :]:
            yield line
        if options.follow:
            await asyncio.wait_for(self.grown.wait(), 10)
            yield b"and one more\n"

    async def connect(self, namespace: str, pod: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if port != 8080:
            raise ConnectionRefusedError(f"nothing listens on {port}")
        return await asyncio.open_connection("127.0.0.1", self.port)


class Running:
    """The server on a loop of its own, in a thread of the test."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.backend = OnePod()
        self.loop = asyncio.new_event_loop()
        self.ready = threading.Event()
        self.over: asyncio.Event
        self.server: ApiServer
        self.thread = threading.Thread(target=lambda: self.loop.run_until_complete(self._run()))

    async def _run(self) -> None:
        cert, key = self_signed(self.state, "127.0.0.1")
        api = Api()
        spec = {"containers": [{"name": "app", "image": "i", "ports": [{"containerPort": 8080}]}]}
        made = api.create("pods", {"metadata": {"name": "p", "labels": {"app": "p"}}, "spec": spec}, "default")
        api.set_status("pods", "p", "default", {"phase": "Running", "podIP": "127.0.0.1"})
        two = {"containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]}
        api.create("pods", {"metadata": {"name": "two"}, "spec": two}, "default")
        service = {
            "metadata": {"name": "s"},
            "spec": {"selector": {"app": "p"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
        }
        api.create("services", service, "default")
        reference = {"kind": "Pod", "name": "p", "namespace": "default", "uid": made["metadata"]["uid"]}
        subset = {"addresses": [{"ip": "127.0.0.1", "targetRef": reference}], "ports": [{"name": "http", "port": 8080}]}
        api.create("endpoints", {"metadata": {"name": "s"}, "subsets": [subset]}, "default")
        listening = await self.backend.listen()
        self.server = ApiServer(api, "127.0.0.1", 0, cert, key, "secret", self.backend)
        await self.server.start()
        (self.state / "token").write_text("secret")
        (self.state / "kubeconfig").write_text(kubeconfig("lab", self.server.url, cert, "secret", "default"))
        self.over = asyncio.Event()
        self.ready.set()
        await self.over.wait()
        await self.server.stop()
        listening.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    made = Running(tmp_path_factory.mktemp("pods"))
    made.thread.start()
    assert made.ready.wait(10)
    yield made
    made.loop.call_soon_threadsafe(made.over.set)
    made.thread.join(10)
    assert not made.thread.is_alive()


@pytest.fixture
def session(running: Running) -> requests.Session:
    return Server(running.server.url, running.state).session()


@pytest.fixture
def core(running: Running) -> client.CoreV1Api:
    return client.CoreV1Api(Server(running.server.url, running.state).client())


def test_log(core: client.CoreV1Api) -> None:
    assert core.read_namespaced_pod_log("p", "default").splitlines()[-1] == "line 99"
    assert core.read_namespaced_pod_log("p", "default", tail_lines=2) == "line 98\nline 99\n"
    assert core.read_namespaced_pod_log("p", "default", limit_bytes=6) == "line 0"
    with pytest.raises(ApiException, match=r"a container name must be specified for pod two, choose one of: \[a b\]"):
        core.read_namespaced_pod_log("two", "default")
    with pytest.raises(ApiException, match="container nope is not valid for pod p"):
        core.read_namespaced_pod_log("p", "default", container="nope")
    with pytest.raises(ApiException, match="previous terminated container"):
        core.read_namespaced_pod_log("p", "default", previous=True)


def test_log_follows(running: Running, session: requests.Session) -> None:
    url = f"{running.server.url}/api/v1/namespaces/default/pods/p/log?follow=true&tailLines=1"
    with session.get(url, stream=True, timeout=10) as answer:
        lines = answer.iter_lines()
        assert next(lines) == b"line 99"
        running.loop.call_soon_threadsafe(running.backend.grown.set)
        assert next(lines) == b"and one more"
        assert next(lines, None) is None


@pytest.mark.parametrize("place", ["pods/p:8080", "pods/p", "services/s:80", "services/s:http", "services/http:s:http"])
def test_proxy(place: str, running: Running, session: requests.Session) -> None:
    url = f"{running.server.url}/api/v1/namespaces/default/{place}/proxy/orders/7?q=a&q=b"
    answer = session.post(url, data=b"payload")
    assert (answer.status_code, answer.headers["x-pod"]) == (200, "one")
    assert answer.text == "POST /orders/7?q=a&q=b HTTP/1.1|payload"


def test_proxy_to_nobody(running: Running, session: requests.Session) -> None:
    answer = session.get(f"{running.server.url}/api/v1/namespaces/default/pods/p:9/proxy/")
    assert answer.status_code == 503
    assert "error trying to reach service" in answer.json()["message"]


def test_portforward_of_the_python_client(core: client.CoreV1Api) -> None:
    forward = portforward(core.connect_get_namespaced_pod_portforward, "p", "default", ports="8080")
    sock = forward.socket(8080)
    sock.settimeout(5)
    sock.sendall(b"GET /through HTTP/1.1\r\nhost: p\r\n\r\n")
    told = b""
    while b"|" not in told:
        told += sock.recv(4096)
    assert b"GET /through HTTP/1.1|" in told
    assert forward.error(8080) is None
    forward.close()


def test_portforward_to_a_closed_port_says_so(core: client.CoreV1Api) -> None:
    forward = portforward(core.connect_get_namespaced_pod_portforward, "p", "default", ports="9")
    sock = forward.socket(9)
    sock.settimeout(5)
    assert sock.recv(10) == b""
    assert "nothing listens on 9" in forward.error(9)
    forward.close()


def test_portforward_to_a_missing_pod_is_refused(core: client.CoreV1Api) -> None:
    with pytest.raises(ApiException, match="404"):
        portforward(core.connect_get_namespaced_pod_portforward, "nope", "default", ports="8080")


@pytest.fixture
def kubectl_forward(running: Running) -> Iterator[Forward]:
    """Has the real kubectl forward a port of its choice to a port of the pod."""
    program = shutil.which("kubectl")
    if not program:
        pytest.skip("kubectl is not on the PATH")
    started: list[subprocess.Popen[str]] = []

    def forward(port: int) -> tuple[subprocess.Popen[str], int]:
        command = [program, "--kubeconfig", str(running.state / "kubeconfig"), "port-forward", "p", f":{port}"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        line = process.stdout.readline() if process.stdout else ""
        assert line.startswith("Forwarding from 127.0.0.1:"), process.communicate(timeout=10)
        return process, int(line.split(":")[1].split(" ")[0])

    yield forward
    for process in started:
        process.kill()
        process.communicate(timeout=10)


def test_kubectl_port_forward(kubectl_forward: Forward) -> None:
    """Connections side by side, and bytes that take many frames."""
    _, port = kubectl_forward(8080)
    body = bytes(range(256)) * 4096
    head = b"POST /%d HTTP/1.1\r\nhost: p\r\ncontent-length: %d\r\n\r\n"
    sockets = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(5)]
    for number, sock in enumerate(sockets):
        sock.sendall(head % (number, len(body)) + body)
    for number, sock in enumerate(sockets):
        told = b""
        while not told.endswith(body):
            more = sock.recv(1 << 20)
            assert more, "the connection ended before the answer did"
            told += more
        assert b"POST /%d HTTP/1.1|" % number in told
        sock.close()


def test_kubectl_port_forward_ends_with_either_side(kubectl_forward: Forward) -> None:
    _, port = kubectl_forward(8080)
    stuck = socket.create_connection(("127.0.0.1", port), timeout=10)
    for _ in range(3):  # one side says nothing, and the others are served
        with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
            sock.sendall(b"GET /after HTTP/1.1\r\nhost: p\r\n\r\n")
            sock.shutdown(socket.SHUT_WR)
            told = b""
            while more := sock.recv(4096):
                told += more
        assert told.endswith(b"GET /after HTTP/1.1|"), "an answer comes after the last word, and then the end"
    stuck.close()


def test_kubectl_port_forward_to_a_closed_port_says_so(kubectl_forward: Forward) -> None:
    process, port = kubectl_forward(9)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        assert sock.recv(10) == b""
    _, err = process.communicate(timeout=10)
    assert "nothing listens on 9" in err


def test_kubectl_logs(running: Running) -> None:
    program = shutil.which("kubectl")
    if not program:
        pytest.skip("kubectl is not on the PATH")
    command = [program, "--kubeconfig", str(running.state / "kubeconfig"), "logs"]
    for arguments in (["p"], ["-l", "app=p", "--tail=-1"], ["svc/s"]):
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=20, check=False)
        assert done.stdout.splitlines()[-1:] == ["line 99"], done.stderr
