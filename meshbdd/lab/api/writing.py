"""How a write becomes a stored object: rules, admission, ownership, store; in Kubernetes' order."""

from __future__ import annotations

from collections.abc import Callable

from meshbdd.lab.api import deletion, errors, rules
from meshbdd.lab.api.calls import Admission, Caller, now
from meshbdd.lab.api.defaults import ClusterIp
from meshbdd.lab.api.errors import Object
from meshbdd.lab.api.registry import Resource
from meshbdd.lab.api.shapes import shapes_of
from meshbdd.lab.api.ssa import Entry, apply, track_update
from meshbdd.lab.api.store import Name, Store, clone
from meshbdd.lab.api.validation import immutable

_APPLIED = frozenset({"metadata", "kind", "apiVersion"})


def _entry(told: Resource, by: Caller, operation: str, subresource: str = "") -> Entry:
    return Entry(by.manager, operation, told.api_version(by.version), subresource, frozenset(), now())


class Writer:
    """Writes objects into the store.

    Args:
        store: Where they go.
        admission: Asked before every write.
        mutation: May change a new object before it is validated; ``None`` for nobody.
        cluster_ip: Gives a new Service its address.
    """

    def __init__(
        self,
        store: Store,
        admission: Admission,
        mutation: Callable[[str, Object], None] | None,
        cluster_ip: ClusterIp,
    ) -> None:
        self._store = store
        self._admission = admission
        self._mutation = mutation
        self._cluster_ip = cluster_ip

    def add(self, told: Resource, new: Object, by: Caller, *, applied: bool = False) -> Object:
        """Keep a new object (named, system fields set); ``applied`` when its ownership is already written.

        Raises:
            ApiError: 409, 422, what admission raises.
        """
        metadata = new["metadata"]
        rules.complete(told, new, None, by, self._cluster_ip)
        if self._mutation:
            self._mutation(told.key, new)
        rules.validate(told, new, None)
        name: Name = (metadata.get("namespace", ""), metadata["name"])
        by.warnings += self._admission("CREATE", told.key, new, None)
        existing = self._store.get(told.key, name)
        if existing is not None:
            going = bool(existing["metadata"].get("deletionTimestamp"))
            raise errors.already_exists(told.plural, told.group, name[1], going=going)
        if not applied:
            track_update(None, new, _entry(told, by, "Update"), shapes_of(told, by.version))
        if by.dry_run:
            return new
        metadata["resourceVersion"] = str(self._store.next_version())
        self._store.put(told.key, name, new)
        return new

    def replace(
        self, told: Resource, old: Object, new: Object, by: Caller, subresource: str, *, applied: bool = False
    ) -> Object:
        """Keep a new version of an object; the old one, when nothing changes.

        ``new`` is being made and may be changed.

        Raises:
            ApiError: 422, what admission raises.
        """
        before = old["metadata"]
        new = self._with_its_own_status(told, old, new, subresource, applied=applied)
        metadata = new["metadata"]
        rules.keep_system_fields(told, old, metadata)
        rules.complete(told, new, old, by, self._cluster_ip)
        rules.validate(told, new, old)
        if not applied:
            track_update(old, new, _entry(told, by, "Update", subresource), shapes_of(told, by.version))
        if told.generation and not subresource and rules.spec_differs(old, new):
            metadata["generation"] = before.get("generation", 1) + 1
        metadata["resourceVersion"] = before["resourceVersion"]
        if new == old:
            return old
        by.warnings += self._admission("UPDATE", told.key, new, old)
        if by.dry_run:
            return new
        name: Name = (before.get("namespace", ""), before["name"])
        version = str(self._store.next_version())
        if deletion.may_go(told, new):
            # recorded: watches see the object as it was before its last finalizer went
            self._store.remove(told.key, name, {**old, "metadata": {**before, "resourceVersion": version}})
            return new
        metadata["resourceVersion"] = version
        self._store.put(told.key, name, new)
        return new

    @staticmethod
    def _with_its_own_status(told: Resource, old: Object, new: Object, subresource: str, *, applied: bool) -> Object:
        """``/status`` takes the status alone, the main path everything else."""
        if subresource == "status":
            kept = {**old, "metadata": dict(old["metadata"])}
            if new.get("status") is not None:
                kept["status"] = clone(new["status"])
            if applied and "managedFields" in new["metadata"]:
                kept["metadata"]["managedFields"] = new["metadata"]["managedFields"]
            return kept
        if told.status:
            new.pop("status", None)
            if "status" in old:
                new["status"] = old["status"]
        return new

    def apply(self, told: Resource, config: Object, by: Caller, subresource: str, *, force: bool) -> Object:
        """Server-side apply of a configuration (named, its own copy).

        Raises:
            ApiError: 400, 404, 409, 422, 500, what admission raises.
        """
        metadata = config["metadata"]
        name: Name = (metadata.get("namespace", ""), metadata.get("name", ""))
        if metadata.get("managedFields"):
            raise errors.bad_request("metadata.managedFields must be nil")
        rules.check_typed(told, config, by)
        old = self._store.get(told.key, name)
        uid, version = metadata.pop("uid", None), metadata.pop("resourceVersion", None)
        if uid and (old is None or uid != old["metadata"]["uid"]):
            cause = immutable("metadata.uid", uid)
            raise errors.invalid(told.kind, told.group, name[1], [cause, cause])
        if told.status:
            main = subresource != "status"
            config = {k: v for k, v in config.items() if k in _APPLIED or (k != "status") is main}
        entry, shapes = _entry(told, by, "Apply", subresource), shapes_of(told, by.version)
        if old is None:
            if subresource:
                raise errors.not_found(told.plural, told.group, name[1])
            rules.check_namespace(self._store, told, *name)
            new = clone(apply(None, config, entry, shapes, force=force))
            rules.reset_system_fields(told, new["metadata"], keep_managers=True)
            return self.add(told, new, by, applied=True)
        if version and version != old["metadata"]["resourceVersion"]:
            raise errors.conflict(told.plural, told.group, name[1], errors.STALE)
        new = clone(apply(rules.present(told, old, by.version), config, entry, shapes, force=force))
        return self.replace(told, old, new, by, subresource, applied=True)
