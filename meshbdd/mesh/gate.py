"""The arrival gate: every calling proxy holds this scenario's marker, or the verdict is inconclusive.

It reads configuration alone (the admin pages of each sidecar, through the API server's port-forward), never the outcome
that is measured: looking at outcomes to decide when to begin would bend the statistics. No request of it passes a
proxy's listeners, so none stands in a sample, an access log or a counter.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from meshbdd.cluster import Cluster
from meshbdd.cluster.tunnel import Tunnel
from meshbdd.errors import EnvironmentBroken, Inconclusive
from meshbdd.intents import ServiceRef
from meshbdd.mesh.base import Dump, Marker, Where
from meshbdd.mesh.markers import EXTENSIONS, ConfigChanged, fault_tokens, fingerprint, newest
from meshbdd.units import Duration
from meshbdd.waiting import NotYet, eventually

ADMIN_PORT = 15000
_EVERYWHERE = Where()
_MESHED = "security.istio.io/tlsMode=istio"
_HOSTS = "/clusters?format=json"
_SLOW_MESH = "raise gate_timeout if the mesh is that slow; otherwise look at the proxy's configuration"


@dataclass(frozen=True, slots=True)
class Arrival:
    """Which proxy was seen to hold (or no longer hold) a change, and when.

    Attributes:
        proxies: Pod → milliseconds after the gate began to look.
        since: Pod → Unix time, by the proxy's own clock, of the newest of the settings that were looked at: a request
            that began later met the change.
    """

    proxies: Mapping[str, float]
    since: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        return ", ".join(f"{name} after {ms:.0f} ms" for name, ms in self.proxies.items())


Before = Mapping[tuple[str, str], bool | str | None]
"""(marker, pod) → what the pod's proxy held before a change: whether, or a fingerprint."""

