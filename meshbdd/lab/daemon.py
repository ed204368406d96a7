"""The lab's process: API, controllers and data plane in one event loop.

It is started by ``lifecycle.up`` as ``python -m meshbdd.lab.daemon OPTIONS.json`` and reports by JSON lines on its
standard output: ``{"ready": …}`` or ``{"error": …}``. SIGTERM takes it down in order; should it die without a word, the
reaper ends its children.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import secrets
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from meshbdd.errors import BadInput, EnvironmentBroken, MeshbddError
from meshbdd.lab.addresses import API_PORT, Subnet, claim_subnet
from meshbdd.lab.api.core import Api
from meshbdd.lab.api.errors import ApiError
from meshbdd.lab.api.server import ApiServer
from meshbdd.lab.backend import LabPods
from meshbdd.lab.certificates import CertificateAuthority
from meshbdd.lab.controllers.admission import LabAdmission
from meshbdd.lab.controllers.endpoints import Endpoints
from meshbdd.lab.controllers.istio import ISTIO
from meshbdd.lab.controllers.kubelet import Kubelet
from meshbdd.lab.controllers.mesh import ControlPlane
from meshbdd.lab.controllers.mesh_kind import MeshKind
from meshbdd.lab.controllers.metrics import MetricsPage
from meshbdd.lab.controllers.pod import Node
from meshbdd.lab.controllers.resolving import resolver
from meshbdd.lab.controllers.workloads import Workloads
from meshbdd.lab.linkerd.kind import LINKERD
from meshbdd.lab.processes import ProcessTable
from meshbdd.lab.prometheus import Prometheus, find_prometheus
from meshbdd.lab.reaper import start_time
from meshbdd.lab.sidecar.binary import find_envoy
from meshbdd.lab.state import LabInfo
from meshbdd.lab.xds.server import AdsServer

_log = logging.getLogger("meshbdd.lab")


class Lab:
    """One lab, from its socket to its last pod.

    Args:
        name: Its name.
        folder: Its state folder, empty.
        sockets: Folder that it makes for its Unix sockets.
        images: Image → command.
        cwd: Working directory of the pods' commands.
        mesh: Which mesh it plays.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        sockets: Path,
        images: Mapping[str, tuple[str, ...]],
        cwd: Path,
        mesh: MeshKind,
    ) -> None:
        self.name = name
        self.mesh = mesh
        self.folder = folder
        self._images = images
        self._cwd = cwd
        self._sockets = sockets
        sockets.mkdir(mode=0o700)
        self._token = secrets.token_urlsafe(32)
        self.processes = ProcessTable()
        self._pages: dict[str, MetricsPage] = {}
        self.prometheus: Prometheus | None = None

    async def start(self, subnet: Subnet) -> LabInfo:
        """Bring the lab up, without any pods yet."""
        authority = CertificateAuthority(f"meshbdd lab {self.name}")
        admission = LabAdmission(self._namespace, self.mesh)
        self.api = Api(admission=admission, mutation=admission.mutate, cluster_ip=lambda _service: subnet.service())
        self.api.subscribe(lambda event: _release(subnet, event), ["services"])
        for folder in ("pods", "data", "pki"):
            (self.folder / folder).mkdir(mode=0o700)
        node = Node(
            mesh=self.mesh,
            processes=self.processes,
            envoy=find_envoy(),
            ads_socket=self._sockets / "ads",
            folder=self.folder / "pods",
            data=self.folder / "data",
            cwd=self._cwd,
            images=self._images,
            lookup=self._lookup,
            resolve=lambda namespace: resolver(self.api, namespace),
        )
        self.kubelet = Kubelet(self.api, node, subnet)
        Workloads(self.api)
        Endpoints(self.api)
        self.ads = AdsServer(self._rejected)
        self.control = ControlPlane(self.api, self.kubelet, self.ads, authority, self.mesh, self._pushed)
        self._first_objects(authority)
        await self.ads.start(self._sockets / "ads")
        self.server = await self._serve_api(subnet, authority)
        started = start_time(os.getpid()) or ""
        binary = find_prometheus()
        if binary is not None:
            self.prometheus = Prometheus(
                binary, subnet.own, self.folder / "prometheus", self.processes, self.mesh.scrape_job
            )
        address = self.prometheus.url if self.prometheus else None
        info = LabInfo(
            self.name, os.getpid(), started, f"https://{subnet.own}:{API_PORT}", self.folder, address, self.mesh.name
        )
        info.save()
        return info

    def _first_objects(self, authority: CertificateAuthority) -> None:
        self.api.create("namespaces", {"metadata": {"name": self.mesh.system_namespace}})
        for resource, body, namespace in self.mesh.first_objects(authority):
            self.api.create(resource, body, namespace)
        for definition in self.mesh.definitions():
            self.api.create("customresourcedefinitions.apiextensions.k8s.io", definition)

    async def _serve_api(self, subnet: Subnet, authority: CertificateAuthority) -> ApiServer:
        certificate = authority.server(subnet.own)
        pki = self.folder / "pki"
        for name, content in (
            ("server.crt", certificate.chain),
            ("server.key", certificate.key),
            ("ca.crt", authority.root),
        ):
            (pki / name).touch(mode=0o600)
            (pki / name).write_bytes(content)
        server = ApiServer(
            self.api, subnet.own, API_PORT, pki / "server.crt", pki / "server.key", self._token, LabPods(self.kubelet)
        )
        await server.start()
        self._write_kubeconfig(server.url, pki / "ca.crt")
        return server

    def _write_kubeconfig(self, url: str, authority: Path) -> None:
        context = f"meshbdd-{self.name}"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": context,
            "clusters": [{"name": context, "cluster": {"server": url, "certificate-authority": str(authority)}}],
            "users": [{"name": context, "user": {"token": self._token}}],
            "contexts": [{"name": context, "context": {"cluster": context, "user": context, "namespace": "shop"}}],
        }
        file = self.folder / "kubeconfig"
        file.touch(mode=0o600)
        file.write_text(yaml.safe_dump(config, sort_keys=False))

    def _namespace(self, name: str) -> dict[str, Any] | None:
        return self._lookup("namespaces", "", name)

    def _lookup(self, resource: str, namespace: str, name: str) -> dict[str, Any] | None:
        return self.api.find(resource, name, namespace or None)

    def _rejected(self, node: str, type_url: str, sentence: str) -> None:
        self.control.refused(node, type_url, sentence)

    def _pushed(self) -> None:
        """Keep the metrics pages and Prometheus' targets in step with the meshed pods."""
        pods = {uid: runtime for uid, runtime in self.kubelet.pods.items() if runtime.meshed}
        gone = set(self._pages) - set(pods)
        for uid in gone:
            self._pages.pop(uid).stop()
        changed = bool(gone)
        for uid, runtime in pods.items():
            if uid not in self._pages:
                self._pages[uid] = MetricsPage(runtime.identity, self.mesh)
                asyncio.ensure_future(self._pages[uid].start())  # noqa: RUF006 - the page owns its server
                changed = True
            self._pages[uid].compiled = self.control.compiled(uid)
        if self.prometheus is not None and changed:
            self.prometheus.set_targets(
                [
                    (f"{runtime.ip}:{self.mesh.metrics_port}", runtime.scrape_labels)
                    for runtime in pods.values()
                    if runtime.scraped
                ]
            )

    def apply(self, manifests: list[dict[str, Any]]) -> None:
        """Create the objects that the lab begins with."""
        for body in manifests:
            told = self.api.registry.of_kind(body["apiVersion"], body["kind"])
            if told is None:
                raise BadInput(
                    "MB0722",
                    f"The lab has no resource {body['apiVersion']} {body['kind']}.",
                    help="see `kubectl api-resources`",
                )
            self.api.create(told.key, body, body["metadata"].get("namespace"))

    def not_ready(self) -> list[str]:
        """A sentence for each pod that is not ready."""
        waiting = []
        for runtime in self.kubelet.pods.values():
            if not all(container.ready for container in runtime.everyone):
                key = f"{runtime.identity.pod}.{runtime.identity.namespace}"
                waiting.append(f"{key}: {runtime.trouble or 'starting'}")
        return waiting

    async def stop(self) -> None:
        """Take everything down; no process, file or port stays."""
        for page in self._pages.values():
            page.stop()
        await self.kubelet.stop()
        await self.processes.stop()
        await self.ads.stop()
        await self.server.stop()
        for path in self._sockets.iterdir():
            path.unlink(missing_ok=True)
        self._sockets.rmdir()


