"""A port that a Service adds to pods, or takes from them, is no business of those who connect to another."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.tools import LabUnderTest, until

ROUNDS, CALLERS, NEW_PORT = 20, 8, 9321
MORE = f"""
apiVersion: v1
kind: Service
metadata: {{name: more}}
spec: {{selector: {{app: payment-service}}, ports: [{{name: http, port: {NEW_PORT}}}]}}
"""


def _listens(address: str, port: int) -> bool:
    with socket.socket() as opened:
        return opened.connect_ex((address, port)) == 0


def _answer(address: str, port: int) -> str:
    """What a new connection is answered: the status line, or what went wrong."""
    try:
        with socket.create_connection((address, port), timeout=10) as opened:
            opened.sendall(b"GET /healthz HTTP/1.1\r\nhost: payment-service\r\nconnection: close\r\n\r\n")
            return opened.makefile("rb").readline().decode().strip() or "closed without an answer"
    except OSError as error:
        return str(error)


@pytest.mark.usefixtures("_own_state")
@pytest.mark.parametrize("mesh", ["istio", "linkerd"])
def test_connections_to_a_port_are_taken_while_another_comes_and_goes(mesh: str) -> None:
    lab = LabUnderTest.up(f"ports-{mesh}", mesh=mesh)
    try:
        address = lab.pod("payment-service")["status"]["podIP"]
        [place] = lab.cluster.list("EndpointSlice", "shop", labels="kubernetes.io/service-name=payment-service")
        port = place["ports"][0]["port"]
        over = threading.Event()

        def call() -> dict[str, int]:
            seen: dict[str, int] = {}
            while not over.is_set():
                answer = _answer(address, port)
                seen[answer] = seen.get(answer, 0) + 1
            return seen

        with ThreadPoolExecutor(CALLERS) as pool:
            calls = [pool.submit(call) for _ in range(CALLERS)]
            try:
                for _ in range(ROUNDS):
                    lab.apply(MORE)
                    until(f"port {NEW_PORT} being there", lambda: _listens(address, NEW_PORT))
                    lab.cluster.delete(lab.applied.pop())
                    until(f"port {NEW_PORT} being gone", lambda: not _listens(address, NEW_PORT), seconds=20)
            finally:
                over.set()
        assert {answer for made in calls for answer in made.result()} == {"HTTP/1.1 200 OK"}
    finally:
        lab.down()
