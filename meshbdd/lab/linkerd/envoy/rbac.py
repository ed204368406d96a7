"""Authorizations as Envoy's RBAC: whoever fits one of them may call."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_network
from typing import Any

from meshbdd.lab.linkerd.envoy.labels import labels
from meshbdd.lab.linkerd.model import Authorization, Identities, Network

Json = dict[str, Any]

RBAC = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"
PER_ROUTE = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute"
NETWORK_RBAC = "type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC"
NAME = "envoy.filters.http.rbac"


def _block(cidr: str) -> Json:
    block = ip_network(cidr, strict=False)
    return {"direct_remote_ip": {"address_prefix": str(block.network_address), "prefix_len": block.prefixlen}}


def _all(ids: list[Json]) -> Json:
    return ids[0] if len(ids) == 1 else {"and_ids": {"ids": ids}}


def _any(ids: list[Json]) -> Json:
    return ids[0] if len(ids) == 1 else {"or_ids": {"ids": ids}}


def _network(network: Network) -> Json:
    return _all([_block(network.cidr), *({"not_id": _block(cidr)} for cidr in network.excepted)])


def _identity(identities: Identities) -> Json | None:
    if identities.unverified or () in identities.suffixes:
        return {"authenticated": {}}
    ids: list[Json] = [{"authenticated": {"principal_name": {"exact": name}}} for name in identities.names]
    ids += [{"authenticated": {"principal_name": {"suffix": "." + ".".join(s)}}} for s in identities.suffixes]
    return _any(ids) if ids else None


def _principal(found: Authorization) -> Json | None:
    """The callers that an authorization fits; ``None`` for nobody."""
    if not found.networks:
        return None
    everywhere = any(
        ip_network(network.cidr, strict=False).prefixlen == 0 and not network.excepted for network in found.networks
    )
    ids: list[Json] = [{"any": True}] if everywhere else [_any([_network(network) for network in found.networks])]
    if found.identities is not None:
        identity = _identity(found.identities)
        if identity is None:
            return None
        ids.append(identity)
    return _all(ids)


def rules(authorizations: Iterable[Authorization]) -> Json:
    """The RBAC rules; without an authorization nobody may call."""
    policies: Json = {}
    for found in authorizations:
        principal = _principal(found)
        if principal is not None:
            policies[labels(found.meta, "group", "kind", "name")] = {
                "permissions": [{"any": True}],
                "principals": [principal],
            }
    return {"action": "ALLOW", "policies": policies}


def http_filter() -> Json:
    """The filter itself, which lets everything pass; routes say who may call."""
    return {"name": NAME, "typed_config": {"@type": RBAC}}


def per_route(authorizations: Iterable[Authorization]) -> Json:
    """The rules of one route, for ``typed_per_filter_config``."""
    return {NAME: {"@type": PER_ROUTE, "rbac": {"rules": rules(authorizations)}}}


def network_filter(authorizations: Iterable[Authorization]) -> Json:
    """The filter of a port whose bytes nobody looks at: who may not call is closed on."""
    config = {"@type": NETWORK_RBAC, "stat_prefix": "inbound", "rules": rules(authorizations)}
    return {"name": "envoy.filters.network.rbac", "typed_config": config}
