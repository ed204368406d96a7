"""The stage of a rehearsal: stand-ins for the cluster, the arrival gate and the load."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from meshbdd.errors import Inconclusive
from meshbdd.mesh.gate import Arrival

Object = dict[str, Any]
Admit = Callable[[Object], None]
"""Raises what the API server would say of an object that it refuses."""


class OnlyInARun(Inconclusive):
    """Something that only a running mesh can tell; a rehearsal passes over it."""

    def __init__(self, what: str) -> None:
        super().__init__("MB0240", f"A rehearsal cannot tell {what}.", help="run the feature")


_RUNNING = {"Pod", "EndpointSlice"}
"""What comes and goes while a mesh runs: a rehearsal has none of it, which is not the same as an empty list."""


class _Silent:
    """Whatever else is asked of a stand-in is for a run to answer."""

    def __getattr__(self, name: str) -> NoReturn:
        raise OnlyInARun(name.lstrip("_").replace("_", " "))


class StageCluster(_Silent):
    """A cluster that is a dictionary: reads and writes of objects, and nothing that runs.

    Args:
        objects: What there is at first.
        namespace: The default namespace.
        admit: Asked before each write.
    """

    context = "of the rehearsal"
    uid = "rehearsal"

    def __init__(self, objects: Iterable[Object], namespace: str, admit: Admit) -> None:
        self.namespace = namespace
        self._admit = admit
        self._versions = itertools.count(1)
        self._objects: dict[tuple[str, str, str], Object] = {}
        for obj in objects:
            self._put(obj)

    def _put(self, obj: Object) -> Object:
        kept = copy.deepcopy(obj)
        meta = kept["metadata"]
        number = next(self._versions)
        meta.setdefault("uid", f"rehearsal-{number}")
        meta["resourceVersion"] = str(number)
        self._objects[_key(kept["kind"], meta["name"], meta.get("namespace"))] = kept
        return copy.deepcopy(kept)

    @property
    def objects(self) -> list[Object]:
        """Everything there is now."""
        return list(self._objects.values())

    def find(self, kind: str, name: str, namespace: str | None = None) -> Object | None:
        """One object, or ``None``."""
        _needs_no_run(kind)
        return copy.deepcopy(self._objects.get(_key(kind, name, namespace)))

    def list(self, kind: str, namespace: str | None = None, labels: str | None = None) -> list[Object]:
        """The objects of a kind; ``labels`` is a selector of equalities."""
        _needs_no_run(kind)
        wanted = dict(pair.split("=", 1) for pair in (labels or "").split(",") if "=" in pair)
        return [
            copy.deepcopy(obj)
            for (its_kind, home, _), obj in self._objects.items()
            if its_kind == kind
            and (namespace is None or home == namespace)
            and wanted.items() <= (obj["metadata"].get("labels") or {}).items()
        ]

    def create(self, obj: Object, *, dry_run: bool = False) -> Object:
        """Write a new object."""
        self._admit(obj)
        return copy.deepcopy(obj) if dry_run else self._put(obj)

    def replace(self, obj: Object, *, dry_run: bool = False) -> Object:
        """Write an object as a whole."""
        return self.create(obj, dry_run=dry_run)

    def delete(self, obj: Object) -> None:
        """Delete an object."""
        meta = obj["metadata"]
        self._objects.pop(_key(obj["kind"], meta["name"], meta.get("namespace")), None)


def _needs_no_run(kind: str) -> None:
    if kind in _RUNNING:
        raise OnlyInARun(f"which {kind} there is")


def _key(kind: str, name: str, namespace: str | None) -> tuple[str, str, str]:
    return kind, namespace or "", name


class StageGate(_Silent):
    """A gate at which everything has arrived."""

    def wait_present(self, *_args: Any, **_options: Any) -> Arrival:
        """There is no proxy to wait for."""
        return Arrival({})

    wait_absent = wait_present

    def wait_endpoints(self, *_args: Any, **_options: Any) -> None:
        """There is no endpoint to wait for."""

    def close(self) -> None:
        """Nothing is open."""
