"""EnvoyFilter → patches for one workload, in Istio's order.

Four forms are read: an inbound HTTP fault filter (inserted or merged), one that is armed by name with its settings
delivered apart, metadata and outlier detection merged into clusters, and timeout and retries merged into outbound routes.
Admission refuses every other form by its path.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import extension_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2

from meshbdd.lab.compile.envoy.types import FAULT
from meshbdd.lab.compile.policies import ChainPlace, ClusterPlace, Patch, Place, RoutePlace
from meshbdd.lab.xds import jsonpb
from meshbdd.lab.xds.messages import MessageError, as_dict

Object = Mapping[str, Any]

_MESSAGES: dict[str, Any] = {
    "HTTP_FILTER": http_connection_manager_pb2.HttpFilter,
    "EXTENSION_CONFIG": extension_pb2.TypedExtensionConfig,
    "CLUSTER": cluster_pb2.Cluster,
    "HTTP_ROUTE": route_components_pb2.Route,
}
_ABORTS = {"http_status", "grpc_status", "header_abort"}
_DELAYS = {"fixed_delay", "header_delay"}


class EnvoyFilters:
    """All EnvoyFilters.

    Args:
        filters: The objects, oldest first.
        root: The mesh's root namespace, whose filters apply to every namespace.
    """

    def __init__(self, filters: Iterable[Object], root: str) -> None:
        # The sort is stable: by priority, the root namespace first, then the order given.
        self._filters = sorted(
            filters, key=lambda f: (int(f["spec"].get("priority") or 0), f["metadata"]["namespace"] != root)
        )
        self._root = root
        self._values: dict[int, tuple[dict[str, Any] | None, str | None]] = {}
        """Of each patch that was asked for, by its identity: many workloads have the same ones."""

    def _value(self, entry: Object) -> tuple[dict[str, Any] | None, str | None]:
        if id(entry) not in self._values:
            self._values[id(entry)] = read_value(entry)
        return self._values[id(entry)]

    def patches(self, namespace: str, labels: Mapping[str, str]) -> tuple[list[Patch], list[str]]:
        """The patches for a workload, and a sentence for each that is left out."""
        patches: list[Patch] = []
        warnings: list[str] = []
        for item in self._filters:
            spec, home = item["spec"], item["metadata"]["namespace"]
            wanted = (spec.get("workloadSelector") or {}).get("labels") or {}
            if home not in {self._root, namespace} or spec.get("targetRefs"):
                continue
            if any(labels.get(name) != value for name, value in wanted.items()):
                continue
            for index, entry in enumerate(spec.get("configPatches") or []):
                if is_for_waypoints(entry):
                    continue
                owner = f"EnvoyFilter {item['metadata']['name']} in {home}"
                path = f"spec.configPatches[{index}]"
                value, lost = self._value(entry)
                if lost:
                    warnings.append(f"{owner}: {path}.patch.value: {lost}")
                if value is not None:
                    patches.append(Patch(owner, path, _operation(entry), value, _place(entry)))
        return patches, warnings


def is_for_waypoints(entry: Object) -> bool:
    """Whether a patch is for waypoints alone, so that no sidecar is concerned."""
    return (entry.get("match") or {}).get("context") == "WAYPOINT"


def _operation(entry: Object) -> str:
    operation = str(entry["patch"]["operation"])
    # Only filters have an order; elsewhere Istio takes an insert for an addition.
    return "ADD" if entry["applyTo"] == "EXTENSION_CONFIG" and operation.startswith("INSERT") else operation


def _place(entry: Object) -> Place | None:
    match = entry.get("match") or {}
    if entry["applyTo"] == "EXTENSION_CONFIG":
        return None
    if entry["applyTo"] == "CLUSTER":
        found = match.get("cluster") or {}
        return ClusterPlace(
            match.get("context") or "ANY",
            found.get("name") or None,
            found.get("service") or None,
            found.get("subset") or None,
            found.get("portNumber") or None,
        )
    if entry["applyTo"] == "HTTP_ROUTE":
        return _route_place(match.get("routeConfiguration") or {})
    listener = match.get("listener") or {}
    chain = listener.get("filterChain") or {}
    network = chain.get("filter") or {}
    return ChainPlace(
        listener.get("name") or None,
        listener.get("portNumber") or None,
        {key: value for key, value in chain.items() if key != "filter"},
        network.get("name"),
        (network.get("subFilter") or {}).get("name"),
    )


def _route_place(table: Object) -> RoutePlace:
    host = table.get("vhost") or {}
    route = host.get("route") or {}
    action = route.get("action")
    return RoutePlace(
        table.get("name") or None,
        table.get("portNumber") or None,
        host.get("name") or None,
        host.get("domainName") or None,
        route.get("name") or None,
        action if action != "ANY" else None,
    )


def read_value(entry: Object) -> tuple[dict[str, Any] | None, str | None]:
    """A patch's value in Envoy's form, and what is lost of it.

    As Istio does, a field that Envoy does not have is passed over. If what remains is no fault (an abort of no kind),
    nothing remains: the value is ``None``.

    Raises:
        MessageError: a value of the wrong type; Istio refuses it.
    """
    message, given = _MESSAGES[entry["applyTo"]], entry["patch"]["value"]
    try:
        return as_dict(jsonpb.read(message, given)), None
    except MessageError as error:
        value, lost = as_dict(jsonpb.read(message, given, drop_unknown=True)), error
    if is_whole(value):
        return value, f"the unknown field is passed over ({lost})"
    return None, f"it is not applied, without the unknown field it says nothing ({lost})"


def is_whole(value: Object) -> bool:
    """Whether a fault says what it aborts or delays with."""
    config = value.get("typed_config") or {}
    if config.get("@type") != FAULT:
        return True
    abort, delay = config.get("abort"), config.get("delay")
    return (abort is None or bool(_ABORTS & set(abort))) and (delay is None or bool(_DELAYS & set(delay)))
