"""The objects in memory, one resourceVersion counter, and a bounded history of changes for watches.

Objects are immutable by convention: nothing ever changes a stored object, a write replaces it. So reading costs no
copy, and an old version in the history is just another reference.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from meshbdd.lab.api.errors import Object, expired

_log = logging.getLogger(__name__)

Name = tuple[str, str]
"""Namespace ("" for cluster-scoped objects) and name."""

FIRST_VERSION = 100
"""The version of the empty store: low numbers are "too old", as on a server that has lived."""


@dataclass(frozen=True, slots=True)
class Event:
    """One change: ADDED, MODIFIED or DELETED.

    Args:
        previous: The object before the change; ``None`` for ADDED.
    """

    type: str
    resource: str
    object: Object
    previous: Object | None
    version: int


Subscriber = Callable[[Event], None]


def clone(value: Any) -> Any:
    """A deep copy of JSON data; three times as fast as ``copy.deepcopy``."""
    if isinstance(value, dict):
        return {key: clone(item) for key, item in value.items()}
    if isinstance(value, list):
        return [clone(item) for item in value]
    return value


class Store:
    """Objects by resource and name.

    Args:
        history: Changes remembered for each resource; older ones are "Expired" (410).
    """

    def __init__(self, history: int = 5000) -> None:
        self._objects: dict[str, dict[Name, Object]] = {}
        self._history: dict[str, deque[Event]] = {}
        self._oldest: dict[str, int] = {}
        self._length = history
        self._subscribers: dict[str, list[Subscriber]] = {}
        self._everything: list[Subscriber] = []
        self._pending: deque[Event] = deque()
        self._telling = False
        self.version = FIRST_VERSION

    def get(self, resource: str, name: Name) -> Object | None:
        """The object, or ``None``."""
        found = self._objects.get(resource)
        return found.get(name) if found else None

    def all(self, resource: str) -> dict[Name, Object]:
        """Every object of the resource; not to be changed by the caller."""
        return self._objects.get(resource) or {}

    def next_version(self) -> int:
        """Count up and give the number for the write that follows."""
        self.version += 1
        return self.version

    def put(self, resource: str, name: Name, obj: Object) -> None:
        """Keep the object, whose resourceVersion is ``self.version``, and tell the subscribers."""
        objects = self._objects.setdefault(resource, {})
        previous = objects.get(name)
        objects[name] = obj
        self._record(Event("MODIFIED" if previous else "ADDED", resource, obj, previous, self.version))

    def remove(self, resource: str, name: Name, last: Object) -> None:
        """Drop the object; ``last`` is its final state, carrying the version of the removal."""
        previous = self._objects[resource].pop(name)
        self._record(Event("DELETED", resource, last, previous, self.version))

    def _record(self, event: Event) -> None:
        events = self._history.setdefault(event.resource, deque())
        if len(events) >= self._length:
            self._oldest[event.resource] = events.popleft().version
        events.append(event)
        self._pending.append(event)
        if self._telling:
            return
        self._telling = True
        try:
            while self._pending:
                told = self._pending.popleft()
                for subscriber in (*self._subscribers.get(told.resource, ()), *self._everything):
                    try:
                        subscriber(told)
                    except Exception:  # noqa: BLE001 - the change is made: neither its author nor the other subscribers may suffer
                        _log.exception("a subscriber failed on %s %s", told.type, told.resource)
        finally:
            self._telling = False

    def subscribe(self, subscriber: Subscriber, resources: Iterable[str] | None = None) -> Callable[[], None]:
        """Call ``subscriber`` for each later change, in order; returns the function that ends it.

        A change made by a subscriber is told after the one that it reacts to, to everybody.
        """
        lists = [self._everything] if resources is None else [self._subscribers.setdefault(r, []) for r in resources]
        for subscribers in lists:
            subscribers.append(subscriber)

        def end() -> None:
            for subscribers in lists:
                if subscriber in subscribers:
                    subscribers.remove(subscriber)

        return end

    def oldest(self, resource: str) -> int:
        """The oldest version from which a watch can start."""
        return self._oldest.get(resource, FIRST_VERSION)

    def since(self, resource: str, version: int) -> list[Event]:
        """The changes after ``version``.

        Raises:
            ApiError: 410, when that history is gone.
        """
        if version < self.oldest(resource):
            raise expired(f"too old resource version: {version} ({self.oldest(resource)})")
        return [event for event in self._history.get(resource, ()) if event.version > version]

    def at(self, resource: str, version: int) -> dict[Name, Object]:
        """The objects as they were at ``version``, by undoing the changes since.

        Raises:
            ApiError: 410, when that history is gone.
        """
        if version < self.oldest(resource):
            raise expired("The resourceVersion for the provided list is too old.")
        objects = dict(self.all(resource))
        for event in reversed(self.since(resource, version)):
            metadata = event.object["metadata"]
            name = (metadata.get("namespace", ""), metadata["name"])
            if event.previous is None:
                objects.pop(name, None)
            else:
                objects[name] = event.previous
        return objects

    def compact(self) -> None:
        """Forget the history, as etcd's compaction does: watches from before now are "Expired"."""
        for events in self._history.values():
            events.clear()
        for resource in self._objects:
            self._oldest[resource] = self.version
