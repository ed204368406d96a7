"""The mesh's control plane: what the API holds becomes, for each sidecar, the configuration it is sent."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meshbdd.lab.api.core import Api
from meshbdd.lab.api.store import Event
from meshbdd.lab.certificates import Certificate, CertificateAuthority
from meshbdd.lab.compile import Compiled
from meshbdd.lab.controllers.kubelet import Kubelet
from meshbdd.lab.controllers.mesh_kind import Compile, MeshKind
from meshbdd.lab.controllers.pod import PodRuntime
from meshbdd.lab.controllers.quarantine import Quarantine
from meshbdd.lab.controllers.refusals import Refusals, own_conditions
from meshbdd.lab.controllers.statuses import with_times
from meshbdd.lab.sidecar.bootstrap import SidecarIdentity
from meshbdd.lab.xds.resources import SECRET, Packer, Snapshot
from meshbdd.lab.xds.server import AdsServer

_log = logging.getLogger(__name__)

_DEBOUNCE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.001, 0.5
"""Istio waits 100 ms for quiet (``PILOT_DEBOUNCE_AFTER``); here one turn of the event loop gathers a burst."""

_TURN_SECONDS = 0.005
"""How long a push works before it lets the rest of the lab have a turn."""


def matters(event: Event) -> bool:
    """Whether a change can be told to a sidecar: of a pod's status its address, and the starts of its containers.

    With each start of a sidecar its log is another one.
    """
    if event.previous is None or event.type == "DELETED" or event.resource != "pods":
        return True

    def part(pod: Mapping[str, Any]) -> Any:
        meta = {
            name: value for name, value in pod["metadata"].items() if name not in {"managedFields", "resourceVersion"}
        }
        status = pod.get("status") or {}
        containers = [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]
        starts = [(container["name"], container.get("restartCount")) for container in containers]
        return meta, pod["spec"], status.get("podIP"), starts

    return bool(part(event.object) != part(event.previous))


@dataclass(frozen=True, slots=True)
class _Told:
    """A sidecar's configuration, where it logs, and what both came to, without secrets."""

    compiled: Compiled
    log: Path
    snapshot: Snapshot


