"""What a sidecar writes down of each request in Linkerd mode."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from meshbdd.lab.linkerd.envoy.inbound import INBOUND
from meshbdd.lab.linkerd.envoy.pod import OUTBOUND
from meshbdd.lab.sidecar import telemetry
from meshbdd.lab.sidecar.bootstrap import SidecarIdentity
from meshbdd.lab.xds.resources import LISTENER, ROUTES

Resources = dict[str, dict[str, dict[str, Any]]]

_MANAGER = "envoy.filters.network.http_connection_manager"


def _managers(listener: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        network["typed_config"]
        for chain in listener["filter_chains"]
        for network in chain["filters"]
        if network["name"] == _MANAGER
    ]


def with_telemetry(identity: SidecarIdentity, log: Path, resources: Resources) -> Resources:
    """Add access logs to the listeners, and the caller's name to the requests, in place."""
    for name in (OUTBOUND, INBOUND):
        for manager in _managers(resources[LISTENER].get(name, {"filter_chains": []})):
            manager["access_log"] = [telemetry.access_log(log)]
            if name == INBOUND:
                manager["http_filters"].insert(0, telemetry.peer_filter())
    for name, table in resources[ROUTES].items():
        resources[ROUTES][name] = {**table, "request_headers_to_add": [telemetry.peer_header(identity)]}
    return resources
