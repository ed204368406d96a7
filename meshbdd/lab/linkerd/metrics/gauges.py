"""Linkerd's gauges of endpoints and connections, from what Envoy says of its clusters."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from meshbdd.lab.compile import Compiled
from meshbdd.lab.linkerd.metrics.families import Families, endpoint, place


def endpoints(families: Families, clusters: str, compiled: Compiled) -> None:
    """Endpoints that are ready or out, and open connections; a parent's balancer counts once, whatever uses it.

    Args:
        families: Where they are added.
        clusters: Envoy's page ``/clusters?format=json``.
        compiled: The sidecar's configuration, which knows whose an address is.
    """
    known = _known(compiled)
    states: dict[tuple[str, str], dict[str, bool]] = defaultdict(dict)
    for cluster, host in _hosts(clusters):
        backend, address = (host.get("locality") or {}).get("sub_zone", ""), _address(host)
        told = known.get((cluster, backend, address))
        if told is None:
            continue
        seen = states[cluster.partition("/")[0], backend]
        seen[address] = seen.get(address, False) or _out(host)
        labels = {"direction": "outbound", "peer": "dst", **endpoint(backend, address, told)}
        families.add("tcp_open_connections", labels, _connections(host), "gauge")
    for (parent, backend), addresses in states.items():
        names, out = {**place("parent", parent), **place("backend", backend)}, sum(addresses.values())
        for state, count in (("pending", out), ("ready", len(addresses) - out)):
            families.add("outbound_http_balancer_endpoints", {"endpoint_state": state, **names}, float(count), "gauge")


def expiry(certificates: str) -> float | None:
    """When the sidecar's certificate ends, in seconds since 1970.

    Args:
        certificates: Envoy's page ``/certs``.
    """
    for entry in (json.loads(certificates) if certificates.strip() else {}).get("certificates", []):
        for leaf in entry.get("cert_chain", []):
            if leaf.get("subject_alt_names"):
                return datetime.fromisoformat(leaf["expiration_time"]).timestamp()
    return None


def _known(compiled: Compiled) -> dict[tuple[str, str, str], Mapping[str, str]]:
    """Cluster, backend and address → what the endpoint's metadata says."""
    found = {}
    for name, assignment in compiled.endpoints.items():
        for locality in assignment.get("endpoints", []):
            for entry in locality["lb_endpoints"]:
                where = entry["endpoint"]["address"]["socket_address"]
                key = (name, locality["locality"]["sub_zone"], f"{where['address']}:{where['port_value']}")
                found[key] = entry["metadata"]["filter_metadata"]["linkerd"]
    return found


def _hosts(clusters: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for cluster in (json.loads(clusters) if clusters.strip() else {}).get("cluster_statuses", []):
        for host in cluster.get("host_statuses", []):
            yield cluster["name"], host


def _address(host: Mapping[str, Any]) -> str:
    where = (host.get("address") or {}).get("socket_address") or {}
    return f"{where.get('address')}:{where.get('port_value')}"


def _out(host: Mapping[str, Any]) -> bool:
    health = host.get("health_status") or {}
    return bool(health.get("failed_outlier_check") or health.get("failed_active_health_check"))


def _connections(host: Mapping[str, Any]) -> float:
    return float(next((stat.get("value", 0) for stat in host.get("stats", []) if stat.get("name") == "cx_active"), 0))
