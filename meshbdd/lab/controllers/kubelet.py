"""The kubelet: pods of the API become processes, and what becomes of these is the pods' status."""

from __future__ import annotations

import asyncio
from typing import Any

from meshbdd.lab.addresses import Subnet, private_side
from meshbdd.lab.api.calls import DeleteOptions
from meshbdd.lab.api.core import Api
from meshbdd.lab.api.store import clone
from meshbdd.lab.controllers.pod import OUTBOUND_ANNOTATION, Node, PodRuntime

NODE_NAME = "lab"
DEFAULT_GRACE = 30
"""Kubernetes' ``terminationGracePeriodSeconds``."""


class Kubelet:
    """Runs every pod of the lab."""

    def __init__(self, api: Api, node: Node, subnet: Subnet) -> None:
        self._api = api
        self._node = node
        self._subnet = subnet
        self._pods: dict[str, PodRuntime] = {}
        self._keys: dict[str, tuple[str, str]] = {}
        self._dirty: set[str] = set()
        self._stopping: dict[str, asyncio.Task[None]] = {}
        self._closed = False
        api.subscribe(self._on_pod, ["pods"])

    @property
    def pods(self) -> dict[str, PodRuntime]:
        """Running pods by uid."""
        return self._pods

    def find(self, namespace: str, name: str) -> PodRuntime | None:
        """The running pod of that name."""
        return next((self._pods[uid] for uid, key in self._keys.items() if key == (namespace, name)), None)

    def _on_pod(self, event: Any) -> None:
        uid = event.object["metadata"]["uid"]
        if event.type == "DELETED":
            self._begin_stop(uid, grace=0, forced=True)
        elif event.object["metadata"].get("deletionTimestamp"):
            grace = event.object["metadata"].get("deletionGracePeriodSeconds", DEFAULT_GRACE)
            self._begin_stop(uid, grace=float(grace), forced=False)
        elif uid not in self._keys and not self._closed:
            self._keys[uid] = (event.object["metadata"]["namespace"], event.object["metadata"]["name"])
            asyncio.get_running_loop().call_soon(self._start, uid)

    def _current(self, uid: str) -> dict[str, Any] | None:
        namespace, name = self._keys.get(uid, ("", ""))
        pod = self._api.find("pods", name, namespace)
        return pod if pod is not None and pod["metadata"]["uid"] == uid else None

    def _start(self, uid: str) -> None:
        pod = self._current(uid)
        if pod is None or uid in self._pods or self._closed:
            return
        address = self._subnet.pod()
        pod = clone(pod)
        pod["spec"]["nodeName"] = NODE_NAME
        way_out = f"{private_side(address)}:{self._node.mesh.outbound_port}"
        pod["metadata"].setdefault("annotations", {})[OUTBOUND_ANNOTATION] = way_out
        namespace = pod["metadata"]["namespace"]
        pod = self._api.update("pods", pod, namespace)
        pod = {**pod, "status": {**(pod.get("status") or {}), "podIP": address, "phase": "Pending"}}
        runtime = self._pods[uid] = PodRuntime(pod, self._node, lambda: self._mark(uid))
        self._publish(uid)
        runtime.start()

    def _mark(self, uid: str) -> None:
        if not self._dirty:
            asyncio.get_running_loop().call_soon(self._publish_all)
        self._dirty.add(uid)

    def _publish_all(self) -> None:
        dirty, self._dirty = self._dirty, set()
        for uid in dirty:
            self._publish(uid)

    def _publish(self, uid: str) -> None:
        runtime, pod = self._pods.get(uid), self._current(uid)
        if runtime is None or pod is None or self._closed:
            return
        status = {**(pod.get("status") or {}), **runtime.status()}
        if status != pod.get("status"):
            self._api.set_status("pods", pod["metadata"]["name"], pod["metadata"]["namespace"], status)

    def _begin_stop(self, uid: str, *, grace: float, forced: bool) -> None:
        if forced and uid in self._keys and uid not in self._pods:
            del self._keys[uid]
            return
        if uid in self._stopping or uid not in self._keys:
            return
        task = asyncio.ensure_future(self._stop(uid, grace))
        self._stopping[uid] = task
        task.add_done_callback(lambda _task: self._stopping.pop(uid, None))

    async def _stop(self, uid: str, grace: float) -> None:
        runtime = self._pods.get(uid)
        if runtime is not None:
            await runtime.stop(grace)
            self._subnet.release_pod(runtime.ip)
        pod = self._current(uid)
        if pod is not None and not self._closed:
            meta = pod["metadata"]
            self._api.delete("pods", meta["name"], meta["namespace"], options=DeleteOptions(uid=uid, grace_seconds=0))
        self._pods.pop(uid, None)
        self._keys.pop(uid, None)

    async def stop(self) -> None:
        """End every pod at once; the API is told nothing more."""
        self._closed = True
        await asyncio.gather(*self._stopping.values(), return_exceptions=True)
        await asyncio.gather(*(runtime.stop(0) for runtime in self._pods.values()))
