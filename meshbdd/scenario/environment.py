"""What the scenarios of a run share, and what a scenario knows of its own text."""

from __future__ import annotations

from dataclasses import dataclass

from meshbdd.cluster import Cluster
from meshbdd.errors import Place
from meshbdd.evidence import Tell
from meshbdd.mesh import Gate, Istio
from meshbdd.settings import Settings


@dataclass(frozen=True, slots=True)
class StepText:
    """A step of the scenario as it stands in the feature file.

    Attributes:
        text: The step without its keyword.
        place: Where it stands.
        problem: Why it is not understood; ``None`` where it is.
    """

    text: str
    place: Place
    problem: str | None = None


@dataclass(slots=True)
class Environment:
    """What the scenarios of a run share."""

    settings: Settings
    cluster: Cluster
    mesh: Istio
    gate: Gate
    run: str
    target: str
    tell: Tell

    @property
    def namespace(self) -> str:
        """The default namespace."""
        return self.settings.namespace or self.cluster.namespace
