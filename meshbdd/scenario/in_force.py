"""What a scenario has changed: its plans in force, what was written for them, and which requests met them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from meshbdd.cluster import Change
from meshbdd.intents import ServiceRef
from meshbdd.mesh import Plan, Stage
from meshbdd.mesh.endpoints import Own
from meshbdd.mesh.gate import Before
from meshbdd.mesh.looking import Arrival
from meshbdd.scenario.known_pods import Life


@dataclass(slots=True)
class Written:
    """A stage that was written.

    Attributes:
        stage: The stage.
        before: What proxies held before that could be taken for it.
        changes: What was written.
        arrival: When which proxy held it.
        seconds: How long the writing took.
    """

    stage: Stage
    before: Before
    changes: list[Change] = field(default_factory=list)
    arrival: Arrival = field(default_factory=lambda: Arrival({}))
    seconds: float = 0.0


@dataclass(slots=True, eq=False)
class InForce:
    """A change in force: its plan, what was written, and which traffic ran meanwhile.

    Attributes:
        plan: The plan.
        manifest: The file that it is of, where a tester's manifest was applied.
        written: Its stages, as far as they were written.
        requests: Ids of the requests that were sent meanwhile.
        unseen: Those of them that perhaps no proxy has seen, since a client outside the mesh found no connection → whom it asked.
        accounted: Whether the accounting is done for all of these.
        told: Service → of how many of these its accounting was told, while that of another one may still wait.
        logged: How much the access logs held when it arrived.
        gone: The pods that were seen before and were there no more when it arrived.
        beside: The changes that were in force at some time while it was.
        own: The endpoints that its service had before, where it takes them away.
    """

    plan: Plan
    manifest: Path | None = None
    written: list[Written] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    unseen: dict[str, ServiceRef] = field(default_factory=dict)
    accounted: bool = False
    told: dict[ServiceRef, int] = field(default_factory=dict)
    logged: int = 0
    gone: Collection[Life] = ()
    beside: list[InForce] = field(default_factory=list)
    own: Own = Own()

    @property
    def changes(self) -> list[Change]:
        """Everything that was written."""
        return [change for written in self.written for change in written.changes]

    @property
    def since(self) -> Mapping[str, float]:
        """Pod → Unix time by its own clock: requests that began there later met the change."""
        return {pod: at for written in self.written for pod, at in written.arrival.since.items()}
