"""Schemas of the built-in kinds, from ``builtin.json`` (the models of the official Python client, Apache-2.0)."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from meshbdd.lab.api.errors import Object


@cache
def _told() -> Object:
    found: Object = json.loads(Path(__file__).with_name("builtin.json").read_text(encoding="utf-8"))
    return found


def _resolved(schema: Object, models: Object) -> Object:
    """The schema with its references replaced by the (shared) models themselves."""
    if "$ref" in schema:
        model: Object = models[schema["$ref"]]
        return model
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            schema[key] = _resolved(schema[key], models)
    for name, child in (schema.get("properties") or {}).items():
        schema["properties"][name] = _resolved(child, models)
    return schema


@cache
def _schemas() -> Object:
    models: Object = json.loads(json.dumps(_told()["models"]))
    for model in models.values():
        _resolved(model, models)
    return {key: models[name] for key, name in _told()["kinds"].items()}


def schema_of_kind(key: str) -> Object | None:
    """The schema of a built-in resource, or ``None`` where none is told."""
    return _schemas().get(key)


def components(key: str) -> tuple[str, Object] | None:
    """The model of a resource and all models that it refers to, with references for an OpenAPI document."""
    name = _told()["kinds"].get(key)
    if name is None:
        return None
    found: Object = {}
    _collect(name, found)
    return name, found


def _collect(name: str, found: Object) -> None:
    if name in found:
        return
    found[name] = None
    found[name] = _pointed(_told()["models"][name], found)


def _pointed(schema: Any, found: Object) -> Any:
    if isinstance(schema, list):
        return [_pointed(item, found) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        _collect(schema["$ref"], found)
        return {"$ref": f"#/components/schemas/{schema['$ref']}"}
    return {key: _pointed(value, found) for key, value in schema.items()}
