"""What the schema of a version says about an object: unknown fields, defaults, violations."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from meshbdd.lab.api import builtin
from meshbdd.lab.api import schema as structure
from meshbdd.lab.api.errors import Cause, Object
from meshbdd.lab.api.registry import Resource
from meshbdd.lab.api.validation import go_kind


def schema_of(resource: Resource, version: str) -> Object | None:
    """The schema of a version, if it has one."""
    if not resource.custom:
        return builtin.schema_of_kind(resource.key)
    served = resource.version(version)
    return served.schema if served else None


def prune(resource: Resource, version: str, obj: Object) -> list[str]:
    """Drop the fields that the schema does not know from ``obj``, in place, and give their paths."""
    schema = schema_of(resource, version)
    return sorted(structure.prune(schema, obj)) if schema is not None else []


def default(resource: Resource, version: str, obj: Object) -> None:
    """Fill in the schema's defaults, in place."""
    schema = schema_of(resource, version)
    if schema is not None:
        drop_nulls(schema, obj)
        structure.default(schema, obj)


def causes(resource: Resource, version: str, obj: Object) -> list[Cause]:
    """How the object breaks the schema."""
    schema = schema_of(resource, version)
    if schema is None:
        return []
    found = [Cause(cause.reason, cause.message, cause.field) for cause in structure.validate(schema, obj)]
    if found and _has_rules(resource, version, schema):
        found.append(_UNCHECKED)
    return found or list(_duplicates(schema, obj, ""))


# recorded: what a server adds when the CRD has CEL rules, which look only at objects of the right shape
_UNCHECKED = Cause(
    "FieldValueInvalid",
    'Invalid value: "null": some validation rules were not checked because the object was invalid; correct the '
    "existing errors to complete validation",
    "<nil>",
)


def _has_rules(resource: Resource, version: str, schema: Object) -> bool:
    key = f"rules of {version}"
    if key not in resource.shapes:
        resource.shapes[key] = '"x-kubernetes-validations"' in json.dumps(schema)
    return bool(resource.shapes[key])


def drop_nulls(schema: Object, value: Any) -> None:
    """Forget nulls where the schema has no place for them, as Kubernetes does before it validates."""
    if isinstance(value, list):
        for item in value:
            drop_nulls(schema.get("items") or {}, item)
    elif isinstance(value, dict):
        properties = schema.get("properties") or {}
        for key in [key for key in value if key in properties]:
            if value[key] is None and not properties[key].get("nullable"):
                del value[key]
            else:
                drop_nulls(properties[key], value[key])


def _duplicates(schema: Object, value: Any, path: str) -> Iterator[Cause]:
    if isinstance(value, dict):
        for key, child in (schema.get("properties") or {}).items():
            if key in value:
                yield from _duplicates(child, value[key], f"{path}.{key}".lstrip("."))
    elif isinstance(value, list):
        kind, keys = schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-list-map-keys") or []
        seen: list[Any] = []
        for index, item in enumerate(value):
            told = {key: item.get(key) for key in keys} if kind == "map" and isinstance(item, dict) else item
            if kind in {"map", "set"} and told in seen:
                pairs = ", ".join(f'"{key}":{json.dumps(told[key])}' for key in keys) if kind == "map" else ""
                shown = f"map[string]interface {{}}{{{pairs}}}" if kind == "map" else json.dumps(item)
                yield Cause("FieldValueDuplicate", f"Duplicate value: {shown}", f"{path}[{index}]")
            seen.append(told)
            yield from _duplicates(schema.get("items") or {}, item, f"{path}[{index}]")


def misfit(resource: Resource, version: str, obj: Object) -> str | None:
    """What Go's decoder says of the first value of a wrong type in an object of a built-in kind."""
    schema = schema_of(resource, version)
    for cause in structure.validate(schema, obj) if schema is not None else ():
        if cause.reason == "FieldValueTypeInvalid":
            wanted = cause.message.partition(" must be of type ")[2].partition(":")[0]
            given = cause.message.rpartition(": ")[2].strip('"')
            given = "number" if given == "integer" else given
            where = f"{resource.kind}.{cause.field}"
            return f"json: cannot unmarshal {given} into Go struct field {where} of type {wanted}"
    return None


_GO_TYPES = {"array": "list", "object": "map"}


def type_faults(resource: Resource, version: str, obj: Object) -> list[str]:
    """Where lists and maps of a configuration to apply are none, or items of keyed lists are not told apart."""
    schema = schema_of(resource, version)
    if schema is None:
        return []
    properties = {
        k: v for k, v in (schema.get("properties") or {}).items() if k not in {"metadata", "apiVersion", "kind"}
    }
    return _faults({**schema, "properties": properties}, obj, "")


def _faults(schema: Object, value: Any, path: str) -> list[str]:
    kind = schema.get("type")
    if value is None or (schema.get("x-kubernetes-preserve-unknown-fields") and not schema.get("properties")):
        return []
    if kind in _GO_TYPES and go_kind(value) != kind:
        shown = value if isinstance(value, str) else json.dumps(value)
        return [f"{path}: expected {_GO_TYPES[kind]}, got &{{{shown}}}"]
    if kind == "array":
        keyed = _key_faults(schema, value, path)
        items = schema.get("items") or {}
        return keyed or [fault for i, item in enumerate(value) for fault in _faults(items, item, f"{path}[{i}]")]
    if kind == "object":
        properties = schema.get("properties") or {}
        return [f for k, item in value.items() if k in properties for f in _faults(properties[k], item, f"{path}.{k}")]
    return []


def _key_faults(schema: Object, items: list[Any], path: str) -> list[str]:
    if schema.get("x-kubernetes-list-type") != "map":
        return []
    keys, seen = schema.get("x-kubernetes-list-map-keys") or [], set()
    for index, item in enumerate(items):
        missing = [key for key in keys if key not in item]
        if missing:
            why = f'associative list with keys has an element that omits key field "{missing[0]}"'
            return [f"{path}: element {index}: {why} (and doesn't have default value)"]
        told = "[" + ",".join(f"{key}={json.dumps(item[key])}" for key in keys) + "]"
        if told in seen:
            return [f"{path}: duplicate entries for key {told}"]
        seen.add(told)
    return []
