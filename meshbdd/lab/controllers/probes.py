"""Probes of a container, asked at the pod-private address: no policy of the sidecar may touch the kubelet's questions.

Periods, thresholds and defaults are Kubernetes'; only before the first success is a probe asked more often than its
period, because a process starts in milliseconds where an image takes seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

from meshbdd.lab.controllers.commands import Command

EAGER_SECONDS = 0.02
"""Pause between two looks before the first success."""


def port_number(port: Any, container: Mapping[str, Any]) -> int:
    """A probe's port: a number, or the name of one of the container's ports."""
    if isinstance(port, int) or str(port).isdigit():
        return int(port)
    for declared in container.get("ports") or []:
        if declared.get("name") == port:
            return int(declared["containerPort"])
    return 0


async def _http(address: str, port: int, check: Mapping[str, Any]) -> str | None:
    reader, writer = await asyncio.open_connection(address, port)
    try:
        headers = "".join(f"{h['name']}: {h['value']}\r\n" for h in check.get("httpHeaders") or [])
        host = check.get("host") or address
        path = check.get("path") or "/"
        writer.write(
            f"GET {path} HTTP/1.1\r\nhost: {host}:{port}\r\nuser-agent: kube-probe/1.32\r\n{headers}"
            "connection: close\r\n\r\n".encode()
        )
        line = await reader.readline()
        status = int(line.split()[1])
    except (IndexError, ValueError):
        return f"HTTP probe failed: no HTTP answer at {address}:{port}"
    finally:
        writer.close()
    return None if 200 <= status < 400 else f"HTTP probe failed with statuscode: {status}"


async def _exec(check: Mapping[str, Any], command: Command) -> str | None:
    process = await asyncio.create_subprocess_exec(
        *check["command"],
        env=dict(command.environment),
        cwd=command.cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await process.communicate()
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        raise
    return None if process.returncode == 0 else output.decode(errors="replace").strip()[:1024] or "exit code not 0"


async def ask(
    probe: Mapping[str, Any], container: Mapping[str, Any], address: str, command: Command | None
) -> str | None:
    """Ask once.

    Args:
        probe: The probe.
        container: Its container.
        address: Where the application listens.
        command: What runs in the container.

    Returns:
        ``None`` for success, else what was seen.
    """
    limit = float(probe.get("timeoutSeconds") or 1)
    try:
        async with asyncio.timeout(limit):
            if "httpGet" in probe:
                check = probe["httpGet"]
                return await _http(check.get("host") or address, port_number(check.get("port"), container), check)
            if "tcpSocket" in probe:
                _, writer = await asyncio.open_connection(address, port_number(probe["tcpSocket"]["port"], container))
                writer.close()
                return None
            if "exec" in probe and command is not None:
                return await _exec(probe["exec"], command)
    except TimeoutError:
        return f"no answer within {limit:g} s"
    except OSError as error:
        return str(error.strerror or error)
    return "the lab knows probes of the kinds httpGet, tcpSocket and exec"


def own_probe(container: Mapping[str, Any]) -> dict[str, Any] | None:
    """The readiness that the lab asks of a container that names none: its first port is open at ``$HOST:$PORT``."""
    ports = container.get("ports") or []
    return {"tcpSocket": {"port": ports[0]["containerPort"]}, "periodSeconds": 1} if ports else None
