"""A cluster made of dicts, into which plans are written as a run would write them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

from meshbdd.cluster import Cluster
from meshbdd.intents import Intent, Mention
from meshbdd.mesh import Context, Plan
from meshbdd.mesh.base import Mesh, preview
from meshbdd.rehearsal.stage import StageCluster


class Staged:
    """A cluster, its mesh and what is in force there.

    Args:
        mesh: Makes the mesh, of the cluster and of a run's id.
        objects: What is there.
        said: What the scenario's steps say.
    """

    def __init__(
        self, mesh: Callable[[Cluster, str], Mesh], objects: Iterable[dict[str, Any]], said: tuple[Mention, ...] = ()
    ) -> None:
        self.cluster = StageCluster(list(objects), "shop", lambda _: None)
        self.mesh = mesh(cast("Cluster", self.cluster), "r1")
        self.said = said
        self.plans: list[Plan] = []

    @property
    def context(self) -> Context:
        """What is in force, and said."""
        return Context(tuple(self.plans), self.said)

    def __call__(self, what: Intent | list[dict[str, Any]]) -> Plan:
        """Plan an intent, or a manifest, and write it."""
        there = self.context
        plan = self.mesh.plan_manifest(what, there) if isinstance(what, list) else self.mesh.plan(what, there)
        self.write(plan)
        return plan

    def write(self, plan: Plan) -> None:
        """Let a plan be in force."""
        for edit in (*(edit for stage in plan.standing for edit in stage.edits), *plan.edits):
            self.cluster.replace(preview(edit, self.cluster.find(edit.kind, edit.name, edit.namespace)))
        self.plans.append(plan)


def asked_but_once(probe: Callable[[], Any], otherwise: Callable[[], Any], *_within: Any) -> Any:
    """In the place of ``settling.or_nothing`` where all has been logged and counted: nothing more comes."""
    try:
        return probe()
    except Exception:  # noqa: BLE001 - not yet
        return otherwise()
