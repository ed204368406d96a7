"""Watching changes: what a selector sees of an event, and the async iterator over it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import replace

from meshbdd.lab.api.errors import Object
from meshbdd.lab.api.selectors import Predicate
from meshbdd.lab.api.store import Event, Store


def seen(event: Event, fits: Predicate, namespace: str | None) -> Event | None:
    """The event as a watch with this selector and namespace sees it; ``None`` if it does not.

    An object that starts to fit is ADDED, one that stops is DELETED (recorded: with its last fitting content and the
    version of the change).
    """
    if namespace and event.object["metadata"].get("namespace") != namespace:
        return None
    was = event.previous is not None and fits(event.previous)
    fit = event.type != "DELETED" and fits(event.object)
    if was and fit:
        return event if event.type == "MODIFIED" else replace(event, type="MODIFIED")
    if fit:
        return event if event.type == "ADDED" else replace(event, type="ADDED")
    if not was:
        return None
    if event.type == "DELETED":
        return event
    last = event.previous or event.object
    shown = {**last, "metadata": {**last["metadata"], "resourceVersion": str(event.version)}}
    return replace(event, type="DELETED", object=shown)


class Watch(AsyncIterator[Event]):
    """A stream of events; holds all that nobody has taken yet.

    Args:
        store: Where changes come from.
        tests: For each resource watched, which objects count.
        namespace: The one namespace that counts; ``None`` for all.
    """

    def __init__(self, store: Store, tests: Mapping[str, Predicate], namespace: str | None = None) -> None:
        self._tests = tests
        self._namespace = namespace
        self._waiting: deque[Event] = deque()
        self._news = asyncio.Event()
        self._closed = False
        self._end = store.subscribe(self._take, tests)

    def replay(self, objects: Iterable[Object], resource: str) -> None:
        """Say ADDED for what exists."""
        for obj in objects:
            version = int(obj["metadata"]["resourceVersion"])
            self._waiting.append(Event("ADDED", resource, obj, None, version))
        self._news.set()

    def resume(self, events: Iterable[Event]) -> None:
        """Say what happened since the version that the watch starts from."""
        for event in events:
            self._take(event)

    def _take(self, event: Event) -> None:
        shown = seen(event, self._tests[event.resource], self._namespace)
        if shown:
            self._waiting.append(shown)
            self._news.set()

    def take(self) -> list[Event]:
        """All events that wait, without waiting."""
        taken = list(self._waiting)
        self._waiting.clear()
        self._news.clear()
        return taken

    async def wait(self, seconds: float | None = None) -> None:
        """Until there is an event or the watch is closed, at most ``seconds``."""
        if self._waiting or self._closed:
            return
        try:
            await asyncio.wait_for(self._news.wait(), seconds)
        except TimeoutError:
            return

    @property
    def resources(self) -> frozenset[str]:
        """What is watched."""
        return frozenset(self._tests)

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._closed

    def close(self) -> None:
        """End the stream; the iterator stops after the events that wait."""
        self._end()
        self._closed = True
        self._news.set()

    def __aiter__(self) -> Watch:
        return self

    async def __anext__(self) -> Event:
        while not self._waiting:
            if self._closed:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        return self._waiting.popleft()
