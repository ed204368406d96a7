"""The one way in which anything is written to a cluster.

A change is a compare-and-swap PUT (resourceVersion and uid) of the object that was read, with the undo record in the
same write: in every state that the cluster can be in, a change of ours stands beside what is needed to take it back.
"""

from __future__ import annotations

import copy
import secrets
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from meshbdd.cluster.client import ApiFailure, Cluster, Unanswered
from meshbdd.cluster.completed import completed
from meshbdd.cluster.record import (
    LARGEST,
    ROUTES,
    UNDO,
    Layer,
    Object,
    Owner,
    Record,
    digest,
    mark,
    read_path,
    route_name,
    without_routes,
    write_path,
)
from meshbdd.cluster.revert import Make, revert
from meshbdd.cluster.undo import leaves_it, undo_object
from meshbdd.errors import Refused
from meshbdd.units import Duration

_ATTEMPTS = 5
_FIRST_PAUSE_SECONDS = 0.05


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
        of: The object that it has its words of, where it is a copy: kind, name, namespace.
    """

    kind: str
    name: str
    namespace: str
    path: tuple[str, ...]
    make: Callable[[Any], Any]
    new: Object | None = None
    of: tuple[str, str, str] | None = None

    @property
    def target(self) -> tuple[str, str, str]:
        """Which object it is: kind, name, namespace."""
        return self.kind, self.name, self.namespace

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
        self.id = tag or f"{run}-{secrets.token_hex(4)}"
        self.before: Object | None = None
        self.after: Object | None = None

    # Doing

    def apply(self) -> None:
        """Write the change, and know that it landed.

        An answer that did not come, or that blames the server, tells nothing: the object is read again and looked at.
        When somebody else wrote first, the change is planned anew on what they wrote.

        Raises:
            ApiFailure: the API refused it.
            Unanswered: no answer came, several times.
            Refused: the object carries another run's change, or is too large for an undo record.
        """
        self._write(self._has_landed, self._wanted)

    def rewrite(self, make: Callable[[Any], Any]) -> None:
        """Write other content into an object that this change made; its undo remains to delete it.

        Raises:
            ApiFailure: the API refused it.
            Unanswered: no answer came, several times.
            Refused: the object carries another run's change by now.
        """
        new = copy.deepcopy(self.edit.new)
        if new is None:
            raise AssertionError("only what a change made is written anew")
        write_path(new, self.edit.path, make(None))
        self.edit = replace(self.edit, make=make, new=new)
        wanted = read_path(new, self.edit.path)

        def anew(live: Object | None) -> Object:
            known = self._known(live) if live is not None else None
            if live is None or known is None:
                return self._wanted(live)
            obj = copy.deepcopy(live)
            write_path(obj, self.edit.path, wanted)
            layers = tuple(replace(layer, wrote=wanted) if layer.id == self.id else layer for layer in known.layers)
            mark(obj, replace(known, layers=layers))
            return obj

        before = self.before
        self._write(lambda live: read_path(live, self.edit.path) == wanted, anew)
        self.before = before

    def _write(self, landed: Callable[[Object], bool], prepare: Callable[[Object | None], Object]) -> None:
        edit = self.edit
        pause = _FIRST_PAUSE_SECONDS
        for attempt in range(_ATTEMPTS):
            live = self._cluster.find(edit.kind, edit.name, edit.namespace)
            if live is not None and landed(live):
                self.after = live
                return
            wanted = prepare(live)
            self.before = live
            try:
                wanted = completed(self._cluster, wanted, new=live is None)
                self.after = self._cluster.replace(wanted) if live is not None else self._cluster.create(wanted)
            except (Unanswered, ApiFailure) as failure:
                if attempt == _ATTEMPTS - 1 or not _may_pass(failure):
                    raise
            else:
                return
            time.sleep(pause)
            pause *= 2

    def _has_landed(self, live: Object) -> bool:
        known = Record.of(live)
        if known is not None and known.run == self.run and any(layer.id == self.id for layer in known.layers):
            return True
        routes = read_path(live, ROUTES) if self.tag else None
        return any(route_name(route).startswith(self.tag) for route in routes or [])

    def _wanted(self, live: Object | None) -> Object:
        edit = self.edit
        if live is None:
            if edit.new is None:
                raise ApiFailure(404, "NotFound", f"{edit} does not exist.")
            wanted = copy.deepcopy(edit.new)
            record = self._new_record(None, self._layer(None, read_path(wanted, edit.path)))
        else:
            known = self._known(live)
            below = read_path(live, edit.path)
            made = edit.make(copy.deepcopy(below))
            wanted = copy.deepcopy(live)
            write_path(wanted, edit.path, made)
            layer = self._layer(below, made)
            record = replace(known, layers=(*known.layers, layer)) if known else self._new_record(live, layer)
        if len(record.dump()) > LARGEST:
            raise Refused("MB0312", f"{edit} is too large to keep its undo record in it.", help="split the object")
        mark(wanted, record)
        return wanted

    def _known(self, live: Object) -> Record | None:
        known = Record.of(live)
        if known is None and UNDO in (live["metadata"].get("annotations") or {}):
            raise Refused(
                "MB0317",
                f"{self.edit} carries an undo record that this version of meshbdd cannot read.",
                help=f"undo it with the version that wrote it, or remove the annotation {UNDO}",
            )
        if known is not None and known.run != self.run:
            raise Refused(
                "MB0311",
                f"{self.edit} still carries the change of run {known.run} "
                f"(process {known.owner.pid} on {known.owner.host}).",
                help="let that run finish; once its process is gone, the next run undoes what it left",
            )
        return known

    def _layer(self, below: Any, made: Any) -> Layer:
        if not (self.tag and self.edit.path == ROUTES):
            return Layer(self.id, self.edit.path, below, made)
        # In an object of our own the plain route below the tagged ones is ours as well, and goes with the last change.
        return Layer(self.id, self.edit.path, without_routes(made, self.tag) if below is None else below)

    def _new_record(self, live: Mapping[str, Any] | None, layer: Layer) -> Record:
        return Record(
            run=self.run,
            owner=Owner.me(),
            cluster=self._cluster.uid,
            uid=live["metadata"]["uid"] if live else "",
            created=live is None,
            layers=(layer,),
            before=digest(live) if live else "",
            managed_fields=live["metadata"].get("managedFields") if live else None,
        )

    # Undoing

    def undo(self, budget: Duration, again: Mapping[str, Make] | None = None) -> str | None:
        """Take the change back; tries again until ``budget`` is used up.

        Args:
            budget: How long.
            again: How to make the later changes of the same object again, by their ids.

        Returns:
            A sentence about what others had changed and was kept; ``None`` where the object is as it was.

        Raises:
            RestoreIncomplete: the budget is used up.
            BadInput: a later change stands on this one.
        """
        edit = self.edit
        made = self.after["metadata"]["uid"] if self.after and self.before is None else ""
        return undo_object(
            self._cluster, edit.kind, edit.name, edit.namespace, self.run, budget, id=self.id, again=again, made=made
        )

    def leaves_it(self, ids: Collection[str], again: Mapping[str, Make]) -> bool:
        """Whether the object will say what it says now once some changes of it are taken back.

        Args:
            ids: The changes, this one among them.
            again: How to make the changes of it that stay again, by their ids.

        Raises:
            ApiFailure: the API does not tell what the object says.
            Unanswered: no answer came.
        """
        return leaves_it(self._cluster, self.edit.target, self.run, ids, again)

    def left(self, ids: Collection[str], again: Mapping[str, Make]) -> Object | None:
        """What the object will be once some changes of it are taken back; ``None``: it will be gone, or is already.

        Args:
            ids: The changes, this one among them.
            again: How to make the changes of it that stay again, by their ids.

        Raises:
            ApiFailure: the API does not tell what the object says.
            Unanswered: no answer came.
            BadInput: a change that stays has nothing to stand on any more.
        """
        live = self._cluster.find(*self.edit.target)
        record = Record.of(live) if live is not None else None
        return live if live is None or record is None else revert(live, record, ids, again).obj


def _may_pass(failure: Unanswered | ApiFailure) -> bool:
    return isinstance(failure, Unanswered) or failure.status in {409, 429} or failure.status >= 500
