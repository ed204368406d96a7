"""What a namespace comes with: its ``default`` service account; and what goes with it when it is deleted."""

from __future__ import annotations

from typing import Any

from meshbdd.lab.api.core import Api
from meshbdd.lab.controllers.queue import Key, WorkQueue


class Namespaces:
    """The namespace controller's part that workloads rely on."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._queue = WorkQueue(self._reconcile)
        api.subscribe(self._on_namespace, ["namespaces"])

    def _on_namespace(self, event: Any) -> None:
        if event.type != "DELETED":
            self._queue.add(("", event.object["metadata"]["name"]))

    def _reconcile(self, key: Key) -> None:
        body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": key[1]}}
        namespace = self._api.find("namespaces", key[1])
        if namespace is None or namespace["metadata"].get("deletionTimestamp"):
            return
        if self._api.find("serviceaccounts", "default", key[1]) is None:
            self._api.create("serviceaccounts", body, key[1])
