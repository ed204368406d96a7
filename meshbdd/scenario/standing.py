"""What a run leaves standing in the mesh from scenario to scenario, and takes away at its end.

Armed fault filters, because arming disturbs connections and switching does not; and the epochs by which callers renewed
their connections after a server's listeners changed. All of it are objects of the run's own, undone by being deleted.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from meshbdd.cluster import Change, Cluster, Edit, UndoStack
from meshbdd.cluster.client import ApiFailure
from meshbdd.errors import Inconclusive
from meshbdd.intents import ServiceRef
from meshbdd.mesh import Gate, Marker, Mesh, Stage
from meshbdd.mesh.gate import Before
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
        self._arrived: set[str] = set()
        self._epochs: Counter[ServiceRef] = Counter()
        self._to_renew: set[ServiceRef] = set()
        self._withdrawn: list[tuple[Sequence[Marker], Before, Before]] = []

    @property
    def changes(self) -> tuple[Change, ...]:
        """What is to be undone at the end of the run."""
        return self._stack.changes

    def ensure(self, stages: Iterable[Stage]) -> None:
        """See that these stages stand at every proxy; what stands already is left alone.

        Raises:
            Inconclusive: one does not arrive, or may not be written.
        """
        missing = [stage for stage in stages if any(str(edit) not in self._arrived for edit in stage.edits)]
        for stage in missing:
            self._to_renew.update(stage.renewed)
            self._write(stage)
        for stage in missing:
            self._gate.wait_present(stage.markers, {})
        self.renew(())
        self._arrived.update(str(edit) for stage in missing for edit in stage.edits)

    def renew(self, services: Iterable[ServiceRef]) -> None:
        """Make every caller of these services open new connections: an open one keeps the listener that it met.

        A service whose renewal failed is renewed again with the next one.

        Raises:
            Inconclusive: a caller does not hear of it, or a namespace with callers may not be written to.
        """
        self._to_renew.update(services)
        if self._to_renew:
            self._epochs.update(self._to_renew)
            stage = self._mesh.renewal(self._epochs)
            self._write(stage)
            self._gate.wait_present(stage.markers, {})
            self._to_renew.clear()

    def wait_withdrawn(self, markers: Sequence[Marker], before: Before, during: Before) -> None:
        """Wait until no proxy holds what was taken back; where one still does, no scenario begins before it does not.

        Args:
            markers: What is to be gone.
            before: What proxies held before the change.
            during: What they held just before it was taken back.

        Raises:
            Inconclusive: naming the proxy that still does.
        """
        self._withdrawn.append((markers, before, during))
        self._gate.wait_absent(markers, before, during)
        self._withdrawn.remove((markers, before, during))

    def owe(self, markers: Sequence[Marker], services: Iterable[ServiceRef]) -> None:
        """What an earlier run left behind was taken back: no scenario begins before no proxy holds it any more.

        Args:
            markers: What is to be gone.
            services: Those whose callers' connections are to be renewed then.
        """
        self._withdrawn.append((markers, {}, {}))
        self._to_renew.update(services)

    def settle(self) -> None:
        """See that nothing of an earlier scenario, or run, is left, where that could not be seen at its end.

        Raises:
            Inconclusive: something still is, so whatever comes now would be judged on it.
        """
        for owed in tuple(self._withdrawn):
            self._gate.wait_absent(*owed)
            self._withdrawn.remove(owed)
        self.renew(())

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

    @contextlib.contextmanager
    def for_a_moment(self, edit: Edit) -> Iterator[None]:
        """An object of the run's own, while the block runs.

        Raises:
            RestoreIncomplete: it is still there.
        """
        change = Change(self._cluster, edit, self._run)
        self._stack.push(change)
        try:
            change.apply()
            yield
        finally:
            self._stack.undo([change])

    def close(self) -> list[str]:
        """Take everything away.

        Returns:
            Sentences about what others had changed.

        Raises:
            RestoreIncomplete: something is still there.
        """
        return self._stack.undo()
