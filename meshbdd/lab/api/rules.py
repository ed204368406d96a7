"""The rules that every write passes: names, preconditions, system fields, schema, defaults."""

from __future__ import annotations

import json
import uuid

from meshbdd.lab.api import defaults, errors, structural, validation
from meshbdd.lab.api.calls import Caller, now
from meshbdd.lab.api.defaults import ClusterIp
from meshbdd.lab.api.errors import ApiError, Cause, Object
from meshbdd.lab.api.registry import Resource
from meshbdd.lab.api.store import Name, Store, clone


def present(told: Resource, obj: Object, version: str | None) -> Object:
    """The object in another served version: nothing but ``apiVersion`` differs."""
    wanted = told.api_version(version)
    return obj if obj.get("apiVersion") == wanted else {**obj, "apiVersion": wanted}


def named(told: Resource, new: Object, namespace: str | None, by: Caller) -> Object:
    """The metadata of a body, with its namespace settled.

    Raises:
        ApiError: 400 for metadata of wrong types or for two namespaces.
    """
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


def check_namespace(store: Store, told: Resource, namespace: str, name: str) -> None:
    """Kubernetes' NamespaceLifecycle: nothing is created where there is no namespace, or a going one.

    Raises:
        ApiError: 404, 403.
    """
    if not told.namespaced:
        return
    found = store.get("namespaces", ("", namespace))
    if found is None:
        raise errors.not_found("namespaces", "", namespace)
    if found["metadata"].get("deletionTimestamp"):
        cause = Cause("NamespaceTerminating", f"namespace {namespace} is being terminated", "metadata.namespace")
        why = f"unable to create new content in namespace {namespace} because it is being terminated"
        raise errors.forbidden(told.plural, told.group, name, why, [cause])


def reset_system_fields(told: Resource, metadata: Object, *, keep_managers: bool = False) -> None:
    """What the server alone sets, for a new object."""
    for field in ("selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"):
        metadata.pop(field, None)
    if not keep_managers:
        metadata.pop("managedFields", None)
    metadata["uid"] = str(uuid.uuid4())
    metadata["creationTimestamp"] = now()
    if told.generation:
        metadata["generation"] = 1


def keep_system_fields(told: Resource, old: Object, metadata: Object) -> None:
    """What the server alone sets, for a new version of an object.

    Raises:
        ApiError: 422 for another deletionTimestamp, or a new finalizer on an object that is being deleted.
    """
    before = old["metadata"]
    given = metadata.get("deletionTimestamp")
    if given and given != before.get("deletionTimestamp"):
        shown = given.replace("T", " ").replace("Z", " +0000 UTC")
        cause = Cause("FieldValueInvalid", f"Invalid value: {shown}: field is immutable", "metadata.deletionTimestamp")
        raise errors.invalid(told.kind, told.group, before["name"], [cause, cause])
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
            why = "no new finalizers can be added if the object is being deleted, found new finalizers"
            cause = Cause("FieldValueForbidden", f"Forbidden: {why} {shown}", "metadata.finalizers")
            raise errors.invalid(told.kind, told.group, before["name"], [cause, cause])


def check_preconditions(told: Resource, name: Name, metadata: Object, old: Object | None, *, blind: bool) -> Object:
    """The object that is to be replaced, if the caller's uid and resourceVersion are its own.

    ``blind`` lets a write without resourceVersion pass.

    Raises:
        ApiError: 404, 409, 422, 500.
    """
    uid, version = metadata.get("uid"), metadata.get("resourceVersion")
    if uid and uid != (old["metadata"]["uid"] if old else ""):
        key = "/".join(filter(None, ("/registry", told.group, told.plural, *name)))
        why = (
            f"StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition "
            f"failed: UID in precondition: {uid}, UID in object meta: {old['metadata']['uid'] if old else ''}"
        )
        raise errors.conflict(told.plural, told.group, name[1], why)
    if old is None:
        raise errors.not_found(told.plural, told.group, name[1])
    if version and not version.isdigit():
        raise errors.internal(f'strconv.ParseUint: parsing "{version}": invalid syntax')
    if not version or version == "0":
        if blind:
            return old
        why = "Invalid value: 0x0: must be specified for an update"
        raise errors.invalid(
            told.plural, told.group, name[1], [Cause("FieldValueInvalid", why, "metadata.resourceVersion")]
        )
    if version != old["metadata"]["resourceVersion"]:
        raise errors.conflict(told.plural, told.group, name[1], errors.STALE)
    return old


