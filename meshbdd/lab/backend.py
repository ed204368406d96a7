"""What the API needs of running pods: their logs, and connections to their ports."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from pathlib import Path

from meshbdd.lab.addresses import ENVOY_METRICS_PORT, HEALTH_PORT, METRICS_PORT
from meshbdd.lab.api.backend import LogOptions
from meshbdd.lab.api.errors import bad_request, not_found
from meshbdd.lab.controllers.kubelet import Kubelet
from meshbdd.lab.linkerd.ports import ADMIN_PORT

_FOLLOW_SECONDS = 0.02
_AT_POD_ADDRESS = {METRICS_PORT, HEALTH_PORT, ENVOY_METRICS_PORT, ADMIN_PORT}


class LabPods:
    """Logs and ports of the lab's pods."""

    def __init__(self, kubelet: Kubelet) -> None:
        self._kubelet = kubelet

    async def logs(self, namespace: str, pod: str, container: str, options: LogOptions) -> AsyncIterator[bytes]:
        """The output of a container, in pieces.

        Raises:
            ApiError: no such container, or it never started.
        """
        runtime = self._kubelet.find(namespace, pod)
        if runtime is None:
            raise not_found("pods", "", pod)
        found = runtime.find(container or None)
        if found is None:
            raise bad_request(f"container {container} is not valid for pod {pod}")
        file = found.log_file(previous=options.previous)
        if file is None or not file.exists():
            what = "previous terminated container" if options.previous else "container"
            raise bad_request(f'{what} "{found.name}" in pod "{pod}" not found')
        if options.since_seconds is not None:
            # A process writes no times of its own; the lab does not make any up.
            age = dt.datetime.now(dt.UTC).timestamp() - file.stat().st_mtime
            if age > options.since_seconds:
                return
        position = _tail_position(file, options.tail_lines)
        while True:
            with file.open("rb") as stream:
                stream.seek(position)
                while data := stream.read(65536):
                    position += len(data)
                    yield data
            if not options.follow or "running" not in found.state:
                return
            await asyncio.sleep(_FOLLOW_SECONDS)

    async def connect(self, namespace: str, pod: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to a port inside a pod, as a port-forward opens it: past the sidecar's inbound side.

        Raises:
            ApiError: no such pod.
            OSError: nothing listens there.
        """
        runtime = self._kubelet.find(namespace, pod)
        if runtime is None:
            raise not_found("pods", "", pod)
        address = runtime.ip if port in _AT_POD_ADDRESS else runtime.home
        return await asyncio.open_connection(address, port)


def _tail_position(file: Path, lines: int | None) -> int:
    if lines is None:
        return 0
    size = file.stat().st_size
    if lines == 0:
        return size
    with file.open("rb") as stream:
        position, found = size, 0
        while position > 0:
            step = min(65536, position)
            stream.seek(position - step)
            block = stream.read(step)
            end = len(block) - (1 if position == size and block.endswith(b"\n") else 0)
            while (cut := block.rfind(b"\n", 0, end)) >= 0:
                found += 1
                if found == lines:
                    return position - step + cut + 1
                end = cut
            position -= step
    return 0
