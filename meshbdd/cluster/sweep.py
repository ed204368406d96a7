"""Undoing what runs left behind that are gone: by label, and by the names of tagged routes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from meshbdd.cluster.change import undo_object
from meshbdd.cluster.client import ApiFailure, Cluster
from meshbdd.cluster.record import ROUTE_PREFIX, RUN, Record
from meshbdd.units import Duration

_KINDS = ("VirtualService", "DestinationRule", "PeerAuthentication", "Deployment")


def _marked(cluster: Cluster, namespace: str) -> Iterator[tuple[dict[str, Any], str]]:
    for kind in _KINDS:
        try:
            objects = cluster.list(kind, namespace)
        except ApiFailure as failure:
            if failure.status == 404:
                continue  # that kind is not installed
            raise
        for obj in objects:
            record = Record.of(obj)
            if record is not None:
                yield obj, record.run
                continue
            label = (obj["metadata"].get("labels") or {}).get(RUN)
            names = [str(r.get("name", "")) for r in (obj.get("spec") or {}).get("http") or [] if isinstance(r, dict)]
            tagged = next((name.split("-")[1] for name in names if name.startswith(ROUTE_PREFIX)), None)
            if label or tagged:
                yield obj, str(label or tagged)


def sweep(cluster: Cluster, namespace: str, budget: Duration, *, own_run: str = "") -> list[str]:
    """Undo the changes of runs whose process is known to be gone.

    Args:
        cluster: Where.
        namespace: Which namespace.
        budget: How long each undo may try.
        own_run: Id of the run that asks; its own changes are left alone.

    Returns:
        A sentence for each object that was restored.

    Raises:
        RestoreIncomplete: an object could not be restored.
    """
    told = []
    for obj, run in list(_marked(cluster, namespace)):
        record = Record.of(obj)
        if run == own_run or (record is not None and not record.owner.is_gone()):
            continue
        meta = obj["metadata"]
        kept = undo_object(cluster, obj["kind"], meta["name"], namespace, run, budget)
        told.append(
            f"{obj['kind']} {meta['name']}.{namespace} still carried the change of run {run}; it was undone"
            + (f" ({kept})" if kept else "")
        )
    return told
