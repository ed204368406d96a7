"""What follows a deletion: dependents go with their owner, a namespace takes its content along.

In Kubernetes these are controllers of their own; here they react to the change itself, before the next one is told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshbdd.lab.api.calls import Caller, DeleteOptions
from meshbdd.lab.api.deletion import FOREGROUND, ORPHAN
from meshbdd.lab.api.errors import Object
from meshbdd.lab.api.store import Event, Name

if TYPE_CHECKING:
    from meshbdd.lab.api.core import Api

Place = tuple[str, Name]
_MANAGER = "kube-controller-manager"


def _owners(obj: Object | None) -> set[str]:
    return {owner["uid"] for owner in (obj or {"metadata": {}})["metadata"].get("ownerReferences") or ()}


class Collector:
    """Garbage collector and namespace controller.

    Args:
        api: The API to act on.
    """

    def __init__(self, api: Api) -> None:
        self._api = api
        self._dependents: dict[str, set[Place]] = {}
        self._places: dict[str, Place] = {}
        api.subscribe(self._see)

    def _see(self, event: Event) -> None:
        metadata = event.object["metadata"]
        place: Place = (event.resource, (metadata.get("namespace", ""), metadata["name"]))
        self._index(event, place)
        if event.type == "DELETED":
            self._owner_went(metadata["uid"])
            self._foreground_owners(event.object)
        elif event.type == "ADDED" and metadata.get("ownerReferences"):
            self._collect(place)
        if metadata.get("deletionTimestamp") and event.type != "DELETED":
            self._owner_goes(event, place)
        self._namespace(event)

    def _index(self, event: Event, place: Place) -> None:
        uid = event.object["metadata"]["uid"]
        if event.type == "DELETED":
            self._places.pop(uid, None)
        else:
            self._places[uid] = place
        now = set() if event.type == "DELETED" else _owners(event.object)
        for owner in _owners(event.previous) - now:
            self._dependents.get(owner, set()).discard(place)
        for owner in now:
            self._dependents.setdefault(owner, set()).add(place)

    def _owner_went(self, uid: str) -> None:
        for place in self._dependents.pop(uid, set()):
            self._collect(place)

    def _collect(self, place: Place) -> None:
        """Delete the object unless one of its owners is still there."""
        resource, (namespace, name) = place
        obj = self._api.find(resource, name, namespace)
        if obj and _owners(obj) and not any(uid in self._places for uid in _owners(obj)):
            self._delete(place)
        elif obj:
            self._foreground_owners(obj)

    def _delete(self, place: Place) -> None:
        resource, (namespace, name) = place
        if self._api.find(resource, name, namespace):
            options = DeleteOptions(propagation="Background")
            self._api.delete(resource, name, namespace, options=options, by=Caller(manager=_MANAGER))

    def _foreground_owners(self, obj: Object) -> None:
        for uid in _owners(obj):
            if uid in self._places:
                self._finish_foreground(uid)

    def _owner_goes(self, event: Event, place: Place) -> None:
        finalizers = event.object["metadata"].get("finalizers") or ()
        uid = event.object["metadata"]["uid"]
        if ORPHAN in finalizers:
            for dependent in list(self._dependents.get(uid, ())):
                self._disown(dependent, uid)
            self._drop_finalizer(place, ORPHAN)
        elif FOREGROUND in finalizers:
            for dependent in list(self._dependents.get(uid, ())):
                self._delete(dependent)
            self._finish_foreground(uid)

    def _finish_foreground(self, uid: str) -> None:
        blocking = [
            place for place in self._dependents.get(uid, ()) if self._api.find(place[0], place[1][1], place[1][0])
        ]
        owner = self._places.get(uid)
        if owner and not blocking:
            self._drop_finalizer(owner, FOREGROUND)

    def _disown(self, place: Place, uid: str) -> None:
        resource, (namespace, name) = place
        obj = self._api.find(resource, name, namespace)
        if obj:
            kept = [owner for owner in obj["metadata"]["ownerReferences"] if owner["uid"] != uid]
            patch = {"metadata": {"ownerReferences": kept or None}}
            self._api.patch(resource, name, patch, namespace=namespace, by=Caller(manager=_MANAGER))

    def _drop_finalizer(self, place: Place, finalizer: str) -> None:
        resource, (namespace, name) = place
        obj = self._api.find(resource, name, namespace)
        found = (obj or {"metadata": {}})["metadata"].get("finalizers") or []
        if finalizer in found:
            kept = [other for other in found if other != finalizer] or None
            patch = {"metadata": {"finalizers": kept}}
            self._api.patch(resource, name, patch, namespace=namespace, by=Caller(manager=_MANAGER))

    # ---- namespaces

    def _namespace(self, event: Event) -> None:
        metadata = event.object["metadata"]
        if event.resource == "namespaces" and event.type == "ADDED":
            account = {"metadata": {"name": "default"}}
            self._api.create("serviceaccounts", account, metadata["name"], by=Caller(manager=_MANAGER))
        elif event.resource == "namespaces" and event.type == "MODIFIED" and metadata.get("deletionTimestamp"):
            self._empty(metadata["name"])
        elif event.type == "DELETED" and metadata.get("namespace"):
            namespace = self._api.find("namespaces", metadata["namespace"])
            if namespace and namespace["metadata"].get("deletionTimestamp"):
                self._finish_namespace(metadata["namespace"])

    def _empty(self, namespace: str) -> None:
        for resource in self._api.registry:
            if resource.namespaced and resource.stored:
                for obj in self._api.list(resource.key, namespace):
                    self._delete((resource.key, (namespace, obj["metadata"]["name"])))
        self._finish_namespace(namespace)

    def _finish_namespace(self, namespace: str) -> None:
        found = self._api.find("namespaces", namespace)
        if found is None or not (found.get("spec") or {}).get("finalizers"):
            return
        if any(r.namespaced and self._api.list(r.key, namespace) for r in self._api.registry):
            return
        patch = {"spec": {"finalizers": None}}
        self._api.patch("namespaces", namespace, patch, by=Caller(manager=_MANAGER), subresource="finalize")
