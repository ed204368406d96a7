"""Small words for writing structural schemas down."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
BOOL: Schema = {"type": "boolean"}
NUMBER: Schema = {"type": "number", "format": "double"}
INT32: Schema = {"type": "integer", "format": "int32"}
UINT32: Schema = {"type": "integer", "minimum": 0, "maximum": 4294967295}
ANY: Schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def duration(*, least: str | None = None) -> Schema:
    """A Go duration; ``least`` is checked as a rule of its own (Istio writes it in CEL)."""
    return {"type": "string", "format": "duration", **({"x-meshbdd-least": least} if least else {})}


def obj(fields: Schema | None = None, *, required: tuple[str, ...] = (), one_of: tuple[str, ...] = ()) -> Schema:
    """An object; of ``one_of`` at most one field may be said."""
    made: Schema = {"type": "object", "properties": fields or {}}
    if required:
        made["required"] = list(required)
    if one_of:
        # As Istio's generated schemas say it: none of them, or exactly one.
        none = {"not": {"anyOf": [{"required": [name]} for name in one_of]}}
        made["oneOf"] = [none, *({"required": [name]} for name in one_of)]
    return made


def array(items: Schema, **more: Any) -> Schema:
    """A list."""
    return {"type": "array", "items": items, **more}


def table(values: Schema) -> Schema:
    """A map from names to values."""
    return {"type": "object", "additionalProperties": values}


def choice(*values: str) -> Schema:
    """One of some words."""
    return {"type": "string", "enum": list(values)}


TARGET = obj({"group": TEXT, "kind": TEXT, "name": TEXT, "namespace": TEXT}, required=("kind", "name"))
"""What a policy may point to instead of selecting workloads: a gateway or a waypoint."""
