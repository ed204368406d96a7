"""Looking into the sidecars of a cluster, all at a time, until each shows what is waited for.

It reads admin pages alone, through the API server's port-forward. No request of it passes a proxy's listeners, so none
stands in a sample, an access log or a counter.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from meshbdd.cluster import Cluster
from meshbdd.cluster.tunnel import PodGone, Tunnel
from meshbdd.errors import EnvironmentBroken, Inconclusive
from meshbdd.mesh.base import Marker
from meshbdd.sidecars import FAULT_LABEL, ISTIO, Sidecars
from meshbdd.units import Duration
from meshbdd.waiting import NotYet, eventually

ADMIN_PORT = 15000
_SLOW_MESH = (
    "raise gate_timeout if the mesh is that slow (in [tool.meshbdd] of pyproject.toml, or -D gate_timeout=30s for one run); "
    "otherwise look at the proxy's configuration"
)


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
class Proxy:
    """A sidecar, reached through its pod."""

    tunnel: Tunnel
    metadata: Mapping[str, Any]

    @property
    def pod(self) -> str:
        """The pod's name."""
        return self.tunnel.pod

    @property
    def owner(self) -> tuple[str, str]:
        """The pod and its namespace: in another one there may be a pod of the same name."""
        return self.tunnel.pod, self.tunnel.namespace

    def meant_by(self, markers: Iterable[Marker]) -> list[Marker]:
        """The markers that it is to hold."""
        return [marker for marker in markers if marker.where.takes(self.metadata)]


Probe = Callable[[Proxy], str | None]
"""Looks into one proxy: ``None`` where all is well, else what is wrong."""


class Looks:
    """Looks into the sidecars of one run's cluster.

    Args:
        cluster: The API through which they are reached.
        timeout: How long each of them may take to show what is waited for.
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

    def proxies(self) -> list[Proxy]:
        """Every sidecar that runs, those of fault backends last: where several lag, the tester's own is named."""
        found = []
        for pod in self._cluster.list("Pod", labels=self._sidecars.label):
            meta = pod["metadata"]
            if meta.get("deletionTimestamp") or (pod.get("status") or {}).get("phase") != "Running":
                continue
            key = meta["uid"]
            if key not in self._tunnels:
                self._tunnels[key] = Tunnel(self._cluster, meta["name"], meta["namespace"], ADMIN_PORT)
            found.append(Proxy(self._tunnels[key], meta))
        return sorted(found, key=lambda proxy: FAULT_LABEL in (proxy.metadata.get("labels") or {}))

    def wait(
        self,
        proxies: Iterable[Proxy],
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

        def one(proxy: Proxy) -> None:
            def look() -> None:
                try:
                    wrong = None if given_up.is_set() else probe(proxy)
                except PodGone as gone:  # it does not come back by this name
                    raise Inconclusive(
                        code, f"{what} at {proxy.pod} cannot be seen: the pod went away.", help=gone.help
                    ) from None
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
