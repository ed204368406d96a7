"""The circuit breakers for one service, as the proxies of its callers hold them: by their admin pages alone."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from meshbdd.claims.circuit_phases import Breaker
from meshbdd.mesh.hosts_page import HOSTS, HostsOf, hosts_to
from meshbdd.telemetry.proxies import ADMIN_PORT, Object, Proxies

_DEFAULTS = {"errors": 5, "base": 30.0, "interval": 10.0, "most_percent": 10.0}
"""Envoy's own, where a field is not set: envoy/config/cluster/v3/outlier_detection.proto."""


def breakers(proxies: Proxies, host: str, callers: Container[str] | None = None) -> list[Breaker]:
    """The breaker of every proxy that knows a service.

    Args:
        proxies: The way to them.
        host: Full name of the service.
        callers: The pods that are asked; all of them where ``None``.
    """
    found = []
    for pod in proxies.every():
        if callers is not None and pod["metadata"]["name"] not in callers:
            continue
        tunnel = proxies.tunnel(pod, ADMIN_PORT)
        used = _used(hosts_to(tunnel.get(HOSTS), host))
        if used:
            dump = tunnel.get("/config_dump?resource=dynamic_active_clusters")
            found.append(_breaker(pod, used, _detection(dump, {cluster.cluster for cluster in used})))
    return found


def active_calls(proxies: Proxies, pods: list[Object], host: str) -> int:
    """How many calls to a service are under way from these pods."""
    pages = [proxies.tunnel(pod, ADMIN_PORT).get(HOSTS) for pod in pods]
    return sum(entry.active for page in pages for cluster in hosts_to(page, host) for entry in cluster.hosts)


def _used(known: list[HostsOf]) -> list[HostsOf]:
    """The clusters of a service (one a port and subset) that requests were sent to; all of them where none were."""
    return [cluster for cluster in known if any(host.sent for host in cluster.hosts)] or known


def _detection(dump: Any, names: set[str]) -> Any:
    """The outlier detection of one of these clusters; ``None`` where none has any."""
    for config in dump.get("configs") or []:
        cluster = config.get("cluster") or {}
        if cluster.get("name") in names and cluster.get("outlier_detection"):
            return cluster["outlier_detection"]
    return None


def _breaker(pod: Object, clusters: list[HostsOf], detection: Any) -> Breaker:
    hosts = [host for cluster in clusters for host in cluster.hosts]
    rule = detection or {}
    return Breaker(
        caller=str(pod["metadata"]["name"]),
        endpoints=len(hosts),
        ejected=sum(host.ejected for host in hosts),
        unready=sum(not host.ready and not host.ejected for host in hosts),
        requests=sum(host.sent for host in hosts),
        errors=_errors(detection),
        base=_seconds(rule.get("base_ejection_time"), _DEFAULTS["base"]),
        interval=_seconds(rule.get("interval"), _DEFAULTS["interval"]),
        most_percent=float(rule.get("max_ejection_percent", _DEFAULTS["most_percent"])),
    )


def _errors(detection: Any) -> int | None:
    """How many errors in a row eject: of those counts that are enforced, the least; ``None`` where none is."""
    if detection is None:
        return None
    counts = (
        ("consecutive_5xx", "enforcing_consecutive_5xx", 100),
        ("consecutive_gateway_failure", "enforcing_consecutive_gateway_failure", 0),
    )
    enforced = [
        int(detection.get(name, _DEFAULTS["errors"])) for name, share, usual in counts if detection.get(share, usual)
    ]
    return min(enforced, default=None)


def _seconds(text: Any, otherwise: float) -> float:
    """A duration in protobuf's JSON: ``3s``, ``0.500s``."""
    return float(str(text).removesuffix("s")) if text else otherwise
