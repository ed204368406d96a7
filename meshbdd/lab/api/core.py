"""The API without a transport: reads and writes with Kubernetes' rules, synchronous, for one asyncio loop.

Objects given out are shared and must not be changed; ``meshbdd.lab.api.store.clone`` makes a copy. Objects taken in are
copied, so the caller keeps its own.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from typing import Any

from meshbdd.lab.api import crds, deletion, errors, garbage, patching, rules
from meshbdd.lab.api.calls import Admission, Caller, DeleteOptions, Deletion, now
from meshbdd.lab.api.errors import Object
from meshbdd.lab.api.registry import Registry, Resource
from meshbdd.lab.api.resources import BUILTIN
from meshbdd.lab.api.selectors import selected
from meshbdd.lab.api.shapes import shapes_of
from meshbdd.lab.api.store import Event, Name, Store, clone
from meshbdd.lab.api.validation import go_kind
from meshbdd.lab.api.watching import Watch
from meshbdd.lab.api.writing import Writer

Objects = list[Object]

# these refuse a PUT without resourceVersion, as every custom resource does
_NO_BLIND_UPDATE = {crds.KEY, "leases.coordination.k8s.io"}
_SYSTEM_NAMESPACES = ("default", "kube-system")


def _admit_all(_operation: str, _resource: str, _new: Object | None, _old: Object | None) -> list[str]:
    return []


class Api:
    """Kubernetes' resources in memory.

    Args:
        admission: Asked before every write, whoever writes.
        mutation: Called with (resource, object) on creation, before validation; may change the object.
        cluster_ip: Gives a new Service its address; "None" (headless) unless told.
        history: Changes kept for each resource, so that a watch can resume.
    """

    def __init__(
        self,
        *,
        admission: Admission = _admit_all,
        mutation: Callable[[str, Object], None] | None = None,
        cluster_ip: Callable[[Object], str] = lambda _service: "None",
        history: int = 5000,
    ) -> None:
        self.registry = Registry(BUILTIN)
        self.store = Store(history)
        self.admission = admission
        self._writer = Writer(self.store, admission, mutation, cluster_ip)
        self.store.subscribe(self._serve_crd, [crds.KEY])
        self.garbage = garbage.Collector(self)
        for name in _SYSTEM_NAMESPACES:
            self.create("namespaces", {"metadata": {"name": name}})

    def resource(self, key: str) -> Resource:
        """The resource of that key (``pods``, ``virtualservices.networking.istio.io``).

        Raises:
            ApiError: 404 for an unknown one.
        """
        found = self.registry.get(key)
        if found is None:
            raise errors.unknown_resource()
        return found

    def find(self, resource: str, name: str, namespace: str | None = None) -> Object | None:
        """The object, or ``None``."""
        return self.store.get(resource, (namespace or "", name))

    def get(self, resource: str, name: str, namespace: str | None = None) -> Object:
        """The object.

        Raises:
            ApiError: 404.
        """
        found = self.store.get(resource, (namespace or "", name))
        if found is None:
            told = self.resource(resource)
            raise errors.not_found(told.plural, told.group, name)
        return found

    def list(
        self,
        resource: str,
        namespace: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        at: int | None = None,
    ) -> Objects:
        """The objects, sorted by namespace and name; of all namespaces unless told; ``at`` a past resourceVersion.

        Raises:
            ApiError: 400 for a selector that does not parse; 410 when ``at`` is too old.
        """
        fits = selected(self.resource(resource), label_selector, field_selector)
        objects = self.store.all(resource) if at is None else self.store.at(resource, at)
        return [obj for name, obj in sorted(objects.items()) if (not namespace or name[0] == namespace) and fits(obj)]

    def subscribe(
        self, callback: Callable[[Event], None], resources: Iterable[str] | None = None
    ) -> Callable[[], None]:
        """Call ``callback`` for every later change, at once; the returned function ends it."""
        return self.store.subscribe(callback, resources)

    def watch(
        self,
        resources: str | Iterable[str],
        namespace: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
    ) -> Watch:
        """Events as an async iterator: ADDED for all that exists, then what happens; ``close()`` it in the end.

        Raises:
            ApiError: 400, 404.
        """
        keys = [resources] if isinstance(resources, str) else [*resources]
        tests = {key: selected(self.resource(key), label_selector, field_selector) for key in keys}
        watch = Watch(self.store, tests, namespace)
        for key in keys:
            watch.replay(self.list(key, namespace, label_selector, field_selector), key)
        return watch

    def create(self, resource: str, obj: Object, namespace: str | None = None, *, by: Caller | None = None) -> Object:
        """Create the object and give it as it was kept.

        Raises:
            ApiError: 400, 403, 404 (namespace), 409, 422; what admission raises.
        """
        by = by or Caller()
        told = self.resource(resource)
        new = clone(obj)
        metadata = rules.named(told, new, namespace, by)
        rules.check_namespace(self.store, told, metadata.get("namespace", ""), metadata.get("name", ""))
        if metadata.get("resourceVersion"):
            raise errors.internal("resourceVersion should not be set on objects to be created")
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = metadata["generateName"][:58] + _random_suffix()
        rules.reset_system_fields(told, metadata)
        if told.status:
            new.pop("status", None)
        return self._writer.add(told, new, by)

    def update(
        self,
        resource: str,
        obj: Object,
        namespace: str | None = None,
        *,
        by: Caller | None = None,
        subresource: str = "",
    ) -> Object:
        """Replace the object (PUT) and give it as it was kept; with ``subresource="status"`` its status alone.

        Raises:
            ApiError: 400, 404, 409 (stale resourceVersion, other uid), 422; what admission raises.
        """
        by = by or Caller()
        told = self.resource(resource)
        new = clone(obj)
        metadata = rules.named(told, new, namespace, by)
        name: Name = (metadata.get("namespace", ""), metadata.get("name", ""))
        blind = not (told.custom or told.key in _NO_BLIND_UPDATE)
        old = rules.check_preconditions(told, name, metadata, self.store.get(resource, name), blind=blind)
        return self._writer.replace(told, old, new, by, subresource)

    def update_status(
        self, resource: str, obj: Object, namespace: str | None = None, *, by: Caller | None = None
    ) -> Object:
        """Replace the status alone; see ``update``."""
        return self.update(resource, obj, namespace, by=by, subresource="status")

    def set_status(
        self, resource: str, name: str, namespace: str | None, status: Object, *, by: Caller | None = None
    ) -> Object:
        """Replace the status whatever the object's resourceVersion: for its one controller in this process.

        Raises:
            ApiError: 404.
        """
        old = self.get(resource, name, namespace)
        new = {**old, "metadata": dict(old["metadata"]), "status": status}
        return self._writer.replace(self.resource(resource), old, new, by or Caller(), "status")

    def patch(
        self,
        resource: str,
        name: str,
        patch: Any,
        kind: str = patching.MERGE_PATCH,
        namespace: str | None = None,
        *,
        by: Caller | None = None,
        subresource: str = "",
    ) -> Object:
        """Change the object by a patch of the given media type (all but server-side apply).

        Raises:
            ApiError: as ``update``; 415 for a kind that the resource does not take.
        """
        by = by or Caller()
        by.patched = True
        told = self.resource(resource)
        if kind not in self.patch_kinds(told) or kind == patching.APPLY_PATCH:
            raise errors.unsupported_media_type(self.patch_kinds(told))
        old = self.get(resource, name, namespace)
        new = clone(_patched(told, rules.present(told, old, by.version), patch, kind))
        metadata = rules.named(told, new, namespace, by)
        if metadata.get("name") != name:
            raise errors.bad_request(
                f"the name of the object ({metadata.get('name')}) does not match the name on the URL ({name})"
            )
        rules.check_preconditions(told, (namespace or "", name), metadata, old, blind=True)
        return self._writer.replace(told, old, new, by, subresource)

    @staticmethod
    def patch_kinds(told: Resource) -> tuple[str, ...]:
        """The media types of patches that the resource takes."""
        strategic = () if told.custom else (patching.STRATEGIC_PATCH,)
        return (patching.JSON_PATCH, patching.MERGE_PATCH, *strategic, patching.APPLY_PATCH)

    def apply(
        self,
        resource: str,
        config: Object,
        namespace: str | None = None,
        *,
        by: Caller,
        force: bool = False,
        subresource: str = "",
    ) -> Object:
        """Server-side apply: ``by.manager`` owns what ``config`` says; ``force`` takes over what others own.

        Raises:
            ApiError: 409 naming each field of another manager; 500 for a field that the schema does not know.
        """
        told = self.resource(resource)
        config = clone(config)
        rules.named(told, config, namespace, by)
        return self._writer.apply(told, config, by, subresource, force=force)

    def delete(
        self,
        resource: str,
        name: str,
        namespace: str | None = None,
        *,
        options: DeleteOptions | None = None,
        by: Caller | None = None,
    ) -> Deletion:
        """Delete the object: at once, or mark it when finalizers or a grace period hold it.

        A pod on a node gets its grace period: who runs it deletes it again with ``grace_seconds=0`` when it has ended.

        Raises:
            ApiError: 404; 409 when a precondition does not hold; what admission raises.
        """
        return deletion.delete(self, resource, name, namespace, options or DeleteOptions(), by or Caller())

    def delete_collection(
        self,
        resource: str,
        namespace: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        *,
        options: DeleteOptions | None = None,
        by: Caller | None = None,
    ) -> Objects:
        """Delete all that the selectors choose; gives them."""
        chosen = self.list(resource, namespace, label_selector, field_selector)
        for obj in chosen:
            metadata = obj["metadata"]
            if self.find(resource, metadata["name"], metadata.get("namespace")):
                self.delete(resource, metadata["name"], metadata.get("namespace"), options=options, by=by)
        return chosen

    def _serve_crd(self, event: Event) -> None:
        spec = event.object["spec"]
        key = f"{spec['names']['plural']}.{spec['group']}"
        if event.type == "DELETED":
            if self.registry.get(key):
                self.delete_collection(key)
                self.registry.remove(key)
            return
        if event.previous is not None and event.previous["spec"] == spec:
            return
        self.registry.add(crds.to_resource(event.object))
        status = crds.established(event.object, now())
        if (event.object.get("status") or {}).get("acceptedNames") != status["acceptedNames"]:
            name = event.object["metadata"]["name"]
            self.set_status(crds.KEY, name, None, status, by=Caller(manager="kube-apiserver"))


def _patched(told: Resource, shown: Object, patch: Any, kind: str) -> Any:
    if kind == patching.JSON_PATCH:
        return patching.json_patch(shown, patch)
    if not isinstance(patch, dict):
        into = "Go value of type map[string]interface {}"
        raise errors.bad_request(f"error decoding patch: json: cannot unmarshal {go_kind(patch)} into {into}")
    if kind == patching.MERGE_PATCH:
        return patching.merge_patch(shown, patch)
    return patching.strategic_merge(shown, patch, shapes_of(told))


def _random_suffix() -> str:
    # the alphabet of Kubernetes' generated names: no vowels, no 0, 1 or 3
    return "".join(secrets.choice("bcdfghjklmnpqrstvwxz2456789") for _ in range(5))
