"""One pod as processes on this machine: its volumes, init containers, containers, and its sidecar or plain path."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meshbdd.lab.addresses import private_side
from meshbdd.lab.controllers import commands
from meshbdd.lab.controllers.commands import CannotRun, Command
from meshbdd.lab.controllers.container import Container, timestamp
from meshbdd.lab.controllers.mesh_kind import MeshKind
from meshbdd.lab.processes import ProcessTable
from meshbdd.lab.sidecar.bootstrap import SidecarIdentity
from meshbdd.lab.sidecar.plain_path import PlainPath, Resolve

OUTBOUND_ANNOTATION = "lab.meshbdd.dev/outbound"
"""Where a client on this machine enters the pod's way out: the sidecar's outbound listener, or the plain path."""

# Quiet about one thing: Istio still sends max_grpc_timeout, which Envoy calls deprecated with every route.
_LOGGING = ("-l", "warning", "--component-log-level", "misc:error")


@dataclass(frozen=True, slots=True)
class Node:
    """What every pod of the lab needs of the machine, and of its mesh."""

    mesh: MeshKind
    processes: ProcessTable
    envoy: Path
    ads_socket: Path
    folder: Path
    data: Path
    cwd: Path
    images: Mapping[str, Sequence[str]]
    lookup: commands.Lookup
    resolve: Callable[[str], Resolve]


def identity_of(pod: Mapping[str, Any]) -> SidecarIdentity:
    """The identity of a pod's sidecar, from its metadata as Istio derives it."""
    meta = pod["metadata"]
    labels = meta.get("labels") or {}
    owner = next((ref["name"] for ref in meta.get("ownerReferences") or [] if ref.get("controller")), None)
    # A ReplicaSet's name is the Deployment's and a hash; the Deployment is the workload.
    workload = owner.rpartition("-")[0] if owner and labels.get("pod-template-hash") else owner or meta["name"]
    return SidecarIdentity(
        pod=meta["name"],
        namespace=meta["namespace"],
        ip=pod["status"]["podIP"],
        service_account=pod["spec"].get("serviceAccountName") or "default",
        workload=workload,
        app=labels.get("service.istio.io/canonical-name") or labels.get("app") or workload,
        version=labels.get("service.istio.io/canonical-revision") or labels.get("version") or "latest",
    )


