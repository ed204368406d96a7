"""The mesh's control plane: what the API holds becomes, for each sidecar, the configuration it is sent."""

from __future__ import annotations

import asyncio
import copy
import datetime as dt
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from meshbdd.lab.api.core import Api
from meshbdd.lab.api.store import Event
from meshbdd.lab.certificates import Certificate, CertificateAuthority
from meshbdd.lab.compile import Compiled
from meshbdd.lab.controllers.kubelet import Kubelet
from meshbdd.lab.controllers.mesh_kind import Compile, MeshKind
from meshbdd.lab.controllers.pod import PodRuntime
from meshbdd.lab.controllers.refusals import Refusals
from meshbdd.lab.sidecar.bootstrap import SidecarIdentity
from meshbdd.lab.xds.resources import SECRET, NotEnvoyConfig, Packer
from meshbdd.lab.xds.server import AdsServer

_log = logging.getLogger(__name__)

_DEBOUNCE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.001, 0.5
"""Istio waits 100 ms for quiet (``PILOT_DEBOUNCE_AFTER``); here one turn of the event loop gathers a burst."""

_TURN_SECONDS = 0.005
"""How long a push works before it lets the rest of the lab have a turn."""


def matters(event: Event) -> bool:
    """Whether a change can be seen by a compiler: of a pod's status that is its address alone."""
    if event.previous is None or event.type == "DELETED" or event.resource != "pods":
        return True

    def part(pod: Mapping[str, Any]) -> Any:
        meta = {
            name: value for name, value in pod["metadata"].items() if name not in {"managedFields", "resourceVersion"}
        }
        return meta, pod["spec"], (pod.get("status") or {}).get("podIP")

    return bool(part(event.object) != part(event.previous))


def _conditions(status: Any) -> Iterator[dict[str, Any]]:
    for name, value in status.items() if isinstance(status, Mapping) else ():
        for item in value if isinstance(value, list) else ():
            if name == "conditions":
                yield item
            else:
                yield from _conditions(item)


def _without_times(condition: Mapping[str, Any]) -> str:
    return json.dumps({k: v for k, v in condition.items() if k != "lastTransitionTime"}, sort_keys=True)


def with_times(status: Mapping[str, Any], known: Mapping[str, str], now: str) -> dict[str, Any]:
    """A status whose conditions say since when they hold: as before where nothing changed, else ``now``."""
    made = copy.deepcopy(dict(status))
    for condition in _conditions(made):
        condition.setdefault("message", "")
        condition["lastTransitionTime"] = known.get(_without_times(condition), now)
    return made


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
        self._compiled: dict[str, Compiled] = {}
        self._nodes: dict[str, str] = {}
        self._refusals = Refusals(api)
        api.subscribe(lambda event: self.schedule() if matters(event) else None, list(mesh.resources))

    def compiled(self, uid: str) -> Compiled | None:
        """The last compiled configuration of a pod."""
        return self._compiled.get(uid)

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
                except Exception:  # noqa: BLE001 - whatever it was, it is logged with its traceback
                    # A mistake of the lab must not stop later changes from being delivered.
                    _log.exception("a push failed")
                # Changes that come faster than they can be delivered are gathered: half of the time is the lab's.
                pause = max(_DEBOUNCE_SECONDS, min(loop.time() - began, _LONGEST_PAUSE_SECONDS))
        finally:
            self._pushing = None

    async def _push(self) -> None:
        objects = [
            obj
            for resource in self._mesh.resources
            if self._api.registry.get(resource)
            for obj in self._api.list(resource)
        ]
        compile_, statuses = self._mesh.compiler(objects)
        self._refusals.clear_outdated()
        versions, pending = self._refusals.versions(), set(self._ads.pending())
        self._packer.begin_push()
        self._forget_the_gone()
        loop = asyncio.get_running_loop()
        turn = loop.time()
        for obj in objects:
            if obj.get("kind") != "Pod":
                continue
            uid = obj["metadata"]["uid"]
            runtime = self._kubelet.pods.get(uid)
            if runtime is None or not runtime.meshed or not (obj.get("status") or {}).get("podIP"):
                continue
            node = runtime.identity.node
            self._refusals.sending(node, versions, settled=node not in pending)
            self._push_pod(compile_, uid, obj, runtime)
            if loop.time() - turn > _TURN_SECONDS:
                await asyncio.sleep(0)
                turn, pending = loop.time(), set(self._ads.pending())
        self._forget_the_gone()
        for owner, status in statuses:
            self._write_status(owner, status)
        self._pushed()

    def _forget_the_gone(self) -> None:
        for uid in set(self._nodes) - set(self._kubelet.pods):
            node = self._nodes.pop(uid)
            self._ads.forget(node)
            self._refusals.forget(node)
            self._compiled.pop(uid, None)
            self._certificates.pop(uid, None)

    def _write_status(self, obj: Mapping[str, Any], status: Mapping[str, Any]) -> None:
        told = self._api.registry.of_kind(obj["apiVersion"], obj["kind"])
        meta = obj["metadata"]
        kept = self._api.find(told.key, meta["name"], meta["namespace"]) if told else None
        if told is None or kept is None:
            return
        before = kept.get("status") or {}
        now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        after = with_times(status, {_without_times(c): c["lastTransitionTime"] for c in _conditions(before)}, now)
        if after != before:
            self._api.set_status(told.key, meta["name"], meta["namespace"], after)

    def _push_pod(self, compile_: Compile, uid: str, pod: dict[str, Any], runtime: PodRuntime) -> None:
        identity = runtime.identity
        compiled = compile_(identity.pod, identity.namespace)
        self._compiled[uid] = compiled
        resources = self._mesh.deliver(identity, runtime.access_log, compiled)
        resources[SECRET] = self._secrets(uid, identity, pod)
        try:
            snapshot = self._packer.snapshot(resources)
        except NotEnvoyConfig:
            # A mistake of the compiler: the sidecar keeps what it has, and the log names it.
            _log.exception("the configuration of %s is not Envoy's", identity.node)
            return
        self._nodes[uid] = identity.node
        self._ads.set(identity.node, snapshot)

    def _secrets(self, uid: str, identity: SidecarIdentity, pod: dict[str, Any]) -> dict[str, dict[str, Any]]:
        certificate, renewed_at = self._certificates.get(uid) or (None, None)
        now = dt.datetime.now(dt.UTC)
        if certificate is None or renewed_at is None or now >= renewed_at:
            lifetime, after = self._mesh.certificate_terms(pod)
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
