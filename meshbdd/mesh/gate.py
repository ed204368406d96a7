"""The arrival gate: every calling proxy holds this scenario's marker, or the verdict is inconclusive.

It reads configuration alone (the admin pages of each sidecar, through the API server's port-forward), never the outcome
that is measured: looking at outcomes to decide when to begin would bend the statistics. No request of it passes a
proxy's listeners, so none stands in a sample, an access log or a counter.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from meshbdd.cluster import Cluster, Edit
from meshbdd.cluster.tunnel import Tunnel
from meshbdd.errors import EnvironmentBroken, Inconclusive
from meshbdd.intents import ServiceRef
from meshbdd.mesh.base import Dump, Marker
from meshbdd.mesh.hosts_page import HOSTS, hosts_to, read_hosts
from meshbdd.mesh.markers import (
    EXTENSIONS,
    ROUTES,
    ConfigChanged,
    fault_tokens,
    fingerprint,
    marked_routes,
    newest,
)
from meshbdd.mesh.refusing import Refusing
from meshbdd.sidecars import INBOUND, ISTIO, Sidecars
from meshbdd.units import Duration
from meshbdd.waiting import NotYet, eventually

ADMIN_PORT = 15000
_DRAIN = 60
"""Seconds: Istio's drain time is 45 (istio/api mesh/v1alpha1/proxy.proto, ``drainDuration``)."""
_MERGE_WINDOW = 1.0
"""Seconds in which Envoy gathers changes of endpoints' health before it heeds them: ``update_merge_window``'s default."""

_DRAINING = "/stats?format=json&filter=_draining"
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


@dataclass(frozen=True, slots=True)
class _Proxy:
    """A sidecar, reached through its pod."""

    tunnel: Tunnel
    metadata: Mapping[str, Any]

    @property
    def pod(self) -> str:
        """The pod's name."""
        return self.tunnel.pod

    def meant_by(self, markers: Iterable[Marker]) -> list[Marker]:
        """The markers that it is to hold."""
        return [marker for marker in markers if marker.where.takes(self.metadata)]


class _Pages:
    """A proxy's pages, each read once."""

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel
        self._read: dict[str, Dump] = {}

    def of(self, marker: Marker) -> list[Dump]:
        """The pages that a marker is read from."""
        for page in marker.pages:
            if page not in self._read:
                self._read[page] = self._tunnel.get(page)
        return [self._read[page] for page in marker.pages]


Before = Mapping[tuple[str, str], bool | str | None]
"""(marker, pod) → what the pod's proxy held before a change: whether, or a fingerprint."""

Probe = Callable[[_Proxy], str | None]
"""Looks into one proxy: ``None`` where all is well, else what is wrong."""


