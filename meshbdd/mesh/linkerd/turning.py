"""What a manifest makes of the cluster as it is applied or taken back, or a service as it recovers: the same rules are asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from meshbdd.cluster.kinds import kind_of
from meshbdd.intents import ServiceRef
from meshbdd.mesh.base import Left, Object
from meshbdd.mesh.beside import BEFORE
from meshbdd.mesh.catalog import Catalog

Key = tuple[str, str, str]
"""Kind, name and namespace."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A cluster before and after a manifest is applied, or taken back, or a service recovers.

    Attributes:
        before: Reads the cluster as it is.
        after: Reads it as it will be.
        objects: Those that will be there and say something else: the manifest's, or what was there before it.
        back: Whether the manifest is taken back.
        recovering: The service that recovers, where it is no manifest.
    """

    before: Catalog
    after: Catalog
    objects: tuple[Object, ...]
    back: bool = False
    recovering: ServiceRef | None = None

    @classmethod
    def applied(cls, catalog: Catalog, documents: Iterable[Object]) -> Turn:
        """The documents of a manifest are written."""
        objects = tuple(documents)
        return cls(catalog, catalog.with_written(objects), objects)

    @classmethod
    def taken_back(cls, catalog: Catalog, left: Left) -> Turn:
        """Objects will be as they were before a manifest, or be gone."""
        return cls(catalog, catalog.with_instead(left), tuple(obj for obj in left.values() if obj), back=True)

    @classmethod
    def recovered(cls, catalog: Catalog, left: Left, service: ServiceRef) -> Turn:
        """The Deployments of a service that is down will have their pods again."""
        objects = tuple(obj for obj in left.values() if obj)
        return cls(catalog, catalog.with_instead(left), objects, recovering=service)

    @property
    def lasting(self) -> Catalog:
        """Reads Services and pods that a step in force is about and that stay: those of a manifest come, and go with it."""
        return self.after if self.back else self.before

    @property
    def how(self) -> str:
        """What begins a sentence about the cluster afterwards."""
        if self.recovering is not None:
            return f"Once {self.recovering} has recovered"
        return "Without the manifest" if self.back else "With the manifest"

    @property
    def action(self) -> str:
        """What helps where a step would not be in force any more."""
        if self.recovering is not None:
            return f"let {self.recovering.name} recover before that step"
        return "remove the manifest before that step" if self.back else BEFORE

    @property
    def whose(self) -> str:
        """Behind the name of one of ``objects``: where it is from."""
        return "" if self.back or self.recovering is not None else " of the manifest"

    def with_object(self, obj: Mapping[str, Any]) -> str:
        """What begins a sentence about one of ``objects``."""
        name = f"{obj['kind']} {obj['metadata']['name']}"
        return f"Without the manifest, by {name}," if self.back else f"With {name} of the manifest"

    def has_turned(self, obj: Mapping[str, Any]) -> bool:
        """Whether an object is one of ``objects``."""
        return key(obj) in {key(found) for found in self.objects}


def key(obj: Mapping[str, Any]) -> Key:
    """What tells an object from all others."""
    return kind_of(obj), obj["metadata"]["name"], obj["metadata"].get("namespace", "")
