"""How the lists and maps of a resource merge: by key, as a set, or as one value.

Custom resources say it in their schema (``x-kubernetes-list-type``); for built-in ones this is the table of
Kubernetes' own markers (``listType``/``listMapKey`` and the merge keys of strategic merge patch in k8s.io/api v0.32).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from meshbdd.lab.api.errors import Object
from meshbdd.lab.api.registry import Resource

Kind = Literal["granular", "atomic", "map", "set"]
Path = tuple[str, ...]
"""Field names from the root; items of lists add nothing."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How one field merges; ``keys`` identify an item of a ``map``."""

    kind: Kind
    keys: tuple[str, ...] = ()


GRANULAR = Shape("granular")
ATOMIC = Shape("atomic")
SET = Shape("set")

_META: dict[Path, Shape] = {("metadata", "ownerReferences"): Shape("map", ("uid",)), ("metadata", "finalizers"): SET}

_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
_LISTS: dict[Path, Shape] = {
    **{(name,): Shape("map", ("name",)) for name in (*_CONTAINERS, "env", "volumes", "imagePullSecrets", "secrets")},
    **{(name, "ports"): Shape("map", ("containerPort", "protocol")) for name in _CONTAINERS},
    ("volumeMounts",): Shape("map", ("mountPath",)),
    ("volumeDevices",): Shape("map", ("devicePath",)),
    ("hostAliases",): Shape("map", ("ip",)),
    ("topologySpreadConstraints",): Shape("map", ("topologyKey", "whenUnsatisfiable")),
    ("conditions",): Shape("map", ("type",)),
    ("podIPs",): Shape("map", ("ip",)),
    ("hostIPs",): Shape("map", ("ip",)),
    ("spec", "ports"): Shape("map", ("port", "protocol")),
    ("resizePolicy",): ATOMIC,
}
_ATOMIC_MAPS: tuple[Path, ...] = (
    ("spec", "selector"), ("nodeSelector",), ("selector", "matchLabels"), ("configMapKeyRef",), ("secretKeyRef",),
    ("fieldRef",), ("resourceFieldRef",), ("configMapRef",), ("target",),
)  # fmt: skip
_PATCH_ONLY: dict[Path, Shape] = {
    **{(name, "ports"): Shape("map", ("containerPort",)) for name in _CONTAINERS},
    ("spec", "ports"): Shape("map", ("port",)),
    ("tolerations",): ATOMIC,
}


def _tail(table: dict[Path, Shape], path: Path) -> Shape | None:
    return table.get(path[-2:]) or table.get(path[-1:])


class Shapes:
    """The shapes of one resource in one version."""

    def __init__(self, schema: Object | None, *, custom: bool) -> None:
        self._custom = custom
        self._known: dict[Path, Shape] = dict(_META)
        # built-in kinds are structs: their spec and status are there before anybody sets a field
        self.blank: Object = {"metadata": {}} if custom else {"metadata": {}, "spec": {}, "status": {}}
        if custom and schema:
            self._walk(schema, ())

    def _walk(self, schema: Object, path: Path) -> None:
        if schema.get("type") == "array":
            kind = schema.get("x-kubernetes-list-type", "atomic")
            self._known[path] = {
                "map": Shape("map", tuple(schema.get("x-kubernetes-list-map-keys") or ())),
                "set": SET,
            }.get(kind, ATOMIC)
            self._walk(schema.get("items") or {}, path)
            return
        if schema.get("x-kubernetes-map-type") == "atomic":
            self._known[path] = ATOMIC
        for name, child in (schema.get("properties") or {}).items():
            self._walk(child, (*path, name))
        values = schema.get("additionalProperties")
        if isinstance(values, dict):
            self._walk(values, (*path, "*"))

    def of_list(self, path: Path) -> Shape:
        """How the list at ``path`` merges under server-side apply."""
        found = self._known.get(path)
        if found is None and not self._custom:
            found = _tail(_LISTS, path)
        return found if found and found.kind != "granular" else ATOMIC

    def of_map(self, path: Path) -> Shape:
        """Whether the map at ``path`` is owned as one value."""
        found = self._known.get(path)
        if path == ("metadata", "ownerReferences") or (found is not None and found.kind == "atomic"):
            return ATOMIC
        if not self._custom and (path[-2:] in _ATOMIC_MAPS or path[-1:] in _ATOMIC_MAPS):
            return ATOMIC
        return GRANULAR

    def of_patch(self, path: Path) -> Shape:
        """How the list at ``path`` merges under a strategic merge patch of a built-in resource."""
        return self._known.get(path) or _tail(_PATCH_ONLY, path) or _tail(_LISTS, path) or ATOMIC


def shapes_of(resource: Resource, version: str | None = None) -> Shapes:
    """The shapes of the resource (kept with it, so computed once)."""
    name = version or resource.storage
    found = resource.shapes.get(name)
    if not isinstance(found, Shapes):
        served = resource.version(name)
        found = resource.shapes[name] = Shapes(served.schema if served else None, custom=resource.custom)
    return found