class ControlPlane:
    """Compiles on every change and hands the outcome to the ADS server.

    Args:
        api: The lab's API.
        kubelet: Knows which pods run.
        ads: Delivers.
        authority: Issues the workloads' certificates.
        mesh: Whose control plane it plays.
        pushed: Called after every push; for figures.
    """

    def __init__(
        self,
        api: Api,
        kubelet: Kubelet,
        ads: AdsServer,
        authority: CertificateAuthority,
        mesh: MeshKind,
        pushed: Callable[[], None],
    ) -> None:
        self._api = api
        self._kubelet = kubelet
        self._ads = ads
        self._authority = authority
        self._mesh = mesh
        self._packer = Packer()
        self._pushed = pushed
        self._wanted = False
        self._pushing: asyncio.Task[None] | None = None
        self._certificates: dict[str, tuple[Certificate, dt.datetime]] = {}
        """Pod → its certificate, and when that is renewed."""
        self._told: dict[str, _Told] = {}
        """Pod → what its sidecar was told last."""
        self._nodes: dict[str, str] = {}
        self._refusals = Refusals(api)
        self._quarantine = Quarantine()
        api.subscribe(lambda event: self.schedule() if matters(event) else None, list(mesh.resources))

    def compiled(self, uid: str) -> Compiled | None:
        """The last compiled configuration of a pod."""
        told = self._told.get(uid)
        return told.compiled if told else None

    def refused(self, node: str, type_url: str, sentence: str) -> None:
        """Envoy of ``node`` has refused something: tell it to the objects behind it."""
        for uid, held in self._nodes.items():
            runtime = self._kubelet.pods.get(uid)
            if held == node and runtime is not None:
                identity = runtime.identity
                self._refusals.refused(node, identity.pod, identity.namespace, type_url, sentence)

    @property
    def idle(self) -> bool:
        """Whether every change so far has been handed to the ADS server."""
        return self._pushing is None

    def schedule(self) -> None:
        """Push soon."""
        self._wanted = True
        if self._pushing is None:
            self._pushing = asyncio.ensure_future(self._push_while_wanted())

    async def _push_while_wanted(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            pause = _DEBOUNCE_SECONDS
            while self._wanted:
                await asyncio.sleep(pause)
                self._wanted = False
                began = loop.time()
                try:
                    await self._push()
                except Exception as error:  # noqa: BLE001 - whatever it was, it is logged with its traceback
                    # A mistake of the lab must not stop later changes from being delivered.
                    _log.exception("a push failed")
                    self._hold_back(error)
                # Changes that come faster than they can be delivered are gathered: half of the time is the lab's.
                pause = max(_DEBOUNCE_SECONDS, min(loop.time() - began, _LONGEST_PAUSE_SECONDS))
        finally:
            self._pushing = None

    def _objects(self) -> list[dict[str, Any]]:
        return [
            obj
            for resource in self._mesh.resources
            if self._api.registry.get(resource)
            for obj in self._api.list(resource)
        ]

    def _meshed(self, objects: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any], PodRuntime]]:
        """The pods whose sidecars are told something: uid, object, what runs."""
        for obj in objects:
            runtime = self._kubelet.pods.get(obj["metadata"]["uid"]) if obj["kind"] == "Pod" else None
            if runtime is not None and runtime.meshed and (obj.get("status") or {}).get("podIP"):
                yield obj["metadata"]["uid"], obj, runtime

    async def _push(self) -> None:
        everything = self._objects()
        for obj in self._quarantine.release(everything):
            self._refusals.forgive(obj)
        objects = self._quarantine.in_force(everything)
        compile_, statuses = self._mesh.compiler(objects)
        self._refusals.clear_outdated()
        versions, pending = self._refusals.versions(), set(self._ads.pending())
        self._packer.begin_push()
        self._forget_the_gone()
        loop = asyncio.get_running_loop()
        turn = loop.time()
        failed: Exception | None = None
        for uid, obj, runtime in self._meshed(objects):
            node = runtime.identity.node
            self._refusals.sending(node, versions, settled=node not in pending)
            try:
                self._push_pod(compile_, uid, obj, runtime, objects)
            except Exception as error:  # noqa: BLE001 - a mistake of the lab: this sidecar keeps what it has, others are served
                _log.exception("the configuration of %s failed", node)
                failed = error
            if loop.time() - turn > _TURN_SECONDS:
                await asyncio.sleep(0)
                turn, pending = loop.time(), set(self._ads.pending())
        self._forget_the_gone()
        for owner, status in statuses:
            self._write_status(owner, status)
        self._pushed()
        if failed is None:
            self._quarantine.passed(objects)
        else:
            self._hold_back(failed)

    def _hold_back(self, failure: Exception) -> None:
        """Find the objects behind a failure; without them the next push does not fail."""
        found = self._quarantine.hold_back(self._quarantine.in_force(self._objects()), self._failure)
        for obj, error in found:
            self._refusals.not_compiled(obj, f"{type(error).__name__}: {error}")
        if found:
            self._wanted = True
        else:
            _log.error("no object that changed is behind it: %s: %s", type(failure).__name__, failure)

    def _failure(self, objects: list[Mapping[str, Any]]) -> Exception | None:
        """What compiling these objects fails with; nothing is delivered."""
        packer = Packer()
        try:
            compile_, statuses = self._mesh.compiler(objects)
            for _, _, runtime in self._meshed(objects):
                compiled = compile_(runtime.identity.pod, runtime.identity.namespace)
                packer.snapshot(self._mesh.deliver(runtime.identity, runtime.access_log, compiled))
            list(statuses)
        except Exception as error:  # noqa: BLE001 - this is the question
            return error
        return None

    def _forget_the_gone(self) -> None:
        for uid in set(self._nodes) - set(self._kubelet.pods):
            node = self._nodes.pop(uid)
            self._ads.forget(node)
            self._refusals.forget(node)
            self._told.pop(uid, None)
            self._certificates.pop(uid, None)

    def _write_status(self, obj: Mapping[str, Any], status: Mapping[str, Any]) -> None:
        told = self._api.registry.of_kind(obj["apiVersion"], obj["kind"])
        meta = obj["metadata"]
        kept = self._api.find(told.key, meta["name"], meta["namespace"]) if told else None
        if told is None or kept is None:
            return
        before = kept.get("status") or {}
        now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        after = with_times({**status, **own_conditions(before, status)}, before, now)
        if after != before:
            self._api.set_status(told.key, meta["name"], meta["namespace"], after)

    def _push_pod(
        self,
        compile_: Compile,
        uid: str,
        pod: Mapping[str, Any],
        runtime: PodRuntime,
        objects: Iterable[Mapping[str, Any]],
    ) -> None:
        identity = runtime.identity
        compiled = compile_(identity.pod, identity.namespace)
        log, told = runtime.access_log, self._told.get(uid)
        if told is None or (told.compiled, told.log) != (compiled, log):  # most changes are none to most sidecars
            told = _Told(compiled, log, self._packer.snapshot(self._mesh.deliver(identity, log, compiled)))
            self._told[uid] = told
        secrets = self._packer.snapshot({SECRET: self._secrets(uid, identity, pod, objects)})
        self._nodes[uid] = identity.node
        self._ads.set(identity.node, told.snapshot | secrets)

    def _secrets(
        self, uid: str, identity: SidecarIdentity, pod: Mapping[str, Any], objects: Iterable[Mapping[str, Any]]
    ) -> dict[str, dict[str, Any]]:
        certificate, renewed_at = self._certificates.get(uid) or (None, None)
        now = dt.datetime.now(dt.UTC)
        if certificate is None or renewed_at is None or now >= renewed_at:
            lifetime, after = self._mesh.certificate_terms(pod, objects)
            name = self._mesh.identity(identity.namespace, identity.service_account)
            certificate = self._authority.issue([name], lifetime=lifetime)
            self._certificates[uid] = certificate, now + after
            asyncio.get_running_loop().call_later(max(0.05, after.total_seconds()), self.schedule)
        chain = {
            "certificate_chain": {"inline_string": certificate.chain.decode()},
            "private_key": {"inline_string": certificate.key.decode()},
        }
        trust = {"trusted_ca": {"inline_string": self._authority.root.decode()}}
        return {
            "default": {"name": "default", "tls_certificate": chain},
            "ROOTCA": {"name": "ROOTCA", "validation_context": trust},
        }
