"""The circuit breakers for one service, as the proxies of its callers hold them: by their admin pages alone."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Container, Iterator, Mapping
from dataclasses import replace
from typing import Any

from meshbdd.claims.breaker import Breaker
from meshbdd.mesh.hosts_page import HOSTS, Host, HostsOf, hosts_to
from meshbdd.sidecars import port_of, subset_of
from meshbdd.telemetry.pod_names import name_to
from meshbdd.telemetry.proxies import ADMIN_PORT, Object, Proxies

_DEFAULTS = {"errors": 5, "base": 30.0, "interval": 10.0, "most_percent": 10.0}
"""Envoy's own, where a field is not set: envoy/config/cluster/v3/outlier_detection.proto."""

_PANIC = 50.0
"""Envoy's own healthy panic threshold, in percent: envoy/config/cluster/v3/cluster.proto, CommonLbConfig."""

_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def breakers(proxies: Proxies, host: str, callers: Container[str] | None = None) -> list[Breaker]:
    """The breakers of every proxy that knows a service: one a port, for each has clusters, and counts, of its own.

    Args:
        proxies: The way to them.
        host: Full name of the service.
        callers: The pods that are asked, those of other namespaces than the service's with these; all of them where ``None``.
    """
    found = []
    namespace = host.split(".")[1]
    for pod in proxies.every():
        caller = name_to(namespace, pod["metadata"]["name"], pod["metadata"].get("namespace") or "")
        if callers is not None and caller not in callers:
            continue
        tunnel = proxies.tunnel(pod, ADMIN_PORT)
        known = hosts_to(tunnel.get(HOSTS), host)
        if known:
            routed = set(_routed(tunnel.get("/config_dump?resource=dynamic_route_configs")))
            dump = tunnel.get("/config_dump?resource=dynamic_active_clusters")
            ports = sorted({port_of(cluster.cluster) for cluster in known})
            for port in ports:
                of_port = [cluster for cluster in known if port_of(cluster.cluster) == port]
                found.append(_breaker(caller, port, _used(of_port, routed), dump))
    return found


def active_calls(proxies: Proxies, pods: list[Object], host: str) -> int:
    """How many calls to a service are under way from these pods."""
    pages = [proxies.tunnel(pod, ADMIN_PORT).get(HOSTS) for pod in pods]
    return sum(entry.active for page in pages for cluster in hosts_to(page, host) for entry in cluster.hosts)


def _used(known: list[HostsOf], routed: Container[str]) -> list[HostsOf]:
    """The clusters of a service's port (one a subset) that its routes lead to and requests were sent to.

    Of those that none was sent to, as far as routes lead there, only the endpoints count that no other one has: these can
    still be called. Where routes tell nothing, or no request was sent, there is no such choice.
    """
    known = [cluster for cluster in known if cluster.cluster in routed] or known
    used = [cluster for cluster in known if any(host.sent for host in cluster.hosts)] or known
    met = {host.address for cluster in used for host in cluster.hosts}
    for cluster in known:
        others = tuple(host for host in cluster.hosts if host.address not in met)
        if cluster not in used and others:
            used = [*used, replace(cluster, hosts=others)]
            met |= {host.address for host in others}
    return used


def _routed(found: Any) -> Iterator[str]:
    """The names of the clusters that the routes of a dump lead to; what has no weight gets nothing."""
    if isinstance(found, list):
        for item in found:
            yield from _routed(item)
        return
    if not isinstance(found, Mapping):
        return
    route = found.get("route")
    if isinstance(route, Mapping):
        if route.get("cluster"):
            yield str(route["cluster"])
        weighted = (route.get("weighted_clusters") or {}).get("clusters") or []
        yield from (str(cluster.get("name")) for cluster in weighted if cluster.get("weight"))
    for name, item in found.items():
        if name != "route":
            yield from _routed(item)


