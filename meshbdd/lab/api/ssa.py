"""Field ownership: who manages which field, and server-side apply on top of it.

Follows sigs.k8s.io/structured-merge-diff (``merge.Updater``): an update takes over what it changes; an apply owns what
it says, conflicts with others where values differ, and removes what its manager said before and nobody else owns.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from meshbdd.lab.api.errors import ApiError, Cause, Object
from meshbdd.lab.api.fieldsets import (
    NEVER_OWNED,
    Difference,
    FieldPath,
    FieldSet,
    applied_in,
    described,
    everything_in,
    from_tree,
    item_element,
    to_tree,
)
from meshbdd.lab.api.shapes import Path, Shapes
from meshbdd.lab.api.store import clone


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of ``managedFields``."""

    manager: str
    operation: str
    api_version: str
    subresource: str
    fields: FieldSet
    time: str = ""

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """What tells entries apart."""
        return self.operation, self.manager, self.api_version, self.subresource

    @property
    def told(self) -> str:
        """The manager as a conflict names it."""
        text = f'"{self.manager}"'
        if self.subresource:
            text += f' with subresource "{self.subresource}"'
        if self.operation == "Update":
            text += f" using {self.api_version}"
        return text

    def rendered(self) -> Object:
        """The entry as an object of the API."""
        entry: Object = {
            "apiVersion": self.api_version,
            "fieldsType": "FieldsV1",
            "fieldsV1": to_tree(self.fields),
            "manager": self.manager,
            "operation": self.operation,
        }
        if self.subresource:
            entry["subresource"] = self.subresource
        if self.time:
            entry["time"] = self.time
        return entry


def read_entries(obj: Object) -> list[Entry] | None:
    """The entries of an object; ``None`` when it has none or they are not valid."""
    told = obj["metadata"].get("managedFields")
    if not told:
        return None
    entries = []
    for item in told:
        if item.get("operation") not in {"Apply", "Update"} or "fieldsV1" not in item:
            return None
        entries.append(
            Entry(
                item.get("manager", ""), item["operation"], item.get("apiVersion", ""), item.get("subresource", ""),
                frozenset(from_tree(item["fieldsV1"])), item.get("time", ""),
            )
        )  # fmt: skip
    return entries


def _timeless(entries: list[Object]) -> list[Object]:
    return [{key: value for key, value in entry.items() if key != "time"} for entry in entries]


def _write(obj: Object, entries: Iterable[Entry], old: Object | None = None) -> None:
    """Write the entries; where nothing but times would change, the old ones stay."""
    before = (old or {"metadata": {}})["metadata"].get("managedFields")
    _write_anew(obj, entries)
    if before and _timeless(before) == _timeless(obj["metadata"].get("managedFields") or []):
        obj["metadata"]["managedFields"] = before


def _write_anew(obj: Object, entries: Iterable[Entry]) -> None:
    kept = [entry for entry in entries if entry.fields]
    kept.sort(key=lambda e: (e.operation, e.time, e.manager, e.api_version, e.subresource))
    if kept:
        obj["metadata"]["managedFields"] = [entry.rendered() for entry in kept]
    else:
        obj["metadata"].pop("managedFields", None)


def _released(entries: Iterable[Entry], paths: FieldSet) -> list[Entry]:
    return [replace(entry, fields=entry.fields - paths) if entry.fields & paths else entry for entry in entries]


def track_update(old: Object | None, new: Object, by: Entry, shapes: Shapes) -> None:
    """Write the ownership after an update into ``new`` (which is being made and may be changed).

    ``old`` is the object before (``None`` for a creation), ``by`` who updates, with no fields yet.
    """
    if old is not None and not old["metadata"].get("managedFields"):
        new["metadata"].pop("managedFields", None)  # recorded: ownership once reset stays untracked
        return
    told = new["metadata"].get("managedFields")
    if old is not None and told is not None and (not told or told == [{}]):
        new["metadata"].pop("managedFields", None)
        return
    entries = (read_entries(new) or read_entries(old) or []) if old is not None else []
    difference = Difference(old or shapes.blank, new, shapes)
    mine = next((entry for entry in entries if entry.identity == by.identity), None)
    others = [entry for entry in entries if entry is not mine]
    if not difference.changed and not difference.removed:
        _write(new, entries, old)
        return
    others = _released(others, difference.changed | difference.removed)
    fields = ((mine.fields if mine else frozenset()) | difference.changed) - difference.removed
    same = mine is not None and fields == mine.fields and not difference.changed
    _write(new, [*others, replace(by, fields=fields, time=mine.time if same and mine else by.time)])


