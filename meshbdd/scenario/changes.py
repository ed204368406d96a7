"""A scenario's changes: planned, written, seen to arrive, and taken back.

One road for every change: intent → mesh plan → Change → cluster → arrival gate → evidence.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from pathlib import Path

from meshbdd.cluster import Change, Edit, UndoStack
from meshbdd.cluster.client import ApiFailure, Unanswered
from meshbdd.cluster.refusals import RefusedObject, UnplayableObject
from meshbdd.errors import BadInput, Inconclusive, MeshbddError, RestoreIncomplete
from meshbdd.evidence import ChangeArrived, ChangeWithdrawn
from meshbdd.intents import Intent, Mention, ServiceRef, Side
from meshbdd.mesh import Context, Plan, Stage
from meshbdd.mesh.abilities import Ability
from meshbdd.mesh.base import Object, difference, preview
from meshbdd.mesh.catalog import Catalog
from meshbdd.mesh.down import see_none_down
from meshbdd.mesh.gate import Before
from meshbdd.mesh.manifest import find_manifest, read_manifest, refuse_foreign
from meshbdd.mesh.manifest_lines import place_of
from meshbdd.mesh.shares import configured_shares
from meshbdd.mesh.taken_down import see_pods_there, told_of_absence
from meshbdd.scenario.doubts import refuse_nonsense
from meshbdd.scenario.environment import Environment
from meshbdd.scenario.in_force import InForce, Written
from meshbdd.scenario.needs import Asked, needs, services_in
from meshbdd.scenario.taking_back import batches, hand_on, rounds
from meshbdd.waiting import one_moment


class Changes:
    """The changes of one scenario.

    Args:
        environment: What the run shares.
        feature: The feature file; manifests are looked up beside it.
        said: What the scenario's steps say of services.
        before_first: Called once, before anything is written.
        changing: Called with the summary of what is about to be written or taken back.
        arrived: Called with each change that is in force everywhere.
        leaving: Called with what is about to be taken back.

    Attributes:
        made: Whether anything was to be changed so far.
    """

    def __init__(
        self,
        environment: Environment,
        feature: Path,
        *,
        said: Sequence[Mention],
        before_first: Callable[[], None],
        changing: Callable[[str], None],
        arrived: Callable[[InForce], None],
        leaving: Callable[[InForce], None],
    ) -> None:
        self._environment = environment
        self._feature = feature
        self.said = tuple(said)
        self._before_first = before_first
        self._changing = changing
        self._arrived = arrived
        self._leaving = leaving
        self.made = False
        self.in_force: list[InForce] = []
        self.undo_stack = UndoStack(environment.settings.undo_budget)
        self._catalog = Catalog(environment.cluster, environment.mesh.sidecars)

    def make(self, intent: Intent) -> None:
        """Make an intent come true.

        Raises:
            BadInput: it cannot be done, or would make the scenario prove nothing; nothing was written.
            NotPossible: this mesh cannot do it; nothing was written.
            Inconclusive: it did not arrive everywhere.
        """
        services, context = services_in(intent), self._context()
        self._environment.require(Asked(intent, services), str(intent))
        with told_of_absence(self._catalog, str(intent), services, context.in_force), one_moment():
            plan = self._environment.mesh.plan(intent, context)
        self._carry_out(plan)

    def _context(self) -> Context:
        return Context(tuple(item.plan for item in self.in_force), self.said)

    @needs(Ability.MANIFESTS)
    def apply_manifest(self, name: str) -> None:
        """Apply a manifest that the tester has lying around.

        Raises:
            BadInput: it is none, or the API does not take one of its objects; nothing was written.
            UnplayableObject: the lab cannot play one of its objects; nothing was written.
        """
        documents = self._read(name)
        refuse_foreign(documents, self._environment.mesh.name)
        # Before anything is planned: a plan reads fields, which have the shape of their kind if the API takes the object.
        for document in documents:
            try:
                self._environment.cluster.see_admitted(document)
            except (RefusedObject, UnplayableObject) as error:
                error.place = place_of(self._file(name), document, error.field)
                raise
        with one_moment():
            plan = self._environment.mesh.plan_manifest(documents, self._context())
        self._carry_out(plan, self._file(name))

    def remove_manifest(self, name: str) -> None:
        """Take back what applying a manifest did.

        Raises:
            BadInput: it was not applied, or what stays in force needs it.
            NotPossible: on this mesh what stays in force needs it.
        """
        file = self._file(name)
        found = [item for item in self.in_force if item.manifest == file]
        if not found:
            raise BadInput("MB0506", f'The manifest "{name}" was not applied in this scenario.', help="apply it first")
        staying = [item.plan for item in self.in_force if item not in found]
        changes = [change for item in found for change in item.changes if change in self.undo_stack.changes]
        see_none_down({change.edit.target for change in changes if change.before is None}, staying)
        left = partial(self.undo_stack.left, changes)
        self._environment.mesh.see_removable([item.plan for item in found], staying, left)
        self._withdraw(found)

    def _read(self, name: str) -> list[Object]:
        return read_manifest(self._file(name), self._environment.namespace, self._environment.mesh.name)

    def _file(self, name: str) -> Path:
        return find_manifest(name, self._feature, self._environment.settings.project, self._environment.mesh.name)

    def recover(self, service: ServiceRef) -> None:
        """Withdraw the faults that this scenario made at a service; its policies stay.

        Raises:
            BadInput: there is none, or a policy that stays would not be true of the pods that come; nothing was undone.
        """
        # a fault filter of the tester's own leaves no name in a proxy: nobody could see it go before what came after it
        found = [i for i in self.in_force if service in i.plan.faulty and (i.plan.intent or i.plan.side is Side.CALLER)]
        if not found:
            raise self._well(service)
        changes = [change for item in found if item.plan.moves_endpoints for change in item.changes]
        if changes:
            staying = [item.plan for item in self.in_force if item not in found]
            self._environment.mesh.see_recoverable(service, staying, partial(self.undo_stack.left, changes))
        self._withdraw(found)

    def _well(self, service: ServiceRef) -> BadInput:
        """Why a service cannot recover: nothing makes it fail, and a policy is not taken back so."""
        policies = [item.plan.summary for item in self.in_force if item.plan.intent and item.plan.service == service]
        route = "route" if self._environment.mesh.name == "linkerd" else "VirtualService"
        why = f"no step let it fail, slowed it or took it down in this scenario, and no manifest's {route} did"
        if policies:
            why += f"; «{policies[-1]}» is no fault, and stays to the scenario's end"
        return BadInput("MB0507", f"{service} cannot recover: {why}.", help="let it fail first, or remove the manifest")

    def configured_shares(self) -> list[float]:
        """The shares that this scenario's changes in force configure, the latest first."""
        objects = [change.after for item in reversed(self.in_force) for change in item.changes if change.after]
        return [share for obj in objects for share in configured_shares(obj)]

    def sent(self, requests: Sequence[str], unseen: Mapping[str, ServiceRef]) -> None:
        """Note which requests ran while these changes were in force, and whom those asked that perhaps no proxy has seen."""
        for item in self._in_effect():
            item.requests += requests
            item.unseen.update(unseen)
            item.accounted = False

    def _in_effect(self) -> Iterator[InForce]:
        """The changes in force, but for manifests all of whose objects a later one says anew."""
        anew: set[tuple[str, str, str]] = set()
        for item in reversed(self.in_force):
            targets = {edit.target for edit in item.plan.edits}
            if item.manifest is None or not targets <= anew:
                yield item
            if item.manifest is not None:
                anew |= targets

    def prepare(self) -> None:
        """Before the scenario's first change: nothing of an earlier one is under way, and what would disturb connections
        later stands.
        """
        if self.made:
            return
        self.made = True
        self._before_first()
        with one_moment():
            early = self._environment.mesh.early(self._context())
        self._environment.standing.ensure(early)

    def _carry_out(self, plan: Plan, manifest: Path | None = None) -> None:
        see_pods_there(self._catalog, plan, self._context().in_force)
        self.prepare()
        for needed in self._environment.mesh.scenery(self._context()):  # a manifest may have brought the need for it
            self._put_in_force(needed)
        self._put_in_force(plan, manifest)

    def _put_in_force(self, plan: Plan, manifest: Path | None = None) -> None:
        self._environment.standing.ensure(plan.standing)
        # everything is admitted, and makes sense, before anything is written
        made = [self._dry_run(edit) for edit in plan.edits]
        findings = refuse_nonsense(self._environment.cluster, made, self._environment.mesh.name)
        self._changing(plan.summary)
        item = InForce(plan, manifest)
        if plan.moves_endpoints:
            item.own = self._environment.gate.endpoints(_service_of(plan))
        self.in_force.append(item)
        began = time.time()
        for stage in plan.stages:
            self._write(item, stage)
        if plan.moves_endpoints:
            self._environment.gate.wait_endpoints(_service_of(plan), item.own, some=False)
        self._arrived(item)
        self._environment.tell(
            ChangeArrived(
                plan.summary,
                plan.reason,
                tuple(difference(change.edit, change.before, change.after) for change in item.changes),
                began,
                sum(written.seconds for written in item.written) * 1000,
                {pod: ms for written in item.written for pod, ms in written.arrival.proxies.items()},
                str(plan.service or ""),
                findings,
                tuple(str(service) for service in plan.faulty),
            )
        )

    def _write(self, item: InForce, stage: Stage) -> None:
        gate = self._environment.gate
        written = Written(stage, gate.before(stage.markers))
        item.written.append(written)
        began = time.monotonic()
        for edit, tag in zip(stage.edits, stage.tags, strict=True):
            change = Change(self._environment.cluster, edit, self._environment.run, tag)
            written.changes.append(change)
            self.undo_stack.push(change)
            change.apply()
        written.seconds = time.monotonic() - began
        written.arrival = gate.wait_present(stage.markers, written.before, stage.edits)
        self._environment.standing.renew(stage.renewed)

    def _dry_run(self, edit: Edit, attempts: int = 5) -> Object:
        cluster = self._environment.cluster
        live = cluster.find(edit.kind, edit.name, edit.namespace)
        wanted = preview(edit, live)
        try:
            return cluster.replace(wanted, dry_run=True) if live is not None else cluster.create(wanted, dry_run=True)
        except ApiFailure as failure:
            if failure.status != HTTPStatus.CONFLICT or attempts == 1:
                raise
            return self._dry_run(edit, attempts - 1)  # somebody wrote first, a status for instance

    def _withdraw(self, found: Sequence[InForce]) -> None:
        for item in found:
            self._leaving(item)
            self._changing(f"{item.plan.summary} is withdrawn")
        before = self.in_force
        self.in_force = [item for item in before if item not in found]
        try:
            self._take_back(found)
        finally:  # what could not be undone now is undone at the end
            left = set(self.undo_stack.changes)
            self.in_force = [item for item in before if item not in found or set(item.changes) & left]

    def take_back_all(self) -> None:
        """Undo everything, see it gone at every proxy, and let no ejection of it outlast the scenario.

        Raises:
            RestoreIncomplete: something is still changed.
            Inconclusive: everything is undone, but a proxy still holds some of it.
        """
        in_force, self.in_force = self.in_force, []
        self._take_back(in_force)
        if in_force:
            self._clear_ejections()

    def _clear_ejections(self) -> None:
        ejected = self._environment.gate.ejected()
        hosts = {host: host.split(".") for host in ejected}
        services = [
            ServiceRef(parts[0], parts[1]) for parts in hosts.values() if parts[2:] == ["svc", "cluster", "local"]
        ]
        if services:
            self._environment.standing.renew(services)
            for service in services:
                self._environment.gate.wait_none_ejected(service.host)

    def _take_back(self, found: Sequence[InForce]) -> None:
        began = time.time()
        kept: list[str] = []
        problems: list[MeshbddError] = []
        for stages in rounds(found):
            for together in batches(stages):
                self._undo(together, kept, problems)
        for item in found:
            if item.plan.moves_endpoints and item.changes:
                back = partial(self._environment.gate.wait_endpoints, _service_of(item.plan), item.own, some=True)
                self._attempt(problems, back)
            if item.changes:
                self._environment.tell(ChangeWithdrawn(item.plan.summary, began, tuple(kept)))
        for worst in (RestoreIncomplete, MeshbddError):
            for problem in problems:
                if isinstance(problem, worst):
                    raise problem

    def _undo(self, stages: Sequence[Written], kept: list[str], problems: list[MeshbddError]) -> None:
        standing = self._environment.standing
        changes = tuple(change for written in stages for change in written.changes if change in self.undo_stack.changes)
        leaving = list[Written]()
        during: Before = {}
        covered = set[tuple[str, str, str]]()
        if changes:
            with contextlib.suppress(
                ApiFailure, Unanswered
            ):  # of whom the API tells nothing now, everything is awaited
                covered = self.undo_stack.covered(changes)
            stages = list(self._moving(stages, covered))
            self._attempt(problems, lambda: leaving.extend(self._going(stages, covered)))
            with contextlib.suppress(Inconclusive):  # of a proxy that tells nothing now what it held before must do
                during = self._environment.gate.before(marker for written in stages for marker in written.stage.markers)
        self._attempt(problems, lambda: kept.extend(self.undo_stack.undo(changes)))
        for written in stages:
            self._attempt(problems, partial(standing.wait_withdrawn, written.stage.markers, written.before, during))
        for going in leaving:
            self._attempt(problems, partial(self._environment.gate.wait_present, going.stage.markers, going.before))
        self._attempt(problems, lambda: standing.renew(s for written in stages for s in written.stage.renewed))

    def _moving(self, stages: Sequence[Written], covered: Collection[tuple[str, str, str]]) -> Iterator[Written]:
        """The stages whose undoing changes something; of the others what they did goes with what says the same later."""
        order = self.undo_stack.changes
        for written in stages:
            if not written.changes or any(c not in order or c.edit.target not in covered for c in written.changes):
                yield written
                continue
            staying = (other for item in self.in_force for other in item.written)
            hand_on(written, staying, order[order.index(written.changes[-1]) + 1 :])

    def _going(self, stages: Sequence[Written], covered: Collection[tuple[str, str, str]]) -> Iterator[Written]:
        """What changes at proxies as stages go, beside what came with them, and what is there before."""
        for written in stages:
            edits = tuple(edit for edit in written.stage.edits if edit.target not in covered)
            markers = self._environment.mesh.leaving(replace(written.stage, edits=edits))
            if markers:
                yield Written(Stage.of(markers=markers), self._environment.gate.before(markers))

    def _attempt(self, problems: list[MeshbddError], action: Callable[[], object]) -> None:
        """One part of an undo: its failure keeps no other part from being done.

        Raises:
            BadInput: a change that is to stay stands on it.
        """
        try:
            action()
        except BadInput as error:
            if self.in_force:
                raise
            help_ = "run the features again: the next run undoes it before anything else"
            problems.append(RestoreIncomplete("MB0313", error.sentence, help=help_))
        except MeshbddError as error:
            problems.append(error)


def _service_of(plan: Plan) -> ServiceRef:
    if plan.service is None:
        raise AssertionError("asked only of plans about a service")
    return plan.service
