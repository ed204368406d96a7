"""What proxies may still hold of a run that was killed, when its changes have been undone in the objects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from meshbdd.cluster import RUN, Cluster, Record
from meshbdd.cluster.kinds import kind_of
from meshbdd.intents import ServiceRef
from meshbdd.mesh.base import Marker, Object, Where
from meshbdd.mesh.catalog import Catalog
from meshbdd.mesh.istio.arming import FILTER_PREFIX
from meshbdd.mesh.istio.hosts import ROOT_NAMESPACE
from meshbdd.mesh.istio.http_routes import http_route_held
from meshbdd.mesh.istio.security import services_of
from meshbdd.mesh.istio.transports import transports
from meshbdd.mesh.remains import Otherwise, Remains

_AT_SERVERS = {"PeerAuthentication", "AuthorizationPolicy", "EnvoyFilter"}
"""Kinds that change listeners: a connection that is open keeps the one that it met."""


def left_behind(
    cluster: Cluster, changed: Iterable[Object], still: Iterable[Object]
) -> tuple[Sequence[Marker], Sequence[ServiceRef]]:
    """What no proxy is to hold any more, and the services whose callers' connections may be older than the undo.

    Args:
        cluster: As it is after the undo.
        changed: The objects that carried changes of other runs before.
        still: Those that carry some still: of runs that live.
    """
    alive = {_run(obj) for obj in still}
    undone = [obj for obj in changed if _run(obj) not in alive]
    catalog = Catalog(cluster)
    markers: list[Marker] = [Remains(name) for name in dict.fromkeys(name for obj in undone for name in _names(obj))]
    markers += [
        held for obj in undone if kind_of(obj) == "HTTPRoute" and _created(obj) for held in http_route_held(obj, [obj])
    ]
    if homes := _namespaces(catalog, undone, {"PeerAuthentication"}):
        markers += [Otherwise(taken) for taken in transports(catalog, [Where(home) for home in homes])]
    renewed = [ref for name in _namespaces(catalog, undone, _AT_SERVERS) for ref in services_of(catalog, name)]
    return markers, renewed


def _run(obj: Object) -> str:
    return str(obj["metadata"]["labels"][RUN])


def _created(obj: Object) -> bool:
    """Whether a run made an object, and changed none that was there."""
    record = Record.of(obj)
    return record is not None and record.created


def _names(obj: Object) -> Iterator[str]:
    """What a proxy's pages have in them of an object: the run's id in names of routes, subsets and policies, and its own name."""
    meta = obj["metadata"]
    yield _run(obj)
    if not _created(obj):
        return
    if obj["kind"] == "AuthorizationPolicy":
        yield f"ns[{meta['namespace']}]-policy[{meta['name']}]-"
    for patch in (obj.get("spec") or {}).get("configPatches") or []:
        name = str(((patch.get("patch") or {}).get("value") or {}).get("name") or "")
        if name.startswith(FILTER_PREFIX):  # a tester's own may be called as anything else is
            yield name


def _namespaces(catalog: Catalog, objects: Iterable[Object], kinds: set[str]) -> list[str]:
    """The namespaces that objects of these kinds are for: those of the root namespace for all that have sidecars."""
    found = {str(obj["metadata"]["namespace"]) for obj in objects if obj["kind"] in kinds}
    return sorted(found | set(catalog.calling_namespaces()) if ROOT_NAMESPACE in found else found)
