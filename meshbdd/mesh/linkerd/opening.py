"""Whether a Server that denies has a policy that lets all of the mesh pass again.

linkerd2 policy-controller/k8s/index/src/inbound/{index,authorization_policy,server_authorization}.rs
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import Any

from meshbdd.errors import Inconclusive
from meshbdd.mesh.catalog import Catalog
from meshbdd.mesh.linkerd.authorizing import (
    AUTHORIZATION,
    SERVER_AUTHORIZATION,
    is_at,
    is_for,
    is_for_whole,
    required,
)
from meshbdd.mesh.linkerd.objects import routes_of

Object = Mapping[str, Any]
_ANYBODY = "*"
_WHOLE = {"0.0.0.0/0": 4, "::/0": 6}
"""Networks in which all addresses of a family are."""


def lets_the_mesh_in(catalog: Catalog, server: Object) -> bool:
    """Whether a policy for a Server lets every pod of the mesh pass; of one with routes, which have policies of their own, not."""
    home = server["metadata"]["namespace"]
    if any(is_at(route, server) for route in routes_of(catalog, home)):
        return False
    return any(
        is_for_whole(policy, server) and _asks_nothing(catalog, policy) for policy in catalog.all(AUTHORIZATION, home)
    ) or any(
        is_for(policy, server, ()) and _lets_in(catalog, policy["spec"]["client"], home)
        for policy in catalog.all(SERVER_AUTHORIZATION, home)
    )


def _asks_nothing(catalog: Catalog, policy: Object) -> bool:
    """Whether every pod of the mesh shows what an AuthorizationPolicy requires; one that requires nothing is for everybody."""
    for kind, namespace, name in required(policy):
        there = (found for found in catalog.all(kind, namespace) if found["metadata"]["name"] == name)
        spec: Object = next((found["spec"] for found in there), {})
        if kind == "NetworkAuthentication":
            met = _holds_all(catalog, spec.get("networks") or (), namespace)
        else:
            met = kind == "MeshTLSAuthentication" and _ANYBODY in (spec.get("identities") or ())
        if not met:
            return False
    return True


def _lets_in(catalog: Catalog, client: Object, namespace: str) -> bool:
    """Whether what a ServerAuthorization says of clients takes all of the mesh; without networks those of the cluster are meant."""
    networks, tls = client.get("networks") or (), client.get("meshTLS") or {}
    if networks and not _holds_all(catalog, networks, namespace):
        return False
    return bool(
        client.get("unauthenticated") or tls.get("unauthenticatedTLS") or _ANYBODY in (tls.get("identities") or ())
    )


def _holds_all(catalog: Catalog, networks: Iterable[Object], namespace: str) -> bool:
    """Whether the address of every pod is in some networks; pods of a namespace show of which family these are."""
    families = {4}
    with contextlib.suppress(Inconclusive):  # a rehearsal may not know the pods
        told = [str((pod.get("status") or {}).get("podIP") or "") for pod in catalog.pods({}, namespace)]
        families = {6 if ":" in address else 4 for address in told if address} or families
    return families <= {_WHOLE.get(str(entry["cidr"])) for entry in networks if not entry.get("except")}
