"""How the Servers and policies of a manifest are seen to have arrived, and to go."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from meshbdd.cluster.kinds import kind_of
from meshbdd.cluster.record import Record
from meshbdd.errors import BadInput
from meshbdd.mesh.base import Marker, Object, Stage
from meshbdd.mesh.catalog import Catalog
from meshbdd.mesh.linkerd.authorizing import (
    AUTHENTICATIONS,
    AUTHORIZATION,
    RATE_LIMIT,
    SERVER_AUTHORIZATION,
    has_what_it_requires,
    is_at,
    is_for,
    is_for_whole,
    kind_at,
    required,
)
from meshbdd.mesh.linkerd.objects import ROUTE_KINDS, routes_of
from meshbdd.mesh.linkerd.server_arrival import has_routes, server_markers
from meshbdd.mesh.linkerd.server_markers import PoliciesGone, ServerHeld
from meshbdd.mesh.linkerd.servers import DENY, decides_somewhere, pods_of, refuse_overruled, unseen
from meshbdd.mesh.markers import LISTENERS, ROUTES, ConfigChanged


def policy_markers(before: Catalog, after: Catalog, wanted: Object, kind: str) -> Iterator[Marker]:
    """Policies leave their name in the routes of the pods that they are for, through the Servers on which they are.

    A manifest may hold several: whatever tells one of them must not take the arrival of another for its own. Those of a
    Server or a route that is new with them arrive with it, since it is written last. One that is moved from a Server to
    another, or is for fewer than it was, has to be gone where it was.

    Args:
        before: The cluster as it is.
        after: The cluster once the whole manifest is written; for what policies require, which is written first, once it is.
        wanted: A Server, a policy, what a policy requires, or a route, perhaps one of a Server's.
        kind: Its kind.

    Raises:
        BadInput: it would do nothing, since an older Server decides, or none does.
    """
    meta = wanted["metadata"]
    live = before.find(kind, meta["name"], meta["namespace"])
    if kind == "Server":
        refuse_overruled(after, wanted, after.all("Server"), f"{wanted['kind']} {meta['name']} of the manifest")
        yield from server_markers(before, after, wanted, live)
        return
    if live is not None and live["spec"] == wanted["spec"]:
        return
    for left in _places(before, live, kind) if live is not None else ():
        if not _is_on(before, wanted, left, kind):
            yield _gone(before, wanted, left, kind)
    if not _target_is_there(before, wanted):
        return
    for found in _servers_of(after, wanted, kind):
        server = before.find("Server", found["metadata"]["name"], found["metadata"]["namespace"])
        if server is None or unseen(before, server):
            continue
        if live is None or _differs(before, live, wanted, server, kind):
            yield _come(before, wanted, server, kind, was_on=live is not None and _is_on(before, live, server, kind))


def _gone(catalog: Catalog, policy: Object, server: Object, kind: str) -> Marker:
    """What shows that a policy, or a route, is on a Server no more that stays."""
    if kind in _NAMED and has_routes(server):
        name = str(policy["kind"]).lower(), str(policy["metadata"]["name"])
        return PoliciesGone(server["metadata"]["name"], frozenset({name}), pods_of(catalog, server), stays=True)
    return _changed(policy, server, catalog)


def _come(catalog: Catalog, policy: Object, server: Object, kind: str, *, was_on: bool) -> Marker:
    """What shows that a policy, what one requires, or a route has come to a Server, or has become another there."""
    if not was_on and kind == AUTHORIZATION and has_routes(server) and is_for_whole(policy, server):
        access, allowed = server["spec"].get("accessPolicy", DENY), frozenset({str(policy["metadata"]["name"])})
        return ServerHeld(server["metadata"]["name"], access, allowed, pods_of(catalog, server), unique=False)
    return _changed(policy, server, catalog)


def _changed(policy: Object, server: Object, catalog: Catalog) -> Marker:
    return ConfigChanged(f"{policy['kind']} {policy['metadata']['name']}", _pages(server), pods_of(catalog, server))


def _pages(server: Object) -> tuple[str, ...]:
    """Where a Server's policies stand that judge its requests.

    Those of HTTP stand in the listener as well, for connections in others' TLS: it may be there before the routes are.
    """
    return (ROUTES,) if has_routes(server) else (LISTENERS,)


_NAMED = (AUTHORIZATION, SERVER_AUTHORIZATION)
"""Policies whose names stand in the routes of their Servers."""
_ON_SERVERS = (*_NAMED, RATE_LIMIT)
"""Policies that are for Servers."""
_PLACE = {"targetRef", "server", "parentRefs"}
"""The fields that say which Servers a policy, or a route, is for."""


def _is_on(catalog: Catalog, obj: Object, server: Object, kind: str) -> bool:
    """Whether a policy, or a route, is for a Server."""
    if kind in ROUTE_KINDS:
        return is_at(obj, server)
    home = obj["metadata"]["namespace"]
    return kind in _ON_SERVERS and is_for(obj, server, routes_of(catalog, home))


def _places(catalog: Catalog, obj: Object, kind: str) -> list[Object]:
    """The Servers that a policy, or a route, is for, and that decide at a pod with a proxy."""
    if kind == AUTHORIZATION and not has_what_it_requires(catalog, obj):
        return []
    deciding = _deciding(catalog, obj["metadata"]["namespace"])
    return [s for s in deciding if _is_on(catalog, obj, s, kind) and not unseen(catalog, s)]


def _differs(catalog: Catalog, was: Object, will: Object, server: Object, kind: str) -> bool:
    """Whether a policy, what one requires, or a route is another for a Server than it was."""
    if kind in AUTHENTICATIONS or not _is_on(catalog, was, server, kind):
        return True
    here, there = ({k: v for k, v in obj["spec"].items() if k not in _PLACE} for obj in (was, will))
    if here != there or kind not in {AUTHORIZATION, RATE_LIMIT}:
        return here != there
    return not (is_for_whole(was, server) and is_for_whole(will, server))


_GROWING = (*AUTHENTICATIONS, *_NAMED)
"""What changes come to depend on that are made after it: policies that require it, or Servers that it is for as well."""


def leaving_markers(catalog: Catalog, stage: Stage) -> Iterator[Marker]:
    """What shows that a stage goes where its own markers do not look: at Servers, or by policies, that came after it.

    Args:
        catalog: The cluster with the stage.
        stage: What is to be taken back.
    """
    seen = [marker.where for marker in stage.markers]
    for edit in stage.edits:
        there = catalog.find(edit.kind, edit.name, edit.namespace) if edit.kind in _GROWING else None
        if there is None or (edit.kind == AUTHORIZATION and not has_what_it_requires(catalog, there)):
            continue
        with contextlib.suppress(BadInput):  # it is for nothing by now
            for server in _servers_to_leave(catalog, there, edit.kind):
                where = pods_of(catalog, server)
                if where in seen or unseen(catalog, server):
                    continue
                if _will_be_deleted(there) and has_routes(server):
                    yield PoliciesGone(server["metadata"]["name"], _leaving_with(catalog, there, server), where)
                else:
                    yield ConfigChanged(f"the withdrawal of {there['kind']} {edit.name}", _pages(server), where)


def _servers_to_leave(catalog: Catalog, there: Object, kind: str) -> list[Object]:
    """The Servers at which something changes as the latest change of an object is undone."""
    record = Record.of(there)
    if record is None or kind in AUTHENTICATIONS or _will_be_deleted(there):
        return _servers_of(catalog, there, kind)
    was = {**there, "spec": record.layers[-1].original}
    return [
        server
        for server in _deciding(catalog, there["metadata"]["namespace"])
        if (_is_on(catalog, there, server, kind) or _is_on(catalog, was, server, kind))
        and _differs(catalog, was, there, server, kind)
    ]


def _will_be_deleted(there: Object) -> bool:
    """Whether to undo the latest change of an object is to delete it."""
    record = Record.of(there)
    return record is not None and record.created and len(record.layers) == 1


def _leaving_with(catalog: Catalog, there: Object, server: Object) -> frozenset[tuple[str, str]]:
    """Kind and name, as proxies have them, of the policies that a Server loses with an object: it, or those that require it."""
    kind, meta = kind_of(there), there["metadata"]
    if kind not in AUTHENTICATIONS:
        return frozenset({(str(there["kind"]).lower(), str(meta["name"]))})
    key = kind, meta["namespace"], meta["name"]
    asking = (p for p in catalog.all(AUTHORIZATION, server["metadata"]["namespace"]) if key in required(p))
    return frozenset({(str(policy["kind"]).lower(), str(policy["metadata"]["name"])) for policy in asking})


def _target_is_there(before: Catalog, policy: Object) -> bool:
    """Whether the route that a policy is for, if it is for one, was there before the manifest."""
    target = policy["spec"].get("targetRef")
    kind = kind_at(target) if target else ""
    return kind not in ROUTE_KINDS or before.find(kind, target["name"], policy["metadata"]["namespace"]) is not None


def _servers_of(after: Catalog, wanted: Object, kind: str) -> list[Object]:
    """The Servers at which something changes with a policy, what policies require, or a route.

    Raises:
        BadInput: there is none, and it is a policy, which does nothing then.
    """
    home = wanted["metadata"]["namespace"]
    if kind in {AUTHORIZATION, RATE_LIMIT} and kind_at(wanted["spec"]["targetRef"]) == "Server":
        server = next((s for s in after.all("Server", home) if is_for_whole(wanted, s)), None)
        if server is not None:
            refuse_overruled(
                after, server, after.all("Server"), f"{wanted['kind']} {wanted['metadata']['name']} of the manifest"
            )
        return [server] if server is not None else []
    if kind in {AUTHORIZATION, RATE_LIMIT, SERVER_AUTHORIZATION}:
        found = [s for s in _deciding(after, home) if is_for(wanted, s, routes_of(after, home))]
        if not found:
            raise BadInput(
                "MB0480",
                f"{wanted['kind']} {wanted['metadata']['name']} of the manifest would do nothing: it is for no Server that decides "
                f"at a port of a pod in namespace {home}.",
                help="write the Server of that port into the manifest, or correct what the policy is for",
            )
        return found
    if kind in AUTHENTICATIONS:
        key = kind, home, wanted["metadata"]["name"]
        asking = (p for p in after.all(AUTHORIZATION) if key in required(p))
        policies = [policy for policy in asking if has_what_it_requires(after, policy)]
        homes = {p["metadata"]["namespace"] for p in policies}
        routes = routes_of(after) if policies else []
        return [s for h in sorted(homes) for s in _deciding(after, h) if any(is_for(p, s, routes) for p in policies)]
    return [s for s in after.all("Server", home) if is_at(wanted, s)]


def _deciding(after: Catalog, namespace: str) -> Iterator[Object]:
    servers = after.all("Server", namespace)
    return (server for server in servers if decides_somewhere(after, server, servers))
