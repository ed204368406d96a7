"""Which of a manifest's objects are written and awaited at one time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from meshbdd.mesh.base import Stage
from meshbdd.mesh.markers import ConfigChanged


def staged(objects: Iterable[Stage]) -> Iterator[Stage]:
    """Stages for objects that may stand in any order: those with a name in proxies together, and then each other one alone.

    What leaves no name is seen by what a proxy's pages looked like before: of two at one time, the first to arrive would
    be taken for both.

    Args:
        objects: For each object what is written, and how it is seen to arrive.
    """
    named, nameless = list[Stage](), list[Stage]()
    for stage in objects:
        seen_by_pages = any(isinstance(marker, ConfigChanged) for marker in stage.markers)
        (nameless if seen_by_pages else named).append(stage)
    yield Stage(
        tuple(edit for stage in named for edit in stage.edits),
        tuple(tag for stage in named for tag in stage.tags),
        tuple(marker for stage in named for marker in stage.markers),
        tuple(dict.fromkeys(service for stage in named for service in stage.renewed)),
    )
    yield from nameless
