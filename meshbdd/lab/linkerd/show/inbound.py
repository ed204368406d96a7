"""Inbound policies: linkerd2-proxy-api ``inbound.proto``."""

from __future__ import annotations

from typing import Any

from meshbdd.lab.linkerd.model import Authorization, Default, Identities, InboundServer, Meta, RateLimit, ServerRoute
from meshbdd.lab.linkerd.show.common import Json, filter_, host, match, meta, network

_DETECT = "10s"


def inbound(server: InboundServer) -> Json:
    """The policy of one port."""
    routes = [_route(route) for route in server.routes]
    limit = {} if server.rate_limit is None else {"local_rate_limit": _rate_limit(server.rate_limit)}
    made: Json
    if server.protocol == "detect":
        limit = {f"http_{name}": value for name, value in limit.items()}
        made = {"http_routes": routes, "timeout": _DETECT, **limit}
    elif server.protocol in {"opaque", "tls"}:
        made = {}
    elif server.protocol == "grpc":
        made = {"routes": routes}
    else:
        made = {"routes": routes, **limit}
    return {
        "protocol": {server.protocol: made},
        "authorizations": [_authorization(found) for found in server.authorizations],
        "labels": _labels(server.meta),
        "server_ips": [],
    }


def _labels(found: Meta) -> Json:
    if isinstance(found, Default):
        return {"group": "", "kind": "default", "name": found.name}
    return {"group": found.group, "kind": found.kind, "name": found.name}


def _authorization(found: Authorization) -> Json:
    blocks = [
        {"net": network(block.cidr), "except": [network(cidr) for cidr in block.excepted]} for block in found.networks
    ]
    return {
        "authentication": _authentication(found.identities),
        "labels": _labels(found.meta),
        "metadata": meta(found.meta),
        "networks": blocks,
    }


def _authentication(identities: Identities | None) -> Json:
    if identities is None:
        return {"unauthenticated": {}}
    if identities.unverified:
        return {"meshTLS": {"unauthenticated": {}}}
    listed = {
        "identities": _names(identities.names),
        "suffixes": [{"parts": list(parts)} for parts in identities.suffixes],
    }
    return {"meshTLS": {"identities": listed}}


def _names(names: tuple[str, ...]) -> list[dict[str, Any]]:
    return [{"name": name} for name in names]


def _route(route: ServerRoute) -> Json:
    rules = [
        {"matches": [match(found) for found in rule.matches], "filters": [filter_(found) for found in rule.filters]}
        for rule in route.rules
    ]
    return {
        "metadata": meta(route.meta),
        "hosts": [host(name) for name in route.hosts],
        "authorizations": [_authorization(found) for found in route.authorizations],
        "rules": rules,
    }


def _rate_limit(limit: RateLimit) -> Json:
    resource = {
        "group": "policy.linkerd.io", "kind": "HTTPLocalRateLimitPolicy", "name": limit.name, "namespace": "",
        "port": 0, "section": "",
    }  # fmt: skip
    made: Json = {
        "metadata": {"resource": resource},
        "overrides": [
            {"limit": {"requestsPerSecond": most}, "clients": {"identities": _names(clients)}}
            for most, clients in limit.overrides
        ],
    }
    for name, most in (("total", limit.total), ("identity", limit.identity)):
        if most is not None:
            made[name] = {"requestsPerSecond": most}
    return made
