"""How a proxy shows whom the Servers of its pod let pass, read from Envoy's pages as the lab's proxies have them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from meshbdd.mesh.base import Dump, Where
from meshbdd.mesh.carried import tables_in_use
from meshbdd.mesh.markers import LISTENERS, ROUTES

_ACCESS = {"all-unauthenticated", "all-authenticated", "cluster-unauthenticated", "cluster-authenticated", "audit"}
"""The access policies that let anybody pass; ``deny`` leaves no trace in a proxy."""


def _server_routes(dumps: Sequence[Dump], server: str, port: int | None = None) -> Iterator[Mapping[str, Any]]:
    """The routes of a proxy at the ports at which a Server decides.

    Of a port that was opaque the routes are there before its listener is, and after it.

    Args:
        dumps: The pages of routes and of listeners.
        server: The Server.
        port: Only those of this port.
    """
    in_use = tables_in_use(dumps[1])
    for config in dumps[0].get("configs") or []:
        table = str((config.get("route_config") or {}).get("name"))
        # The port's table for callers with an identity, and the one for those without: inbound:8080, inbound:8080:unmeshed.
        if table in in_use and (port is None or table.split(":")[1:2] == [str(port)]):
            for host in config["route_config"].get("virtual_hosts") or []:
                if host.get("name") == f"server..{server}":
                    yield from host.get("routes") or []


def _policies_of(route: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Kind and name of what lets calls pass at a route; an access policy is of the kind ``default``."""
    rbac = (route.get("typed_per_filter_config") or {}).get("envoy.filters.http.rbac") or {}
    policies = ((rbac.get("rbac") or {}).get("rules") or {}).get("policies") or {}
    parts = [str(name).split("|") for name in policies]
    return {(part[-2] if len(part) > 1 else "", part[-1]) for part in parts}


@dataclass(frozen=True, slots=True)
class PoliciesGone:
    """No route of the Server ``name`` lets those pass any more whom some policies name.

    Attributes:
        name: The Server.
        policies: Kind and name of each.
        where: The pods behind it.
        stays: Whether the Server is to stay without them. Where it is gone itself, with a change that is taken back at the same
            time for instance, nothing is to be seen of them.
    """

    name: str
    policies: frozenset[tuple[str, str]]
    where: Where
    stays: bool = False
    pages = (ROUTES, LISTENERS)
    unique = False

    def held(self, dumps: Sequence[Dump]) -> bool | None:
        """See ``Marker``."""
        routes = list(_server_routes(dumps, self.name))
        if self.stays and not routes:
            return None
        return not any(self.policies & _policies_of(route) for route in routes)

    def __str__(self) -> str:
        return f"Server {self.name} without {', '.join(sorted(name for _, name in self.policies))}"


@dataclass(frozen=True, slots=True)
class ServerAway:
    """The Server ``name`` decides at a port no more.

    Attributes:
        name: The Server.
        port: The pods' port.
        where: The pods at which it did.
    """

    name: str
    port: int
    where: Where
    pages = (ROUTES, LISTENERS)
    unique = False

    def held(self, dumps: Sequence[Dump]) -> bool | None:
        """See ``Marker``."""
        return not any(_server_routes(dumps, self.name, self.port))

    def __str__(self) -> str:
        return f"port {self.port} without Server {self.name}"


@dataclass(frozen=True, slots=True)
class ServerHeld:
    """Every route of the Server ``name`` lets those pass whom its access policy and these authorizations name.

    Attributes:
        name: The Server.
        access: Its access policy.
        allowed: Authorizations that it has to have beside.
        where: The pods behind it.
        unique: Whether the Server was not there before.
    """

    name: str
    access: str
    allowed: frozenset[str]
    where: Where
    unique: bool = True
    pages = (ROUTES, LISTENERS)

    def held(self, dumps: Sequence[Dump]) -> bool | None:
        """See ``Marker``."""
        routes = [r for r in _server_routes(dumps, self.name) if r.get("route") and self._is_own(r)]
        return bool(routes) and all(self._lets_pass(route) for route in routes)

    def _is_own(self, route: Mapping[str, Any]) -> bool:
        """Whether the Server decides there: a port that its pod does not declare has routes beside for its first connection."""
        told = ((route.get("metadata") or {}).get("filter_metadata") or {}).get("linkerd") or {}
        return str(told.get("server") or self.name).rpartition("|")[2] == self.name

    def _lets_pass(self, route: Mapping[str, Any]) -> bool:
        names = _policies_of(route)
        access = {name for kind, name in names if kind == "default"}
        allowed = {name for kind, name in names if kind != "default"}
        return access & _ACCESS == {self.access} & _ACCESS and allowed >= self.allowed

    def __str__(self) -> str:
        return f"Server {self.name} with the access policy {self.access}"
