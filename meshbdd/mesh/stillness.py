"""When nothing of before is under way in a mesh: no request, no listener that drains, no ejection, no old endpoint."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Mapping
from typing import Any

from meshbdd.errors import EnvironmentBroken, Inconclusive
from meshbdd.intents import ServiceRef
from meshbdd.mesh.carried import EITHER, under_way
from meshbdd.mesh.catalog import Catalog, Object
from meshbdd.mesh.endpoints import Own, clusters_with, leads_of, not_got, not_lost
from meshbdd.mesh.hosts_page import HOSTS, hosts_to, read_hosts
from meshbdd.mesh.looking import Looks, Proxy
from meshbdd.mesh.pages import DRAINING, draining
from meshbdd.mesh.workloads import has_pods_due
from meshbdd.sidecars import LINKERD
from meshbdd.units import Duration
from meshbdd.waiting import NotYet, eventually

_DRAIN = 60
"""Seconds: Istio's drain time is 45 (istio/api mesh/v1alpha1/proxy.proto, ``drainDuration``)."""
_LONGEST = 30
"""Seconds at least that a service's endpoints are waited for, whatever the gate's timeout: its pods have to start."""
_MERGE_WINDOW = 1.0
"""Seconds in which Envoy gathers changes of endpoints' health before it heeds them: ``update_merge_window``'s default."""
_ROUTES = ("HTTPRoute", "HTTPRoute.policy.linkerd.io", "GRPCRoute", "ServiceProfile")


class Stillness(Looks):
    """Waits for the end of what was before."""

    def wait_quiet(self) -> None:
        """Wait until no sidecar has a request under way, so that none of an earlier scenario counts in this one.

        A connection of a port that carries no HTTP is none.

        Raises:
            Inconclusive: naming a proxy that has.
        """
        try:
            self.wait(
                self.proxies(),
                _busy,
                "the end of the requests that were under way before this scenario",
                code="MB0430",
                help_="let nobody else send requests to these services while the scenario runs",
            )
        except Inconclusive as error:
            if EITHER in error.sentence:
                error.help = "say of that port that it carries no HTTP, if it does not: then its open connections count for nothing"
            raise

    def wait_drained(self) -> None:
        """Wait until no sidecar has listeners or filter chains that drain.

        A proxy's counters go when the listener that counted under them goes, where no other has counted under them since
        (istio/proxy istio_stats.cc: each configuration has a scope of its own).

        Raises:
            Inconclusive: naming a proxy that has, when Istio's drain time is over.
        """
        self.wait(
            self.proxies(),
            _draining,
            "the end of the listeners that are being drained",
            code="MB0438",
            help_="wait until nobody changes the mesh's policies any more, and run it again",
            within=Duration(max(self._timeout.seconds, _DRAIN)),
        )

    def ejected(self) -> dict[str, tuple[str, ...]]:
        """Host of a service → the callers' pods that keep an endpoint of it ejected."""
        found: dict[str, set[str]] = {}
        for proxy in self.proxies():
            for cluster in read_hosts(proxy.tunnel.get(HOSTS)):
                if cluster.service and cluster.ejects:
                    found.setdefault(cluster.service, set()).add(proxy.pod)
        return {host: tuple(sorted(pods)) for host, pods in sorted(found.items())}

    def wait_none_ejected(self, host: str) -> None:
        """Wait until no caller keeps an endpoint of ``host`` ejected.

        Raises:
            Inconclusive: naming the caller that does.
        """

        def probe(proxy: Proxy) -> str | None:
            ejects = any(cluster.ejects for cluster in hosts_to(proxy.tunnel.get(HOSTS), host))
            return f"still ejects endpoints of {host}" if ejects else None

        self.wait(self.proxies(), probe, f"the end of the ejections of {host}")

    def endpoints(self, service: ServiceRef) -> Own:
        """What is a service's own, as the API and the proxies tell. Asked before it loses its endpoints."""
        addresses = self._addresses(service)
        found = set[str]()
        for proxy in self.proxies():
            with contextlib.suppress(EnvironmentBroken):  # one that has only just been started does not answer yet
                found.update(clusters_with(proxy.tunnel.get(HOSTS), service.host, addresses))
        routes = self._routes()
        return Own(addresses, {name: leads_of(name, routes) for name in found})

    def _routes(self) -> list[Object]:
        """The objects that clusters of Linkerd's proxies are called by."""
        catalog = Catalog(self._cluster, self._sidecars)
        return [obj for kind in _ROUTES for obj in catalog.readable(kind)] if self._sidecars is LINKERD else []

    def _addresses(self, service: ServiceRef) -> frozenset[str]:
        """The addresses of the ready pods behind a service."""
        catalog = Catalog(self._cluster, self._sidecars)
        statuses = [pod.get("status") or {} for pod in catalog.pods(catalog.labels_of(service), service.namespace)]
        ready = [s for s in statuses if any(_is_ready(condition) for condition in s.get("conditions") or [])]
        own = [address for s in ready for address in (s.get("podIP"), *(ip.get("ip") for ip in s.get("podIPs") or []))]
        return frozenset(str(address) for address in own if address)

    def wait_endpoints(self, service: ServiceRef, before: Own, *, some: bool) -> None:
        """Wait until every proxy has (or has no) ready endpoints of a service.

        None is waited for where none is due: the Service, or what brought its pods, may have been undone together with
        what took them away.

        Args:
            service: The service.
            before: What ``endpoints`` said of it before it lost them.
            some: Whether they are to be there.

        Raises:
            EnvironmentBroken: it does not come to pass.
        """
        ready_since = math.inf
        routes = self._routes() if some else []

        def probe() -> None:
            nonlocal ready_since
            if some and not has_pods_due(Catalog(self._cluster, self._sidecars), service):
                return
            own = before.now(self._addresses(service), routes) if some else before
            if some and not own.addresses:
                ready_since = math.inf
                raise NotYet(f"no pod behind {service} is ready")
            for proxy in self.proxies():
                wrong = (not_got if some else not_lost)(proxy.tunnel.get(HOSTS), service.host, own)
                if wrong:
                    ready_since = math.inf
                    raise NotYet(f"{proxy.pod} has {wrong} of {service}")
            ready_since = min(ready_since, time.monotonic())
            if some and time.monotonic() - ready_since < _MERGE_WINDOW:
                raise NotYet(f"the proxies know endpoints of {service} to be ready, and may not heed it yet")

        eventually(
            probe,
            what=f"{service} {'getting' if some else 'losing'} its endpoints",
            within=Duration(max(self._timeout.seconds, _LONGEST)),
            code="MB0413",
            failure=EnvironmentBroken,
            help="look at the pods of the service",
        )


def _is_ready(condition: Mapping[str, Any]) -> bool:
    return condition.get("type") == "Ready" and condition.get("status") == "True"


def _busy(proxy: Proxy) -> str | None:
    return under_way(proxy.tunnel.get)


def _draining(proxy: Proxy) -> str | None:
    drained = draining(proxy.tunnel.get(DRAINING))
    return f"{drained} listeners or filter chains of it drain" if drained else None
