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
ROUTES = ("spec", "http")
"""Where a VirtualService has the routes that faults are put before."""

LARGEST = 128 * 1024
"""Kubernetes allows 256 KiB of annotations in all; half of it is the most that we take."""

_GROWS = ("resourceVersion", "generation", "managedFields")


def canonical(value: Any) -> str:
    """JSON in one form only."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def digest(obj: Mapping[str, Any]) -> str:
    """A fingerprint of an object, without its status and without what every write changes."""
    kept = {key: value for key, value in obj.items() if key != "status"}
    kept["metadata"] = {key: value for key, value in obj["metadata"].items() if key not in _GROWS}
    return hashlib.sha256(canonical(kept).encode()).hexdigest()


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
class Layer:
    """One change of one subtree; a later change of the same object lies above it.

    Attributes:
        id: Names the change; for added routes the prefix of their names.
        path: The subtree, as keys.
        original: The subtree before; ``None`` where it was not there.
        wrote: The subtree as it was written; ``None`` where routes were added: their names tell them apart.
    """

    id: str
    path: tuple[str, ...]
    original: Any
    wrote: Any = None

    @property
    def adds_routes(self) -> bool:
        """Whether it put tagged routes before those that were there, and touched nothing else."""
        return self.wrote is None and self.path == ROUTES


@dataclass(frozen=True, slots=True)
class Record:
    """How to undo what one run did to one object.

    Attributes:
        run: The run's id.
        owner: Its process.
        cluster: Uid of the cluster; a record never acts on another one.
        uid: Uid of the object; empty where the run made the object, since only the answer told it.
        created: Whether the run made the object: then its undo is to delete it.
        layers: What was changed, oldest first.
        before: Fingerprint of the whole object before the first change.
        managed_fields: ``metadata.managedFields`` before.
        at: Unix time of the first change.
    """

    run: str
    owner: Owner
    cluster: str
    uid: str
    created: bool
    layers: tuple[Layer, ...]
    before: str = ""
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
            layers = tuple(Layer(**{**layer, "path": tuple(layer["path"])}) for layer in data["layers"])
            return cls(**{**data, "owner": Owner(**data["owner"]), "layers": layers})
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
    for name, key, value in (("annotations", UNDO, record.dump()), ("labels", RUN, record.run)):
        if meta.get(name) is None:
            meta[name] = {}
        meta[name][key] = value


def unmark(obj: Object) -> None:
    """Take record and label out again, in place, and leave no empty map behind."""
    meta = obj["metadata"]
    for name, key in (("annotations", UNDO), ("labels", RUN)):
        (meta.get(name) or {}).pop(key, None)
        if not meta.get(name):
            meta.pop(name, None)


def without_routes(routes: Any, prefix: str) -> list[Any]:
    """A list of routes without those whose names begin with ``prefix``."""
    return [route for route in routes or [] if not route_name(route).startswith(prefix)]


def route_name(route: Any) -> str:
    """The name of a route; empty where it has none."""
    return str(route.get("name") or "") if isinstance(route, Mapping) else ""
