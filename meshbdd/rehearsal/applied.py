"""Which manifests a feature's steps apply, what is in them, and what has been applied before each."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from meshbdd.errors import BadInput
from meshbdd.mesh.manifest import find_manifest, read_objects
from meshbdd.rehearsal.feature_file import read_feature
from meshbdd.settings import Settings

_MANIFEST = re.compile(r'the manifest "([^"]+)" is (applied|removed)')

Orders = dict[Path, set[tuple[Path, ...]]]
"""Manifest → for each time that a scenario applies it those that it has applied before, and not removed."""


def manifests_of(file: Path, settings: Settings) -> Orders:
    """The manifests that a feature's steps name, as far as they exist.

    Args:
        file: The feature file.
        settings: As a run's.
    """
    found: Orders = {}
    with contextlib.suppress(BadInput):  # the rehearsal says what is wrong with the file
        for scenario in read_feature(file).walk_scenarios():
            there: dict[Path, None] = {}
            for step in scenario.all_steps:
                named = _MANIFEST.fullmatch(step.name)
                if named is None:
                    continue
                with contextlib.suppress(BadInput):
                    manifest = find_manifest(named[1], file, settings.project)
                    before = found.setdefault(manifest, set())
                    if named[2] == "removed":
                        there.pop(manifest, None)
                        continue
                    before.add(tuple(other for other in there if other != manifest))
                    there[manifest] = None
    return found


def names_in(text: str, feature: Path, settings: Settings) -> set[str]:
    """The names of the objects in the manifest that a step applies; of a file that cannot be read nothing is known.

    Args:
        text: The step's text.
        feature: The feature file.
        settings: As a run's.
    """
    named = _MANIFEST.fullmatch(text)
    if named is None or named[2] == "removed":
        return set()
    with contextlib.suppress(BadInput):
        file = find_manifest(named[1], feature, settings.project, settings.mesh)
        return {str(document["metadata"]["name"]) for document in read_objects(file, settings.namespace or "")}
    return set()
