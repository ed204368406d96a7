"""How Envoy's own configuration shows that a proxy holds a change: pure functions on pages of ``config_dump``.

The pages are the same on every Envoy: https://www.envoyproxy.io/docs/envoy/latest/operations/admin#get--config_dump
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from meshbdd.mesh.base import Dump, Where
from meshbdd.sidecars import CHANGE_HEADER

ROUTES = "/config_dump?resource=dynamic_route_configs"
CLUSTERS = "/config_dump?resource=dynamic_active_clusters"
WARMING = "/config_dump?resource=dynamic_warming_clusters"
LISTENERS = "/config_dump?resource=dynamic_listeners"
EXTENSIONS = "/config_dump?resource=ecds_filters"

_MANAGER = "envoy.filters.network.http_connection_manager"


def virtual_hosts(dump: Dump) -> Iterator[Mapping[str, Any]]:
    """The virtual hosts of every route configuration."""
    for config in dump.get("configs") or []:
        yield from (config.get("route_config") or {}).get("virtual_hosts") or []


def _clusters(dump: Dump, host: str) -> Iterator[Mapping[str, Any]]:
    """The outbound clusters of a host."""
    for config in dump.get("configs") or []:
        cluster = config.get("cluster") or {}
        name = str(cluster.get("name", ""))
        if name.startswith("outbound|") and name.rpartition("|")[2] == host:
            yield cluster


def _inbound_chains(dump: Dump) -> Iterator[Mapping[str, Any]]:
    """The filter chains that new connections to the pod meet; those of draining listeners are left out.

    Istio's sidecars have one listener for all ports of their pod where connections are redirected to it, and one for each
    port where the proxy binds it: as ``captureMode: NONE`` of a Sidecar asks, and on the lab. Ambient mode's tunnel leads
    to an internal one, whose chains name no transport (istio/istio ``pilot/pkg/networking/core/listener_inbound.go``,
    ``buildInboundHBONEListeners``); nobody connects to it.
    """
    for config in dump.get("configs") or []:
        listener = (config.get("active_state") or {}).get("listener") or {}
        if listener.get("traffic_direction") == "INBOUND" and "internal_listener" not in listener:
            yield from listener.get("filter_chains") or []


def _http_filters(chain: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [
        http
        for network in chain.get("filters") or []
        if network.get("name") == _MANAGER
        for http in (network.get("typed_config") or {}).get("http_filters") or []
    ]


def _is_among(name: str, hosts: Iterable[str]) -> bool:
    return any(name == host or (host.startswith("*") and name.endswith(host[1:])) for host in hosts)


@dataclass(frozen=True, slots=True)
class RouteHeld:
    """A route with ``tag`` in its name; a proxy that knows none of ``hosts`` calls none of them.

    Attributes:
        tag: What its name has in it.
        hosts: Those whose calls it takes.
        where: The proxies meant.
        needed: Whether some proxy has to hold it; none does as long as nothing leads to it.
        elsewhere: Hosts, and patterns of hosts, whose calls other routes take, though a pattern among ``hosts`` is for them, too.
    """

    tag: str
    hosts: tuple[str, ...]
    where: Where = Where()
    needed: bool = True
    elsewhere: frozenset[str] = frozenset()
    pages = (ROUTES,)
    unique = True

    def held(self, dumps: Sequence[Dump]) -> bool | None:
        """See ``Marker``."""
        known = False
        for host in virtual_hosts(dumps[0]):
            name = str(host.get("name", "")).rpartition(":")[0]
            known = known or (_is_among(name, self.hosts) and not _is_among(name, self.elsewhere))
            if any(self.tag in str(route.get("name", "")) for route in host.get("routes") or []):
                return True
        return False if known else None

    def __str__(self) -> str:
        return f"route {self.tag}*"


@dataclass(frozen=True, slots=True)
class SubsetHeld:
    """A cluster for the subset ``subset`` of ``host``, and no cluster of the host on its way.

    Attributes:
        host: What the rule is for: a host, or a pattern of hosts.
        subset: The subset's name.
        where: The proxies meant.
        governed: Of a pattern the hosts that the rule counts for: a proxy has the subset of all of them that it knows.
        awaited: Whether they are to hold it. Else it is no business of theirs as long as they do not.
    """

    host: str
    subset: str
    where: Where = Where()
    governed: tuple[str, ...] = ()
    awaited: bool = True
    pages = (CLUSTERS, WARMING)
    unique = True

    def held(self, dumps: Sequence[Dump]) -> bool | None:
        """See ``Marker``."""
        hosts = self.governed or (self.host,)
        by_host = [[str(cluster["name"]) for cluster in _clusters(dumps[0], host)] for host in hosts]
        known = [names for names in by_host if names]
        if not self.awaited:
            return any(name.split("|")[2] == self.subset for names in known for name in names) or None
        found = all(any(name.split("|")[2] == self.subset for name in names) for names in known)
        if found and known and any(cluster for host in hosts for cluster in _clusters(dumps[1], host)):
            return False
        return found if known else None

    def __str__(self) -> str:
        return f"subset {self.subset} of {self.host}"


@dataclass(frozen=True, slots=True)
class ClusterRenewed:
    """Every cluster of each host carries its epoch in its metadata.

    Attributes:
        epochs: Host and epoch.
        where: The proxies meant.
    """

    epochs: tuple[tuple[str, str], ...]
    where: Where = Where()
    pages = (CLUSTERS, WARMING)
    unique = True

    def held(self, dumps: Sequence[Dump]) -> bool | None:
        """See ``Marker``."""
        known = [(_epoch(cluster), epoch) for host, epoch in self.epochs for cluster in _clusters(dumps[0], host)]
        if not known:
            return None
        warming = any(cluster for host, _ in self.epochs for cluster in _clusters(dumps[1], host))
        return all(own == epoch for own, epoch in known) and not warming

    def __str__(self) -> str:
        return ", ".join(f"epoch {epoch} of {host}" for host, epoch in self.epochs)


def _epoch(cluster: Mapping[str, Any]) -> str:
    metadata = (cluster.get("metadata") or {}).get("filter_metadata") or {}
    return str((metadata.get("meshbdd") or {}).get("epoch") or "")


@dataclass(frozen=True, slots=True)
class FilterArmed:
    """Every inbound HTTP chain has the armed filter ``name``, and its settings were delivered."""

    name: str
    where: Where
    pages = (LISTENERS, EXTENSIONS)
    unique = True

    def held(self, dumps: Sequence[Dump]) -> bool | None:
        """See ``Marker``."""
        chains = [filters for chain in _inbound_chains(dumps[0]) if (filters := _http_filters(chain))]
        armed = [any(f.get("name") == self.name and "config_discovery" in f for f in filters) for filters in chains]
        delivered = any(settings.get("name") == self.name for settings in _settings(dumps[1]))
        return bool(armed) and all(armed) and delivered

    def __str__(self) -> str:
        return f"armed filter {self.name}"


def _settings(dump: Dump) -> Iterator[Mapping[str, Any]]:
    for config in dump.get("configs") or []:
        yield config.get("ecds_filter") or {}


@dataclass(frozen=True, slots=True)
class FilterSwitched:
    """The settings of the armed filter ``name`` carry ``token``."""

    name: str
    token: str
    where: Where
    pages = (EXTENSIONS,)
    unique = True

    def held(self, dumps: Sequence[Dump]) -> bool | None:
        """See ``Marker``."""
        return self.token in fault_tokens(dumps[0], self.name)

    def __str__(self) -> str:
        return f"switched fault {self.token}"


def fault_tokens(dump: Dump, name: str | None = None) -> set[str]:
    """The tokens in the settings of armed fault filters that are switched on; only of the filter ``name``, where given."""
    tokens = {
        str(((settings.get("typed_config") or {}).get("filter_metadata") or {}).get("meshbdd") or "")
        for settings in _settings(dump)
        if name in (None, settings.get("name"))
    }
    return tokens - {""}


def marked_routes(dump: Dump) -> set[str]:
    """The tags in the routes that a run made on Linkerd."""
    return {
        str(header["header"].get("value"))
        for host in virtual_hosts(dump)
        for route in host.get("routes") or []
        for header in route.get("request_headers_to_add") or []
        if (header.get("header") or {}).get("key") == CHANGE_HEADER
    }


@dataclass(frozen=True, slots=True)
class TransportTaken:
    """The inbound chains of ``ports`` take these transports and no other: ``tls``, ``raw_buffer``."""

    ports: tuple[int, ...]
    transports: frozenset[str]
    where: Where
    pages = (LISTENERS,)
    unique = False

    def held(self, dumps: Sequence[Dump]) -> bool | None:
        """See ``Marker``."""
        found: dict[int, set[str]] = {}
        for chain in _inbound_chains(dumps[0]):
            match = chain.get("filter_chain_match") or {}
            port = match.get("destination_port")
            if port in self.ports:
                found.setdefault(port, set()).add(str(match.get("transport_protocol") or "raw_buffer"))
        return all(found.get(port, set()) == self.transports for port in self.ports) if found else False

    def __str__(self) -> str:
        return f"ports {', '.join(map(str, self.ports))} that take {' and '.join(sorted(self.transports))} alone"


@dataclass(frozen=True, slots=True)
class PolicyHeld:
    """Every inbound HTTP chain has a rule of the AuthorizationPolicy ``name``."""

    namespace: str
    name: str
    where: Where
    pages = (LISTENERS,)
    unique = True

    def held(self, dumps: Sequence[Dump]) -> bool | None:
        """See ``Marker``."""
        prefix = f"ns[{self.namespace}]-policy[{self.name}]-"
        chains = [filters for chain in _inbound_chains(dumps[0]) if (filters := _http_filters(chain))]
        found = [
            any(
                str(policy).startswith(prefix)
                for item in filters
                for rules in _rules(item.get("typed_config") or {})
                for policy in rules.get("policies") or {}
            )
            for filters in chains
        ]
        return bool(found) and all(found)

    def __str__(self) -> str:
        return f"AuthorizationPolicy {self.name}"


def _rules(config: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for name in ("rules", "shadow_rules"):
        if isinstance(config.get(name), Mapping):
            yield config[name]


@dataclass(frozen=True, slots=True)
class ConfigChanged:
    """These pages differ from what they were before: for changes that leave no name of their own in a proxy."""

    what: str
    pages: tuple[str, ...]
    where: Where = Where()
    unique = False

    def held(self, dumps: Sequence[Dump]) -> bool | None:  # noqa: ARG002 - the gate compares fingerprints
        """Only the gate can tell, which knows what was there before."""
        return None

    def __str__(self) -> str:
        return f"effect of {self.what}"


@dataclass(frozen=True, slots=True)
class HostsKnown:
    """Clusters for all of some hosts, and neither clusters nor routes for any of some others; it may be so already.

    Attributes:
        what: Which object brings it about.
        hosts: Those that are known.
        hidden: Those that are not.
        where: The proxies meant.
    """

    what: str
    hosts: frozenset[str]
    hidden: frozenset[str]
    where: Where = Where()
    pages = (CLUSTERS, ROUTES)
    unique = False

    def held(self, dumps: Sequence[Dump]) -> bool | None:
        """See ``Marker``."""
        names = {str((config.get("cluster") or {}).get("name", "")) for config in dumps[0].get("configs") or []}
        known = {name.rpartition("|")[2] for name in names if name.startswith("outbound|")}
        routed = {str(host.get("name", "")).rpartition(":")[0] for host in virtual_hosts(dumps[1])}
        return known >= self.hosts and not self.hidden & (known | routed)

    def __str__(self) -> str:
        return f"the hosts of {self.what} and no others"
