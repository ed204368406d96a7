"""Applying patches to what was compiled: HTTP filters of inbound chains, settings delivered apart, clusters, routes.

The order of operations is that of istio/istio ``pilot/pkg/networking/core/envoyfilter``: all inserts, then all merges.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.filters.http.fault.v3 import fault_pb2

from meshbdd.lab.compile.envoy.types import FAULT
from meshbdd.lab.compile.policies import ChainPlace, ClusterPlace, Patch, RoutePlace
from meshbdd.lab.xds.messages import as_dict, merge, parse

Config = dict[str, dict[str, Any]]
_MANAGER = "envoy.filters.network.http_connection_manager"
_INBOUND = "virtualInbound"
CLUSTER_PARTS = ("metadata", "outlier_detection")
"""What patches of clusters are merged into; admission refuses the rest."""


def _fits_chain(place: ChainPlace, chain: Mapping[str, Any]) -> bool:
    match = chain.get("filter_chain_match") or {}
    wanted = place.chain
    port, protocols = match.get("destination_port"), match.get("application_protocols") or []
    asked = [name for name in (wanted.get("applicationProtocols") or "").split(",") if name]
    return (
        place.listener in {None, _INBOUND}
        and place.port in {None, port}
        and wanted.get("name") in {None, "", chain.get("name")}
        and (not wanted.get("sni") or wanted["sni"] in (match.get("server_names") or []))
        and wanted.get("transportProtocol") in {None, "", match.get("transport_protocol")}
        and all(name in protocols for name in asked)
        and wanted.get("destinationPort") in {None, 0, port}
        and place.network_filter in {None, _MANAGER}
    )


def _insert(filters: list[dict[str, Any]], patch: Patch, place: ChainPlace) -> bool:
    """Insert before or after the first filter of the name; without a name at the very front, or the very end."""
    value = copy.deepcopy(dict(patch.value))
    if patch.operation == "INSERT_FIRST":
        filters.insert(0, value)
    elif place.http_filter is None:
        filters.insert(0 if patch.operation == "INSERT_BEFORE" else len(filters), value)
    else:
        at = next((i for i, item in enumerate(filters) if item.get("name") == place.http_filter), None)
        if at is None:
            return False
        filters.insert(at if patch.operation == "INSERT_BEFORE" else at + 1, value)
    return True


def _merge_filter(filters: list[dict[str, Any]], patch: Patch, place: ChainPlace) -> bool:
    done = False
    for item in filters:
        held, given = item.get("typed_config"), patch.value.get("typed_config")
        if item.get("name") != place.http_filter or held is None:
            continue
        if given is not None and (held["@type"], given["@type"]) != (FAULT, FAULT):
            continue
        item["name"] = patch.value.get("name") or item["name"]
        if given is not None:
            item["typed_config"] = {"@type": FAULT, **_merged(fault_pb2.HTTPFault, _bare(held), _bare(given))}
        done = True
    return done


def _bare(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name != "@type"}


def _merged(message: Any, held: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    target = parse(message, held)
    merge(target, parse(message, given))
    return as_dict(target)


def _managers(chains: Iterable[Mapping[str, Any]], place: ChainPlace) -> Iterable[dict[str, Any]]:
    for chain in chains:
        if _fits_chain(place, chain):
            for network in chain["filters"]:
                if network["name"] == _MANAGER:
                    yield network["typed_config"]


def _steps(operations: Iterable[Patch]) -> Iterable[tuple[Patch, Callable[..., bool]]]:
    patches = list(operations)
    yield from ((patch, _insert) for patch in patches if patch.operation != "MERGE")
    yield from ((patch, _merge_filter) for patch in patches if patch.operation == "MERGE")


def patch_filters(chains: Config, patches: Iterable[Patch]) -> tuple[Config, list[str]]:
    """Patch the HTTP filters of inbound chains.

    Args:
        chains: Filter chains by ``<listener> / <index> <name>``.
        patches: Patches with a ``ChainPlace``.

    Returns:
        The chains, and a sentence for each patch that found no filter to stand at; Istio says nothing of it.
    """
    # Chain by chain, because chains of one port share their filters before they are patched.
    chains = {key: copy.deepcopy(chain) for key, chain in chains.items()}
    inbound = [chain for key, chain in chains.items() if key.partition(" / ")[0] == _INBOUND]
    idle = []
    for patch, apply in _steps(patches):
        assert isinstance(patch.place, ChainPlace)  # noqa: S101 - by its reader
        done = [apply(manager["http_filters"], patch, patch.place) for manager in _managers(inbound, patch.place)]
        if not any(done):
            idle.append(f"{patch.owner}: {patch.path} changes nothing here: no inbound filter is where it points")
    return chains, idle


def extensions(chains: Config, patches: Iterable[Patch]) -> Config:
    """The settings delivered apart, of those filters that are armed: of several by one name, the last."""
    armed = {
        item.get("name")
        for chain in chains.values()
        for network in chain["filters"]
        if network["name"] == _MANAGER
        for item in network["typed_config"]["http_filters"]
        if "config_discovery" in item
    }
    return {patch.value["name"]: dict(patch.value) for patch in patches if patch.value.get("name") in armed}


def _fits_cluster(place: ClusterPlace, name: str, hosts: Iterable[str]) -> bool:
    direction, _, rest = name.partition("|")
    inbound = direction == "inbound" or name == "InboundPassthroughCluster"
    if place.context != "ANY" and (place.context == "SIDECAR_INBOUND") != inbound:
        return False
    if place.name:
        return place.name == name
    port, subset, host = [*rest.split("|"), "", "", ""][:3]
    return (
        place.subset in {None, subset}
        and (place.service is None or place.service in ([*hosts] or [host]))
        and place.port in {None, int(port or 0)}
    )


def patch_clusters(clusters: Config, patches: Iterable[Patch]) -> None:
    """Merge into clusters, in place of each cluster that a patch with a ``ClusterPlace`` is for."""
    for patch in patches:
        assert isinstance(patch.place, ClusterPlace)  # noqa: S101 - by its reader
        for name, cluster in clusters.items():
            services = cluster.get("metadata", {}).get("filter_metadata", {}).get("istio", {}).get("services", [])
            hosts = [service["host"] for service in services] if name.startswith("inbound|") else []
            if _fits_cluster(patch.place, name, hosts):
                held = {part: cluster[part] for part in CLUSTER_PARTS if part in cluster}
                cluster.update(_merged(cluster_pb2.Cluster, held, patch.value))


def _action(route: Mapping[str, Any]) -> str | None:
    return next((kind for kind in ("route", "redirect", "direct_response") if kind in route), None)


def _fitting(tables: Config, place: RoutePlace) -> Iterator[tuple[list[dict[str, Any]], int]]:
    """The routes that a patch is for, as lists and where they stand in them."""
    for port, table in tables.items():
        if place.table not in {None, table["name"]} or place.port not in {None, int(port)}:
            continue
        for host in table["virtual_hosts"]:
            if place.host not in {None, host["name"]} or (place.domain and place.domain not in host["domains"]):
                continue
            for index, route in enumerate(host["routes"]):
                action = (_action(route) or "").upper()
                if place.route in {None, route.get("name")} and place.action in {None, action}:
                    yield host["routes"], index


def patch_routes(tables: Config, patches: Iterable[Patch]) -> None:
    """Merge into outbound routes, in place: istio/istio ``envoyfilter/rc_patch.go``, patchHTTPRoute.

    As with Istio, a patch of a route's action makes a route of what answers by itself, unless it matches by the action.

    Args:
        tables: Route configurations by their port.
        patches: Patches with a ``RoutePlace``.
    """
    for patch in patches:
        assert isinstance(patch.place, RoutePlace)  # noqa: S101 - by its reader
        for routes, index in _fitting(tables, patch.place):
            routes[index] = _merged(route_components_pb2.Route, routes[index], patch.value)
