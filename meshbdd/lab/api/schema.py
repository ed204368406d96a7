"""Structural schemas (``openAPIV3Schema`` of a CRD): validating, pruning, defaulting; in Kubernetes' wording."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from meshbdd.lab.go import regex_found, seconds

Schema = Mapping[str, Any]

_SPECIAL = {"apiVersion", "kind", "metadata"}


@dataclass(frozen=True, slots=True)
class Cause:
    """One violation: Kubernetes' reason, its sentence, and the field's path."""

    reason: str
    message: str
    field: str


def _type_of(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def _fits(wanted: str, value: Any) -> bool:
    actual = _type_of(value)
    if wanted == "number":
        return actual in {"number", "integer"}
    if wanted == "integer" and actual == "number":
        return float(value).is_integer()
    return actual == wanted


def _shown(value: Any) -> str:
    return (
        json.dumps(value) if isinstance(value, str | int | float | bool) else json.dumps(value, separators=(",", ":"))
    )


def _invalid(path: str, value: Any, why: str) -> Cause:
    return Cause("FieldValueInvalid", f"Invalid value: {_shown(value)}: {path} in body {why}", path)


def validate(schema: Schema, obj: Any, path: str = "") -> list[Cause]:
    """Every way in which ``obj`` breaks ``schema``; metadata is not looked at."""
    return list(_check(schema, obj, path))


def _check(schema: Schema, value: Any, path: str) -> Iterator[Cause]:
    if value is None and schema.get("nullable"):
        return
    kind = schema.get("type")
    if schema.get("x-kubernetes-int-or-string"):
        if not isinstance(value, int | str) or isinstance(value, bool):
            yield _wrong_type(path, value, "integer,string")
        return
    if kind and not _fits(kind, value):
        yield _wrong_type(path, value, kind)
        return
    yield from _scalars(schema, value, path)
    if isinstance(value, dict):
        yield from _members(schema, value, path)
    elif isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            yield from _check(schema["items"], item, f"{path}[{index}]")
    yield from _combinations(schema, value, path)


def _wrong_type(path: str, value: Any, kind: str) -> Cause:
    shown = f'Invalid value: "{_type_of(value)}": {path} in body must be of type {kind}: "{_type_of(value)}"'
    return Cause("FieldValueTypeInvalid", shown, path)


def _scalars(schema: Schema, value: Any, path: str) -> Iterator[Cause]:
    if "enum" in schema and value not in schema["enum"]:
        supported = ", ".join(f'"{item}"' for item in schema["enum"])
        yield Cause(
            "FieldValueNotSupported", f"Unsupported value: {_shown(value)}: supported values: {supported}", path
        )
    if isinstance(value, str):
        yield from _strings(schema, value, path)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from _numbers(schema, value, path)
    elif isinstance(value, list):
        if len(value) < schema.get("minItems", 0):
            yield _invalid(path, value, f"should have at least {schema['minItems']} items")
        if len(value) > schema.get("maxItems", len(value)):
            told = f"Too many: {len(value)}: must have at most {schema['maxItems']} items"
            yield Cause("FieldValueTooMany", told, path)


def _strings(schema: Schema, value: str, path: str) -> Iterator[Cause]:
    if "pattern" in schema and not regex_found(schema["pattern"], value):
        yield _invalid(path, value, f"should match '{schema['pattern']}'")
    if len(value) < schema.get("minLength", 0):
        yield _invalid(path, value, f"should be at least {schema['minLength']} chars long")
    if len(value) > schema.get("maxLength", len(value)):
        told = f"Too long: may not be more than {schema['maxLength']} bytes"
        yield Cause("FieldValueTooLong", told, path)
    if schema.get("format") == "duration" and not _is_duration(value):
        yield _invalid(path, value, f"must be of type duration: {_shown(value)}")


def _is_duration(text: str) -> bool:
    try:
        seconds(text)
    except ValueError:
        return False
    return True


def _numbers(schema: Schema, value: float, path: str) -> Iterator[Cause]:
    if value < schema.get("minimum", value):
        yield _invalid(path, value, f"should be greater than or equal to {schema['minimum']}")
    if value > schema.get("maximum", value):
        yield _invalid(path, value, f"should be less than or equal to {schema['maximum']}")
    if schema.get("format") == "int32" and not -(2**31) <= value < 2**31:
        yield _invalid(path, value, "must be of type int32")


def _members(schema: Schema, value: Mapping[str, Any], path: str) -> Iterator[Cause]:
    if len(value) < schema.get("minProperties", 0):
        yield _invalid(path, value, f"should have at least {schema['minProperties']} properties")
    for name in schema.get("required", ()):
        if name not in value:
            where = f"{path}.{name}" if path else name
            yield Cause("FieldValueRequired", "Required value", where)
    properties = schema.get("properties") or {}
    extra = schema.get("additionalProperties")
    for name, item in value.items():
        if not path and name in _SPECIAL:
            continue
        inner = properties.get(name)
        where = f"{path}.{name}" if path else name
        if inner is None and isinstance(extra, Mapping):
            inner = extra
        if inner is not None:
            yield from _check(inner, item, where)


def _combinations(schema: Schema, value: Any, path: str) -> Iterator[Cause]:
    for inner in schema.get("allOf", ()):
        yield from _check(inner, value, path)
    if "anyOf" in schema and not any(not validate(inner, value, path) for inner in schema["anyOf"]):
        yield _combination(path, value, "must validate at least one schema (anyOf)")
    if "oneOf" in schema:
        fitting = sum(not validate(inner, value, path) for inner in schema["oneOf"])
        if fitting != 1:
            found = "Found none valid" if not fitting else f"Found {fitting} valid alternatives"
            yield _combination(path, value, f"must validate one and only one schema (oneOf). {found}")
    if "not" in schema and not validate(schema["not"], value, path):
        yield _combination(path, value, "must not validate the schema (not)")


def _combination(path: str, value: Any, why: str) -> Cause:
    return Cause("FieldValueInvalid", f'Invalid value: "{_type_of(value)}": "{path}" {why}', path)


def prune(schema: Schema, obj: dict[str, Any], path: str = "") -> list[str]:
    """Drop what the schema does not know from ``obj``, in place.

    Returns:
        The paths of what was dropped.
    """
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return []
    dropped = []
    properties = schema.get("properties")
    extra = schema.get("additionalProperties")
    for name in list(obj):
        if not path and name in _SPECIAL:
            continue
        where = f"{path}.{name}" if path else name
        inner = (properties or {}).get(name)
        if inner is None and extra is not None:
            inner = extra if isinstance(extra, Mapping) else {"x-kubernetes-preserve-unknown-fields": True}
        if inner is None:
            if properties is not None or schema.get("type") == "object":
                del obj[name]
                dropped.append(where)
            continue
        dropped += _prune_value(inner, obj[name], where)
    return dropped


def _prune_value(schema: Schema, value: Any, path: str) -> list[str]:
    if isinstance(value, dict):
        return prune(schema, value, path)
    if isinstance(value, list) and "items" in schema:
        return [found for i, item in enumerate(value) for found in _prune_value(schema["items"], item, f"{path}[{i}]")]
    return []


def default(schema: Schema, obj: Any) -> None:
    """Fill in the schema's defaults, in place."""
    if isinstance(obj, dict):
        for name, inner in (schema.get("properties") or {}).items():
            if name not in obj and "default" in inner:
                obj[name] = json.loads(json.dumps(inner["default"]))
            if name in obj:
                default(inner, obj[name])
    elif isinstance(obj, list) and "items" in schema:
        for item in obj:
            default(schema["items"], item)
