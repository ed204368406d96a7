"""The one way in which anything is written to a cluster, and back.

A change is a compare-and-swap PUT (resourceVersion and uid) of the object that was read, with the undo record in the
same write. Undoing takes out what is ours, and only that: what others have changed meanwhile stays.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from meshbdd.cluster.client import ApiFailure, Cluster, Unanswered
from meshbdd.cluster.record import (
    LARGEST,
    ROUTE_PREFIX,
    UNDO,
    Owner,
    Record,
    digest,
    mark,
    read_path,
    unmark,
    without_routes,
    write_path,
)
from meshbdd.errors import MeshbddError, Refused, RestoreIncomplete
from meshbdd.units import Duration

Object = dict[str, Any]

_ATTEMPTS = 5
ROUTES = ("spec", "http")


@dataclass(frozen=True, slots=True)
class Edit:
    """What is to become of one object.

    Attributes:
        kind: Its kind.
        name: Its name.
        namespace: Its namespace.
        path: The subtree that changes.
        make: The subtree as it is → as it shall be. Called again when somebody else wrote first.
        new: The whole object, where it does not exist and is to be created; ``None`` where it must exist.
    """

    kind: str
    name: str
    namespace: str
    path: tuple[str, ...]
    make: Callable[[Any], Any]
    new: Object | None = None

    def __str__(self) -> str:
        return f"{self.kind} {self.name}.{self.namespace}"


class Change:
    """One edit of one object by one run, which can be undone.

    Args:
        cluster: Where.
        edit: What.
        run: The run's id.
        tag: Prefix of the names of the routes that this change adds; empty where it adds none.
    """

    def __init__(self, cluster: Cluster, edit: Edit, run: str, tag: str = "") -> None:
        self._cluster = cluster
        self.edit = edit
        self.run = run
        self.tag = tag
        self.before: Object | None = None
        self.after: Object | None = None

    # Doing

    def apply(self) -> None:
        """Write the change, and know that it landed.

        Raises:
            ApiFailure: the API refused it.
            Refused: the object carries another run's change.
        """
        edit = self.edit
        for attempt in range(_ATTEMPTS):
            live = self._cluster.find(edit.kind, edit.name, edit.namespace)
            if live is not None and self._has_landed(live):
                self.after = live
                return
            wanted = self._wanted(live)
            try:
                self.before = live
                self.after = self._cluster.replace(wanted) if live is not None else self._cluster.create(wanted)
            except Unanswered:
                continue  # look whether it landed
            except ApiFailure as failure:
                if failure.status != 409 or attempt == _ATTEMPTS - 1:
                    raise
            else:
                return
        raise Unanswered("MB0310", f"{edit} could not be changed: no answer came {_ATTEMPTS} times.", help="try again")

    def _has_landed(self, live: Object) -> bool:
        # A change without tagged routes sets a subtree to a fixed value: to write it again does no harm.
        return bool(self.tag) and _has_tag(live, self.tag)

    def _wanted(self, live: Object | None) -> Object:
        edit = self.edit
        if live is None:
            if edit.new is None:
                raise ApiFailure(404, "NotFound", f"{edit} does not exist.")
            wanted = copy.deepcopy(edit.new)
            record = self._record("", created=True, original=None, written=read_path(wanted, edit.path))
            mark(wanted, record)
            return wanted
        known = Record.of(live)
        if known is not None and known.run != self.run:
            raise Refused(
                "MB0311",
                f"{edit} still carries the change of run {known.run} (process {known.owner.pid} on {known.owner.host}).",
                help="let that run finish, or undo it with `meshbdd recover`",
            )
        wanted = copy.deepcopy(live)
        made = edit.make(read_path(live, edit.path))
        write_path(wanted, edit.path, made)
        if known is not None:
            record = replace(known, written=digest(made))
        else:
            record = self._record(
                live["metadata"]["uid"],
                created=False,
                original=read_path(live, edit.path),
                written=made,
                managed=live["metadata"].get("managedFields"),
            )
        if len(record.dump()) > LARGEST:
            raise Refused("MB0312", f"{edit} is too large to keep its undo record in it.", help="split the object")
        mark(wanted, record)
        return wanted

    def _record(self, uid: str, *, created: bool, original: Any, written: Any, managed: Any = None) -> Record:
        return Record(
            run=self.run,
            owner=Owner.me(),
            cluster=self._cluster.uid,
            uid=uid,
            created=created,
            path=self.edit.path,
            original=original,
            written=digest(written),
            managed_fields=managed,
        )

    # Undoing

    def undo(self, budget: Duration) -> str | None:
        """Take the change back; tries again until ``budget`` is used up.

        Returns:
            A sentence about what others had changed and was kept; ``None`` where the object is as it was.

        Raises:
            RestoreIncomplete: the budget is used up.
        """
        edit = self.edit
        return undo_object(self._cluster, edit.kind, edit.name, edit.namespace, self.run, budget, tag=self.tag)


def _has_tag(live: Object, tag: str) -> bool:
    routes = read_path(live, ROUTES) or []
    return any(str(route.get("name", "")).startswith(tag) for route in routes)


def undo_object(
    cluster: Cluster, kind: str, name: str, namespace: str, run: str, budget: Duration, *, tag: str = ""
) -> str | None:
    """Take what ``run`` did to an object back, by what stands in the object itself.

    Args:
        cluster: Where.
        kind: The object's kind.
        name: Its name.
        namespace: Its namespace.
        run: The run's id.
        budget: How long to try.
        tag: Only the routes of this prefix; empty: everything of the run.

    Raises:
        RestoreIncomplete: it could not be done within the budget.
    """
    deadline = time.monotonic() + budget.seconds
    pause = 0.05
    while True:
        try:
            return _undo_once(cluster, kind, name, namespace, run, tag)
        except MeshbddError as error:
            permanent = isinstance(error, ApiFailure) and error.status in {401, 403}
            if permanent or time.monotonic() + pause > deadline:
                raise RestoreIncomplete(
                    "MB0313",
                    f"{kind} {name}.{namespace} still carries the change of run {run}: {error.sentence}",
                    help="run `meshbdd recover` when the API answers again",
                ) from error
        time.sleep(pause)
        pause = min(pause * 2, 5.0)


def _undo_once(cluster: Cluster, kind: str, name: str, namespace: str, run: str, tag: str) -> str | None:
    live = cluster.find(kind, name, namespace)
    if live is None:
        return None  # somebody deleted it; nothing is resurrected
    record = Record.of(live)
    prefix = tag or f"{ROUTE_PREFIX}{run}-"
    if record is None or record.run != run or record.cluster != cluster.uid:
        return _strip_without_record(cluster, live, prefix)
    if record.uid and record.uid != live["metadata"]["uid"]:
        return None  # another object of the same name, which carries a copied annotation
    wanted = copy.deepcopy(live)
    now = read_path(live, record.path)
    rest = without_routes(now, prefix) if record.path == ROUTES else now
    others = rest != without_routes(rest, f"{ROUTE_PREFIX}{run}-")
    if others:  # routes of another change of this run stay, and so does the record
        write_path(wanted, record.path, rest)
        mark(wanted, replace(record, written=digest(rest)))
        cluster.replace(wanted)
        return None
    if record.created:
        cluster.delete(live)
        return None
    ours = record.path != ROUTES and digest(now) == record.written
    exact = ours or (record.path == ROUTES and rest == (record.original or []))
    unmark(wanted)
    if exact:
        write_path(wanted, record.path, record.original)
    elif record.path == ROUTES:
        write_path(wanted, record.path, rest)
    written = cluster.replace(wanted)
    if not exact:
        who = _last_writer(live)
        return f"{kind} {name}.{namespace} was changed by {who} meanwhile; that change was kept"
    _restore_managers(cluster, written, record.managed_fields)
    return None


def _strip_without_record(cluster: Cluster, live: Object, prefix: str) -> str | None:
    """The annotation is gone but tagged routes are not: their names are enough."""
    now = read_path(live, ROUTES)
    rest = without_routes(now, prefix)
    if rest == now:
        return None
    wanted = copy.deepcopy(live)
    write_path(wanted, ROUTES, rest)
    unmark(wanted)
    cluster.replace(wanted)
    meta = live["metadata"]
    return f"{live['kind']} {meta['name']}.{meta['namespace']} had lost its undo record; its tagged routes were removed"


def _restore_managers(cluster: Cluster, written: Object, managers: Any) -> None:
    """A second PUT that changes managedFields alone: GitOps tools read there who owns which field."""
    if managers is None or written["metadata"].get("managedFields") == managers:
        return
    wanted = copy.deepcopy(written)
    wanted["metadata"]["managedFields"] = managers
    cluster.replace(wanted)


def _last_writer(live: Object) -> str:
    entries = [e for e in live["metadata"].get("managedFields") or [] if e.get("manager") != "meshbdd"]
    if not entries:
        return "somebody"
    last = max(entries, key=lambda entry: str(entry.get("time", "")))
    return f"{last.get('manager', 'somebody')} ({last.get('time', 'time unknown')})"


class UndoStack:
    """A scenario's changes, undone last first; one that fails does not keep the others from being undone."""

    def __init__(self, budget: Duration) -> None:
        self._budget = budget
        self._changes: list[Change] = []

    @property
    def changes(self) -> tuple[Change, ...]:
        """What is in force, oldest first."""
        return tuple(self._changes)

    def push(self, change: Change) -> None:
        """Remember a change before it is applied: an answer may be lost, the change not."""
        self._changes.append(change)

    def undo(self, changes: tuple[Change, ...] | None = None) -> list[str]:
        """Undo these changes (all where ``None``).

        Returns:
            Sentences about what others changed and was kept.

        Raises:
            RestoreIncomplete: naming every object that could not be restored.
        """
        kept: list[str] = []
        failures: list[RestoreIncomplete] = []
        for change in reversed(changes if changes is not None else self.changes):
            try:
                told = change.undo(self._budget)
            except RestoreIncomplete as error:
                failures.append(error)
                continue
            self._changes.remove(change)
            if told:
                kept.append(told)
        if failures:
            sentences = " ".join(failure.sentence for failure in failures)
            raise RestoreIncomplete("MB0314", sentences, help="run `meshbdd recover` when the API answers again")
        return kept


__all__ = ["UNDO", "Change", "Edit", "UndoStack", "undo_object"]
