"""Which policies are for a Server, and what they require: by its name, a route of it, its labels or its namespace.

linkerd2 policy-controller/k8s/index/src/inbound/{index,authorization_policy,server_authorization}.rs
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from meshbdd.cluster.kinds import kind_of
from meshbdd.mesh.catalog import Catalog
from meshbdd.mesh.linkerd.objects import POLICY, ROUTE_KINDS
from meshbdd.mesh.linkerd.selecting import selects

Object = Mapping[str, Any]
AUTHORIZATION = f"AuthorizationPolicy.{POLICY}"
RATE_LIMIT = "HTTPLocalRateLimitPolicy"
SERVER_AUTHORIZATION = "ServerAuthorization"
AUTHENTICATIONS = ("MeshTLSAuthentication", "NetworkAuthentication")


def kind_at(ref: Object) -> str:
    """The kind that a reference names, told from others of its word by its group."""
    return kind_of({"kind": ref.get("kind"), "apiVersion": f"{ref.get('group') or ''}/"})


def is_at(route: Object, server: Object) -> bool:
    """Whether a route is one of a Server's, which are in its namespace."""
    meta, refs = server["metadata"], (route.get("spec") or {}).get("parentRefs") or []
    named = ("Server", POLICY, meta["name"])
    here = route["metadata"]["namespace"] == meta["namespace"]
    return here and any((ref.get("kind"), ref.get("group", POLICY), ref["name"]) == named for ref in refs)


def is_for(policy: Object, server: Object, routes: Iterable[Object]) -> bool:
    """Whether a policy is for a Server, whole or for a route of it.

    Args:
        policy: An AuthorizationPolicy, a ServerAuthorization or an HTTPLocalRateLimitPolicy.
        server: The Server.
        routes: All routes there are.
    """
    if policy["metadata"]["namespace"] != server["metadata"]["namespace"]:
        return False
    if kind_of(policy) == SERVER_AUTHORIZATION:
        return _is_chosen(policy["spec"]["server"], server["metadata"])
    if is_for_whole(policy, server):
        return True
    return any(True for _ in routes_for(policy, server, routes))


def routes_for(policy: Object, server: Object, routes: Iterable[Object]) -> Iterator[Object]:
    """The routes of a Server for which a policy of its namespace is that is not for all of it.

    Args:
        policy: An AuthorizationPolicy.
        server: The Server.
        routes: All routes there are.
    """
    target = policy["spec"]["targetRef"]
    kind = kind_at(target)
    for route in routes if kind in ROUTE_KINDS else ():
        if (kind_of(route), route["metadata"]["name"]) == (kind, target["name"]) and is_at(route, server):
            yield route


def is_for_whole(policy: Object, server: Object) -> bool:
    """Whether an AuthorizationPolicy or a rate limit is for all of a Server of its namespace."""
    target = policy["spec"]["targetRef"]
    kind = kind_at(target)
    return kind == "Namespace" or (kind, target["name"]) == ("Server", server["metadata"]["name"])


def is_limited(server: Object, limit: Object) -> bool:
    """Whether a rate limit is for a Server: it is for one of its namespace, by name."""
    target, here = limit["spec"]["targetRef"], server["metadata"]
    named = (kind_at(target), target["name"], limit["metadata"]["namespace"])
    return named == ("Server", here["name"], here["namespace"])


def _is_chosen(chosen: Object, meta: Object) -> bool:
    """A name beats a selector, and no selector picks every Server."""
    if chosen.get("name") is not None:
        return bool(chosen["name"] == meta["name"])
    return selects(chosen.get("selector"), meta.get("labels") or {})


def required(policy: Object) -> Iterator[tuple[str, str, str]]:
    """The authentications that an AuthorizationPolicy requires: kind, namespace and name."""
    for ref in policy["spec"].get("requiredAuthenticationRefs") or []:
        yield kind_at(ref), str(ref.get("namespace") or policy["metadata"]["namespace"]), str(ref["name"])


def has_what_it_requires(catalog: Catalog, policy: Object) -> bool:
    """Whether all is there that an AuthorizationPolicy requires: Linkerd leaves it out otherwise."""
    asked = [(kind, home, name) for kind, home, name in required(policy) if kind in AUTHENTICATIONS]
    return all(any(o["metadata"]["name"] == name for o in catalog.all(kind, home)) for kind, home, name in asked)