class PodRuntime:
    """A running pod.

    Args:
        pod: The pod object, with ``status.podIP``.
        node: The machine.
        changed: Called whenever the pod's status is another one.

    Attributes:
        ip: The pod's address.
        home: Where its applications listen: behind the sidecar, or at the pod's address where there is none.
    """

    def __init__(self, pod: Mapping[str, Any], node: Node, changed: Callable[[], None]) -> None:
        self._pod = pod
        self._node = node
        self._changed = changed
        self.ip: str = pod["status"]["podIP"]
        self.meshed = node.mesh.is_meshed(pod)
        self.home = private_side(self.ip) if self.meshed else self.ip
        self.identity = identity_of(pod)
        meta = pod["metadata"]
        self.folder = node.folder / f"{meta['namespace']}_{meta['name']}_{meta['uid'][:8]}"
        self._volumes: dict[str, Path] = {}
        init = [self._container(spec) for spec in pod["spec"].get("initContainers") or []]
        self.containers = [self._container(spec) for spec in pod["spec"]["containers"]]
        self._sidecar = next(
            (c for c in [*init, *self.containers] if self.meshed and c.name == node.mesh.sidecar), None
        )
        self._init = [c for c in init if c is not self._sidecar]
        self._native = [c for c in init if c is self._sidecar]
        self._plain: PlainPath | None = None
        self._task: asyncio.Task[None] | None = None
        self._failure: str | None = None
        self._started = timestamp()
        self._ready_since: str | None = None

    def _container(self, spec: Mapping[str, Any]) -> Container:
        log = self.folder / "logs" / spec["name"]
        if spec["name"] == self._node.mesh.sidecar and self.meshed:
            # Asked for readiness alone: an Envoy that is not alive has ended, and is started again for that.
            asked = {name: value for name, value in spec.items() if name != "livenessProbe"}
            return Container(
                asked, self.home, log, self._sidecar_command, self._node.processes, self._changed,
                ready_probe=self._node.mesh.ready_probe(self.ip, spec), private_ports=False,
            )  # fmt: skip

        def command() -> Command:
            return commands.build(
                spec,
                self._pod,
                images=self._node.images,
                volumes=self._volumes,
                data=self._node.data,
                lookup=self._node.lookup,
                cwd=self._node.cwd,
                home=self.home,
                outbound_port=self._node.mesh.outbound_port,
            )

        return Container(spec, self.home, log, command, self._node.processes, self._changed)

    @property
    def access_log(self) -> Path:
        """Where the sidecar writes its access log: the output of its container."""
        log = self._sidecar.log_file() if self._sidecar is not None else None
        assert log is not None  # noqa: S101 - a current log always has a number
        return log

    def _sidecar_command(self) -> Command:
        file = self.folder / "envoy.json"
        file.write_text(json.dumps(self._node.mesh.bootstrap(self.identity, self._node.ads_socket)))
        argv = (
            str(self._node.envoy), "-c", str(file), "--concurrency", "1", "--disable-hot-restart",
            "--drain-strategy", "immediate", "--drain-time-s", str(self._node.mesh.drain_seconds),
            "--file-flush-interval-msec", "20", *_LOGGING,
        )  # fmt: skip
        return Command(argv, {}, self.folder)

    def start(self) -> None:
        """Begin to live."""
        self._task = asyncio.ensure_future(self._live())

    async def _live(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        policy = self._pod["spec"].get("restartPolicy", "Always")
        while True:
            try:
                self._volumes = commands.place_volumes(self._pod, self.folder, self._node.lookup)
                break
            except CannotRun as error:
                self._failure = str(error)
                self._changed()
                await asyncio.sleep(1.0)  # the ConfigMap or Secret may appear
        self._failure = None
        if not self.meshed:
            self._plain = PlainPath(self.ip, self._node.resolve(self._pod["metadata"]["namespace"]))
            await self._plain.start(private_side(self.ip), self._node.mesh.outbound_port)
        sidecar = asyncio.ensure_future(self._sidecar.run("Always")) if self._sidecar is not None else None
        try:
            for container in self._init:
                await container.run("OnFailure" if policy != "Never" else "Never")
            await asyncio.gather(*(c.run(policy) for c in self._applications))
        finally:
            if sidecar is not None:
                sidecar.cancel()
        self._changed()

    @property
    def everyone(self) -> list[Container]:
        """The containers that a ready pod has running: its own, and a native sidecar."""
        return [*self._native, *self.containers]

    @property
    def _applications(self) -> list[Container]:
        return [c for c in self.containers if c is not self._sidecar]

    @property
    def scraped(self) -> bool:
        """Whether Prometheus is to have its metrics: unless the pod's annotation says no."""
        annotations = self._pod["metadata"].get("annotations") or {}
        return str(annotations.get("prometheus.io/scrape", "true")) != "false"

    @property
    def scrape_labels(self) -> Mapping[str, str]:
        """What Prometheus says of it."""
        return self._node.mesh.scrape_labels(self._pod)

    @property
    def trouble(self) -> str | None:
        """Why the pod is not ready, in a sentence; ``None`` where nothing is wrong."""
        if self._failure:
            return self._failure
        return next((c.trouble for c in [*self._init, *self.everyone] if c.trouble and not c.ready), None)

    def find(self, container: str | None) -> Container | None:
        """A container by name; the first one where no name is given."""
        everyone = [*self.containers, *self._init, *self._native]
        return everyone[0] if container is None else next((c for c in everyone if c.name == container), None)

    def _phase(self) -> str:
        policy = self._pod["spec"].get("restartPolicy", "Always")
        ends = [c.state.get("terminated") for c in self._applications]
        if policy != "Always" and all(ends):
            failed = any(end["exitCode"] for end in ends if end)
            return "Failed" if failed else "Succeeded"
        return "Running" if any("running" in c.state or c.restarts for c in self.containers) else "Pending"

    def status(self) -> dict[str, Any]:
        """A Kubernetes PodStatus."""
        everyone_ready = bool(self.containers) and all(c.ready for c in self.everyone)
        if everyone_ready and self._ready_since is None:
            self._ready_since = timestamp()
        elif not everyone_ready:
            self._ready_since = None

        def condition(kind: str, holds: bool) -> dict[str, Any]:
            made: dict[str, Any] = {
                "type": kind,
                "status": "True" if holds else "False",
                "lastTransitionTime": (self._ready_since or self._started) if "Ready" in kind else self._started,
            }
            if not holds:
                made |= {"reason": "ContainersNotReady", "message": self.trouble or "containers are starting"}
            return made

        begun = all("terminated" in c.state for c in self._init)
        status: dict[str, Any] = {
            "phase": self._phase(),
            "podIP": self.ip,
            "podIPs": [{"ip": self.ip}],
            "hostIP": "127.0.0.1",
            "hostIPs": [{"ip": "127.0.0.1"}],
            "startTime": self._started,
            "qosClass": "BestEffort",
            "conditions": [
                condition("PodScheduled", True),
                condition("Initialized", begun),
                condition("ContainersReady", everyone_ready),
                condition("Ready", everyone_ready),
            ],
            "containerStatuses": [c.status() for c in self.containers],
        }
        if self._init or self._native:
            status["initContainerStatuses"] = [c.status() for c in [*self._init, *self._native]]
        return status

    async def stop(self, grace: float) -> None:
        """End the pod: applications first, the sidecar last, and nothing of it stays."""
        await asyncio.gather(*(c.stop(grace) for c in [*self._init, *self._applications]))
        await asyncio.gather(*(c.stop(0) for c in self.everyone))
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._plain is not None:
            await self._plain.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
