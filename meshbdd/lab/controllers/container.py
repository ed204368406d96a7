"""One container as a process: started, probed, restarted, and told of in Kubernetes' words."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from meshbdd.lab.controllers.commands import CannotRun, Command
from meshbdd.lab.controllers.probes import EAGER_SECONDS, ask, own_probe
from meshbdd.lab.processes import Child, ProcessTable
from meshbdd.lab.sockets import listening_addresses

FIRST_BACKOFF, LONGEST_BACKOFF = 1.0, 60.0
"""Seconds before a restart; Kubernetes begins at 10 s, but a process costs less to try again than an image."""

_LOOK_AT_SOCKETS_AFTER = 1.0


def timestamp() -> str:
    """Now, as Kubernetes writes it."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Container:
    """The life of one container of a pod.

    Args:
        spec: The container of the pod's spec.
        home: Address at which its application listens.
        log_folder: Where its output goes, one file for each start.
        command: Makes the command anew for each start; may raise ``CannotRun``.
        table: Starts the process.
        changed: Called whenever the status is another one.
        ready_probe: A probe in place of the container's own; asked at the address it names.
    """

    def __init__(
        self,
        spec: Mapping[str, Any],
        home: str,
        log_folder: Path,
        command: Callable[[], Command],
        table: ProcessTable,
        changed: Callable[[], None],
        *,
        ready_probe: Mapping[str, Any] | None = None,
        private_ports: bool = True,
    ) -> None:
        self.spec = spec
        self.name: str = spec["name"]
        self._home = home
        self._log_folder = log_folder
        self._make_command = command
        self._table = table
        self._changed = changed
        self._ready_probe = ready_probe or spec.get("readinessProbe") or (own_probe(spec) if private_ports else None)
        self._private_ports = private_ports
        self._command: Command | None = None
        self._child: Child | None = None
        self._stopping = False
        self.restarts = 0
        self.ready = False
        self.trouble: str | None = None
        self.state: dict[str, Any] = {"waiting": {"reason": "ContainerCreating"}}
        self.last_state: dict[str, Any] = {}

    def log_file(self, *, previous: bool = False) -> Path | None:
        """The output of the current start, or of the one before."""
        number = self.restarts - (1 if previous else 0)
        return self._log_folder / f"{number}.log" if number >= 0 else None

    def status(self) -> dict[str, Any]:
        """A Kubernetes ContainerStatus."""
        status = {
            "name": self.name,
            "image": self.spec.get("image", ""),
            "imageID": "",
            "ready": self.ready,
            "started": "running" in self.state,
            "restartCount": self.restarts,
            "state": self.state,
            "lastState": self.last_state,
        }
        if self._child is not None and "running" in self.state:
            status["containerID"] = f"process://{self._child.pid}"
        return status

    def _set(
        self, *, state: dict[str, Any] | None = None, ready: bool | None = None, trouble: str | None = None
    ) -> None:
        before = (self.state, self.ready, self.trouble)
        self.state = state or self.state
        self.ready = self.ready if ready is None else ready
        self.trouble = trouble
        if before != (self.state, self.ready, self.trouble):
            self._changed()

    async def run_once(self) -> int:
        """Start the process and wait for its end.

        Returns:
            Its exit code.

        Raises:
            CannotRun: it cannot be started at all.
        """
        self._log_folder.mkdir(parents=True, exist_ok=True)
        command = self._command = self._make_command()
        log = self.log_file()
        assert log is not None  # noqa: S101 - a current log always has a number
        with log.open("ab") as output:
            try:
                child = self._table.start(command.argv, environment=command.environment, cwd=command.cwd, output=output)
            except OSError as error:
                raise CannotRun("CreateContainerError", f"{command.argv[0]}: {error.strerror}") from None
        self._child = child
        started = timestamp()
        self._set(state={"running": {"startedAt": started}})
        watches = [asyncio.ensure_future(task) for task in self._watches(child)]
        try:
            await child.ended.wait()
        finally:
            for watch in watches:
                watch.cancel()
            await asyncio.gather(*watches, return_exceptions=True)
        code = child.exit_code
        end = {"exitCode": code, "reason": "Completed" if code == 0 else "Error"}
        self._set(state={"terminated": {**end, "startedAt": started, "finishedAt": timestamp()}}, ready=False)
        return code

    async def run(self, restart_policy: str) -> None:
        """Keep the container as its pod's restart policy wants it, until cancelled or ended for good."""
        backoff = FIRST_BACKOFF
        while not self._stopping:
            began = asyncio.get_running_loop().time()
            try:
                code = await self.run_once()
            except CannotRun as error:
                waiting = {"reason": error.reason, "message": str(error)}
                self._set(state={"waiting": waiting}, ready=False, trouble=str(error))
                await asyncio.sleep(min(backoff, 5.0))  # its ConfigMap, or its command, may appear
                backoff *= 2
                continue
            if self._stopping or restart_policy == "Never" or (restart_policy == "OnFailure" and code == 0):
                return
            if asyncio.get_running_loop().time() - began > 10 * backoff:
                backoff = FIRST_BACKOFF
            self.last_state = self.state
            message = f"back-off {backoff:g}s restarting failed container={self.name}: {self._last_words(code)}"
            self._set(state={"waiting": {"reason": "CrashLoopBackOff", "message": message}}, trouble=message)
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, LONGEST_BACKOFF)
            self.restarts += 1

    def _last_words(self, code: int) -> str:
        log = self.log_file()
        lines: list[str] = []
        if log is not None:
            with contextlib.suppress(OSError):
                lines = log.read_bytes()[-4096:].decode(errors="replace").strip().splitlines()
        told = f"it ended with exit code {code}" + (
            f", last line: {lines[-1][:300]}" if lines else " and printed nothing"
        )
        ports = self.spec.get("ports") or []
        if ports and any("in use" in line for line in lines[-3:]):
            # Every pod of the lab has the same port at an address of its own, so 0.0.0.0 is never free.
            place = f"{self._home}:{ports[0]['containerPort']}"
            told += f"; it has to listen at $HOST:$PORT ({place}), not at 0.0.0.0"
        return told

    def _watches(self, child: Child) -> list[Awaitable[None]]:
        tasks: list[Awaitable[None]] = [self._watch_ready(child)]
        if self.spec.get("livenessProbe"):
            tasks.append(self._watch_alive(child, self.spec["livenessProbe"]))
        return tasks

    async def _ask(self, probe: Mapping[str, Any]) -> str | None:
        return await ask(probe, self.spec, self._home, self._command)

    async def _watch_ready(self, child: Child) -> None:
        startup = self.spec.get("startupProbe")
        if startup:
            await self._first_success(startup, child)
        probe = self._ready_probe
        if probe is None:
            self._set(ready=True)
            return
        await asyncio.sleep(float(probe.get("initialDelaySeconds") or 0))
        await self._first_success(probe, child)
        self._set(ready=True)
        failures = 0
        while True:
            await asyncio.sleep(float(probe.get("periodSeconds") or 10))
            seen = await self._ask(probe)
            failures = 0 if seen is None else failures + 1
            if seen is None:
                self._set(ready=True)
            elif failures >= int(probe.get("failureThreshold") or 3):
                self._set(ready=False, trouble=f"readiness probe failed: {seen}")

    async def _first_success(self, probe: Mapping[str, Any], child: Child) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            seen = await self._ask(probe)
            late = loop.time() - began > _LOOK_AT_SOCKETS_AFTER
            if seen is None or late:
                # Before it answers, an older look at the sockets will do; the one that lets it pass is a fresh one.
                wrong = self._listens_elsewhere(child, max_age=0.0 if seen is None else 0.5)
                if seen is None and wrong is None:
                    return
                self._set(trouble=wrong or f"not ready yet: {seen}")
            await asyncio.sleep(EAGER_SECONDS * (10 if late else 1))

    def _listens_elsewhere(self, child: Child, *, max_age: float) -> str | None:
        """The sentence for a container that opened its port where the sidecar's own address is."""
        if not self._private_ports:
            return None
        home = self._home
        declared = {int(port["containerPort"]) for port in self.spec.get("ports") or []}
        places = listening_addresses(child.pid, max_age=max_age)
        wrong = sorted(
            (a, p) for a, p in places if a != home and (p in declared or not declared & {q for _, q in places})
        )
        if not wrong or not declared:
            return None
        address, port = wrong[0]
        return (
            f"{self.name} listens at {address}:{port}, but in the lab it belongs at $HOST:$PORT "
            f"({home}:{min(declared)}); tell it so, for example by args: [--host, $(HOST), --port, $(PORT)]"
        )

    async def _watch_alive(self, child: Child, probe: Mapping[str, Any]) -> None:
        await asyncio.sleep(float(probe.get("initialDelaySeconds") or 0))
        failures = 0
        while True:
            await asyncio.sleep(float(probe.get("periodSeconds") or 10))
            failures = 0 if await self._ask(probe) is None else failures + 1
            if failures >= int(probe.get("failureThreshold") or 3):
                await child.stop(5.0)
                return

    async def stop(self, grace: float) -> None:
        """End the container for good; its process group is gone when this returns."""
        self._stopping = True
        if self._child is not None:
            await self._child.stop(grace)
