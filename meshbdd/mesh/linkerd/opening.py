"""Whether a Server that denies has a policy that lets all of the mesh pass again, or whoever comes.

linkerd2 policy-controller/k8s/index/src/inbound/{index,authorization_policy,server_authorization}.rs
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
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
Network = IPv4Network | IPv6Network
_ANYBODY = "*"
_IPV4 = 4
_WHOLE = (ip_network("0.0.0.0/0"), ip_network("::/0"))
_RANGES = tuple(
    ip_network(each)
    for each in ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "fd00::/8")
)
"""Ranges from one of which a cluster takes the addresses of its pods; of a lab they are on the loopback."""


def lets_the_mesh_in(catalog: Catalog, server: Object) -> bool:
    """Whether a policy for a Server lets every pod of the mesh pass; of one with routes, which have policies of their own, not."""
    return _lets_in(catalog, server, (_ANYBODY,))


def lets_everybody_in(catalog: Catalog, server: Object) -> bool:
    """Whether a policy for a Server lets every pod pass, also one without an identity; of one with routes as above."""
    return _lets_in(catalog, server, ())


def _lets_in(catalog: Catalog, server: Object, shown: Collection[str]) -> bool:
    """Whether a policy for a Server lets whoever shows one of some identities pass; where there are none, whoever shows none."""
    home = server["metadata"]["namespace"]
    if any(is_at(route, server) for route in routes_of(catalog, home)):
        return False
    return any(
        is_for_whole(policy, server) and _meets(catalog, policy, shown) for policy in catalog.all(AUTHORIZATION, home)
    ) or any(
        is_for(policy, server, ()) and _is_client(catalog, policy["spec"]["client"], shown)
        for policy in catalog.all(SERVER_AUTHORIZATION, home)
    )


def _meets(catalog: Catalog, policy: Object, shown: Collection[str]) -> bool:
    """Whether whoever shows this has all that an AuthorizationPolicy requires; one that requires nothing is for everybody."""
    for kind, namespace, name in required(policy):
        there = (found for found in catalog.all(kind, namespace) if found["metadata"]["name"] == name)
        spec: Object = next((found["spec"] for found in there), {})
        if kind == "NetworkAuthentication":
            met = holds_all(catalog, spec.get("networks") or ())
        else:
            met = kind == "MeshTLSAuthentication" and any(one in shown for one in spec.get("identities") or ())
        if not met:
            return False
    return True


def _is_client(catalog: Catalog, client: Object, shown: Collection[str]) -> bool:
    """Whether a ServerAuthorization's clients are all who show this; without networks those of the cluster are meant."""
    networks, tls = client.get("networks") or (), client.get("meshTLS") or {}
    if networks and not holds_all(catalog, networks):
        return False
    return bool(
        client.get("unauthenticated")
        or tls.get("unauthenticatedTLS")
        or any(one in shown for one in tls.get("identities") or ())
    )


def holds_all(catalog: Catalog, networks: Iterable[Object]) -> bool:
    """Whether the address of every pod of the mesh is in some networks, also of one that is yet to start.

    Where a pod has its address decides about others to come, so a network has to hold the whole range in which that is. Where
    no pod tells its address, as in a rehearsal, any range of pods of the older family will do.
    """
    held = [
        room for entry in networks if not entry.get("except") and (room := _network(str(entry["cidr"]))) is not None
    ]
    wide = [each for each in (*_RANGES, *_WHOLE) if any(_is_within(each, room) for room in held)]
    told = [str((pod.get("status") or {}).get("podIP") or "") for pod in _meshed(catalog)]
    addresses = [ip_address(address) for address in told if address]
    if not addresses:
        return any(each.version == _IPV4 for each in wide)
    return all(any(address in each for each in wide) for address in addresses)


def _network(cidr: str) -> Network | None:
    """``None`` for what is none, which Linkerd refuses."""
    with contextlib.suppress(ValueError):
        return ip_network(cidr, strict=False)
    return None


def _meshed(catalog: Catalog) -> list[dict[str, Any]]:
    with contextlib.suppress(Inconclusive):  # a rehearsal may not know the pods
        return catalog.everybody()
    return []


def _is_within(inner: Network, outer: Network) -> bool:
    return inner.version == outer.version and inner.network_address in outer and inner.prefixlen >= outer.prefixlen