Probe = Callable[[Tunnel], str | None]
"""Looks into one proxy: ``None`` where all is well, else what is wrong."""


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

    def _proxies(self, where: Where = _EVERYWHERE) -> list[Tunnel]:
        found = []
        for pod in self._cluster.list("Pod", where.namespace, labels=_MESHED):
            meta = pod["metadata"]
            if meta.get("deletionTimestamp") or (pod.get("status") or {}).get("phase") != "Running":
                continue
            if not where.takes(meta):
                continue
            key = meta["uid"]
            if key not in self._tunnels:
                self._tunnels[key] = Tunnel(self._cluster, meta["name"], meta["namespace"], ADMIN_PORT)
            found.append(self._tunnels[key])
        return found

    def _wait(
        self, tunnels: Iterable[Tunnel], probe: Probe, what: str, *, code: str = "MB0411", help_: str = _SLOW_MESH
    ) -> Arrival:
        """Wait until ``probe`` has nothing to say of any proxy, looking at all of them at a time.

        Raises:
            Inconclusive: naming the proxy that lags.
        """
        began = time.monotonic()
        arrived: dict[str, float] = {}
        given_up = threading.Event()

        def one(tunnel: Tunnel) -> None:
            def look() -> None:
                wrong = None if given_up.is_set() else probe(tunnel)
                if wrong:
                    raise NotYet(wrong)

            eventually(
                look,
                what=f"{what} at {tunnel.pod}",
                within=self._timeout,
                code=code,
                failure=Inconclusive,
                help=help_,
            )
            arrived[tunnel.pod] = (time.monotonic() - began) * 1000

        futures = [self._pool.submit(one, tunnel) for tunnel in tunnels]
        try:
            for future in futures:
                future.result()
        finally:
            given_up.set()  # an interrupted run does not wait for proxies that nobody asks about any more
        return Arrival(dict(sorted(arrived.items())))

    def before(self, markers: Iterable[Marker]) -> Before:
        """What proxies hold already that could be taken for a change. Asked before the change is written."""
        found: dict[tuple[str, str], bool | str | None] = {}
        for marker in markers:
            if not marker.unique:
                for tunnel in self._proxies(marker.where):
                    dumps = _dumps(marker, tunnel)
                    changed = isinstance(marker, ConfigChanged)
                    found[str(marker), tunnel.pod] = fingerprint(dumps) if changed else marker.held(dumps)
        return found

    def wait_present(self, markers: Iterable[Marker], before: Before) -> Arrival:
        """Wait until every proxy that a marker is for holds it.

        Args:
            markers: What they are to hold.
            before: What ``before`` said of these markers.

        Raises:
            Inconclusive: naming the proxy that does not, when the time is up; or no proxy is there that could.
        """
        proxies: dict[str, float] = {}
        since: dict[str, float] = {}
        for marker in markers:
            holding: dict[str, float] = {}

            def lacks(tunnel: Tunnel, marker: Marker = marker, holding: dict[str, float] = holding) -> str | None:
                dumps = _dumps(marker, tunnel)
                held = _held(marker, dumps, before.get((str(marker), tunnel.pod)))
                if held:
                    holding[tunnel.pod] = newest(dumps)
                return f"no {marker}" if held is False else None

            found = self._wait(self._proxies(marker.where), lacks, "the arrival of the change")
            if not holding:
                raise Inconclusive(
                    "MB0412",
                    f"No meshed pod is there to hold the change ({marker}).",
                    help="check that the pods that it is for run and have sidecars",
                )
            proxies |= {pod: ms for pod, ms in found.proxies.items() if pod in holding}
            since |= holding
        return Arrival(proxies, since)

    def wait_absent(self, markers: Iterable[Marker], before: Before) -> Arrival:
        """Wait until no proxy holds a marker any more that it did not hold before the change.

        Args:
            markers: What is to be gone.
            before: What ``before`` said of these markers.

        Raises:
            Inconclusive: naming the proxy that still does, when the time is up.
        """
        proxies: dict[str, float] = {}
        for marker in markers:

            def still_has(tunnel: Tunnel, marker: Marker = marker) -> str | None:
                known = before.get((str(marker), tunnel.pod))
                mine = known is not True and _held(marker, _dumps(marker, tunnel), known)
                return f"still {marker}" if mine else None

            proxies |= self._wait(self._proxies(marker.where), still_has, "the withdrawal of the change").proxies
        return Arrival(proxies)

    def wait_quiet(self) -> None:
        """Wait until no sidecar has a request under way, so that none of an earlier scenario counts in this one.

        Raises:
            Inconclusive: naming a proxy that has.
        """
        self._wait(
            self._proxies(),
            _busy,
            "the end of the requests that were under way before this scenario",
            code="MB0430",
            help_="let nobody else send requests to these services while the scenario runs",
        )

    def wait_switched_off(self) -> None:
        """Wait until no proxy holds settings of an armed fault filter that make it do something.

        Raises:
            Inconclusive: naming the proxy that does.
        """

        def probe(tunnel: Tunnel) -> str | None:
            tokens = fault_tokens(tunnel.get(EXTENSIONS))
            return f"still switched fault {min(tokens)}" if tokens else None

        self._wait(self._proxies(), probe, "the end of the faults of an earlier run")

    def ejected(self) -> dict[str, tuple[str, ...]]:
        """Host of a service → the callers' pods that keep an endpoint of it ejected."""
        found: dict[str, set[str]] = {}
        for tunnel in self._proxies():
            for host in _ejected(tunnel.get(_HOSTS)):
                found.setdefault(host, set()).add(tunnel.pod)
        return {host: tuple(sorted(pods)) for host, pods in sorted(found.items())}

    def wait_none_ejected(self, host: str) -> None:
        """Wait until no caller keeps an endpoint of ``host`` ejected.

        Raises:
            Inconclusive: naming the caller that does.
        """

        def probe(tunnel: Tunnel) -> str | None:
            return f"still ejects endpoints of {host}" if host in _ejected(tunnel.get(_HOSTS)) else None

        self._wait(self._proxies(), probe, f"the end of the ejections of {host}")

    def wait_endpoints(self, service: ServiceRef, *, some: bool) -> None:
        """Wait until every proxy has (or has no) endpoints of a service, and the API agrees.

        Raises:
            EnvironmentBroken: it does not come to pass.
        """
        suffix = f"||{service.name}.{service.namespace}.svc.cluster.local"

        def probe() -> None:
            for tunnel in self._proxies():
                hosts = list(_hosts(tunnel.get(_HOSTS), suffix))
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


def _ejected(page: Mapping[str, Any]) -> set[str]:
    return {
        str(cluster["name"]).rpartition("|")[2]
        for cluster in page.get("cluster_statuses") or []
        if str(cluster.get("name", "")).startswith("outbound|")
        for host in cluster.get("host_statuses") or []
        if (host.get("health_status") or {}).get("failed_outlier_check")
    }


def _busy(tunnel: Tunnel) -> str | None:
    """Requests under way, by the gauge that every proxy has per host, whatever statistics it was told to keep."""
    for cluster in tunnel.get(_HOSTS).get("cluster_statuses") or []:
        name = str(cluster.get("name", ""))
        if not name.startswith(("outbound|", "inbound|")):
            continue
        for host in cluster.get("host_statuses") or []:
            for stat in host.get("stats") or []:
                if stat.get("name") == "rq_active" and int(stat.get("value") or 0):
                    return f"{stat['value']} requests under way to {name}"
    return None


def _dumps(marker: Marker, tunnel: Tunnel) -> list[Dump]:
    return [tunnel.get(page) for page in marker.pages]


def _held(marker: Marker, dumps: list[Dump], before: bool | str | None) -> bool | None:
    if isinstance(marker, ConfigChanged):
        return None if before is None else fingerprint(dumps) != before
    return marker.held(dumps)
