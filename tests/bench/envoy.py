"""One Envoy that answers everything itself: the quickest server there is on a lab's machine."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from meshbdd.lab.sidecar.binary import find_envoy
from tests.tools import until

_FILTERS = "type.googleapis.com/envoy.extensions.filters"


def _config(port: int) -> dict[str, object]:
    answer = {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "hello"}}}
    manager = {
        "@type": f"{_FILTERS}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        # What costs the server time and no client sees: the generators are to be compared, not how they wait for it.
        "generate_request_id": False,
        "server_header_transformation": "PASS_THROUGH",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [answer]}]},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_FILTERS}.http.router.v3.Router"},
            }
        ],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {"static_resources": {"listeners": [{"address": address, "filter_chains": [chain]}]}}


@contextlib.contextmanager
def answering_envoy(folder: Path, prefix: list[str]) -> Iterator[str]:
    """Start it, and give its URL.

    Args:
        folder: For its configuration and log.
        prefix: Command before its own, to pin it to a core.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "envoy.json").write_text(json.dumps(_config(port)))
    command = [*prefix, str(find_envoy()), "-c", str(folder / "envoy.json"), "--concurrency", "1"]
    options = ["--use-dynamic-base-id", "-l", "error"]
    with (folder / "envoy.log").open("wb") as log:
        process = subprocess.Popen([*command, *options], stdout=log, stderr=log)
    try:
        until("Envoy listening", lambda: _listens(port), 20)
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait(10)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
        return True
    return False
