"""A bare API server as a real process, its clients, and kubectl."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from kubernetes import client, config

DATA = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Server:
    url: str
    state: Path

    @property
    def kubeconfig(self) -> Path:
        return self.state / "kubeconfig"

    @property
    def token(self) -> str:
        return (self.state / "token").read_text()

    @property
    def viewer(self) -> str:
        return (self.state / "viewer-token").read_text()

    def session(self) -> requests.Session:
        session = requests.Session()
        session.trust_env = False
        session.verify = str(self.state / "apiserver.crt")
        session.headers["Authorization"] = f"Bearer {self.token}"
        return session

    def client(self) -> client.ApiClient:
        return config.new_client_from_config(str(self.kubeconfig))


def _serve(state: Path) -> Iterator[Server]:
    command = [
        sys.executable,
        "-m",
        "meshbdd.lab.api",
        "--state",
        str(state),
        "--crd",
        str(DATA / "crds.yaml"),
        "--no-mesh",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        told = process.stdout.readline()
        assert told.startswith("serving https://"), told
        yield Server(told.split()[1].rstrip(","), state)
    finally:
        process.terminate()
        assert process.wait(10) == 0


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from _serve(tmp_path_factory.mktemp("api"))


@pytest.fixture
def fresh_server(tmp_path: Path) -> Iterator[Server]:
    yield from _serve(tmp_path / "api")


@pytest.fixture(scope="session")
def kubectl(server: Server) -> Callable[..., subprocess.CompletedProcess[str]]:
    program = shutil.which("kubectl")
    if not program:
        pytest.skip("kubectl is not on the PATH")
    environment = {**os.environ, "KUBECONFIG": str(server.kubeconfig), "HOME": str(server.state)}

    def run(*arguments: str, stdin: str | None = None, ok: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [program, *arguments], input=stdin, capture_output=True, text=True, timeout=30, env=environment, check=False
        )
        assert (done.returncode == 0) is ok, f"kubectl {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done

    return run
