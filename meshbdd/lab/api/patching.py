"""JSON patch (RFC 6902), merge patch (RFC 7386) and Kubernetes' strategic merge patch; all give a new object."""

from __future__ import annotations

from typing import Any

from meshbdd.lab.api.errors import ApiError, Object, bad_request
from meshbdd.lab.api.shapes import Path, Shape, Shapes
from meshbdd.lab.api.store import clone

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


def _rejected() -> ApiError:
    # recorded: a failing "test" says no more than this
    return ApiError(422, "Invalid", "the server rejected our request due to an error in our request", {})


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7386: ``null`` removes, objects merge, anything else replaces."""
    if not isinstance(patch, dict):
        return clone(patch)
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def _steps(pointer: Any) -> list[str]:
    if not isinstance(pointer, str) or (pointer and not pointer.startswith("/")):
        raise _rejected()
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


def _index(items: list[Any], step: str, *, room: int = 0) -> int:
    if step == "-" and room:
        return len(items)
    try:
        index = int(step)
    except ValueError:
        raise _rejected() from None
    if index < 0:
        index += len(items)
    if not 0 <= index < len(items) + room:
        raise _rejected()
    return index


def _look(value: Any, steps: list[str]) -> Any:
    for step in steps:
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list):
            value = value[_index(value, step)]
        else:
            raise _rejected()
    return value


def _add(document: Any, steps: list[str], value: Any) -> Any:
    if not steps:
        return value
    parent = _look(document, steps[:-1])
    if isinstance(parent, list):
        parent.insert(_index(parent, steps[-1], room=1), value)
    elif isinstance(parent, dict):
        parent[steps[-1]] = value
    else:
        raise _rejected()
    return document


def _remove(document: Any, steps: list[str]) -> Any:
    parent = _look(document, steps[:-1]) if steps else None
    if isinstance(parent, list):
        del parent[_index(parent, steps[-1])]
    elif isinstance(parent, dict) and steps[-1] in parent:
        del parent[steps[-1]]
    else:
        raise _rejected()
    return document


def _replace(document: Any, steps: list[str], value: Any) -> Any:
    if not steps:
        return value
    parent = _look(document, steps[:-1])
    if isinstance(parent, list):
        parent[_index(parent, steps[-1])] = value
    elif isinstance(parent, dict):
        parent[steps[-1]] = value  # recorded: the server lets "replace" make a missing key
    else:
        raise _rejected()
    return document


def _operate(document: Any, operation: Object) -> Any:
    kind, steps = operation.get("op"), _steps(operation.get("path"))
    match kind:
        case "add":
            return _add(document, steps, clone(operation.get("value")))
        case "remove":
            return _remove(document, steps)
        case "replace":
            return _replace(document, steps, clone(operation.get("value")))
        case "move":
            source = _steps(operation.get("from"))
            value = _look(document, source)
            return _add(_remove(document, source), steps, value)
        case "copy":
            return _add(document, steps, clone(_look(document, _steps(operation.get("from")))))
        case "test":
            if _look(document, steps) != operation.get("value"):
                raise _rejected()
            return document
        case _:
            raise _rejected()


def json_patch(target: Object, operations: Any) -> Object:
    """RFC 6902, all or nothing.

    Raises:
        ApiError: 400 when it is no list of operations, 422 when one of them does not apply.
    """
    if not isinstance(operations, list) or not all(isinstance(operation, dict) for operation in operations):
        raise bad_request("error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    document = clone(target)
    for operation in operations:
        document = _operate(document, operation)
    if not isinstance(document, dict):
        raise _rejected()
    return document


def _key_of(item: Any, keys: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(item.get(key) for key in keys) if isinstance(item, dict) else (item,)


def _merge_items(target: list[Any], patch: list[Any], shape: Shape, path: Path, shapes: Shapes) -> list[Any]:
    merged = list(target)
    replace = any(isinstance(item, dict) and item.get("$patch") == "replace" for item in patch)
    if replace:
        return [clone(item) for item in patch if item.get("$patch") != "replace"]
    for item in patch:
        wanted = _key_of(item, shape.keys)
        at = next((i for i, old in enumerate(merged) if _key_of(old, shape.keys) == wanted), None)
        if isinstance(item, dict) and item.get("$patch") == "delete":
            if at is not None:
                del merged[at]
        elif at is None:
            merged.append(strategic_merge({}, item, shapes, path) if isinstance(item, dict) else item)
        elif isinstance(item, dict):
            merged[at] = strategic_merge(merged[at], item, shapes, path)
    return merged


def _ordered(items: list[Any], order: list[Any], keys: tuple[str, ...]) -> list[Any]:
    rank = {_key_of(item, keys): index for index, item in enumerate(order)}
    known = iter(sorted((i for i in items if _key_of(i, keys) in rank), key=lambda i: rank[_key_of(i, keys)]))
    return [next(known) if _key_of(item, keys) in rank else item for item in items]


def strategic_merge(target: Any, patch: Any, shapes: Shapes, path: Path = ()) -> Any:
    """Kubernetes' strategic merge patch: as a merge patch, but lists with a merge key merge by it.

    Understands ``$patch: delete|replace``, ``$deleteFromPrimitiveList`` , ``$setElementOrder`` and ``$retainKeys``.
    """
    if not isinstance(patch, dict):
        return clone(patch)
    if patch.get("$patch") == "replace":
        return {key: clone(value) for key, value in patch.items() if key != "$patch"}
    if patch.get("$patch") == "delete":
        return {}
    merged = dict(target) if isinstance(target, dict) else {}
    if "$retainKeys" in patch:
        merged = {key: value for key, value in merged.items() if key in patch["$retainKeys"]}
    for key, value in patch.items():
        if key.startswith("$deleteFromPrimitiveList/"):
            field = key.split("/", 1)[1]
            merged[field] = [item for item in merged.get(field) or [] if item not in value]
        elif key.startswith("$"):
            continue
        elif value is None:
            merged.pop(key, None)
        elif isinstance(value, list):
            merged[key] = _merge_list(merged.get(key), value, (*path, key), shapes)
        else:
            merged[key] = strategic_merge(merged.get(key), value, shapes, (*path, key))
    for key, value in patch.items():
        if key.startswith("$setElementOrder/"):
            field = key.split("/", 1)[1]
            keys = shapes.of_patch((*path, field)).keys
            merged[field] = _ordered(merged.get(field) or [], value, keys)
    return merged


def _merge_list(target: Any, patch: list[Any], path: Path, shapes: Shapes) -> list[Any]:
    shape = shapes.of_patch(path)
    if not isinstance(target, list) or shape.kind == "atomic":
        if shape.kind == "map":
            return _merge_items([], patch, shape, path, shapes)
        return [clone(item) for item in patch]
    if shape.kind == "set":
        return [*target, *(item for item in patch if item not in target)]
    return _merge_items(target, patch, shape, path, shapes)
