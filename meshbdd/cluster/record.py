"""The undo record: what is written into a changed object, in the same write, so that no crash can part the two."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

Object = dict[str, Any]

UNDO = "meshbdd.dev/undo"
RUN = "meshbdd.dev/run"
ROUTE_PREFIX = "meshbdd-"

LARGEST = 128 * 1024
"""Kubernetes allows 256 KiB of annotations in all; half of it is the most that we take."""


def canonical(value: Any) -> str:
    """JSON in one form only."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def digest(value: Any) -> str:
    """A fingerprint of a value."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Owner:
    """The process that a change belongs to; its start makes the process id unique."""

    host: str
    pid: int
    started: str

    @classmethod
    def me(cls) -> Owner:
        """This process."""
        return cls(socket.gethostname(), os.getpid(), _start_of(os.getpid()) or "")

    def is_gone(self) -> bool:
        """Whether the process is known to have ended; on another host nobody can tell from here."""
        return self.host == socket.gethostname() and _start_of(self.pid) != self.started


def _start_of(pid: int) -> str | None:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - /proc is no path of ours
            fields = file.read().rpartition(")")[2].split()
    except (OSError, IndexError):
        return None
    return None if fields[0] == "Z" else fields[19]


@dataclass(frozen=True, slots=True)
class Record:
    """How to undo what one run did to one object.

    Attributes:
        run: The run's id.
        owner: Its process.
        cluster: Uid of the cluster; a record never acts on another one.
        uid: Uid of the object.
        created: Whether the run made the object: then its undo is to delete it.
        path: The touched subtree, as keys.
        original: That subtree before; ``None`` where it was not there.
        written: Fingerprint of the subtree as the run wrote it last.
        managed_fields: ``metadata.managedFields`` before.
        at: Unix time of the first change.
    """

    run: str
    owner: Owner
    cluster: str
    uid: str
    created: bool
    path: tuple[str, ...]
    original: Any
    written: str
    managed_fields: Any = None
    at: float = field(default_factory=time.time)

    def dump(self) -> str:
        """As it stands in the annotation."""
        return canonical(asdict(self))

    @classmethod
    def of(cls, obj: Mapping[str, Any]) -> Record | None:
        """The record in an object; ``None`` where there is none that can be read."""
        text = (obj["metadata"].get("annotations") or {}).get(UNDO)
        if not text:
            return None
        try:
            data = json.loads(text)
            return cls(**{**data, "owner": Owner(**data["owner"]), "path": tuple(data["path"])})
        except (ValueError, TypeError, KeyError):
            return None


def read_path(obj: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    """The subtree at ``path``; ``None`` where there is none."""
    node: Any = obj
    for key in path:
        node = node.get(key) if isinstance(node, Mapping) else None
    return copy.deepcopy(node)


def write_path(obj: Object, path: tuple[str, ...], value: Any) -> None:
    """Set the subtree at ``path``, in place; ``None`` takes it away."""
    node = obj
    for key in path[:-1]:
        node = node.setdefault(key, {})
    if value is None:
        node.pop(path[-1], None)
    else:
        node[path[-1]] = copy.deepcopy(value)


def mark(obj: Object, record: Record) -> None:
    """Write the record and the run's label into an object, in place."""
    meta = obj["metadata"]
    meta.setdefault("annotations", {})[UNDO] = record.dump()
    meta.setdefault("labels", {})[RUN] = record.run


def unmark(obj: Object) -> None:
    """Take record and label out again, in place, and leave no empty map that was not there."""
    meta = obj["metadata"]
    for name, key in (("annotations", UNDO), ("labels", RUN)):
        (meta.get(name) or {}).pop(key, None)
        if not meta.get(name):
            meta.pop(name, None)


def without_routes(value: Any, prefix: str) -> Any:
    """A spec (or its ``http`` list) without the routes that a run tagged."""
    if isinstance(value, list):
        return [item for item in value if not (isinstance(item, dict) and str(item.get("name", "")).startswith(prefix))]
    return value
