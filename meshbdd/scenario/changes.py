"""A scenario's changes: planned, written, seen to arrive, and taken back.

One road for every change: intent → mesh plan → Change → cluster → arrival gate → evidence.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from meshbdd.cluster import Change, Edit, UndoStack
from meshbdd.errors import BadInput
from meshbdd.evidence import ChangeArrived, ChangeWithdrawn
from meshbdd.intents import Fault, ServiceRef
from meshbdd.mesh import Plan
from meshbdd.mesh.base import difference, preview
from meshbdd.mesh.manifest import find_manifest, read_manifest
from meshbdd.mesh.shares import configured_shares
from meshbdd.scenario.environment import Environment


@dataclass(slots=True)
class InForce:
    """A change in force: its plan, what was written, and which traffic ran meanwhile."""

    plan: Plan
    changes: list[Change] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    accounted: bool = False


class Changes:
    """The changes of one scenario.

    Args:
        environment: What the run shares.
        feature: The feature file; manifests are looked up beside it.
        before_first: Called once, before anything is written.
        changing: Called with the summary of what is about to be written or taken back.
        arrived: Called whenever a change is in force everywhere.
        leaving: Called with what is about to be taken back.
    """

    def __init__(
        self,
        environment: Environment,
        feature: Path,
        *,
        before_first: Callable[[], None],
        changing: Callable[[str], None],
        arrived: Callable[[], None],
        leaving: Callable[[InForce], None],
    ) -> None:
        self._environment = environment
        self._feature = feature
        self._before_first = before_first
        self._changing = changing
        self._arrived = arrived
        self._leaving = leaving
        self._changed = False
        self.in_force: list[InForce] = []
        self.undo_stack = UndoStack(environment.settings.undo_budget)

    def fail(self, fault: Fault) -> None:
        """Put a fault into the mesh."""
        self._carry_out(self._environment.mesh.plan(fault))

    def apply_manifest(self, name: str) -> None:
        """Apply a manifest that the tester has lying around."""
        file = find_manifest(name, self._feature, self._environment.settings.project)
        documents = read_manifest(file, self._environment.namespace)
        self._carry_out(self._environment.mesh.plan_manifest(documents))

    def remove_manifest(self, name: str) -> None:
        """Take back what applying a manifest did."""
        file = find_manifest(name, self._feature, self._environment.settings.project)
        wanted = {(d["kind"], d["metadata"]["name"]) for d in read_manifest(file, self._environment.namespace)}
        found = [f for f in self.in_force if {(c.edit.kind, c.edit.name) for c in f.changes} & wanted]
        if not found:
            raise BadInput("MB0506", f'The manifest "{name}" was not applied in this scenario.', help="apply it first")
        self._withdraw(found)

    def take_down(self, service: ServiceRef) -> None:
        """Leave a service without endpoints."""
        self._carry_out(self._environment.mesh.plan_down(service))

    def recover(self, service: ServiceRef) -> None:
        """Withdraw what this scenario did to a service."""
        found = [f for f in self.in_force if f.plan.service == service]
        if not found:
            raise BadInput(
                "MB0507",
                f"{service} cannot recover: nothing was done to it in this scenario.",
                help="let it fail first",
            )
        self._withdraw(found)

    def configured_shares(self) -> list[float]:
        """The shares that this scenario's changes in force configure, the latest first."""
        objects = [change.after for item in reversed(self.in_force) for change in item.changes if change.after]
        return [share for obj in objects for share in configured_shares(obj)]

    def sent(self, requests: Sequence[str]) -> None:
        """Note which requests ran while these changes were in force."""
        for item in self.in_force:
            item.requests += requests
            item.accounted = False

    def _carry_out(self, plan: Plan) -> None:
        if not self._changed:
            self._before_first()
            self._changed = True
        for edit in plan.edits:  # everything is admitted before anything is written
            self._dry_run(edit)
        self._changing(plan.summary)
        now = InForce(plan)
        self.in_force.append(now)
        began, clock = time.time(), time.monotonic()
        for edit, tag in zip(plan.edits, plan.tags, strict=True):
            change = Change(self._environment.cluster, edit, self._environment.run, tag)
            now.changes.append(change)
            self.undo_stack.push(change)
            change.apply()
        written_ms = (time.monotonic() - clock) * 1000
        proxies = self._environment.gate.wait_present(plan.markers).proxies if plan.markers else {}
        if _moves_endpoints(plan):
            self._environment.gate.wait_endpoints(_service_of(plan), some=False)
        self._arrived()
        self._environment.tell(
            ChangeArrived(
                plan.summary,
                plan.reason,
                tuple(difference(change.edit, change.before, change.after) for change in now.changes),
                began,
                written_ms,
                proxies,
                str(plan.service or ""),
            )
        )

    def _dry_run(self, edit: Edit) -> None:
        cluster = self._environment.cluster
        live = cluster.find(edit.kind, edit.name, edit.namespace)
        wanted = preview(edit, live)
        if live is not None:
            cluster.replace(wanted, dry_run=True)
        else:
            cluster.create(wanted, dry_run=True)

    def _withdraw(self, found: Sequence[InForce]) -> None:
        for item in found:
            self._changing(f"{item.plan.summary} is withdrawn")
            self._leaving(item)
        self.in_force = [item for item in self.in_force if item not in found]
        self._take_back(found)

    def take_back_all(self) -> None:
        """Undo everything, and see it gone at every proxy.

        Raises:
            RestoreIncomplete: something is still changed.
        """
        in_force, self.in_force = self.in_force, []
        self._take_back(in_force)

    def _take_back(self, found: Sequence[InForce]) -> None:
        began = time.time()
        kept = self.undo_stack.undo(tuple(change for item in found for change in item.changes))
        for item in found:
            if not item.changes:
                continue
            self._environment.gate.wait_absent(item.plan.markers)
            if _moves_endpoints(item.plan):
                self._environment.gate.wait_endpoints(_service_of(item.plan), some=True)
            self._environment.tell(ChangeWithdrawn(item.plan.summary, began, tuple(kept)))


def _moves_endpoints(plan: Plan) -> bool:
    """Whether a plan shows itself in a service's endpoints, not in a proxy's configuration."""
    return plan.service is not None and not plan.markers


def _service_of(plan: Plan) -> ServiceRef:
    if plan.service is None:
        raise AssertionError("asked only of plans about a service")
    return plan.service
