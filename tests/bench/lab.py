"""Worlds of many small services, and what the processes of a lab take."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ANSWERING = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = os.environ["NAME"].encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""
"""The application of each service: it answers with its name."""


def _container(name: str) -> dict[str, Any]:
    return {
        "name": "app",
        "image": "example/answering",
        "command": ["python3", "-S", "-c", ANSWERING],
        "env": [{"name": "NAME", "value": name}],
        "ports": [{"containerPort": 8080}],
    }


def services(count: int, namespace: str = "shop") -> list[dict[str, Any]]:
    """A namespace with that many meshed services, one pod each, and a VirtualService and DestinationRule each."""
    made: list[dict[str, Any]] = [
        {
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": namespace, "labels": {"istio-injection": "enabled"}},
        }
    ]  # fmt: skip
    for name in (f"service-{number}" for number in range(count)):
        meta, labels = {"name": name, "namespace": namespace}, {"app": name}
        pod = {
            "metadata": {"labels": {**labels, "version": "v1"}},
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [_container(name)]},
        }
        ports = [{"name": "http", "port": 80, "targetPort": 8080}]
        to = {"destination": {"host": name, "subset": "v1"}}
        bodies: dict[tuple[str, str], dict[str, Any]] = {
            ("v1", "Service"): {"selector": labels, "ports": ports},
            ("apps/v1", "Deployment"): {"selector": {"matchLabels": labels}, "template": pod},
            ("networking.istio.io/v1", "VirtualService"): {"hosts": [name], "http": [{"route": [to]}]},
            ("networking.istio.io/v1", "DestinationRule"): {
                "host": name, "subsets": [{"name": "v1", "labels": {"version": "v1"}}],
            },
        }  # fmt: skip
        made += [
            {"apiVersion": version, "kind": kind, "metadata": dict(meta), "spec": spec}
            for (version, kind), spec in bodies.items()
        ]
    return made


def _processes() -> Iterator[tuple[int, int]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                yield int(entry.name), int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue


def descendants(pid: int) -> list[int]:
    """A process and all below it."""
    children: dict[int, list[int]] = {}
    for child, parent in _processes():
        children.setdefault(parent, []).append(child)
    found, open_ = [], [pid]
    while open_:
        found.append(open_.pop())
        open_ += children.get(found[-1], [])
    return found


def resident_bytes(pids: list[int]) -> int:
    """Resident memory in sum; pages that processes share count for each of them."""
    pages = 0
    for pid in pids:
        try:
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        except OSError:
            continue  # it ended meanwhile
    return pages * os.sysconf("SC_PAGE_SIZE")