def _spoken(told: Resource, new: Object, by: Caller) -> str:
    spoken = by.version or str(new.get("apiVersion", "")).rpartition("/")[2]
    return spoken if told.version(spoken) else told.storage


def complete(told: Resource, new: Object, old: Object | None, by: Caller, cluster_ip: ClusterIp) -> None:
    """Drop or refuse unknown fields, fill in defaults; in place.

    Raises:
        ApiError: 400 (422 for a patch) under strict validation.
    """
    version = _spoken(told, new, by)
    metadata = new["metadata"]
    given = clone(new) if by.patched and by.validation == "Strict" else new
    unknown = by.problems + [f'unknown field "{path}"' for path in validation.unknown_metadata(metadata)]
    for field in [field for field in metadata if field not in validation.METADATA_FIELDS]:
        del metadata[field]
    unknown += [f'unknown field "{path}"' for path in structural.prune(told, version, new)]
    if unknown and by.validation == "Strict":
        raise _strict(told, version, given, unknown, by)
    if by.validation == "Warn":
        by.warnings += unknown
    by.warnings += validation.finalizer_warnings(metadata)
    for empty in [field for field in metadata if metadata[field] in (None, {}, []) and field != "managedFields"]:
        del metadata[empty]
    structural.default(told, version, new)
    if not told.custom and (fault := structural.misfit(told, version, new)):
        raise errors.bad_request(f'{told.kind} in version "{version}" cannot be handled as a {told.kind}: {fault}')
    new["apiVersion"], new["kind"] = told.api_version(), told.kind
    if not told.custom:
        defaults.fill_in(told.key, new, cluster_ip, old)


def _strict(told: Resource, version: str, new: Object, unknown: list[str], by: Caller) -> ApiError:
    told_off = f"strict decoding error: {', '.join(unknown)}"
    if not by.patched:
        return errors.bad_request(f'{told.kind} in version "{version}" cannot be handled as a {told.kind}: {told_off}')
    refused = errors.invalid("", "", "", [validation.wrong("patch", json.dumps(new, separators=(",", ":")), told_off)])
    del (refused.details or {})["kind"]
    return refused


def validate(told: Resource, new: Object, old: Object | None) -> None:
    """Refuse an object that breaks its schema or the rules of its kind.

    Raises:
        ApiError: 422.
    """
    causes = validation.metadata_causes(told, new["metadata"])
    if not causes:
        causes = structural.causes(told, told.storage, new) if told.custom else defaults.causes(told.key, new, old)
    validation.check(told, new["metadata"].get("name") or "", causes)


def check_typed(told: Resource, config: Object, by: Caller) -> None:
    """Refuse a configuration to apply with fields that the schema does not declare or that have another type.

    Raises:
        ApiError: 500, as a real server answers.
    """
    version = _spoken(told, config, by)
    probe = clone(config)
    unknown = validation.unknown_metadata(probe["metadata"]) + structural.prune(told, version, probe)
    faults = [f".{path}: field not declared in schema" for path in unknown]
    faults += structural.type_faults(told, version, probe)
    if faults:
        where = f"/{config['metadata'].get('name', '')}; {told.api_version(version)}, Kind={told.kind}"
        raise errors.internal(f"failed to create typed patch object ({where}): " + "\n".join(faults))


def spec_differs(old: Object, new: Object) -> bool:
    """Whether anything but metadata and status differs, so that the generation counts up."""
    ignored = {"metadata", "status", "apiVersion", "kind"}
    return any(old.get(key) != new.get(key) for key in {*old, *new} - ignored)
