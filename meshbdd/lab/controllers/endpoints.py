"""Services → Endpoints and EndpointSlices: the pods that a selector finds, with whether they are ready."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshbdd.lab.api.core import Api
from meshbdd.lab.controllers.queue import Key, WorkQueue, key_of
from meshbdd.lab.controllers.workloads import is_ready
from meshbdd.pod_spec import named_ports

SLICES = "endpointslices.discovery.k8s.io"
SERVICE_LABEL = "kubernetes.io/service-name"


def target_port(port: Mapping[str, Any], pod: Mapping[str, Any]) -> int | None:
    """The container port that a Service's port leads to on a pod; ``None`` where a name finds none."""
    target = port.get("targetPort", port["port"])
    if isinstance(target, int) or str(target).isdigit():
        return int(target)
    return named_ports(pod["spec"]).get(str(target))


def selects(selector: Mapping[str, str] | None, pod: Mapping[str, Any]) -> bool:
    """Whether a Service's selector finds a pod; an empty selector finds none."""
    labels = pod["metadata"].get("labels") or {}
    return bool(selector) and all(labels.get(name) == value for name, value in (selector or {}).items())


class Endpoints:
    """The endpoints controller."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._queue = WorkQueue(self._reconcile)
        api.subscribe(lambda event: self._queue.add(key_of(event.object)), ["services"])
        api.subscribe(self._on_pod, ["pods"])

    def _on_pod(self, event: Any) -> None:
        pods = [pod for pod in (event.object, event.previous) if pod is not None]
        for service in self._api.list("services", event.object["metadata"]["namespace"]):
            if any(selects(service["spec"].get("selector"), pod) for pod in pods):
                self._queue.add(key_of(service))

    def _reconcile(self, key: Key) -> None:
        service = self._api.find("services", key[1], key[0])
        if service is None:
            return  # its Endpoints and slice go with it, by their owner
        selector = service["spec"].get("selector")
        if not selector:
            return
        pods = [
            p for p in self._api.list("pods", key[0]) if selects(selector, p) and (p.get("status") or {}).get("podIP")
        ]
        pods.sort(key=lambda pod: pod["metadata"]["name"])
        ports = service["spec"].get("ports") or []
        owner = {"apiVersion": "v1", "kind": "Service", "name": key[1], "uid": service["metadata"]["uid"]}
        labels = {**(service["metadata"].get("labels") or {}), SERVICE_LABEL: key[1]}
        slice_meta = {
            "name": key[1],
            "namespace": key[0],
            "labels": labels,
            "ownerReferences": [{**owner, "controller": True}],
        }
        places = [
            {
                "addresses": [pod["status"]["podIP"]],
                "conditions": {
                    "ready": is_ready(pod) or bool(service["spec"].get("publishNotReadyAddresses")), "serving": is_ready(pod),
                    "terminating": bool(pod["metadata"].get("deletionTimestamp")),
                },
                "targetRef": {
                    "kind": "Pod", "name": pod["metadata"]["name"], "namespace": key[0], "uid": pod["metadata"]["uid"],
                },
                "nodeName": pod["spec"].get("nodeName", "lab"),
            }
            for pod in pods
        ]  # fmt: skip
        sample = pods[0] if pods else None
        numbers = [
            {
                "name": port.get("name", ""),
                "port": target_port(port, sample) if sample else None,
                "protocol": port.get("protocol", "TCP"),
            }
            for port in ports
        ]
        self._write(SLICES, {
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": slice_meta,
            "addressType": "IPv4", "endpoints": places, "ports": [p for p in numbers if p["port"]] if sample else [],
        })  # fmt: skip
        self._write("endpoints", {
            "apiVersion": "v1", "kind": "Endpoints",
            "metadata": {"name": key[1], "namespace": key[0], "ownerReferences": [owner]},
            "subsets": _subsets(places, numbers),
        })  # fmt: skip

    def _write(self, resource: str, body: dict[str, Any]) -> None:
        namespace, name = key_of(body)
        old = self._api.find(resource, name, namespace)
        if old is None:
            self._api.create(resource, body, namespace)
            return
        if all(old.get(field) == body[field] for field in body if field != "metadata"):
            return
        self._api.update(
            resource, {**body, "metadata": {**old["metadata"], "labels": body["metadata"].get("labels")}}, namespace
        )


def _subsets(places: list[dict[str, Any]], ports: list[dict[str, Any]]) -> list[dict[str, Any]]:
    def addresses(*, ready: bool) -> list[dict[str, Any]]:
        return [
            {"ip": place["addresses"][0], "nodeName": place["nodeName"], "targetRef": place["targetRef"]}
            for place in places
            if place["conditions"]["ready"] == ready
        ]

    ready, waiting = addresses(ready=True), addresses(ready=False)
    if not ready and not waiting:
        return []
    subset: dict[str, Any] = {"ports": [p for p in ports if p["port"]]}
    if ready:
        subset["addresses"] = ready
    if waiting:
        subset["notReadyAddresses"] = waiting
    return [subset]
