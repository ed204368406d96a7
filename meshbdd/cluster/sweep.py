"""What runs changed, found in the objects: undone where the run is gone, told of where it is another one's."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from meshbdd.cluster.at_once import at_once
from meshbdd.cluster.client import ApiFailure, Cluster
from meshbdd.cluster.kinds import kind_of
from meshbdd.cluster.record import ROUTE_PREFIX, ROUTES, RUN, Object, Record, read_path, route_name
from meshbdd.cluster.undo import undo_object
from meshbdd.errors import RestoreIncomplete
from meshbdd.units import Duration

_KINDS = (
    "VirtualService", "HTTPRoute", "HTTPRoute.policy.linkerd.io", "GRPCRoute", "DestinationRule", "PeerAuthentication",
    "AuthorizationPolicy", "EnvoyFilter", "Sidecar", "AuthorizationPolicy.policy.linkerd.io", "MeshTLSAuthentication",
    "NetworkAuthentication", "HTTPLocalRateLimitPolicy", "Server", "Service", "Deployment", "ServiceAccount",
)  # fmt: skip
"""Everything that a run may change; routes before the subsets that they lead to."""


def _list(cluster: Cluster, kind: str, namespace: str, labels: str | None = None) -> list[Object]:
    """Objects of a kind in all namespaces, or in ``namespace`` where the account may see no more."""
    try:
        return cluster.list(kind, labels=labels)
    except ApiFailure as failure:
        if failure.status != 403:
            raise
    return cluster.list(kind, namespace, labels)


def _runs(obj: Object) -> set[str]:
    """The runs whose changes an object carries."""
    found = {str((obj["metadata"].get("labels") or {}).get(RUN) or "")}
    record = Record.of(obj)
    if record is not None:
        found.add(record.run)
    routes = read_path(obj, ROUTES)
    names = [route_name(route) for route in routes] if isinstance(routes, list) else []
    found |= {name.removeprefix(ROUTE_PREFIX).partition("-")[0] for name in names if name.startswith(ROUTE_PREFIX)}
    return found - {""}


def _made_by_a_run(obj: Object) -> bool:
    record = Record.of(obj)
    return record is not None and record.created


def _changed(cluster: Cluster, namespace: str) -> Iterator[tuple[Object, str]]:
    """The objects that carry changes of runs, and each of these runs."""
    for kind in _KINDS:
        # what was there before is restored first: until then it may lead to what the run made
        for obj in sorted(_list(cluster, kind, namespace), key=_made_by_a_run):
            for run in sorted(_runs(obj)):
                yield obj, run


def changed_by_others(cluster: Cluster, namespace: str, own_run: str) -> Iterator[Object]:
    """The objects that carry changes of other runs, be their processes gone or not; they are found by their label alone.

    Args:
        cluster: Where.
        namespace: The namespace to look into where the account may not list all of them.
        own_run: Id of the run that asks.
    """
    others = f"{RUN},{RUN}!={own_run}"
    for found in at_once(partial(_list, cluster, kind, namespace, others) for kind in _KINDS):
        yield from found


def _lives(obj: Object, run: str) -> bool:
    """Whether a run that changed an object is not known to be gone."""
    record = Record.of(obj)
    return record is not None and record.run == run and not record.owner.is_gone()


def _switch_off(cluster: Cluster, obj: Object, run: str, budget: Duration) -> bool:
    """Take the later layers out of an EnvoyFilter that a run made; whether there were any."""
    record = Record.of(obj)
    if obj["kind"] != "EnvoyFilter" or record is None or not record.created:
        return False
    meta = obj["metadata"]
    for layer in reversed(record.layers[1:]):
        with contextlib.suppress(RestoreIncomplete):  # the deletion that follows tells what is wrong
            undo_object(cluster, kind_of(obj), meta["name"], meta["namespace"], run, budget, id=layer.id)
    return len(record.layers) > 1


def sweep(
    cluster: Cluster,
    namespace: str,
    budget: Duration,
    *,
    own_run: str = "",
    switched_off: Callable[[], object] = lambda: None,
) -> list[str]:
    """Undo the changes of runs whose process is known to be gone, in all namespaces that the account may see.

    Args:
        cluster: Where.
        namespace: The namespace to look into where the account may not list all of them.
        budget: How long each undo may try.
        own_run: Id of the run that asks; its own changes are left alone.
        switched_off: Called when what those runs had switched in objects of their own is switched off again, before
            the objects go: a proxy may hold on to what it last heard of them.

    Returns:
        A sentence for each object that was restored.

    Raises:
        RestoreIncomplete: naming every object that could not be restored; the others were.
    """
    found = [(o, run) for o, run in _changed(cluster, namespace) if run != own_run and not _lives(o, run)]
    return _undo_all(cluster, found, budget, switched_off)


def sweep_own(cluster: Cluster, namespace: str, budget: Duration, run: str) -> list[str]:
    """Undo what a run should have undone before it ended; ``sweep`` for a run that looks back at itself."""
    found = [(obj, of) for obj, of in _changed(cluster, namespace) if of == run]
    return _undo_all(cluster, found, budget, lambda: None)


def _undo_all(
    cluster: Cluster, found: Sequence[tuple[Object, str]], budget: Duration, switched_off: Callable[[], object]
) -> list[str]:
    told: list[str] = []
    failures: list[RestoreIncomplete] = []
    switched = [_switch_off(cluster, obj, run, budget) for obj, run in found]
    if any(switched):
        switched_off()
    for obj, run in found:
        meta = obj["metadata"]
        try:
            kept = undo_object(cluster, kind_of(obj), meta["name"], meta["namespace"], run, budget)
        except RestoreIncomplete as error:
            failures.append(error)
            continue
        told.append(
            f"{obj['kind']} {meta['name']}.{meta['namespace']} still carried the change of run {run}; it was undone"
            + (f" ({kept})" if kept else "")
        )
    if failures:
        raise RestoreIncomplete("MB0318", " ".join(e.sentence for e in failures), help=failures[0].help)
    return told
