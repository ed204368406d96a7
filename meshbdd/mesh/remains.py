"""What a proxy holds of changes that are undone in the objects, by their names alone: nobody knows what was there before them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from meshbdd.mesh.base import Dump, Marker, Where
from meshbdd.mesh.markers import CLUSTERS, EXTENSIONS, LISTENERS, ROUTES, fault_tokens
from meshbdd.mesh.pages import plain


@dataclass(frozen=True, slots=True)
class Remains:
    """A name that was in a proxy's configuration by a change that is undone."""

    name: str
    where: Where = Where()
    pages = (ROUTES, CLUSTERS, LISTENERS, EXTENSIONS)
    unique = True

    def held(self, dumps: Sequence[Dump]) -> bool | None:
        """See ``Marker``; what is being drained takes no new connections, and settings that no filter asks for may stay."""
        *pages, settings = dumps
        return any(self.name in told for told in (json.dumps([plain(page) for page in pages]), *fault_tokens(settings)))

    def __str__(self) -> str:
        return f"what is called {self.name}"


@dataclass(frozen=True, slots=True)
class Otherwise:
    """The opposite of a marker: what a proxy that lags holds, or one from which a change takes something away.

    Attributes:
        marker: The marker.
        said: What it is called in messages; empty: other than the marker.
    """

    marker: Marker
    said: str = ""

    @property
    def where(self) -> Where:
        """See ``Marker``."""
        return self.marker.where

    @property
    def pages(self) -> tuple[str, ...]:
        """See ``Marker``."""
        return self.marker.pages

    @property
    def unique(self) -> bool:
        """See ``Marker``."""
        return self.marker.unique

    def held(self, dumps: Sequence[Dump]) -> bool | None:
        """See ``Marker``."""
        held = self.marker.held(dumps)
        return None if held is None else not held

    def __str__(self) -> str:
        return self.said or f"other than {self.marker}"