def _release(subnet: Subnet, event: Any) -> None:
    if event.type == "DELETED":
        subnet.release_service(event.object["spec"].get("clusterIP", ""))


def _report(**line: Any) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


async def _wait_ready(lab: Lab, expected: int, limit: float) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + limit
    while len(lab.kubelet.pods) < expected or (waiting := lab.not_ready()) or not lab.control.idle or lab.ads.pending():
        if loop.time() > deadline:
            seen = "; ".join(waiting) if len(lab.kubelet.pods) >= expected else "not every pod was created"
            raise EnvironmentBroken(
                "MB0713",
                f"The lab's pods were not ready within {limit:g} s: {seen.rstrip('.')}.",
                help="mend what it names, and bring the lab up again",
            )
        await asyncio.sleep(0.005)


async def _main(options: Mapping[str, Any]) -> int:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    folder = Path(options["folder"])
    subnet, claim = claim_subnet()
    images = {image: tuple(argv) for image, argv in options["images"].items()}
    mesh = {kind.name: kind for kind in (ISTIO, LINKERD)}[options["mesh"]]
    lab = Lab(options["name"], folder, Path(options["sockets"]), images, Path(options["cwd"]), mesh)
    try:
        info = await lab.start(subnet)
        lab.apply(options["objects"])
        prometheus = asyncio.ensure_future(lab.prometheus.start()) if lab.prometheus else None
        ready = asyncio.ensure_future(_wait_ready(lab, options["pods"], options["timeout"]))
        stop = asyncio.ensure_future(stopping.wait())
        await asyncio.wait([ready, stop], return_when=asyncio.FIRST_COMPLETED)
        if ready.done():
            ready.result()
            if prometheus is not None:
                await prometheus
            _leave_out_of_collections()
            _report(ready=info.url)
        await stopping.wait()
    finally:
        with contextlib.suppress(AttributeError):
            await lab.stop()
        claim.close()
    return 0


def _leave_out_of_collections() -> None:
    """What is there by now stays as long as the lab: a full collection that walks it all delays a push by 0.1 s."""
    gc.freeze()


def main() -> None:
    """Run a lab until SIGTERM."""
    _leave_out_of_collections()
    options = json.loads(Path(sys.argv[1]).read_text())
    log = Path(options["folder"]) / "lab.log"
    logging.basicConfig(filename=log, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        code = asyncio.run(_main(options))
    except MeshbddError as error:
        _report(error={"code": error.code, "sentence": error.sentence, "help": error.help})
        code = error.exit_code
    except ApiError as error:
        sentence = f"The lab's API refused an object: {str(error).rstrip('.')}."
        _report(
            error={"code": "MB0714", "sentence": sentence, "help": "correct the object, and bring the lab up again"}
        )
        code = 2
    sys.exit(code)


if __name__ == "__main__":
    main()
