"""When Prometheus knows all that was before a moment: it asks each proxy in its own time."""

from __future__ import annotations

from collections.abc import Mapping

from meshbdd.errors import Inconclusive, MeshbddError
from meshbdd.scenario.environment import Environment
from meshbdd.telemetry import metrics
from meshbdd.telemetry.prometheus import Prometheus
from meshbdd.telemetry.promql import Query
from meshbdd.telemetry.proxies import Proxies, address_of
from meshbdd.units import Duration
from meshbdd.waiting import NotYet, eventually

_FLUSH_SECONDS = {"lab": 0.0, "cluster": 5.0}
"""Envoy flushes its statistics every 5 s (Bootstrap.stats_flush_interval); the lab's do it whenever they are asked."""
_SCRAPE = {"lab": Duration(15), "cluster": Duration(40)}
"""Two scrapes of Istio's sample configuration (15 s each), and some time for the answers; the lab's scrapes twice a second."""


class Scrapes:
    """Prometheus' scrapes of the proxies.

    Args:
        environment: What the run shares.
        prometheus: The Prometheus.
        proxies: The pods with a proxy, and what their pages say.
        of_histograms: Whether what is asked of it is about histograms.
    """

    def __init__(
        self, environment: Environment, prometheus: Prometheus, proxies: Proxies, *, of_histograms: bool
    ) -> None:
        self._environment = environment
        self._prometheus = prometheus
        self._proxies = proxies
        self._of_histograms = of_histograms
        self._unscraped: frozenset[str] = frozenset()
        """Pods that Prometheus does not scrape, though it does scrape others."""
        self._failed: frozenset[str] = frozenset()
        """Pods of which it was waited in vain for a scrape that does not fail: it is not waited for again."""
        self.uncounted: frozenset[str] = frozenset()
        """Those of which it was so when counting began."""

    def wait_first(self, since: float) -> float:
        """The same as ``wait``, as counting begins."""
        self._failed = frozenset()
        at = self.wait(since, "before the first request")
        self.uncounted = self._failed
        return at

    def wait(self, since: float, when: str) -> float:
        """Wait until Prometheus knows all that was before a time (Unix, seconds); gives when it had asked the last proxy.

        A proxy merges its histograms when it flushes its statistics, and the lab's do so when they are asked: what was
        observed since the flush before is told to the one who asks next.

        Raises:
            Inconclusive: it scrapes nothing, or not often enough.
        """
        if not self._of_histograms:
            return self._wait_one(since, when)
        asked = self._wait_one(since + _FLUSH_SECONDS[self._environment.target], when)
        return self._wait_one(asked + 0.001, when)

    def _wait_one(self, since: float, when: str) -> float:
        seen: list[tuple[frozenset[str], frozenset[str], float]] = []

        def probe() -> float:
            seen[:] = [self._see(since)]
            missing, failing, at = seen[0]
            if missing - self._unscraped:
                raise NotYet(f"it does not scrape {min(missing - self._unscraped)}")
            if failing - self._failed:
                raise NotYet(f"its last scrape of pod {min(failing - self._failed)} failed")
            return at

        try:
            return eventually(
                probe,
                what=f"Prometheus scraping every proxy {when}",
                within=_SCRAPE[self._environment.target],
                code="MB0648",
                failure=Inconclusive,
                help="look at Prometheus' targets",
            )
        except Inconclusive:
            if not seen:
                raise
            self._unscraped, failing, at = seen[0]
            self._failed |= failing
            return at

    def _see(self, since: float) -> tuple[frozenset[str], frozenset[str], float]:
        """See that Prometheus has scraped since a time.

        Gives the pods that it never did, those of which the last scrape failed, and when it scraped the last one.

        A Prometheus whose targets go by other names than the pods' addresses is taken at its word for all that it has.

        Raises:
            NotYet: it has not scraped one of those that it does scrape.
        """
        pods, scrapes = self._pods(), self._last()
        if not scrapes:
            raise NotYet("it scrapes nothing")
        missing = frozenset(name for address, name in pods.items() if address not in scrapes)
        failing = _failing(pods, scrapes)
        ours = [scrapes[address] for address in pods if address in scrapes] or list(scrapes.values())
        ours = [at for at in ours if at]
        if not ours:
            raise NotYet("all of its last scrapes failed")
        if min(ours) < since:
            raise NotYet(f"a target was last scraped {since - min(ours):.1f} s before")
        return (missing if len(missing) < len(pods) else frozenset()), failing, max(ours)

    def _pods(self) -> dict[str, str]:
        """The address of each pod with a proxy → its name."""
        return {address_of(pod): str(pod["metadata"]["name"]) for pod in self._proxies.every()}

    def failing(self) -> frozenset[str]:
        """The pods of which the last scrape failed."""
        return _failing(self._pods(), self._last())

    def _last(self) -> Mapping[str, float]:
        return self._prometheus.last_scrapes(self._proxies.sidecars.scraped)

    def unscraped_and_meant(self, query: Query) -> list[str]:
        """The pods that are not scraped and whose own page has a series that the query may mean, or cannot be read."""
        return self.meant(query, self._unscraped)

    def meant(self, query: Query, names: frozenset[str]) -> list[str]:
        """Those of some pods whose own page has a series that a query may mean, or cannot be read."""
        if not names:
            return []
        port, path = self._proxies.sidecars.metrics
        found = []
        for pod in self._proxies.every():
            name = str(pod["metadata"]["name"])
            if name in names:
                try:
                    page = self._proxies.tunnel(pod, port).text(path)
                except MeshbddError:
                    found.append(name)
                    continue
                if any(metrics.may_have(page, query.source(selector)) for selector in query.selectors):
                    found.append(name)
        return sorted(found)


def _failing(pods: Mapping[str, str], scrapes: Mapping[str, float]) -> frozenset[str]:
    return frozenset(name for address, name in pods.items() if scrapes.get(address) == 0)
