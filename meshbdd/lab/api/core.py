"""The API without a transport: reads and writes with Kubernetes' rules, synchronous, for one asyncio loop.

Objects given out are shared and must not be changed; ``meshbdd.lab.api.store.clone`` makes a copy. Objects taken in are
copied, so the caller keeps its own.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable, Iterable
from typing import Any

from meshbdd.lab.api import crds, defaults, deletion, errors, garbage, structural, validation
from meshbdd.lab.api.calls import Admission, Caller, DeleteOptions, Deletion, now
from meshbdd.lab.api.errors import ApiError, Object
from meshbdd.lab.api.patching import (
    APPLY_PATCH,
    JSON_PATCH,
    MERGE_PATCH,
    STRATEGIC_PATCH,
    json_patch,
    merge_patch,
    strategic_merge,
)
from meshbdd.lab.api.registry import Registry, Resource
from meshbdd.lab.api.resources import BUILTIN
from meshbdd.lab.api.selectors import selected
from meshbdd.lab.api.shapes import shapes_of
from meshbdd.lab.api.ssa import Entry, apply, track_update
from meshbdd.lab.api.store import Event, Name, Store, clone
from meshbdd.lab.api.watching import Watch

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
        self.mutation = mutation
        self.cluster_ip = cluster_ip
        self.store.subscribe(self._serve_crd, [crds.KEY])
        self.garbage = garbage.Collector(self)
        for name in _SYSTEM_NAMESPACES:
            self.create("namespaces", {"metadata": {"name": name}})

    # ---- reading

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
    ) -> list[Object]:
        """The objects, sorted by namespace and name; of all namespaces unless told.

        Args:
            at: A past resourceVersion to read at.

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
        """Events as an async iterator: ADDED for all that exists, then what happens; ``close()`` it in the end."""
        keys = [resources] if isinstance(resources, str) else list(resources)
        tests = {key: selected(self.resource(key), label_selector, field_selector) for key in keys}
        watch = Watch(self.store, tests, namespace)
        for key in keys:
            watch.replay(self.list(key, namespace, label_selector, field_selector), key)
        return watch

    # ---- writing

    def create(self, resource: str, obj: Object, namespace: str | None = None, *, by: Caller | None = None) -> Object:
        """Create the object and give it as it was kept.

        Raises:
            ApiError: 400, 403, 404 (namespace), 409, 422; what admission raises.
        """
        by = by or Caller()
        told = self.resource(resource)
        new = clone(obj)
        metadata = self._named(told, new, namespace, by)
        if told.namespaced:
            self._check_namespace(told, metadata["namespace"], metadata.get("name", ""))
        if metadata.get("resourceVersion"):
            raise errors.internal("resourceVersion should not be set on objects to be created")
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = metadata["generateName"][:58] + _random_suffix()
        self._reset(told, metadata)
        if told.status:
            new.pop("status", None)
        return self._create(told, new, by, None)

    def _create(self, told: Resource, new: Object, by: Caller, applied: Object | None) -> Object:
        metadata = new["metadata"]
        self._complete(told, new, None, by)
        if self.mutation:
            self.mutation(told.key, new)
        self._validate(told, new, None)
        name: Name = (metadata.get("namespace", ""), metadata["name"])
        by.warnings += self.admission("CREATE", told.key, new, None)
        existing = self.store.get(told.key, name)
        if existing is not None:
            going = bool(existing["metadata"].get("deletionTimestamp"))
            raise errors.already_exists(told.plural, told.group, name[1], going=going)
        if applied is None:
            track_update(None, new, self._entry(told, by, "Update"), shapes_of(told, by.version))
        if by.dry_run:
            return new
        metadata["resourceVersion"] = str(self.store.next_version())
        self.store.put(told.key, name, new)
        return new

    def update(
        self,
        resource: str,
        obj: Object,
        namespace: str | None = None,
        *,
        by: Caller | None = None,
        subresource: str = "",
    ) -> Object:
        """Replace the object (PUT) and give it as it was kept.

        Args:
            subresource: ``status`` to replace the status alone.

        Raises:
            ApiError: 400, 404, 409 (stale resourceVersion, other uid), 422; what admission raises.
        """
        by = by or Caller()
        told = self.resource(resource)
        new = clone(obj)
        metadata = self._named(told, new, namespace, by)
        name: Name = (metadata.get("namespace", ""), metadata.get("name", ""))
        old = self.store.get(resource, name)
        self._preconditions(told, name, metadata, old, blind=not (told.custom or told.key in _NO_BLIND_UPDATE))
        assert old is not None  # noqa: S101 - _preconditions refused otherwise
        return self._replace(told, old, new, by, subresource)

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
        return self._replace(self.resource(resource), old, {**old, "status": status}, by or Caller(), "status")

    def patch(
        self,
        resource: str,
        name: str,
        patch: Any,
        kind: str = MERGE_PATCH,
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
        if kind not in self.patch_kinds(told) or kind == APPLY_PATCH:
            raise errors.unsupported_media_type(self.patch_kinds(told))
        old = self.get(resource, name, namespace)
        shown = self.present(told, old, by.version)
        if kind == JSON_PATCH:
            new = json_patch(shown, patch)
        elif not isinstance(patch, dict):
            raise errors.bad_request(
                f"error decoding patch: json: cannot unmarshal {validation.go_kind(patch)} into Go value of type map[string]interface {{}}"
            )
        elif kind == MERGE_PATCH:
            new = merge_patch(shown, patch)
        else:
            new = strategic_merge(shown, patch, shapes_of(told))
        new = clone(new)
        metadata = self._named(told, new, namespace, by)
        if metadata.get("name") != name:
            raise errors.bad_request(
                f"the name of the object ({metadata.get('name')}) does not match the name on the URL ({name})"
            )
        self._preconditions(told, (namespace or "", name), metadata, old, blind=True)
        return self._replace(told, old, new, by, subresource)

    @staticmethod
    def patch_kinds(told: Resource) -> tuple[str, ...]:
        """The media types of patches that the resource takes."""
        return (JSON_PATCH, MERGE_PATCH, *(() if told.custom else (STRATEGIC_PATCH,)), APPLY_PATCH)

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
        """Server-side apply: ``by.manager`` owns what ``config`` says.

        Raises:
            ApiError: 409 naming each field of another manager; 500 for a field that the schema does not know.
        """
        told = self.resource(resource)
        config = clone(config)
        metadata = self._named(told, config, namespace, by)
        name: Name = (metadata.get("namespace", ""), metadata.get("name", ""))
        if metadata.get("managedFields"):
            raise errors.bad_request("metadata.managedFields must be nil")
        self._check_typed(told, config, by)
        old = self.store.get(resource, name)
        if told.status:
            config = {
                k: v
                for k, v in config.items()
                if (k == "status") is (subresource == "status") or k in {"metadata", "kind", "apiVersion"}
            }
        entry = self._entry(told, by, "Apply", subresource)
        shapes = shapes_of(told, by.version)
        given = {k: metadata.pop(k, None) for k in ("uid", "resourceVersion")}
        if given["uid"] and given["uid"] != (old or {"metadata": {"uid": None}})["metadata"]["uid"]:
            cause = validation.immutable("metadata.uid", given["uid"])
            raise errors.invalid(told.kind, told.group, name[1], [cause, cause])
        if old is None:
            if subresource:
                raise errors.not_found(told.plural, told.group, name[1])
            if told.namespaced:
                self._check_namespace(told, name[0], name[1])
            new = apply(None, config, entry, shapes, force=force)
            self._reset(told, new["metadata"], keep_managers=True)
            return self._create(told, new, by, config)
        if given["resourceVersion"] and given["resourceVersion"] != old["metadata"]["resourceVersion"]:
            raise errors.conflict(told.plural, told.group, name[1], errors.STALE)
        new = clone(apply(self.present(told, old, by.version), config, entry, shapes, force=force))
        return self._replace(told, old, new, by, subresource, applied=True)

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
    ) -> list[Object]:
        """Delete all that the selectors choose; gives them."""
        chosen = self.list(resource, namespace, label_selector, field_selector)
        for obj in chosen:
            metadata = obj["metadata"]
            self.delete(resource, metadata["name"], metadata.get("namespace"), options=options, by=by)
        return chosen

    # ---- rules shared by the writes

    def present(self, told: Resource, obj: Object, version: str | None) -> Object:
        """The object in another served version: nothing but ``apiVersion`` differs."""
        wanted = told.api_version(version)
        return obj if obj.get("apiVersion") == wanted else {**obj, "apiVersion": wanted}

    def _named(self, told: Resource, new: Object, namespace: str | None, by: Caller) -> Object:
        metadata = validation.read_metadata(new, told.kind, by.version or told.storage)
        new["metadata"] = metadata
        if not told.namespaced:
            metadata.pop("namespace", None)
            return metadata
        given = metadata.get("namespace")
        if namespace and given and given != namespace:
            raise errors.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        metadata["namespace"] = namespace or given or "default"
        return metadata

    def _check_namespace(self, told: Resource, namespace: str, name: str) -> None:
        found = self.store.get("namespaces", ("", namespace))
        if found is None:
            raise errors.not_found("namespaces", "", namespace)
        if found["metadata"].get("deletionTimestamp"):
            cause = errors.Cause(
                "NamespaceTerminating", f"namespace {namespace} is being terminated", "metadata.namespace"
            )
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            raise errors.forbidden(told.plural, told.group, name, why, [cause])

    def _reset(self, told: Resource, metadata: Object, *, keep_managers: bool = False) -> None:
        for field in ("selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"):
            metadata.pop(field, None)
        if not keep_managers:
            metadata.pop("managedFields", None)
        metadata["uid"] = str(uuid.uuid4())
        metadata["creationTimestamp"] = now()
        if told.generation:
            metadata["generation"] = 1

    def _preconditions(self, told: Resource, name: Name, metadata: Object, old: Object | None, *, blind: bool) -> None:
        uid, version = metadata.get("uid"), metadata.get("resourceVersion")
        if uid and uid != (old["metadata"]["uid"] if old else ""):
            why = (
                f"StorageError: invalid object, Code: 4, Key: /registry/{told.group or told.plural}"
                f"{'/' + told.plural if told.group else ''}{'/' + name[0] if name[0] else ''}/{name[1]}, "
                "ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: "
                f"UID in precondition: {uid}, UID in object meta: {old['metadata']['uid'] if old else ''}"
            )
            raise errors.conflict(told.plural, told.group, name[1], why)
        if old is None:
            raise errors.not_found(told.plural, told.group, name[1])
        if version and not version.isdigit():
            raise errors.internal(f'strconv.ParseUint: parsing "{version}": invalid syntax')
        if not version or version == "0":
            if blind:
                return
            cause = errors.Cause(
                "FieldValueInvalid", "Invalid value: 0x0: must be specified for an update", "metadata.resourceVersion"
            )
            raise errors.invalid(told.plural, told.group, name[1], [cause])
        if version != old["metadata"]["resourceVersion"]:
            raise errors.conflict(told.plural, told.group, name[1], errors.STALE)

    def _complete(self, told: Resource, new: Object, old: Object | None, by: Caller) -> None:
        version = self._version(told, new, by)
        metadata = new["metadata"]
        unknown = by.problems + [f'unknown field "{path}"' for path in validation.unknown_metadata(metadata)]
        for field in [field for field in metadata if field not in validation.METADATA_FIELDS]:
            del metadata[field]
        unknown += [f'unknown field "{path}"' for path in structural.prune(told, version, new)]
        if unknown and by.validation == "Strict":
            raise self._strict(told, version, new, unknown, by)
        if by.validation == "Warn":
            by.warnings += unknown
        for empty in [field for field in metadata if metadata[field] in (None, {}, []) and field != "managedFields"]:
            del metadata[empty]
        structural.default(told, version, new)
        new["apiVersion"], new["kind"] = told.api_version(), told.kind
        if not told.custom:
            defaults.fill_in(told.key, new, self.cluster_ip, old)

    @staticmethod
    def _strict(told: Resource, version: str, new: Object, unknown: list[str], by: Caller) -> ApiError:
        if not by.patched:
            return errors.bad_request(
                f'{told.kind} in version "{version}" cannot be handled as a {told.kind}: '
                f"strict decoding error: {', '.join(unknown)}"
            )
        cause = validation.wrong(
            "patch", validation.json.dumps(new, separators=(",", ":")), f"strict decoding error: {', '.join(unknown)}"
        )
        refused = errors.invalid("", "", "", [cause])
        refused.details = {"causes": [cause.rendered()]}
        return refused

    @staticmethod
    def _version(told: Resource, new: Object, by: Caller) -> str:
        spoken = by.version or str(new.get("apiVersion", "")).rpartition("/")[2]
        return spoken if told.version(spoken) else told.storage

    def _validate(self, told: Resource, new: Object, old: Object | None) -> None:
        causes = validation.metadata_causes(told, new["metadata"])
        if not causes:
            causes = structural.causes(told, told.storage, new) if told.custom else defaults.causes(told.key, new, old)
        validation.check(told, new["metadata"].get("name") or "", causes)

    def _check_typed(self, told: Resource, config: Object, by: Caller) -> None:
        version = self._version(told, config, by)
        probe = clone(config)
        unknown = validation.unknown_metadata(probe["metadata"]) + structural.prune(told, version, probe)
        if unknown:
            metadata = config["metadata"]
            where = f"/{metadata.get('name', '')}"
            raise errors.internal(
                f"failed to create typed patch object ({where}; {told.api_version(version)}, Kind={told.kind}): "
                + "\n".join(f".{path}: field not declared in schema" for path in unknown)
            )

    def _entry(self, told: Resource, by: Caller, operation: str, subresource: str = "") -> Entry:
        return Entry(by.manager, operation, told.api_version(by.version), subresource, frozenset(), now())

    def _replace(
        self, told: Resource, old: Object, new: Object, by: Caller, subresource: str, *, applied: bool = False
    ) -> Object:
        before = old["metadata"]
        if subresource == "status":
            managed = new["metadata"].get("managedFields")
            status = new.get("status")
            new = {**old, "metadata": dict(before)}
            if status is not None:
                new["status"] = clone(status)
            if applied:
                new["metadata"]["managedFields"] = managed
        elif told.status:
            new.pop("status", None)
            if "status" in old:
                new["status"] = old["status"]
        metadata = new["metadata"]
        self._keep_system_fields(told, old, metadata)
        self._complete(told, new, old, by)
        self._validate(told, new, old)
        shapes = shapes_of(told, by.version)
        if not applied:
            track_update(old, new, self._entry(told, by, "Update", subresource), shapes)
        if told.generation and not subresource and _spec_differs(old, new):
            metadata["generation"] = before.get("generation", 1) + 1
        metadata["resourceVersion"] = before["resourceVersion"]
        if new == old:
            return old
        by.warnings += self.admission("UPDATE", told.key, new, old)
        if by.dry_run:
            return new
        name: Name = (before.get("namespace", ""), before["name"])
        if deletion.may_go(told, new):
            metadata["resourceVersion"] = before["resourceVersion"]
            self.store.next_version()
            self.store.remove(
                told.key, name, {**new, "metadata": {**metadata, "resourceVersion": str(self.store.version)}}
            )
            return new
        metadata["resourceVersion"] = str(self.store.next_version())
        self.store.put(told.key, name, new)
        return new

    @staticmethod
    def _keep_system_fields(told: Resource, old: Object, metadata: Object) -> None:
        before = old["metadata"]
        given = metadata.get("deletionTimestamp")
        if given and given != before.get("deletionTimestamp"):
            shown = given.replace("T", " ").replace("Z", " +0000 UTC")
            cause = errors.Cause(
                "FieldValueInvalid", f"Invalid value: {shown}: field is immutable", "metadata.deletionTimestamp"
            )
            raise errors.invalid(told.kind, told.group, before["name"], [cause])
        metadata.pop("selfLink", None)
        for field in ("uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds"):
            if field in before:
                metadata[field] = before[field]
            else:
                metadata.pop(field, None)
        if before.get("deletionTimestamp"):
            fresh = [f for f in metadata.get("finalizers") or () if f not in (before.get("finalizers") or ())]
            if fresh:
                shown = "[]string{" + ", ".join(f'"{name}"' for name in fresh) + "}"
                why = f"Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers {shown}"
                cause = errors.Cause("FieldValueForbidden", why, "metadata.finalizers")
                raise errors.invalid(told.kind, told.group, before["name"], [cause])

    # ---- custom resources

    def _serve_crd(self, event: Event) -> None:
        if event.type == "DELETED":
            names = event.object["spec"]
            key = f"{names['names']['plural']}.{names['group']}"
            if key in {resource.key for resource in self.registry}:
                self.delete_collection(key)
                self.registry.remove(key)
            return
        if event.previous is not None and event.previous["spec"] == event.object["spec"]:
            return
        told = crds.to_resource(event.object)
        self.registry.add(told)
        status = crds.established(event.object, now())
        if (event.object.get("status") or {}).get("acceptedNames") != status["acceptedNames"]:
            self.set_status(crds.KEY, event.object["metadata"]["name"], None, status)


def _spec_differs(old: Object, new: Object) -> bool:
    ignored = {"metadata", "status", "apiVersion", "kind"}
    return any(old.get(key) != new.get(key) for key in {*old, *new} - ignored)


def _random_suffix() -> str:
    # the alphabet of Kubernetes' generated names: no vowels, no 0, 1 or 3
    return "".join(secrets.choice("bcdfghjklmnpqrstvwxz2456789") for _ in range(5))
