"""Whether a scenario has the mesh for itself: what another run changes meanwhile would be taken for its own doing.

It is looked for when the scenario begins and before each verdict. A change that stands is found by the label that each
object carries which a run changed; what came and went between two looks is not.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from meshbdd.cluster import RUN, Cluster, Record, changed_by_others
from meshbdd.errors import Inconclusive
from meshbdd.mesh.base import Object
from meshbdd.sense.inventory import ROOT_NAMESPACE


class OtherRuns:
    """What other runs changed while one scenario went on.

    Args:
        cluster: Where.
        namespace: The default namespace.
        run: Id of this run.
        named: Namespaces of the services that the scenario names.
    """

    def __init__(self, cluster: Cluster, namespace: str, run: str, named: Collection[str]) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._run = run
        self._concerned = {namespace, *named, ROOT_NAMESPACE}
        self._seen: dict[str, Inconclusive] = {}

    def look(self) -> None:
        """Note what other runs have changed by now where this scenario's services are, or for the whole mesh."""
        for obj in changed_by_others(self._cluster, self._namespace, self._run):
            meta = obj["metadata"]
            if meta.get("namespace") in self._concerned:
                self._seen.setdefault(meta["labels"][RUN], _told(obj))

    def see_none(self) -> None:
        """See that the scenario has been alone until now.

        Raises:
            Inconclusive: another run has changed something, or one that was killed left it behind.
        """
        self.look()
        if self._seen:
            raise next(iter(self._seen.values()))


def _told(obj: Object) -> Inconclusive:
    meta, record = obj["metadata"], Record.of(obj)
    what = f"{obj['kind']} {meta['name']}.{meta['namespace']}"
    run = f"run {meta['labels'][RUN]}"
    if record is not None and record.owner.is_gone():
        return Inconclusive(
            "MB0613",
            f"{what} carried a change of {run} meanwhile, whose process ended without taking it back, so what this "
            "scenario saw may be its doing.",
            help="run the features again: the next run undoes it before anything else",
        )
    who = ""
    if record is not None:
        since = datetime.fromtimestamp(record.at).astimezone().strftime("%Y-%m-%d %H:%M:%S %z")
        who = f" (process {record.owner.pid} on {record.owner.host}, since {since})"
    return Inconclusive(
        "MB0613",
        f"{what} carried a change of {run}{who} meanwhile, so what this scenario saw may be its doing.",
        help="let that run finish first: one run at a time can judge the services of a namespace",
    )
