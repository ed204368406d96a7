"""Taking layers of a run's changes out of an object: pure functions, dicts in, dicts out."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from meshbdd.cluster.merge import ABSENT, merge
from meshbdd.cluster.record import (
    ROUTES,
    Layer,
    Object,
    Record,
    digest,
    mark,
    read_path,
    route_name,
    unmark,
    without_routes,
    write_path,
)
from meshbdd.errors import BadInput

Make = Callable[[Any], Any]
"""A subtree as it is → as a change wants it."""


@dataclass(frozen=True, slots=True)
class Reverted:
    """What is to be written.

    Attributes:
        obj: The object; ``None``: it is to be deleted.
        foreign: Whether others changed what we had written; their change is in ``obj``.
        complete: Whether nothing of the run is left in it.
    """

    obj: Object | None
    foreign: bool
    complete: bool


def revert(
    live: Mapping[str, Any], record: Record, ids: Collection[str] | None = None, again: Mapping[str, Make] | None = None
) -> Reverted:
    """Take the changes ``ids`` of a run out of an object.

    Later changes of the same object are lifted off first and made again on what is then below them.

    Args:
        live: The object as it is.
        record: Its undo record.
        ids: Which of the record's layers; all where ``None``.
        again: For changes that stay: how to make them again.

    Raises:
        BadInput: a change that stays has nothing to stand on any more.
    """
    obj = copy.deepcopy(dict(live))
    layers = list(record.layers)
    unwanted = {layer.id for layer in layers} if ids is None else set(ids)
    lifted: list[tuple[Layer, list[Any]]] = []
    foreign = False
    while unwanted & {layer.id for layer in layers}:
        layer = layers.pop()
        routes = [r for r in read_path(obj, ROUTES) or [] if route_name(r).startswith(layer.id)]
        foreign = _peel(obj, layer) or foreign
        if layer.id not in unwanted:
            lifted.append((layer, routes))
    if lifted and not layers and record.created and not _carried(obj, record.layers[0], [layer for layer, _ in lifted]):
        raise BadInput(
            "MB0316",
            f"{obj['kind']} {obj['metadata']['name']} cannot be removed: another change of this scenario stands on it.",
            help="take that change back first",
        )
    for layer, routes in reversed(lifted):
        layers.append(_put_back(obj, layer, routes, (again or {}).get(layer.id)))
    if layers:
        mark(obj, replace(record, layers=tuple(layers)))
        return Reverted(obj, foreign, complete=False)
    if record.created:
        return Reverted(None, foreign, complete=True)
    unmark(obj)
    return Reverted(obj, foreign and digest(obj) != record.before, complete=True)


def _carried(obj: Mapping[str, Any], creation: Layer, staying: Collection[Layer]) -> bool:
    """Whether changes that stay can do without the one that created their object.

    Kinds require the field by which a creation is known, as a Deployment does its selector: one of the changes has to write it.
    """
    written = any(creation.path[: len(layer.path)] == layer.path for layer in staying)
    return written and read_path(obj, ("spec",)) is not None


def says_the_same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two states of an object differ in the run's own notes at most."""
    return _said(one) == _said(other)


def _said(obj: Mapping[str, Any]) -> str:
    plain = copy.deepcopy(dict(obj))
    unmark(plain)
    return digest(plain)


def _peel(obj: Object, layer: Layer) -> bool:
    """Take one layer off, in place; whether others had changed what it wrote."""
    now = read_path(obj, layer.path)
    if layer.adds_routes:
        rest = without_routes(now, layer.id)
        foreign = bool(rest != (layer.original or []))
        write_path(obj, layer.path, rest if foreign else layer.original)
        return foreign
    merged = merge(_or_absent(layer.wrote), _or_absent(now), _or_absent(layer.original))
    value = None if merged is ABSENT else merged
    foreign = bool(value != layer.original)
    write_path(obj, layer.path, _without_names(value, layer.id) if foreign else layer.original)
    return foreign


def _or_absent(value: Any) -> Any:
    return ABSENT if value is None else value


def _without_names(spec: Any, prefix: str) -> Any:
    """What others made of a spec of ours stays, but no longer under the names that say "this is meshbdd's"."""
    if isinstance(spec, dict) and isinstance(spec.get("http"), list):
        for route in spec["http"]:
            if route_name(route).startswith(prefix):
                del route["name"]
    return spec


def _put_back(obj: Object, layer: Layer, routes: list[Any], make: Make | None) -> Layer:
    below = read_path(obj, layer.path)
    try:
        made = make(copy.deepcopy(below)) if make else None
    except BadInput:
        made = None  # what is below leaves no room to plan it anew; it stays as it was
    if made is None:
        made = [*routes, *(below or [])] if layer.adds_routes else layer.wrote
    write_path(obj, layer.path, made)
    return replace(layer, original=below, wrote=None if layer.adds_routes else made)


def restored_managers(live: Mapping[str, Any], record: Record, own: str) -> list[Any] | None:
    """``managedFields`` as they were, and those of managers who came since; ``None``: nothing was recorded.

    Args:
        live: The object as it is.
        record: Its undo record.
        own: Our own manager's name.
    """
    if record.managed_fields is None:
        return None
    known = {_manager(entry) for entry in record.managed_fields}
    new = [e for e in live["metadata"].get("managedFields") or [] if _manager(e) not in known and _manager(e)[0] != own]
    return [*record.managed_fields, *new]


def _manager(entry: Mapping[str, Any]) -> tuple[str, str, str]:
    return str(entry.get("manager", "")), str(entry.get("operation", "")), str(entry.get("subresource", ""))
