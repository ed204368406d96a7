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
            applied = Applied(file, settings)
            for step in scenario.all_steps:
                for manifest, times in applied.met(step.name).items():
                    found.setdefault(manifest, set()).update(times)
    return found


class Applied:
    """The manifests that the steps of one scenario have applied so far.

    Args:
        feature: The feature file.
        settings: As a run's.
    """

    def __init__(self, feature: Path, settings: Settings) -> None:
        self._feature = feature
        self._settings = settings
        self._there: dict[Path, None] = {}

    def met(self, text: str) -> Orders:
        """Go on by a step: the manifest that it names, if there is one, and where it applies this, those applied before."""
        named = _MANIFEST.fullmatch(text)
        if named is None:
            return {}
        try:
            manifest = find_manifest(named[1], self._feature, self._settings.project)
        except BadInput:
            return {}
        if named[2] == "removed":
            self._there.pop(manifest, None)
            return {manifest: set()}
        before = tuple(other for other in self._there if other != manifest)
        self._there[manifest] = None
        return {manifest: {before}}


def names_in(text: str, feature: Path, settings: Settings) -> set[tuple[str, str]]:
    """The kinds and names of the objects in the manifest that a step applies; of a file that cannot be read nothing is known.

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
        objects = read_objects(file, settings.namespace or "")
        return {(str(document["kind"]), str(document["metadata"]["name"])) for document in objects}
    return set()
