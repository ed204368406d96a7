"""What the schema of a version says about an object: unknown fields, defaults, violations."""

from __future__ import annotations

from typing import Any

from meshbdd.lab.api.errors import Cause, Object
from meshbdd.lab.api.registry import Resource

try:
    from meshbdd.lab.api import schema as _schema
except ImportError:  # pragma: no cover - until the module is there
    _schema = None  # type: ignore[assignment]


def schema_of(resource: Resource, version: str) -> Object | None:
    """The schema of a version, if it has one."""
    served = resource.version(version)
    return served.schema if served else None


def prune(resource: Resource, version: str, obj: Object) -> list[str]:
    """Drop the fields that the schema does not know from ``obj``, in place, and give their paths."""
    schema = schema_of(resource, version)
    if schema is None or _schema is None:
        return []
    return list(_schema.prune(schema, obj))


def default(resource: Resource, version: str, obj: Object) -> None:
    """Fill in the schema's defaults, in place."""
    schema = schema_of(resource, version)
    if schema is not None and _schema is not None:
        _schema.default(schema, obj)


def causes(resource: Resource, version: str, obj: Object) -> list[Cause]:
    """How the object breaks the schema."""
    schema = schema_of(resource, version)
    if schema is None or _schema is None:
        return []
    found: list[Any] = list(_schema.validate(schema, obj))
    return [Cause(cause.reason, cause.message, cause.field) for cause in found]
