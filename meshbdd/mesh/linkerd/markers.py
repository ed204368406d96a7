"""How a proxy shows that it holds a change in Linkerd's words.

What the lab's proxies hold is read from Envoy's pages. Every route that a run writes sets a request header with the
change's tag, so that no two changes look alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from meshbdd.intents import ServiceRef
from meshbdd.mesh.base import Dump, Where
from meshbdd.mesh.hosts_page import HOSTS, hosts_to
from meshbdd.mesh.markers import CLUSTERS, ROUTES, WARMING
from meshbdd.mesh.pages import DRAINING, draining
from meshbdd.sidecars import callee


def as_proxies_name(route: Mapping[str, Any]) -> str:
    """The name that a route has in proxies."""
    return f"{route['kind']}.{route['metadata']['namespace']}.{route['metadata']['name']}"


def _service_routes(dump: Dump, service: ServiceRef, *ports: int) -> Iterator[Mapping[str, Any]]:
    """The routes of a proxy for ports of a service; its virtual hosts bear their names."""
    names = {f"Service.{service.namespace}.{service.name}:{port}" for port in ports}
    for config in dump.get("configs") or []:
        for host in (config.get("route_config") or {}).get("virtual_hosts") or []:
            if host.get("name") in names:
                yield from host.get("routes") or []


def _warming(dump: Dump, service: ServiceRef) -> bool:
    return any(
        callee(str((config.get("cluster") or {}).get("name", ""))) == service.host
        for config in dump.get("configs") or []
    )


@dataclass(frozen=True, slots=True)
class RouteMarked:
    """A route to a service's port sets a header that holds ``tag``, and all that it leads to is there.

    Attributes:
        tag: Names the change.
        service: The service.
        port: Its port.
        where: The proxies meant.
        route: The route, as proxies name it; empty: any.
    """

    tag: str
    service: ServiceRef
    port: int
    where: Where = Where()
    route: str = ""
    pages = (ROUTES, WARMING)
    unique = True

    def held(self, dumps: Sequence[Dump]) -> bool | None:
        """See ``Marker``."""
        routes = list(_service_routes(dumps[0], self.service, self.port))
        found = any(
            self.tag in str((header.get("header") or {}).get("value", ""))
            for route in routes
            if self.route in {"", route.get("name")}
            for header in route.get("request_headers_to_add") or []
        )
        if found and _warming(dumps[1], self.service):
            return False
        return found if routes else None

    def __str__(self) -> str:
        return f"route {self.tag} of {self.service}:{self.port}" + (f" in {self.route}" if self.route else "")


def _seconds(text: object) -> float:
    return float(str(text).removesuffix("s"))


def timeout_of(route: Mapping[str, Any]) -> float | None:
    """Seconds after which a route gives up; ``None`` for one that does not forward."""
    action = route.get("route")
    return _seconds(action.get("timeout", "0s")) if action else None


def retries_of(route: Mapping[str, Any]) -> int | None:
    """How often a route tries again; ``None`` for one that does not forward."""
    action = route.get("route")
    return int((action.get("retry_policy") or {}).get("num_retries", 0)) if action else None


@dataclass(frozen=True, slots=True)
class RoutesSay:
    """Every route to a service that forwards has a value, where ``read`` finds it.

    Attributes:
        what: The value's name.
        service: The service.
        ports: Those of its ports that carry HTTP.
        value: It.
        read: Finds it in a route.
        where: The proxies meant.
    """

    what: str
    service: ServiceRef
    ports: tuple[int, ...]
    value: float
    read: Callable[[Mapping[str, Any]], float | None]
    where: Where = Where()
    pages = (ROUTES,)
    unique = False

    def held(self, dumps: Sequence[Dump]) -> bool | None:
        """See ``Marker``."""
        routes = list(_service_routes(dumps[0], self.service, *self.ports))
        told = [value for route in routes if (value := self.read(route)) is not None]
        return all(value == self.value for value in told) if routes else None

    def __str__(self) -> str:
        return f"{self.what} {self.value:g} of calls to {self.service}"


@dataclass(frozen=True, slots=True)
class BreakerHeld:
    """Every cluster of a service ejects after so many errors in a row, for so long."""

    service: ServiceRef
    errors: int
    seconds: float
    where: Where = Where()
    pages = (CLUSTERS, WARMING)
    unique = False

    def held(self, dumps: Sequence[Dump]) -> bool | None:
        """See ``Marker``."""
        clusters = [
            cluster
            for config in dumps[0].get("configs") or []
            if callee(str((cluster := config.get("cluster") or {}).get("name", ""))) == self.service.host
        ]
        if not clusters:
            return None
        rules = [cluster.get("outlier_detection") or {} for cluster in clusters]
        return not _warming(dumps[1], self.service) and all(
            rule.get("consecutive_5xx") == self.errors and _seconds(rule.get("base_ejection_time", 30)) == self.seconds
            for rule in rules
        )

    def __str__(self) -> str:
        return f"failure accrual of {self.service}"


@dataclass(frozen=True, slots=True)
class EndpointsHeld:
    """A proxy has endpoints of a service; these addresses alone, where any are named.

    Attributes:
        service: The service.
        addresses: Those of the endpoints.
        where: The proxies meant.
        least: How many endpoints at least.
    """

    service: ServiceRef
    addresses: frozenset[str] = frozenset()
    where: Where = Where()
    least: int = 1
    pages = (HOSTS,)
    unique = True

    def held(self, dumps: Sequence[Dump]) -> bool | None:
        """See ``Marker``."""
        clusters = hosts_to(dumps[0], self.service.host)
        asked = [
            cluster for cluster in clusters if cluster.whole
        ] or clusters  # a route or a profile may lead elsewhere
        found = [{host.address for host in cluster.hosts} for cluster in asked]
        if self.addresses:
            return bool(found) and all(addresses == self.addresses for addresses in found)
        return bool(found) and all(len(addresses) >= self.least for addresses in found)

    def __str__(self) -> str:
        return f"{self.least} endpoints of {self.service}" if self.least > 1 else f"endpoints of {self.service}"


@dataclass(frozen=True, slots=True)
class EndpointsAdded:
    """A proxy has so many more endpoints of a service than it had.

    Attributes:
        service: The service.
        count: How many more.
        known: The addresses of those that it had.
        where: The proxies meant.
    """

    service: ServiceRef
    count: int
    known: frozenset[str] = frozenset()
    where: Where = Where()
    pages = (HOSTS,)
    unique = True

    def held(self, dumps: Sequence[Dump]) -> bool | None:
        """See ``Marker``."""
        found = [
            {host.address for host in cluster.hosts if host.ready} - self.known
            for cluster in hosts_to(dumps[0], self.service.host)
            if cluster.whole
        ]
        return bool(found) and all(len(addresses) >= self.count for addresses in found)

    def __str__(self) -> str:
        return f"{self.count} new endpoint{'s' if self.count > 1 else ''} of {self.service}"


@dataclass(frozen=True, slots=True)
class OpenOnesEnded:
    """No connection is open that what governed its port before still governs.

    A linkerd-proxy asks its policy anew for each request, and ends what it no longer allows of opaque connections
    (linkerd2-proxy linkerd/app/inbound/src/policy). An Envoy does so where the port carries HTTP before and after; where it
    begins to, or ends, the open ones keep the old rules until these are drained.
    """

    where: Where = Where()
    pages = (DRAINING,)
    unique = True

    def held(self, dumps: Sequence[Dump]) -> bool | None:
        """See ``Marker``."""
        return not draining(dumps[0])

    def __str__(self) -> str:
        return "end of the connections that were open under other rules"
