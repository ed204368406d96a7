"""The changes of a scenario, and their undoing: last first, all of them, whatever fails."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping

from meshbdd.cluster.change import Change
from meshbdd.cluster.record import Object
from meshbdd.cluster.revert import Make
from meshbdd.errors import RestoreIncomplete
from meshbdd.units import Duration


class UndoStack:
    """A scenario's changes, undone last first; one that fails does not keep the others from being undone.

    Args:
        budget: How long one undoing may take in all; each change gets one try in any case.
    """

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

    def undo(self, changes: Iterable[Change] | None = None) -> list[str]:
        """Undo these changes (all where ``None``); later ones of the same objects stay in force.

        Returns:
            Sentences about what others changed and was kept.

        Raises:
            RestoreIncomplete: naming every object that could not be restored.
            BadInput: a change that is to stay stands on one of these; nothing is undone then.
        """
        unwanted = list(self._changes if changes is None else changes)
        deadline = time.monotonic() + self._budget.seconds
        kept: list[str] = []
        failures: list[RestoreIncomplete] = []
        for change in sorted(unwanted, key=self._changes.index, reverse=True):
            left = Duration(max(0.0, deadline - time.monotonic()))
            try:
                told = change.undo(left, self._again(change, unwanted))
            except RestoreIncomplete as error:
                failures.append(error)
                continue
            self._changes.remove(change)
            if told:
                kept.append(told)
        if failures:
            sentences = " ".join(dict.fromkeys(failure.sentence for failure in failures))
            raise RestoreIncomplete("MB0314", sentences, help=failures[0].help)
        return kept

    def covered(self, changes: Collection[Change]) -> set[tuple[str, str, str]]:
        """Which objects of some changes will say nothing else once these are undone: as where a later change says all of it.

        Raises:
            ApiFailure: the API does not tell what an object says.
            Unanswered: no answer came.
        """
        ids = {change.id for change in changes}
        one_each = {change.edit.target: change for change in changes}
        return {target for target, one in one_each.items() if one.leaves_it(ids, self._again(one, changes))}

    def left(self, changes: Collection[Change]) -> dict[tuple[str, str, str], Object | None]:
        """What objects of some changes will be once these are undone; without those that will say nothing else.

        Raises:
            ApiFailure: the API does not tell what an object says.
            Unanswered: no answer came.
            BadInput: a change that is to stay stands on one of these.
        """
        ids, covered = {change.id for change in changes}, self.covered(changes)
        one_each = {change.edit.target: change for change in changes if change.edit.target not in covered}
        return {target: one.left(ids, self._again(one, changes)) for target, one in one_each.items()}

    def _again(self, change: Change, unwanted: Collection[Change]) -> Mapping[str, Make]:
        """How to make again what stays of a change's object."""
        staying = (other for other in self._changes if other not in unwanted)
        return {other.id: other.edit.make for other in staying if other.edit.target == change.edit.target}
