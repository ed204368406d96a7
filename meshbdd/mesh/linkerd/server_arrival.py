"""How a Server of a manifest is seen to arrive where it decides, and to be gone where it does no more."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace

from meshbdd.errors import Inconclusive
from meshbdd.mesh.base import Marker, Object, Where
from meshbdd.mesh.catalog import Catalog
from meshbdd.mesh.linkerd.authorizing import AUTHORIZATION, is_for_whole
from meshbdd.mesh.linkerd.server_markers import ServerAway, ServerHeld
from meshbdd.mesh.linkerd.servers import ACCESS, DENY, decides_at, pods_of
from meshbdd.mesh.markers import LISTENERS, ROUTES, ConfigChanged
from meshbdd.sidecars import LINKERD

_PLACE = {"podSelector", "port"}
"""The fields that say where a Server decides, and not what."""
_DEFAULTS = {ACCESS[-1]: DENY, "proxyProtocol": "unknown"}
"""What the API fills in where a Server does not say it: linkerd2 charts/linkerd-crds/templates/policy/server.yaml.

Of no other kind of policy does a definition there have defaults in its spec.
"""


def server_markers(before: Catalog, after: Catalog, wanted: Object, live: Object | None) -> Iterator[Marker]:
    """A Server's name, access policy and policies show in the routes of its ports; nothing else of it does.

    Args:
        before: The cluster as it is.
        after: The cluster once the whole manifest is written.
        wanted: The Server, as the manifest has it.
        live: The one of its name that is there.
    """
    if live is None:
        yield _arrived(after, wanted, pods_of(after, wanted), new=True)
        return
    was, will = _places(before, live), _places(after, wanted)
    yield from _away(live, {pod: port for pod, port in was.items() if will.get(pod) != port})
    if _access(live) != _access(wanted):
        yield _arrived(after, wanted, pods_of(after, wanted), new=False)
    elif _rest(live) != _rest(wanted):
        yield _changed(wanted, pods_of(after, wanted), routes=has_routes(live) and has_routes(wanted))
    elif stays := frozenset(pod for pod, port in will.items() if was.get(pod) == port):
        if len(stays) < len(will):
            where = pods_of(after, wanted)
            there = Where(where.namespace, pods=stays)
            yield _arrived(after, wanted, replace(where, but=(*where.but, there)), new=False)
    elif _spec(live) != _spec(wanted):
        yield _arrived(after, wanted, pods_of(after, wanted), new=False)


def has_routes(server: Object) -> bool:
    """Whether the ports of a Server carry HTTP, so that proxies have routes that bear its name."""
    return server["spec"].get("proxyProtocol") not in {"opaque", "TLS"}


def _spec(server: Object) -> Mapping[str, object]:
    """What a Server says, defaults and all: a manifest may leave out what the live one has spelled out."""
    return {**_DEFAULTS, **server["spec"]}


def _access(server: Object) -> str:
    return str(_spec(server)[ACCESS[-1]])


def _rest(server: Object) -> Mapping[str, object]:
    """What a Server says beside where it decides, and whom its access policy lets pass."""
    return {name: value for name, value in _spec(server).items() if name not in {*_PLACE, ACCESS[-1]}}


def _places(catalog: Catalog, server: Object) -> dict[str, int]:
    """The pods with a proxy at which a Server decides, each with the port."""
    home, found = server["metadata"]["namespace"], dict[str, int]()
    with contextlib.suppress(Inconclusive):  # a rehearsal may not know the pods
        there = catalog.all("Server", home)
        own = next((other for other in there if other["metadata"]["name"] == server["metadata"]["name"]), server)
        for pod in catalog.pods({}, home):
            port = decides_at(own, pod, there) if LINKERD.label in (pod["metadata"].get("labels") or {}) else None
            if port is not None:
                found[str(pod["metadata"]["name"])] = port
    return found


def _away(server: Object, left: Mapping[str, int]) -> Iterator[Marker]:
    """What shows that a Server decides no more at some pods, each with the port at which it did."""
    for port in sorted(set(left.values())):
        pods = frozenset(pod for pod, its in left.items() if its == port)
        where = Where(server["metadata"]["namespace"], pods=pods)
        yield ServerAway(server["metadata"]["name"], port, where) if has_routes(server) else _changed(server, where)


def _arrived(after: Catalog, wanted: Object, where: Where, *, new: bool) -> Marker:
    if not has_routes(wanted):
        return _changed(wanted, where)
    name, home, access = wanted["metadata"]["name"], wanted["metadata"]["namespace"], _access(wanted)
    policies = after.all(AUTHORIZATION, home) if new else []
    theirs = {str(p["metadata"]["name"]) for p in policies if is_for_whole(p, wanted)}
    allowed = frozenset(policy for policy in theirs if after.find(AUTHORIZATION, policy, home) is None)
    return ServerHeld(name, access, allowed, where, unique=new)


def _changed(server: Object, where: Where, *, routes: bool = False) -> Marker:
    """What shows that a Server is another: the listener, which goes by routes only some time after these are there.

    Args:
        server: The Server.
        where: The pods.
        routes: Whether it had routes, and will have, so that these may be all that changes.
    """
    pages = (ROUTES, LISTENERS) if routes else (LISTENERS,)
    return ConfigChanged(f"Server {server['metadata']['name']}", pages, where)
