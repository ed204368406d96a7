"""What a run leaves standing in the mesh from scenario to scenario, and takes away at its end.

Armed fault filters, because arming disturbs connections and switching does not; and the epochs by which callers renewed
their connections after a server's listeners changed. All of it are objects of the run's own, undone by being deleted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from meshbdd.cluster import Change, Cluster, UndoStack
from meshbdd.cluster.client import ApiFailure
from meshbdd.errors import Inconclusive
from meshbdd.intents import ServiceRef
from meshbdd.mesh import Gate, Mesh, Stage
from meshbdd.units import Duration


class Standing:
    """The standing objects of one run.

    Args:
        cluster: Where they are.
        mesh: Says what they are.
        gate: Sees them arrive.
        run: The run's id.
        budget: How long their undo may be tried.
    """

    def __init__(self, cluster: Cluster, mesh: Mesh, gate: Gate, run: str, budget: Duration) -> None:
        self._cluster = cluster
        self._mesh = mesh
        self._gate = gate
        self._run = run
        self._stack = UndoStack(budget)
        self._objects: dict[str, Change] = {}
        self._epochs: Counter[ServiceRef] = Counter()

    @property
    def changes(self) -> tuple[Change, ...]:
        """What is to be undone at the end of the run."""
        return self._stack.changes

    def ensure(self, stages: Iterable[Stage]) -> None:
        """See that these stages stand at every proxy; what stands already is left alone.

        Raises:
            Inconclusive: one does not arrive, or may not be written.
        """
        missing = [stage for stage in stages if any(str(edit) not in self._objects for edit in stage.edits)]
        if not missing:
            return
        for stage in missing:
            self._write(stage)
        for stage in missing:
            self._gate.wait_present(stage.markers, {})
        self.renew(service for stage in missing for service in stage.renewed)

    def renew(self, services: Iterable[ServiceRef]) -> None:
        """Make every caller of these services open new connections: an open one keeps the listener that it met.

        Raises:
            Inconclusive: a caller does not hear of it, or a namespace with callers may not be written to.
        """
        wanted = set(services)
        if wanted:
            self._epochs.update(wanted)
            stage = self._mesh.renewal(self._epochs)
            self._write(stage)
            self._gate.wait_present(stage.markers, {})

    def _write(self, stage: Stage) -> None:
        for edit in stage.edits:
            known = self._objects.get(str(edit))
            try:
                if known is not None:
                    known.rewrite(edit.make)
                    continue
                change = Change(self._cluster, edit, self._run)
                self._stack.push(change)
                change.apply()
                self._objects[str(edit)] = change
            except ApiFailure as failure:
                if failure.status != 403:
                    raise
                raise Inconclusive(
                    "MB0431",
                    f"Namespace {edit.namespace} has callers whose connections cannot be renewed: this account may not "
                    f"write {edit.kind} there, so old connections would answer by the old rules.",
                    help=f"allow the account to write {edit.kind} objects in {edit.namespace}",
                ) from None

    def close(self) -> list[str]:
        """Take everything away.

        Returns:
            Sentences about what others had changed.

        Raises:
            RestoreIncomplete: something is still there.
        """
        return self._stack.undo()