def merge(live: Any, config: Any, shapes: Shapes, fields: Path = ()) -> Any:
    """What ``config`` says, laid over ``live``."""
    if isinstance(live, dict) and isinstance(config, dict) and not (fields and shapes.of_map(fields).kind == "atomic"):
        merged = dict(live)
        for name, value in config.items():
            merged[name] = merge(live[name], value, shapes, (*fields, name)) if name in live else clone(value)
        return merged
    if isinstance(live, list) and isinstance(config, list):
        shape = shapes.of_list(fields)
        if shape.kind == "set":
            return [*live, *(item for item in config if item not in live)]
        if shape.kind == "map":
            return _merge_keyed(live, config, shapes, fields, shape.keys)
    return clone(config)


def _merge_keyed(live: list[Any], config: list[Any], shapes: Shapes, fields: Path, keys: tuple[str, ...]) -> list[Any]:
    known = {item_element(item, keys): item for item in live}
    wanted = {item_element(item, keys): item for item in config}
    merged = [merge(item, wanted[e], shapes, fields) if e in wanted else item for e, item in known.items()]
    return [*merged, *(clone(item) for element, item in wanted.items() if element not in known)]


def _prune(value: Any, doomed: set[FieldPath], shapes: Shapes, path: FieldPath = (), fields: Path = ()) -> Any:
    if isinstance(value, dict):
        kept = {}
        for name, child in value.items():
            inner = (*path, f"f:{name}")
            if inner not in doomed:
                kept[name] = _prune(child, doomed, shapes, inner, (*fields, name))
        return kept
    if isinstance(value, list):
        shape = shapes.of_list(fields)
        if shape.kind == "map":
            pairs = [((*path, item_element(item, shape.keys)), item) for item in value]
            return [_prune(item, doomed, shapes, inner, fields) for inner, item in pairs if inner not in doomed]
        if shape.kind == "set":
            elements = [(next(iter(applied_in([item], shapes, path, fields))), item) for item in value]
            return [item for element, item in elements if element not in doomed]
    return value


def _hollow(before: Any, after: Any) -> Any:
    """Drop containers that pruning emptied, as a label map without its last label."""
    if isinstance(before, dict) and isinstance(after, dict):
        kept = {name: _hollow(before[name], child) for name, child in after.items()}
        return {name: child for name, child in kept.items() if not (child in ({}, []) and before[name] not in ({}, []))}
    return after


def _conflicts(entries: list[Entry], changed: FieldSet) -> ApiError | None:
    clashes = [(entry, sorted(described(path) for path in entry.fields & changed)) for entry in entries]
    clashes = [(entry, paths) for entry, paths in clashes if paths]
    if not clashes:
        return None
    causes = [
        Cause("FieldManagerConflict", f"conflict with {entry.told}", path).rendered()
        for entry, paths in clashes
        for path in paths
    ]
    head = f"Apply failed with {len(causes)} conflict{'s' if len(causes) > 1 else ''}: "
    if len(causes) == 1:
        told = f"{causes[0]['message']}: {causes[0]['field']}"
    else:
        told = "\n".join(
            f"conflicts with {entry.told}:\n" + "\n".join(f"- {path}" for path in paths)
            for entry, paths in sorted(clashes, key=lambda clash: clash[0].told)
        )
    return ApiError(409, "Conflict", head + told, {"causes": causes})


def apply(live: Object | None, config: Object, by: Entry, shapes: Shapes, *, force: bool) -> Object:
    """The object after ``by`` applied ``config``, with its new ownership.

    ``live`` is the object now (``None`` when the apply creates it), ``config`` what the manager wants to own, without
    the status where ``/status`` holds that; ``force`` takes over what others own.

    Raises:
        ApiError: 409, naming each field that another manager set to a different value.
    """
    wanted: FieldSet = frozenset(applied_in(config, shapes)) - NEVER_OWNED
    base = live if live is not None else {"metadata": {}}
    entries = read_entries(base) or []
    if live is not None and not entries:
        everything = frozenset(everything_in(live, shapes)) - NEVER_OWNED
        entries = [
            Entry("before-first-apply", "Update", by.api_version, "", everything, live["metadata"]["creationTimestamp"])
        ]
    mine = next((entry for entry in entries if entry.identity == by.identity), None)
    others = [entry for entry in entries if entry is not mine]
    merged: Object = merge(base, config, shapes)
    merged["metadata"] = {**base["metadata"], **merged["metadata"]}
    if mine:
        owned = frozenset().union(wanted, *(entry.fields for entry in others))
        doomed = {path for path in mine.fields - owned if not any(other[: len(path)] == path for other in owned)}
        merged = _hollow(merged, _prune(merged, doomed, shapes))
    difference = Difference(base, merged, shapes)
    if not force and (refused := _conflicts(others, difference.changed)):
        raise refused
    others = _released(others, difference.changed | difference.removed)
    changed = bool(difference.changed or difference.removed)
    same = mine is not None and mine.fields == wanted
    time = mine.time if mine and (same or not changed) and not changed else (by.time if changed or live is None else "")
    merged["metadata"] = dict(merged["metadata"])
    _write(merged, [*others, replace(by, fields=wanted, time=time)])
    return merged