class Gate:
    """Looks into the sidecars of one run's cluster.

    Args:
        cluster: The API through which they are reached.
        timeout: How long a change may take to arrive.
        sidecars: Whose proxies are looked into.
    """

    def __init__(self, cluster: Cluster, timeout: Duration, sidecars: Sidecars = ISTIO) -> None:
        self._cluster = cluster
        self._sidecars = sidecars
        self._timeout = timeout
        self._tunnels: dict[str, Tunnel] = {}
        self._pool = ThreadPoolExecutor(max_workers=16, thread_name_prefix="gate")

    def close(self) -> None:
        """Close the tunnels."""
        for tunnel in self._tunnels.values():
            tunnel.close()
        self._pool.shutdown(wait=False)

    def _proxies(self) -> list[_Proxy]:
        """Every sidecar that runs."""
        found = []
        for pod in self._cluster.list("Pod", labels=self._sidecars.label):
            meta = pod["metadata"]
            if meta.get("deletionTimestamp") or (pod.get("status") or {}).get("phase") != "Running":
                continue
            key = meta["uid"]
            if key not in self._tunnels:
                self._tunnels[key] = Tunnel(self._cluster, meta["name"], meta["namespace"], ADMIN_PORT)
            found.append(_Proxy(self._tunnels[key], meta))
        return found

    def _wait(
        self,
        proxies: Iterable[_Proxy],
        probe: Probe,
        what: str,
        *,
        code: str = "MB0411",
        help_: str = _SLOW_MESH,
        within: Duration | None = None,
    ) -> Arrival:
        """Wait until ``probe`` has nothing to say of any proxy, looking at all of them at a time.

        Raises:
            Inconclusive: naming the proxy that lags.
        """
        began = time.monotonic()
        arrived: dict[str, float] = {}
        given_up = threading.Event()

        def one(proxy: _Proxy) -> None:
            def look() -> None:
                try:
                    wrong = None if given_up.is_set() else probe(proxy)
                except EnvironmentBroken as error:  # a proxy that has only just been started does not answer yet
                    wrong = error.sentence
                if wrong:
                    raise NotYet(wrong)

            eventually(
                look,
                what=f"{what} at {proxy.pod}",
                within=within or self._timeout,
                code=code,
                failure=Inconclusive,
                help=help_,
            )
            arrived[proxy.pod] = (time.monotonic() - began) * 1000

        futures = [self._pool.submit(one, proxy) for proxy in proxies]
        try:
            for future in futures:
                future.result()
        finally:
            given_up.set()  # an interrupted run does not wait for proxies that nobody asks about any more
        return Arrival(dict(sorted(arrived.items())))

    def before(self, markers: Iterable[Marker]) -> Before:
        """What proxies hold already that could be taken for a change. Asked before the change is written."""
        doubtful = [marker for marker in markers if not marker.unique]
        found: dict[tuple[str, str], bool | str | None] = {}
        for proxy in self._proxies() if doubtful else ():
            pages = _Pages(proxy.tunnel)
            for marker in proxy.meant_by(doubtful):
                dumps = pages.of(marker)
                changed = isinstance(marker, ConfigChanged)
                found[str(marker), proxy.pod] = fingerprint(dumps) if changed else marker.held(dumps)
        return found

    def wait_present(self, markers: Iterable[Marker], before: Before, written: Sequence[Edit] = ()) -> Arrival:
        """Wait until every proxy that a marker is for holds it.

        Args:
            markers: What they are to hold.
            before: What ``before`` said of these markers.
            written: The objects that bring them about: where one is refused, nobody waits for the time to be up.

        Raises:
            Inconclusive: naming the proxy that does not, when the time is up, or the object that is refused; or no proxy
                is there that could.
        """
        wanted, refusing = tuple(markers), Refusing(self._cluster, written)
        since: dict[str, float] = {}
        holding: set[str] = set()

        def lacks(proxy: _Proxy) -> str | None:
            pages = _Pages(proxy.tunnel)
            for marker in proxy.meant_by(wanted):
                dumps = pages.of(marker)
                held = _held(marker, dumps, before.get((str(marker), proxy.pod)))
                if held is False:
                    why = refusing.look(proxy.tunnel)
                    return f"no {marker}" + (f"; {why}" if why else "")
                if held:
                    holding.add(str(marker))
                    since[proxy.pod] = max(since.get(proxy.pod, 0.0), newest(dumps))
            return None

        meant = [p for p in self._proxies() if p.meant_by(wanted)] if wanted else []
        try:
            found = self._wait(meant, lacks, "the arrival of the change")
        except Inconclusive as error:
            error.help = refusing.action() or error.help
            raise
        for marker in wanted:
            if str(marker) not in holding:
                raise Inconclusive(
                    "MB0412",
                    f"No meshed pod is there to hold the change ({marker}).",
                    help="check that the pods that it is for run and have sidecars",
                )
        return Arrival({pod: ms for pod, ms in found.proxies.items() if pod in since}, since)

    def wait_absent(self, markers: Iterable[Marker], before: Before) -> Arrival:
        """Wait until no proxy holds a marker any more that it did not hold before the change.

        Args:
            markers: What is to be gone.
            before: What ``before`` said of these markers.

        Raises:
            Inconclusive: naming the proxy that still does, when the time is up.
        """
        unwanted = tuple(markers)

        def still_has(proxy: _Proxy) -> str | None:
            pages = _Pages(proxy.tunnel)
            for marker in proxy.meant_by(unwanted):
                known = before.get((str(marker), proxy.pod))
                if known is not True and _held(marker, pages.of(marker), known):
                    return f"still {marker}"
            return None

        meant = [p for p in self._proxies() if p.meant_by(unwanted)] if unwanted else []
        return self._wait(meant, still_has, "the withdrawal of the change")

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

    def wait_drained(self) -> None:
        """Wait until no sidecar has listeners or filter chains that drain.

        A proxy's counters go when the listener that counted under them goes, where no other has counted under them since
        (istio/proxy istio_stats.cc: each configuration has a scope of its own).

        Raises:
            Inconclusive: naming a proxy that has, when Istio's drain time is over.
        """
        self._wait(
            self._proxies(),
            _draining,
            "the end of the listeners that are being drained",
            code="MB0438",
            help_="wait until nobody changes the mesh's policies any more, and run it again",
            within=Duration(max(self._timeout.seconds, _DRAIN)),
        )

    def wait_switched_off(self) -> None:
        """Wait until no proxy holds settings of a fault that make it do something: of an armed filter, or of a route.

        Raises:
            Inconclusive: naming the proxy that does.
        """

        def probe(proxy: _Proxy) -> str | None:
            tokens = fault_tokens(proxy.tunnel.get(EXTENSIONS)) | marked_routes(proxy.tunnel.get(ROUTES))
            return f"still switched fault {min(tokens)}" if tokens else None

        self._wait(self._proxies(), probe, "the end of the faults of an earlier run")

    def ejected(self) -> dict[str, tuple[str, ...]]:
        """Host of a service → the callers' pods that keep an endpoint of it ejected."""
        found: dict[str, set[str]] = {}
        for proxy in self._proxies():
            for cluster in read_hosts(proxy.tunnel.get(HOSTS)):
                if cluster.service and cluster.ejects:
                    found.setdefault(cluster.service, set()).add(proxy.pod)
        return {host: tuple(sorted(pods)) for host, pods in sorted(found.items())}

    def wait_none_ejected(self, host: str) -> None:
        """Wait until no caller keeps an endpoint of ``host`` ejected.

        Raises:
            Inconclusive: naming the caller that does.
        """

        def probe(proxy: _Proxy) -> str | None:
            ejects = any(cluster.ejects for cluster in hosts_to(proxy.tunnel.get(HOSTS), host))
            return f"still ejects endpoints of {host}" if ejects else None

        self._wait(self._proxies(), probe, f"the end of the ejections of {host}")

    def wait_endpoints(self, service: ServiceRef, *, some: bool) -> None:
        """Wait until every proxy has (or has no) ready endpoints of a service.

        Raises:
            EnvironmentBroken: it does not come to pass.
        """
        ready_since = math.inf

        def probe() -> None:
            nonlocal ready_since
            for proxy in self._proxies():
                clusters = hosts_to(proxy.tunnel.get(HOSTS), service.host)
                ready = sum(host.ready for cluster in clusters if cluster.whole for host in cluster.hosts)
                if bool(ready) != some:
                    ready_since = math.inf
                    raise NotYet(f"{proxy.pod} has {ready} ready endpoints of {service}")
            ready_since = min(ready_since, time.monotonic())
            if some and time.monotonic() - ready_since < _MERGE_WINDOW:
                raise NotYet(f"the proxies know endpoints of {service} to be ready, and may not heed it yet")

        eventually(
            probe,
            what=f"{service} {'getting' if some else 'losing'} its endpoints",
            within=Duration(max(self._timeout.seconds, 30)),
            code="MB0413",
            failure=EnvironmentBroken,
            help="look at the pods of the service",
        )


def _busy(proxy: _Proxy) -> str | None:
    for cluster in read_hosts(proxy.tunnel.get(HOSTS)):
        active = sum(host.active for host in cluster.hosts)
        if active and (cluster.service or cluster.cluster.startswith(INBOUND)):
            return f"{active} requests under way to {cluster.cluster}"
    return None


def _draining(proxy: _Proxy) -> str | None:
    stats = proxy.tunnel.get(_DRAINING).get("stats") or []
    drained = sum(int(stat["value"]) for stat in stats if str(stat.get("name")).startswith("listener_manager.total_"))
    return f"{drained} listeners or filter chains of it drain" if drained else None


def _held(marker: Marker, dumps: list[Dump], before: bool | str | None) -> bool | None:
    if isinstance(marker, ConfigChanged):
        return None if before is None else fingerprint(dumps) != before
    return marker.held(dumps)