def _breaker(caller: str, port: str, clusters: list[HostsOf], dump: Any) -> Breaker:
    """The breaker of these clusters; where they have several, that which was set last, and each beside it."""
    several = sorted((cluster for cluster in clusters if cluster.hosts), key=lambda cluster: cluster.cluster)
    parts = [_breaker(caller, port, [cluster], dump) for cluster in several] if len(several) > 1 else []
    names = {cluster.cluster for cluster in clusters}
    held = [config for config in dump.get("configs") or [] if (config.get("cluster") or {}).get("name") in names]
    since = max((_unix(config.get("last_updated")) for config in held), default=0.0)
    detecting = [config["cluster"] for config in held if config["cluster"].get("outlier_detection")]
    cluster = detecting[0] if detecting else {}
    rule = cluster.get("outlier_detection") or {}
    hosts = [host for cluster in clusters for host in cluster.hosts]
    base = _seconds(rule.get("base_ejection_time"), _DEFAULTS["base"])
    return Breaker(
        caller=caller,
        endpoints=len(hosts),
        ejected=sum(host.ejected for host in hosts),
        unready=sum(not host.ready and not host.ejected for host in hosts),
        requests=sum(host.sent for host in hosts),
        errors=_count(rule, "consecutive_5xx", 100),
        gateway_errors=_count(rule, "consecutive_gateway_failure", 0),
        codes=_codes(cluster),
        base=max([base, *(part.base for part in parts if part.detects)]),
        interval=_seconds(rule.get("interval"), _DEFAULTS["interval"]),
        most_percent=float(rule.get("max_ejection_percent", _DEFAULTS["most_percent"])),
        panic_percent=max([_panic(cluster), *(part.panic_percent for part in parts)]),
        since=since,
        seen=time.time(),
        port=port,
        sent=_sent(hosts),
        out=tuple(sorted({host.address for host in hosts if host.ejected})),
        parts=tuple(parts),
        subset=subset_of(next(iter(names))) if len(names) == 1 else "",
    )


def _sent(hosts: list[Host]) -> dict[str, int]:
    """Address of each endpoint that calls may go to → how many were sent to it."""
    sent: dict[str, int] = {}
    for host in hosts:
        if host.address and (host.ready or host.ejected):
            sent[host.address] = sent.get(host.address, 0) + host.sent
    return sent


def _count(rule: Mapping[str, Any], name: str, enforced: int) -> int | None:
    """How many errors in a row of one kind eject; ``None`` where the kind is not enforced, as some are by default."""
    if not rule or not rule.get(f"enforcing_{name}", enforced):
        return None
    return int(rule.get(name, _DEFAULTS["errors"]))


def _panic(cluster: Mapping[str, Any]) -> float:
    """With how few healthy endpoints, in percent, Envoy sends to ejected ones too."""
    threshold = (cluster.get("common_lb_config") or {}).get("healthy_panic_threshold")
    return _PANIC if threshold is None else float(threshold.get("value", 0))


def _codes(cluster: Mapping[str, Any]) -> tuple[int, ...] | None:
    """The statuses that a cluster's matcher takes for errors; ``None`` where it has none."""
    options = (cluster.get("typed_extension_protocol_options") or {}).get(_HTTP_OPTIONS) or {}
    matcher = (options.get("outlier_detection") or {}).get("error_matcher")
    return None if matcher is None else tuple(sorted(set(_statuses(matcher))))


def _statuses(matcher: Any) -> Iterator[int]:
    if isinstance(matcher, list):
        for item in matcher:
            yield from _statuses(item)
    elif isinstance(matcher, Mapping):
        exact = str((matcher.get("string_match") or {}).get("exact", ""))
        if matcher.get("name") == ":status" and exact.isdigit():
            yield int(exact)
        for item in matcher.values():
            yield from _statuses(item)


def _unix(text: Any) -> float:
    """A time in protobuf's JSON; 0 where there is none."""
    try:
        return dt.datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return 0.0


def _seconds(text: Any, otherwise: float) -> float:
    """A duration in protobuf's JSON: ``3s``, ``0.500s``."""
    return float(str(text).removesuffix("s")) if text else otherwise
