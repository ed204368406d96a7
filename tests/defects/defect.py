"""A seeded defect, and which ones can be seeded at one time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_MOST = 16
"""Scenarios that see something in one batch: as many as a run has time for, and a reader overview of."""


@dataclass(frozen=True, slots=True)
class Defect:
    """Something that is wrong with the system under test.

    Attributes:
        name: In a word or two.
        seen_by: The scenarios that turn red; every other one stays green. Thought through, not recorded from a run.
        shop: Deployment → value of ``SHOP_DEFECT`` in its pods.
        labels: Deployment → labels of its pods that are set.
        annotations: Deployment → annotations of its pods that are set.
        objects: YAML that is applied before the run.
        installed: YAML of the control plane's own, of kinds that no run changes, before pods are changed.
        edits: File of the project, a text in it, and the text that stands there instead.
        unanswered: Scenarios whose question has no answer any more: they are inconclusive, never green.
        unsure: Scenarios that see it, but that a busy machine or missing figures may keep from proving it: they are red or
            inconclusive, never green.
        blind: The scenarios can tell nothing (zero traffic, a missing sidecar, a stale route): each of them is red or
            inconclusive, and so may be others.
    """

    name: str
    seen_by: frozenset[str]
    shop: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    annotations: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    objects: str = ""
    installed: str = ""
    edits: tuple[tuple[str, str, str], ...] = ()
    unanswered: frozenset[str] = frozenset()
    unsure: frozenset[str] = frozenset()
    blind: bool = False

    @property
    def told(self) -> frozenset[str]:
        """The scenarios of which it says something."""
        return self.seen_by | self.unanswered | self.unsure

    @property
    def stands_alone(self) -> bool:
        """Whether others could not be told from it: it changes the mesh for everybody, or nobody can tell anything."""
        return self.blind or bool(self.shop or self.labels or self.objects or self.installed)

    def disturbs(self, other: Defect) -> bool:
        """Whether the two cannot be seeded at one time: one scenario, text or deployment is concerned by both."""
        texts, others = ({(file, old) for file, old, _ in d.edits} for d in (self, other))
        return bool(self.told & other.told or texts & others or self.annotations.keys() & other.annotations.keys())


def batches(defects: Sequence[Defect]) -> list[tuple[Defect, ...]]:
    """The defects in as few runs as can tell them apart, in their order."""
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
