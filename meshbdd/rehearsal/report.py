"""What a check found, and where."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from meshbdd.errors import BadInput, MeshbddError, Place
from meshbdd.sense import Finding, Severity


@dataclass(slots=True)
class Report:
    """Findings, each once.

    Attributes:
        left_open: Manifest → for each time that a step applies it and only a run can tell what comes of that, those that
            its scenario has applied before.
        places: Finding → the file, or the step, that it comes from; ``None`` for one about an object of the world.
        steps: Finding → the step that led to it, where its place is in another file.
        not_understood: Whether something is bad input, which a run would refuse.
    """

    places: dict[Finding, Place | None] = field(default_factory=dict)
    steps: dict[Finding, Place] = field(default_factory=dict)
    not_understood: bool = False
    left_open: dict[Path, set[tuple[Path, ...]]] = field(default_factory=dict)

    @property
    def findings(self) -> list[Finding]:
        """All findings."""
        return list(self.places)

    @property
    def errors(self) -> bool:
        """Whether one is an error."""
        return any(finding.severity is Severity.ERROR for finding in self.places)

    def add(self, finding: Finding, place: Place | None) -> None:
        """Add a finding, unless it is there already; where it was there without a place it gets this one."""
        self.places[finding] = self.places.get(finding) or place

    def refused(self, error: MeshbddError, place: Place) -> None:
        """Add what somebody refuses, and what else is said with it."""
        error.met_at(place)
        self.not_understood |= isinstance(error, BadInput)
        for told in (error, *error.also):
            finding = Finding(str(error.place), told.code, Severity.ERROR, told.sentence, told.help or "")
            self.add(finding, error.place)
            if error.step:
                self.steps.setdefault(finding, error.step)

    def take(self, other: Report) -> None:
        """Add all of another report."""
        for finding, place in other.places.items():
            self.add(finding, place)
        self.steps = {**other.steps, **self.steps}
        self.not_understood |= other.not_understood
        self.leave_open(other.left_open)

    def leave_open(self, times: Mapping[Path, Iterable[tuple[Path, ...]]]) -> None:
        """Add times that manifests are applied of which only a run can tell what comes."""
        for manifest, befores in times.items():
            self.left_open.setdefault(manifest, set()).update(befores)

    def sorted(self) -> list[tuple[Finding, Place | None]]:
        """By file and line, then by object and code."""

        def key(item: tuple[Finding, Place | None]) -> tuple[str, int, str, str, str]:
            finding, place = item
            path, line = (str(place.path), place.line or 0) if place else ("", 0)
            return path, line, finding.object, finding.code, finding.sentence

        return sorted(self.places.items(), key=key)
