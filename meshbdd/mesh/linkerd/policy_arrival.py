"""How the Servers and policies of a manifest are seen to have arrived."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from meshbdd.mesh.base import Marker, Object, Where
from meshbdd.mesh.catalog import Catalog
from meshbdd.mesh.linkerd.markers import ServerHeld
from meshbdd.mesh.linkerd.security import AUTHORIZATION
from meshbdd.mesh.linkerd.servers import DENY, refuse_overruled
from meshbdd.mesh.markers import LISTENERS, ROUTES, ConfigChanged

_RATE_LIMIT = "HTTPLocalRateLimitPolicy"


def policy_markers(after: Catalog, wanted: Object, kind: str) -> Iterator[Marker]:
    """Policies leave their name in the routes of the pods that they are for, through the Server on which they are.

    A manifest may hold several: whatever tells one of them must not take the arrival of another for its own.

    Args:
        after: The cluster once the whole manifest is written.
        wanted: A Server or a policy of it.
        kind: Its kind.

    Raises:
        BadInput: it would do nothing, since an older Server decides.
    """
    meta, spec = wanted["metadata"], wanted["spec"]
    what = f"{wanted['kind']} {meta['name']} of the manifest"
    live = after.find(kind, meta["name"], meta["namespace"])
    if kind == "Server":
        refuse_overruled(after, wanted, after.all("Server"), what)
    if live is not None and live["spec"] == spec:
        return
    if kind == "Server":
        yield _server_marker(wanted, live)
    elif kind in {AUTHORIZATION, _RATE_LIMIT} and (spec.get("targetRef") or {}).get("kind") == "Server":
        server = after.find("Server", spec["targetRef"]["name"], meta["namespace"])
        if server is None:
            return
        refuse_overruled(after, server, after.all("Server"), what)
        if live is None and kind == AUTHORIZATION and _has_routes(server):
            access, allowed = server["spec"].get("accessPolicy", DENY), frozenset({str(meta["name"])})
            yield ServerHeld(server["metadata"]["name"], access, allowed, _pods_of(server), unique=False)
        else:
            yield ConfigChanged(f"{wanted['kind']} {meta['name']}", (ROUTES, LISTENERS), _pods_of(server))


def _server_marker(wanted: Object, live: Mapping[str, Any] | None) -> Marker:
    """A Server's name and access policy show in the routes of its ports; nothing else of it does."""
    name, access = wanted["metadata"]["name"], wanted["spec"].get("accessPolicy", DENY)
    tells = live is None or live["spec"].get("accessPolicy", DENY) != access
    if tells and _has_routes(wanted):
        return ServerHeld(name, access, frozenset(), _pods_of(wanted), unique=live is None)
    return ConfigChanged(f"Server {name}", (ROUTES, LISTENERS), _pods_of(wanted))


def _has_routes(server: Mapping[str, Any]) -> bool:
    return server["spec"].get("proxyProtocol") not in {"opaque", "TLS"}


def _pods_of(server: Mapping[str, Any]) -> Where:
    labels = (server["spec"].get("podSelector") or {}).get("matchLabels")
    return Where(server["metadata"]["namespace"], labels or None)
