"""Which resources exist: names, served versions, schemas, columns; built-in ones and those that a CRD defines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from meshbdd.lab.api.errors import Object, qualified

CRD_VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")
BUILTIN_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of ``kubectl get``; ``path`` is a JSONPath, empty for a column computed in code."""

    name: str
    type: str
    path: str = ""
    format: str = ""
    description: str = ""
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Version:
    """One served version of a resource."""

    name: str
    schema: Object | None = None
    columns: tuple[Column, ...] = ()
    deprecation: str | None = None


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource, whatever its versions.

    Args:
        versions: Served versions, the preferred one first; objects are kept in ``storage``.
        generation: Whether a change of the specification counts up ``metadata.generation``.
        status: Whether ``/status`` exists, so that the main path leaves the status alone.
        scale: The three JSONPaths of ``/scale``, where it exists.
        custom: Defined by a CRD.
        stored: ``False`` for reviews that are answered and not kept.
    """

    group: str
    plural: str
    singular: str
    kind: str
    namespaced: bool
    versions: tuple[Version, ...]
    storage: str
    list_kind: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    status: bool = False
    scale: Object | None = None
    generation: bool = False
    custom: bool = False
    stored: bool = True
    verbs: tuple[str, ...] = BUILTIN_VERBS
    subresources: tuple[tuple[str, str, tuple[str, ...]], ...] = ()
    field_labels: tuple[str, ...] = ()
    shapes: dict[str, object] = field(default_factory=dict, compare=False, repr=False)

    @property
    def key(self) -> str:
        """``pods`` or ``virtualservices.networking.istio.io``."""
        return qualified(self.plural, self.group)

    @property
    def collection_kind(self) -> str:
        """The kind of a list of these."""
        return self.list_kind or f"{self.kind}List"

    def version(self, name: str) -> Version | None:
        """The served version of that name, or ``None``."""
        return next((version for version in self.versions if version.name == name), None)

    def api_version(self, version: str | None = None) -> str:
        """``networking.istio.io/v1``; the stored version unless told."""
        version = version or self.storage
        return f"{self.group}/{version}" if self.group else version


class Registry:
    """The resources that are served now."""

    def __init__(self, resources: Iterator[Resource] | tuple[Resource, ...] = ()) -> None:
        self._by_key: dict[str, Resource] = {}
        self._by_path: dict[tuple[str, str, str], Resource] = {}
        self.revision = 0
        for resource in resources:
            self.add(resource)

    def add(self, resource: Resource) -> None:
        """Serve the resource, in place of one of the same name."""
        self.remove(resource.key)
        self._by_key[resource.key] = resource
        for version in resource.versions:
            self._by_path[resource.group, version.name, resource.plural] = resource
        self.revision += 1

    def remove(self, key: str) -> None:
        """Serve it no longer; nothing happens if it is unknown."""
        old = self._by_key.pop(key, None)
        if old:
            for version in old.versions:
                self._by_path.pop((old.group, version.name, old.plural), None)
            self.revision += 1

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        """The resource under that path, or ``None``."""
        return self._by_path.get((group, version, plural))

    def get(self, key: str) -> Resource | None:
        """The resource of that key (``plural`` or ``plural.group``), or ``None``."""
        return self._by_key.get(key)

    def of_kind(self, api_version: str, kind: str) -> Resource | None:
        """The resource that serves this apiVersion and kind, or ``None``."""
        group, _, version = api_version.rpartition("/")
        for resource in self._by_key.values():
            if resource.kind == kind and resource.group == group and resource.version(version):
                return resource
        return None

    def __iter__(self) -> Iterator[Resource]:
        return iter(tuple(self._by_key.values()))

    def groups(self) -> dict[str, list[str]]:
        """Each named group with its served versions, the preferred one first."""
        found: dict[str, list[str]] = {}
        for group, version, _ in self._by_path:
            if group and version not in found.setdefault(group, []):
                found[group].append(version)
        return {group: sorted(versions, key=version_rank) for group, versions in sorted(found.items())}

    def in_version(self, group: str, version: str) -> list[Resource]:
        """The resources of one group and version, by name."""
        return sorted(
            (r for (g, v, _), r in self._by_path.items() if (g, v) == (group, version)), key=lambda r: r.plural
        )


def version_rank(name: str) -> tuple[int, int, int]:
    """Kubernetes' order of versions: v2, v1, v1beta2, v1beta1, v1alpha1."""
    body = name.removeprefix("v")
    for word, rank in (("beta", 1), ("alpha", 2)):
        if word in body:
            major, _, minor = body.partition(word)
            return rank, -int(major or 0), -int(minor or 0)
    return 0, -int(body) if body.isdigit() else 0, 0
