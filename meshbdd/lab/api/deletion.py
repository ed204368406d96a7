"""Deleting: preconditions, grace periods, finalizers, propagation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshbdd.lab.api import errors
from meshbdd.lab.api.calls import Caller, DeleteOptions, Deletion, now
from meshbdd.lab.api.errors import Object
from meshbdd.lab.api.registry import Resource

if TYPE_CHECKING:
    from meshbdd.lab.api.core import Api

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"


def may_go(told: Resource, obj: Object) -> bool:
    """Whether an object that is being deleted has nothing left that holds it."""
    metadata = obj["metadata"]
    if not metadata.get("deletionTimestamp") or metadata.get("finalizers"):
        return False
    if told.key == "namespaces" and (obj.get("spec") or {}).get("finalizers"):
        return False
    return not metadata.get("deletionGracePeriodSeconds")


def _check(told: Resource, obj: Object, options: DeleteOptions) -> None:
    metadata = obj["metadata"]
    if options.uid and options.uid != metadata["uid"]:
        why = (
            f"the UID in the precondition ({options.uid}) does not match the UID in record ({metadata['uid']}). "
            "The object might have been deleted and then recreated"
        )
        raise errors.conflict(told.kind, told.group, metadata["name"], why)
    if options.resource_version and options.resource_version != metadata["resourceVersion"]:
        why = (
            f"the ResourceVersion in the precondition ({options.resource_version}) does not match the ResourceVersion "
            f"in record ({metadata['resourceVersion']}). The object might have been modified"
        )
        raise errors.conflict(told.kind, told.group, metadata["name"], why)


def _finalizers(obj: Object, options: DeleteOptions) -> list[str]:
    kept = [name for name in obj["metadata"].get("finalizers") or () if name not in {FOREGROUND, ORPHAN}]
    if options.propagation == "Foreground":
        kept.append(FOREGROUND)
    elif options.propagation == "Orphan":
        kept.append(ORPHAN)
    elif options.propagation is None:
        return list(obj["metadata"].get("finalizers") or ())
    return kept


def _grace(told: Resource, obj: Object, options: DeleteOptions) -> int:
    """Seconds that a pod on a node gets to end; its controller removes it. Anything else goes at once."""
    if told.key != "pods" or not obj["spec"].get("nodeName"):
        return 0
    if (obj.get("status") or {}).get("phase") in {"Succeeded", "Failed"}:
        return 0
    told_seconds = options.grace_seconds
    return int(obj["spec"].get("terminationGracePeriodSeconds", 30)) if told_seconds is None else told_seconds


def delete(api: Api, resource: str, name: str, namespace: str | None, options: DeleteOptions, by: Caller) -> Deletion:
    """See ``Api.delete``."""
    told = api.resource(resource)
    old = api.get(resource, name, namespace)
    _check(told, old, options)
    metadata = old["metadata"]
    finalizers = _finalizers(old, options)
    grace = _grace(told, old, options)
    if metadata.get("deletionTimestamp") and finalizers == list(metadata.get("finalizers") or ()):
        held = metadata.get("deletionGracePeriodSeconds") or 0
        if grace >= held and not may_go(told, old):
            return Deletion(old, gone=False)
    by.warnings += api.admission("DELETE", told.key, None, old)
    marked = {
        **metadata,
        "deletionTimestamp": metadata.get("deletionTimestamp") or now(),
        "deletionGracePeriodSeconds": grace,
    }
    marked.pop("finalizers", None)
    if finalizers:
        marked["finalizers"] = finalizers
    if told.generation and not metadata.get("deletionTimestamp"):
        marked["generation"] = metadata.get("generation", 1) + 1
    going = {**old, "metadata": marked}
    if told.key == "namespaces":
        going["status"] = {**(old.get("status") or {}), "phase": "Terminating"}
    key = (metadata.get("namespace", ""), metadata["name"])
    if may_go(told, going):
        if not by.dry_run:
            version = str(api.store.next_version())
            api.store.remove(resource, key, {**old, "metadata": {**metadata, "resourceVersion": version}})
        return Deletion(old, gone=True)
    if by.dry_run:
        return Deletion(going, gone=False)
    marked["resourceVersion"] = str(api.store.next_version())
    api.store.put(resource, key, going)
    return Deletion(going, gone=False)
