"""Where a field of a manifest's object stands in its file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from meshbdd.errors import Place


def place_of(file: Path, obj: Mapping[str, Any], path: str = "") -> Place:
    """The line of a field, or of the nearest thing around it that can be found.

    Args:
        file: The manifest; it has been read before, so it is YAML.
        obj: The object.
        path: The field's path, ``spec.http[0].retrys`` or ``metadata.labels['a.b/c']`` for instance; empty: the object as a
            whole.
    """
    for node in _objects(yaml.compose_all(file.read_text("utf-8-sig"), yaml.SafeLoader)):
        name = _child(_child(node, "metadata")[1], "name")[1]
        kind = _child(node, "kind")[1]
        if _text(kind) == obj["kind"] and _text(name) == obj["metadata"]["name"]:
            return Place(file, _line(node, path))
    return Place(file)


def _objects(documents: Iterator[yaml.Node | None]) -> Iterator[yaml.Node]:
    for document in documents:
        items = _child(document, "items")[1] if _text(_child(document, "kind")[1]) == "List" else None
        yield from items.value if isinstance(items, yaml.SequenceNode) else [document] if document is not None else []


def _child(node: yaml.Node | None, name: str) -> tuple[yaml.Node | None, yaml.Node | None]:
    """The key and the value of a member of a mapping."""
    pairs = node.value if isinstance(node, yaml.MappingNode) else ()
    return next(((key, value) for key, value in pairs if key.value == name), (None, None))


def _text(node: yaml.Node | None) -> str:
    return str(node.value) if isinstance(node, yaml.ScalarNode) else ""


def _line(node: yaml.Node, path: str) -> int:
    line, at = node.start_mark.line, node
    for quoted, plain, index in re.findall(r"\['([^']*)'\]|([^.\[\]]+)|\[(\d+)\]", path):
        if index:
            items = at.value if isinstance(at, yaml.SequenceNode) else []
            key = found = items[int(index)] if int(index) < len(items) else None
        else:
            key, found = _child(at, quoted or plain)
        if key is None or found is None:
            break
        line, at = key.start_mark.line, found
    return line + 1
