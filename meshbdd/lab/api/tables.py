"""Answers in the form of a Table or of metadata alone, as ``kubectl get`` asks for them."""

from __future__ import annotations

import json
import re
from typing import Any

from meshbdd.lab.api.errors import ApiError, Object, bad_request, internal
from meshbdd.lab.api.http import Form
from meshbdd.lab.api.printers import PRINTERS, age
from meshbdd.lab.api.registry import Column, Resource

_STEP = re.compile(
    r"\.([A-Za-z0-9_\-/]+|\\\.)|\['((?:[^'\\]|\\.)*)'\]|\[(\d+|\*)\]|\[\?\(@\.([\w.]+)\s*==\s*[\"']([^\"']*)[\"']\)\]"
)


def look_up(obj: Any, path: str) -> list[Any]:
    """The values at a JSONPath of the kind that printer columns use.

    Understands fields, quoted fields with escaped dots, indices, ``[*]`` and filters by equality.
    """
    found = [obj]
    for name, quoted, index, field, wanted in _STEP.findall(path.replace("\\.", "\x00")):
        key = (name or quoted).replace("\x00", ".")
        step: list[Any] = []
        for value in found:
            if key and isinstance(value, dict) and key in value:
                step.append(value[key])
            elif index and isinstance(value, list):
                step += value if index == "*" else value[int(index) : int(index) + 1]
            elif field and isinstance(value, list):
                step += [v for v in value if isinstance(v, dict) and str(v.get(field)) == wanted]
        found = step
    return found


def _cell(obj: Object, column: Column) -> Any:
    values = look_up(obj, column.path)
    if not values or values[0] is None:
        return None
    value = values[0]
    match column.type:
        case "string":
            if isinstance(value, (dict, list)):
                return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
            return str(value).lower() if isinstance(value, bool) else str(value)
        case "integer":
            return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
        case "number":
            return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
        case "boolean":
            return value if isinstance(value, bool) else None
        case "date":
            return age(value) if isinstance(value, str) else None
        case _:
            return None


def _columns(resource: Resource, version: str) -> tuple[Column, ...]:
    served = resource.version(version)
    return served.columns if served else ()


def _cells(resource: Resource, obj: Object, columns: tuple[Column, ...]) -> list[Any]:
    name = obj["metadata"]["name"]
    if resource.key == "events":
        return PRINTERS["events"](obj)
    if resource.custom:
        return [name, *(_cell(obj, column) for column in columns[1:])]
    printer = PRINTERS.get(resource.key)
    return [name, *(printer(obj) if printer else [age(obj["metadata"].get("creationTimestamp"))])]


def partial(obj: Object, version: str = "v1") -> Object:
    """The object's metadata alone."""
    return {"kind": "PartialObjectMetadata", "apiVersion": f"meta.k8s.io/{version}", "metadata": obj["metadata"]}


def _row(resource: Resource, obj: Object, columns: tuple[Column, ...], include: str, version: str) -> Object:
    row: Object = {"cells": _cells(resource, obj, columns)}
    conditions = _row_conditions(resource, obj)
    if conditions:
        row["conditions"] = conditions
    if include == "Object":
        row["object"] = obj
    elif include == "None":
        row["object"] = None
    else:
        row["object"] = partial(obj, version)
    return row


def _row_conditions(resource: Resource, obj: Object) -> list[Object]:
    phase = (obj.get("status") or {}).get("phase") if resource.key == "pods" else None
    if phase in {"Succeeded", "Failed"}:
        return [{"type": "Completed", "status": "True", "reason": phase, "message": "The pod has terminated."}]
    return []


def table(
    resource: Resource, version: str, objects: list[Object], metadata: Object, form: Form, include: str | None,
    *, heads: bool = True,
) -> Object:  # fmt: skip
    """A Table of the objects.

    ``include`` is ``includeObject`` of the request (Metadata, Object or None), ``heads`` whether the columns are told:
    later frames of a watch leave them out.

    Raises:
        ApiError: 400 for another ``include``.
    """
    include = include or "Metadata"
    if include not in {"Metadata", "Object", "None"}:
        raise bad_request(
            f'Unable to convert to Table as requested: includeObject: Invalid value: "{include}": '
            "must be 'Metadata', 'Object', 'None', or empty"
        )
    columns = _columns(resource, version)
    definitions = [
        {
            "name": column.name, "type": column.type, "format": column.format, "description": column.description,
            "priority": column.priority,
        }
        for column in columns
    ]  # fmt: skip
    return {
        "kind": "Table",
        "apiVersion": f"meta.k8s.io/{form.version}",
        "metadata": metadata,
        "columnDefinitions": definitions if heads else None,
        "rows": [_row(resource, obj, columns, include, form.version) for obj in objects],
    }


def shaped(
    resource: Resource, version: str, obj: Object, form: Form, include: str | None, *, heads: bool = True
) -> Object:
    """One object in the form that was asked for; a Status stays as it is.

    Raises:
        ApiError: 500 for a list form of one object.
    """
    if not form.shape or (obj.get("kind"), obj.get("apiVersion")) == ("Status", "v1"):
        return obj
    if form.shape == "Table":
        metadata = {k: v for k, v in (("resourceVersion", obj["metadata"].get("resourceVersion")),) if v}
        return table(resource, version, [obj], metadata, form, include, heads=heads)
    if form.shape == "PartialObjectMetadataList":
        raise internal("content is not a list")
    return partial(obj)


def shaped_list(
    resource: Resource, version: str, objects: list[Object], metadata: Object, form: Form, include: str | None
) -> Object:
    """A list in the form that was asked for.

    Raises:
        ApiError: 406 for the form of one object.
    """
    lean = {key: value for key, value in metadata.items() if value != ""}
    if form.shape == "Table":
        return table(resource, version, objects, lean, form, include)
    if form.shape == "PartialObjectMetadata":
        message = (
            "you requested PartialObjectMetadata, but the requested object is a list (*unstructured.UnstructuredList)"
        )
        raise ApiError(406, "NotAcceptable", message)
    if form.shape:
        return {
            "kind": form.shape, "apiVersion": "meta.k8s.io/v1", "metadata": lean,
            "items": [partial(obj) for obj in objects],
        }  # fmt: skip
    return {
        "apiVersion": resource.api_version(version),
        "items": objects,
        "kind": resource.collection_kind,
        "metadata": metadata if resource.custom else lean,
    }
