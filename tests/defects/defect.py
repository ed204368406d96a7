"""A seeded defect, what a run that meets it may say, and which ones can be seeded at one time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import yaml

_MOST = 16
"""Scenarios that see something in one batch: as many as a run has time for, and a reader overview of."""


@dataclass(frozen=True, slots=True)
class Defect:
    """Something that is wrong with the system under test.

    Attributes:
        name: In a word or two; of what it is a case stands before a colon.
        seen_by: The scenarios that turn red; every other one stays green. Thought through, not recorded from a run.
        shop: Deployment → value of ``SHOP_DEFECT`` in its pods.
        labels: Deployment → labels of its pods that are set.
        annotations: Deployment → annotations of its pods that are set.
        objects: YAML that is applied before the run.
        narrow: Whether these objects concern nothing but what its own scenarios look at.
        installed: YAML of the control plane's own, of kinds that no run changes, before pods are changed.
        edits: File of the project, a text in it, and the text that stands there instead.
        refused: The scenarios that are refused before anything is changed, by a sentence that names what is wrong.
        unanswered: The scenarios that it leaves without an answer (zero traffic, a missing sidecar, a stale route): each is
            inconclusive or red. Never green.
    """

    name: str
    seen_by: frozenset[str]
    shop: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    annotations: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    objects: str = ""
    narrow: bool = False
    installed: str = ""
    edits: tuple[tuple[str, str, str], ...] = ()
    refused: frozenset[str] = frozenset()
    unanswered: frozenset[str] = frozenset()

    @property
    def told(self) -> frozenset[str]:
        """The scenarios of which it says something."""
        return self.seen_by | self.refused | self.unanswered

    @property
    def stands_alone(self) -> bool:
        """Whether others could not be told from it: it changes the mesh for everybody, or nobody can tell anything."""
        wide = bool(self.objects) and not self.narrow
        return bool(self.unanswered or self.shop or self.labels or self.installed or wide)

    def disturbs(self, other: Defect) -> bool:
        """Whether the two cannot be seeded at one time: one scenario, text, object or deployment is concerned by both."""
        return bool(self.told & other.told or self._touched() & other._touched())

    def _touched(self) -> frozenset[tuple[str, ...]]:
        """The texts, the objects and the deployments that it changes."""
        objects = (made for made in yaml.safe_load_all(self.objects) if made)
        return frozenset(
            {
                *((file, old) for file, old, _ in self.edits),
                *((made["kind"], made["metadata"]["name"]) for made in objects),
                *(("Deployment", name) for name in self.annotations),
            }
        )

    def unexpected(self, statuses: Mapping[str, str]) -> Iterator[str]:
        """A sentence for each scenario that says something else than it should.

        Args:
            statuses: Scenario → what it said, of those that see this defect and those that see none.
        """
        for name, status in sorted(statuses.items()):
            if status not in self._may_be(name):
                yield f"«{name}» is {status}, and was to be {' or '.join(self._may_be(name))}"

    def _may_be(self, name: str) -> tuple[str, ...]:
        if name in self.seen_by:
            return ("failed",)
        if name in self.refused:
            return ("refused",)
        return ("inconclusive", "failed") if name in self.unanswered else ("passed",)


def batches(defects: Sequence[Defect], *, apart: bool = False) -> list[tuple[Defect, ...]]:
    """The defects in as few runs as can tell them apart, in their order; each in its own run where they are to be ``apart``."""
    if apart:
        return [(defect,) for defect in defects]
    found: list[list[Defect]] = []
    for defect in defects:
        fitting = (
            batch
            for batch in found
            if not any(defect.stands_alone or one.stands_alone or defect.disturbs(one) for one in batch)
            and sum(len(one.told) for one in (*batch, defect)) <= _MOST
        )
        batch = next(fitting, None)
        if batch is None:
            found.append([defect])
        else:
            batch.append(defect)
    return [tuple(batch) for batch in found]
