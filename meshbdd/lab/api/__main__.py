"""``python -m meshbdd.lab.api``: a bare API server as a process of its own, without pods."""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import signal
import sys
from pathlib import Path

import yaml

from meshbdd.lab.admission import admission_hook
from meshbdd.lab.admission import crds as mesh_crds
from meshbdd.lab.api import crds
from meshbdd.lab.api.core import Api
from meshbdd.lab.api.credentials import kubeconfig, self_signed
from meshbdd.lab.api.server import ApiServer


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m meshbdd.lab.api", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    parser.add_argument("--state", type=Path, required=True, help="folder for certificate, token and kubeconfig")
    parser.add_argument("--namespace", default="default", help="namespace of the kubeconfig's context; made if missing")
    parser.add_argument("--crd", type=Path, action="append", default=[], help="YAML file of CRDs to serve")
    parser.add_argument("--no-mesh", action="store_true", help="leave out the mesh's own CRDs and validation")
    return parser.parse_args()


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


async def _run(arguments: argparse.Namespace) -> None:
    state: Path = arguments.state
    cert, key = self_signed(state, arguments.host)
    token, viewer = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
    api = Api() if arguments.no_mesh else Api(admission=admission_hook)
    for definition in () if arguments.no_mesh else mesh_crds():
        api.create(crds.KEY, definition)
    for path in arguments.crd:
        for document in yaml.safe_load_all(path.read_text()):
            if document:
                api.create(crds.KEY, document)
    if not api.find("namespaces", arguments.namespace):
        api.create("namespaces", {"metadata": {"name": arguments.namespace}})
    server = ApiServer(api, arguments.host, arguments.port, cert, key, token, viewer_token=viewer)
    await server.start()
    _write_private(state / "token", token)
    _write_private(state / "viewer-token", viewer)
    _write_private(state / "kubeconfig", kubeconfig("lab", server.url, cert, token, arguments.namespace))
    print(f"serving {server.url}, kubeconfig {state / 'kubeconfig'}", flush=True)  # noqa: T201 - what a caller waits for
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
    await server.stop()


def main() -> int:
    """Serve until SIGINT or SIGTERM."""
    arguments = _arguments()
    try:
        arguments.state.mkdir(parents=True, exist_ok=True)
        asyncio.run(_run(arguments))
    except OSError as error:
        print(f"the API server cannot start: {error}", file=sys.stderr)  # noqa: T201
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main())
