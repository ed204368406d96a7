"""Whom the Server that decides at a port of a pod lets pass, as far as it and its policies tell: whether an identity is what counts.

linkerd2 policy-controller/core/src/identity_match.rs, policy-controller/k8s/index/src/inbound/authorization_policy.rs
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from meshbdd.cluster.kinds import kind_of
from meshbdd.mesh.catalog import Catalog, account_of
from meshbdd.mesh.linkerd.adding_up import undoing
from meshbdd.mesh.linkerd.authorizing import AUTHORIZATION, SERVER_AUTHORIZATION, is_for, is_for_whole, required
from meshbdd.mesh.linkerd.opening import holds_all
from meshbdd.mesh.linkerd.servers import ACCESS, DENY, OPEN, decider

Object = Mapping[str, Any]
_ANYBODY = "*"
_AUTHORITY = "serviceaccount.identity.linkerd.cluster.local"
"""What the identities of a mesh end in that is installed as its chart has it; where it is another, nobody is known to pass."""


@dataclass(frozen=True, slots=True)
class LettingIn:
    """Whether a caller without an identity is denied for the want of one.

    Attributes:
        by: What lets pods of the mesh in by their identity, in words.
        doubt: Why a denial may have another reason; empty where it has none.
    """

    by: str = ""
    doubt: str = ""


def letting_in(catalog: Catalog, pod: Object, port: int) -> LettingIn:
    """Tell who is let in at a port of a pod.

    Args:
        catalog: Reads the cluster.
        pod: The pod.
        port: The port on which it listens.
    """
    name, home = pod["metadata"]["name"], pod["metadata"]["namespace"]
    server = decider(pod, port, catalog.all("Server", home))
    if server is None:
        return LettingIn(doubt=f"no Server decides at port {port} of pod {name}")
    its, access = f"Server {server['metadata']['name']}", server["spec"].get(ACCESS[-1], DENY)
    if access in OPEN:
        return LettingIn(doubt=f"{its} lets callers without an identity pass (accessPolicy {access})")
    for policy in undoing(catalog, server, None):
        return LettingIn(doubt=f"{_told(policy)} lets callers without an identity pass at {its}")
    if access != DENY:
        return LettingIn(by=f"{its} lets callers with an identity pass (accessPolicy {access})")
    for policy in _for_whole(catalog, server):
        for caller in catalog.everybody():
            if _lets_pass(catalog, policy, caller):
                account = f"{account_of(caller)}.{caller['metadata']['namespace']}"
                return LettingIn(by=f"{_told(policy)} lets service account {account} pass at {its}")
    return LettingIn(doubt=f"no policy is known to let any pod of the mesh pass at {its}")


def _told(policy: Object) -> str:
    return f"{policy['kind']} {policy['metadata']['name']}"


def _for_whole(catalog: Catalog, server: Object) -> Iterable[Object]:
    """The policies that are for all of a Server; what one for a route opens need not be what was asked for."""
    home = server["metadata"]["namespace"]
    yield from (policy for policy in catalog.all(AUTHORIZATION, home) if is_for_whole(policy, server))
    yield from (policy for policy in catalog.all(SERVER_AUTHORIZATION, home) if is_for(policy, server, ()))


def _lets_pass(catalog: Catalog, policy: Object, caller: Object) -> bool:
    """Whether a policy that no caller without an identity passes by lets a pod pass, for certain."""
    if kind_of(policy) == SERVER_AUTHORIZATION:
        client = policy["spec"].get("client") or {}
        tls, networks = client.get("meshTLS") or {}, client.get("networks") or ()
        there = not networks or holds_all(catalog, networks)
        return there and _is_one(caller, policy, tls.get("identities") or (), tls.get("serviceAccounts") or ())
    identities = 0
    for kind, home, name in required(policy):
        found = next((o for o in catalog.all(kind, home) if o["metadata"]["name"] == name), None)
        if kind == "NetworkAuthentication":
            met = found is not None and holds_all(catalog, found["spec"].get("networks") or ())
        elif kind == "ServiceAccount":
            identities += 1
            met = (name, home) == (account_of(caller), caller["metadata"]["namespace"])
        else:
            identities += 1
            spec = found["spec"] if found is not None and kind == "MeshTLSAuthentication" else {}
            met = _is_one(caller, found or {}, spec.get("identities") or (), spec.get("identityRefs") or ())
        if not met:
            return False
    return identities == 1  # Linkerd leaves a policy out that requires several


def _is_one(caller: Object, holder: Object, identities: Iterable[str], refs: Iterable[Object]) -> bool:
    """Whether a pod has one of some identities, as they are written or by reference."""
    account, home = account_of(caller), caller["metadata"]["namespace"]
    own = f"{account}.{home}.{_AUTHORITY}"
    for identity in identities:
        if identity in {_ANYBODY, own} or (identity.startswith("*.") and own.endswith(identity[1:])):
            return True
    for ref in refs:
        if ref.get("kind", "ServiceAccount") == "Namespace" and ref["name"] == home:
            return True
        where = ref.get("namespace") or holder["metadata"]["namespace"]
        if ref.get("kind", "ServiceAccount") == "ServiceAccount" and (ref["name"], where) == (account, home):
            return True
    return False
