"""The arrival gate: every calling proxy holds this scenario's marker, or the verdict is inconclusive.

It reads configuration alone (``config_dump`` of each sidecar), never the outcome that is measured: looking at outcomes
to decide when to begin would bend the statistics.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from meshbdd.cluster import Cluster
from meshbdd.cluster.tunnel import Tunnel
from meshbdd.errors import EnvironmentBroken, Inconclusive
from meshbdd.intents import ServiceRef
from meshbdd.mesh.base import Marker
from meshbdd.units import Duration
from meshbdd.waiting import NotYet, eventually

ADMIN_PORT = 15000
_MESHED = "security.istio.io/tlsMode=istio"
_ROUTES = "/config_dump?resource=dynamic_route_configs"
_CLUSTERS = "/config_dump?resource=dynamic_active_clusters"


@dataclass(frozen=True, slots=True)
class Arrival:
    """When which proxy was seen to hold (or no longer hold) a plan, in milliseconds after the change."""

    proxies: Mapping[str, float]

    def __str__(self) -> str:
        return ", ".join(f"{name} after {ms:.0f} ms" for name, ms in self.proxies.items())


def route_names(dump: Mapping[str, Any]) -> set[str]:
    """The names of all routes in a dump."""
    return {
        str(route.get("name", ""))
        for config in dump.get("configs") or []
        for host in (config.get("route_config") or {}).get("virtual_hosts") or []
        for route in host.get("routes") or []
    }


def cluster_origins(dump: Mapping[str, Any]) -> set[str]:
    """The objects that clusters in a dump were made from."""
    found = set()
    for config in dump.get("configs") or []:
        metadata = ((config.get("cluster") or {}).get("metadata") or {}).get("filter_metadata") or {}
        found.add(str((metadata.get("istio") or {}).get("config", "")))
    return found


class Gate:
    """Looks into the sidecars of one run's cluster.

    Args:
        cluster: The API through which they are reached.
        timeout: How long a change may take to arrive.
    """

    def __init__(self, cluster: Cluster, timeout: Duration) -> None:
        self._cluster = cluster
        self._timeout = timeout
        self._tunnels: dict[str, Tunnel] = {}
        self._pool = ThreadPoolExecutor(max_workers=16, thread_name_prefix="gate")

    def close(self) -> None:
        """Close the tunnels."""
        for tunnel in self._tunnels.values():
            tunnel.close()
        self._pool.shutdown(wait=False)

    def _proxies(self, labels: Mapping[str, str] | None) -> list[Tunnel]:
        pods = self._cluster.list("Pod", labels=_MESHED)
        found = []
        for pod in pods:
            meta = pod["metadata"]
            if meta.get("deletionTimestamp") or (pod.get("status") or {}).get("phase") != "Running":
                continue
            own = meta.get("labels") or {}
            if labels and not all(own.get(name) == value for name, value in labels.items()):
                continue
            key = meta["uid"]
            if key not in self._tunnels:
                self._tunnels[key] = Tunnel(self._cluster, meta["name"], meta["namespace"], ADMIN_PORT)
            found.append(self._tunnels[key])
        return found

    def _wait(self, tunnels: Iterable[Tunnel], holds: Callable[[Tunnel], str | None], what: str) -> Arrival:
        began = time.monotonic()
        arrived: dict[str, float] = {}
        given_up = threading.Event()

        def one(tunnel: Tunnel) -> None:
            def probe() -> None:
                missing = None if given_up.is_set() else holds(tunnel)
                if missing:
                    raise NotYet(missing)

            eventually(
                probe,
                what=f"{what} at {tunnel.pod}",
                within=self._timeout,
                code="MB0411",
                failure=Inconclusive,
                help="raise gate_timeout if the mesh is that slow; otherwise look at the proxy's configuration",
            )
            arrived[tunnel.pod] = (time.monotonic() - began) * 1000

        futures = [self._pool.submit(one, tunnel) for tunnel in tunnels]
        try:
            for future in futures:
                future.result()
        finally:
            given_up.set()  # an interrupted run does not wait for proxies that nobody asks about any more
        return Arrival(dict(sorted(arrived.items())))

    def wait_present(self, markers: Iterable[Marker]) -> Arrival:
        """Wait until every proxy that a marker is for holds it.

        Raises:
            Inconclusive: naming the proxy that does not, when the time is up.
        """
        proxies: dict[str, float] = {}
        for marker in markers:
            tunnels = self._proxies(marker.caller_labels)
            if not tunnels:
                raise Inconclusive(
                    "MB0412", "No meshed pod could call through this change.", help="check that callers have sidecars"
                )
            found = self._wait(tunnels, functools.partial(_lacks, marker), "the arrival of the change")
            proxies |= found.proxies
        return Arrival(proxies)

    def wait_absent(self, markers: Iterable[Marker]) -> Arrival:
        """Wait until no proxy holds a marker any more.

        Raises:
            Inconclusive: naming the proxy that still does, when the time is up.
        """
        proxies: dict[str, float] = {}
        for marker in markers:
            found = self._wait(
                self._proxies(None), functools.partial(_still_has, marker), "the withdrawal of the change"
            )
            proxies |= found.proxies
        return Arrival(proxies)

    def wait_endpoints(self, service: ServiceRef, *, some: bool) -> None:
        """Wait until every proxy has (or has no) endpoints of a service, and the API agrees.

        Raises:
            EnvironmentBroken: it does not come to pass.
        """
        suffix = f"||{service.name}.{service.namespace}.svc.cluster.local"

        def probe() -> None:
            for tunnel in self._proxies(None):
                hosts = list(_hosts(tunnel.get("/clusters?format=json"), suffix))
                if bool(hosts) != some:
                    raise NotYet(f"{tunnel.pod} has {len(hosts)} endpoints of {service}")

        eventually(
            probe,
            what=f"{service} {'getting' if some else 'losing'} its endpoints",
            within=Duration(max(self._timeout.seconds, 30)),
            code="MB0413",
            failure=EnvironmentBroken,
            help="look at the pods of the service",
        )


def _hosts(page: Mapping[str, Any], suffix: str) -> Iterator[Any]:
    for cluster in page.get("cluster_statuses") or []:
        if str(cluster.get("name", "")).endswith(suffix):
            yield from cluster.get("host_statuses") or []


def _seen(tunnel: Tunnel, marker: Marker) -> set[str]:
    if marker.kind == "route":
        return {name for name in route_names(tunnel.get(_ROUTES)) if name.startswith(marker.token)}
    return {origin for origin in cluster_origins(tunnel.get(_CLUSTERS)) if origin == marker.token}


def _lacks(marker: Marker, tunnel: Tunnel) -> str | None:
    return None if _seen(tunnel, marker) else f"no {marker.kind} {marker.token}"


def _still_has(marker: Marker, tunnel: Tunnel) -> str | None:
    seen = _seen(tunnel, marker)
    return f"still {marker.kind} {min(seen)}" if seen else None
