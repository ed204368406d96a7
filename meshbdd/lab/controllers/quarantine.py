"""An object that the compiler fails at: it is held back, so that it freezes nobody's configuration.

Whatever a tester writes must not do that, but a compiler has mistakes. What compiled last of such an object stays in force,
as an Envoy keeps what it has when it refuses something new.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

Object = Mapping[str, Any]
Key = tuple[str, str, str, str]
"""API version, kind, namespace, name."""

Attempt = Callable[[list[Object]], Exception | None]
"""Compiles everything for every sidecar; gives what that failed with."""

_WRITTEN_BY_THE_API = ("resourceVersion", "managedFields", "generation")


def _key(obj: Object) -> Key:
    meta = obj["metadata"]
    return obj["apiVersion"], obj["kind"], meta.get("namespace") or "", meta["name"]


def _said(obj: Object) -> dict[str, Any]:
    """What an object says, without its status and what changes at each write."""
    meta = {name: value for name, value in obj["metadata"].items() if name not in _WRITTEN_BY_THE_API}
    return {**{name: value for name, value in obj.items() if name != "status"}, "metadata": meta}


class Quarantine:
    """Knows what compiled last, and which objects are held back."""

    def __init__(self) -> None:
        self._good: dict[Key, Object] = {}
        self._held: dict[Key, Object] = {}

    def release(self, objects: Iterable[Object]) -> list[Object]:
        """Hold back no longer what says something else by now, or is gone.

        Returns:
            Those that say something else.
        """
        if not self._held:
            return []
        by_key = {_key(obj): obj for obj in objects}
        changed = {key for key, held in self._held.items() if key not in by_key or _said(by_key[key]) != _said(held)}
        for key in changed:
            del self._held[key]
        return [by_key[key] for key in changed & set(by_key)]

    def in_force(self, objects: Iterable[Object]) -> list[Object]:
        """The objects to compile: each one that is held back as it last compiled, or not at all."""
        if not self._held:
            return list(objects)
        known = (self._good.get(_key(obj)) if _key(obj) in self._held else obj for obj in objects)
        return [obj for obj in known if obj is not None]

    def passed(self, objects: Iterable[Object]) -> None:
        """These compiled, all together."""
        self._good = {_key(obj): obj for obj in objects}

    def hold_back(self, objects: Iterable[Object], attempt: Attempt) -> list[tuple[Object, Exception]]:
        """Find the objects that the compiler fails at, among those that changed since everything compiled.

        Pods are no such objects: what is wrong with one concerns no other.

        Returns:
            They, each with its failure. None where what had compiled fails, too.
        """
        changed, kept = [], []
        for obj in objects:
            good = self._good.get(_key(obj))
            if obj["kind"] == "Pod" or (good is not None and _said(good) == _said(obj)):
                kept.append(obj)
            else:
                changed.append(obj)
                kept += [good] if good is not None else []
        if attempt(kept) is not None:
            return []
        found = []
        for obj in changed:
            trial = [*(other for other in kept if _key(other) != _key(obj)), obj]
            error = attempt(trial)
            if error is None:
                kept = trial
            else:
                self._held[_key(obj)] = obj
                found.append((obj, error))
        return found
