"""What a proxy carries to its clusters: requests, bytes that it does not look into, or whichever comes. Pure functions.

Of a cluster to which bytes go Envoy's gauge ``rq_active`` counts connections, those too on which nothing happens: its TCP
proxy makes one "request" of each (source/common/conn_pool/conn_pool_base.cc, ``attachStreamToClient``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from meshbdd.mesh.base import Dump
from meshbdd.mesh.hosts_page import HOSTS, read_hosts
from meshbdd.mesh.markers import LISTENERS, ROUTES
from meshbdd.sidecars import INBOUND, callee, port_of

_STATIC_ROUTES = "/config_dump?resource=static_route_configs"
"""The route tables that stand in a listener itself, as those of Istio's inbound side do."""

EITHER = "requests, or connections that are not HTTP,"
"""What is under way to a port of which a proxy finds out for each connection what it carries."""

_TCP_PROXY = "envoy.filters.network.tcp_proxy"


def under_way(page: Callable[[str], Dump]) -> str | None:
    """What requests of the mesh a proxy has under way; ``None`` where it has none.

    What counts is HTTP, for nothing else is ever sampled or logged as a call. Of bytes that are passed on as they come nobody
    can tell whether anything happens on a connection; a port that takes both is busy as long as one of either is open.

    A port is asked about, not a cluster: that of a subset has requests under way still when no route leads to it any more.
    What is not known to carry bytes alone may carry requests.

    Args:
        page: Reads a page of its.
    """
    active = {
        cluster.cluster: number
        for cluster in read_hosts(page(HOSTS))
        if (number := sum(host.active for host in cluster.hosts))
        and (cluster.service or cluster.cluster.startswith(INBOUND))
    }
    if not active:
        return None
    requests = _places(_routed([page(ROUTES), page(_STATIC_ROUTES)]))
    bytes_ = _places(_passed_on(page(LISTENERS)))
    for name, number in active.items():
        place = _place(name)
        if place in requests or place not in bytes_:
            return f"{number} {EITHER if place in bytes_ else 'requests'} under way to {name}"
    return None


def tables_in_use(listeners: Dump) -> set[str]:
    """The names of the route tables by which new connections go: those of listeners that warm or drain are left out."""
    return {
        str(node["route_config_name"])
        for config in listeners.get("configs") or []
        for node in _maps(config.get("active_state"))
        if "route_config_name" in node
    }


def _places(clusters: Iterable[str]) -> set[tuple[str, str]]:
    return {_place(cluster) for cluster in clusters}


def _place(cluster: str) -> tuple[str, str]:
    """The port that a cluster leads to, which has one protocol: of a service, or, with no service, of the pod's own."""
    return callee(cluster), port_of(cluster)


def _routed(tables: Iterable[Dump]) -> set[str]:
    """What a proxy's route tables name, the clusters among it: one that a draining listener still uses stands there, too."""
    return {text for page in tables for text in _texts(page)}


def _passed_on(listeners: Dump) -> set[str]:
    """The clusters to which a proxy's listeners, draining ones too, hand bytes as they come."""
    return {
        text
        for node in _maps(listeners)
        if node.get("name") == _TCP_PROXY
        for text in _texts(node.get("typed_config") or {})
    }


def _maps(node: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(node, Mapping):
        yield node
    for item in _items(node):
        yield from _maps(item)


def _texts(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    for item in _items(node):
        yield from _texts(item)


def _items(node: Any) -> Iterable[Any]:
    if isinstance(node, Mapping):
        return node.values()
    return node if isinstance(node, list) else ()
