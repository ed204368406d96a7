"""Sets of field paths, as ``metadata.managedFields`` keeps them (FieldsV1).

A path is a tuple of elements in FieldsV1's own spelling: ``f:name`` a field, ``k:{"name":"v1"}`` an item of a list with
keys, ``v:"x"`` an item of a set. The set of a manager is a plain Python set of such paths.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from meshbdd.lab.api.errors import Object
from meshbdd.lab.api.shapes import Path, Shapes

FieldPath = tuple[str, ...]
FieldSet = frozenset[FieldPath]

NEVER_OWNED: frozenset[FieldPath] = frozenset(
    {("f:apiVersion",), ("f:kind",), ("f:metadata",)}
    | {
        ("f:metadata", f"f:{name}")
        for name in (
            "name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "selfLink",
            "managedFields", "deletionTimestamp", "deletionGracePeriodSeconds",
        )
    }
)  # fmt: skip


def _dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def item_element(item: Any, keys: tuple[str, ...]) -> str:
    """The element of an item in a list with keys; a missing key counts with its usual default (``protocol``: TCP)."""
    found = {key: item[key] for key in keys if key in item}
    if "protocol" in keys and "protocol" not in found:
        found["protocol"] = "TCP"
    return "k:" + _dump(found)


def _children(value: Any, fields: Path, shapes: Shapes) -> Iterator[tuple[str, Any, Path]] | None:
    """Elements, values and field paths inside; ``None`` for a value that is owned as a whole."""
    if isinstance(value, dict):
        if fields and shapes.of_map(fields).kind == "atomic":
            return None
        return ((f"f:{name}", child, (*fields, name)) for name, child in value.items())
    if isinstance(value, list):
        shape = shapes.of_list(fields)
        if shape.kind == "map":
            return ((item_element(item, shape.keys), item, fields) for item in value if isinstance(item, dict))
        if shape.kind == "set":
            return (("v:" + _dump(item), item, fields) for item in value)
    return None


def everything_in(value: Any, shapes: Shapes, path: FieldPath = (), fields: Path = ()) -> Iterator[FieldPath]:
    """All paths of a value that is new: the containers too."""
    if path:
        yield path
    if path and path[-1].startswith("v:"):
        return
    for element, child, child_fields in _children(value, fields, shapes) or ():
        yield from everything_in(child, shapes, (*path, element), child_fields)


def applied_in(value: Any, shapes: Shapes, path: FieldPath = (), fields: Path = ()) -> Iterator[FieldPath]:
    """The paths that somebody who applies this value owns: leaves, items of keyed lists, empty containers."""
    if path and path[-1].startswith("v:"):
        yield path
        return
    children = _children(value, fields, shapes)
    if children is None:
        if not isinstance(value, list) or value or shapes.of_list(fields).kind == "atomic":
            yield path
        return
    empty = True
    if path and path[-1].startswith("k:"):
        yield path
    for element, child, child_fields in children:
        empty = False
        yield from applied_in(child, shapes, (*path, element), child_fields)
    if empty and path and isinstance(value, dict):
        yield path


class Difference:
    """What differs between two objects, as paths: ``changed`` (added or modified) and ``removed``."""

    def __init__(self, old: Object, new: Object, shapes: Shapes) -> None:
        self._shapes = shapes
        self._changed: set[FieldPath] = set()
        self._removed: set[FieldPath] = set()
        self._compare(old, new, (), ())
        self.changed: FieldSet = frozenset(self._changed - NEVER_OWNED)
        self.removed: FieldSet = frozenset(self._removed - NEVER_OWNED)

    def _compare(self, old: Any, new: Any, path: FieldPath, fields: Path) -> None:
        if old is new or path == ("f:metadata", "f:managedFields"):
            return
        before = _children(old, fields, self._shapes)
        after = _children(new, fields, self._shapes)
        if before is None or after is None or type(old) is not type(new):
            if old != new:
                self._changed.add(path)
                if before is not None:
                    self._removed.update(p for p in everything_in(old, self._shapes, path, fields) if p != path)
                if after is not None:
                    self._changed.update(everything_in(new, self._shapes, path, fields))
            return
        theirs = {element: (value, inner) for element, value, inner in before}
        for element, value, inner in after:
            known = theirs.pop(element, None)
            if known is None:
                self._changed.update(everything_in(value, self._shapes, (*path, element), inner))
            elif not element.startswith("v:"):
                self._compare(known[0], value, (*path, element), inner)
        for element, (value, inner) in theirs.items():
            self._removed.update(everything_in(value, self._shapes, (*path, element), inner))


def to_tree(paths: FieldSet) -> Object:
    """The FieldsV1 object of a set."""
    tree: Object = {}
    for path in sorted(paths):
        node = tree
        for element in path:
            node = node.setdefault(element, {})
        node["."] = {}
    return _tidy(tree)


def _tidy(node: Object) -> Object:
    if set(node) == {"."}:
        return {}
    return {key: (child if key == "." else _tidy(child)) for key, child in sorted(node.items())}


def from_tree(tree: Object, path: FieldPath = ()) -> Iterator[FieldPath]:
    """The paths of a FieldsV1 object."""
    if path and (not tree or "." in tree):
        yield path
    for key, child in tree.items():
        if key != ".":
            yield from from_tree(child, (*path, key))


def described(path: FieldPath) -> str:
    """A path as messages show it: ``.spec.subsets[name="v1"].labels.v``."""
    told = ""
    for element in path:
        kind, body = element[:2], element[2:]
        if kind == "f:":
            told += f".{body}"
        elif kind == "k:":
            told += "[" + ",".join(f"{key}={_dump(value)}" for key, value in json.loads(body).items()) + "]"
        else:
            told += f"[={body}]"
    return told
