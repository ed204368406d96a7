"""The arrival gate: every calling proxy holds this scenario's marker, or the verdict is inconclusive.

It reads configuration alone (the admin pages of each sidecar, through the API server's port-forward), never the outcome
that is measured: looking at outcomes to decide when to begin would bend the statistics. No request of it passes a
proxy's listeners, so none stands in a sample, an access log or a counter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from meshbdd.cluster import Edit
from meshbdd.cluster.tunnel import Tunnel
from meshbdd.errors import Inconclusive
from meshbdd.mesh.base import Dump, Marker
from meshbdd.mesh.looking import Arrival, Proxy
from meshbdd.mesh.markers import (
    EXTENSIONS,
    ROUTES,
    ConfigChanged,
    RouteHeld,
    fault_tokens,
    marked_routes,
)
from meshbdd.mesh.pages import fingerprint, newest
from meshbdd.mesh.refusing import Refusing
from meshbdd.mesh.stillness import Stillness
from meshbdd.sidecars import ISTIO

Before = Mapping[tuple[str, tuple[str, str]], bool | str | None]
"""(marker, (pod, its namespace)) → what the pod's proxy held before a change: whether, or a fingerprint."""

_NOT_HIDDEN = ", and that no Sidecar and no exportTo hides the service"
"""What may keep a service from a proxy of Istio's."""


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


class Gate(Stillness):
    """Sees changes arrive at the sidecars of one run's cluster, and leave them."""

    def before(self, markers: Iterable[Marker]) -> Before:
        """What proxies hold already that could be taken for a change. Asked before the change is written."""
        doubtful = [marker for marker in markers if not marker.unique]
        found: dict[tuple[str, tuple[str, str]], bool | str | None] = {}
        for proxy in self.proxies() if doubtful else ():
            pages = _Pages(proxy.tunnel)
            for marker in proxy.meant_by(doubtful):
                dumps = pages.of(marker)
                changed = isinstance(marker, ConfigChanged)
                found[str(marker), proxy.owner] = fingerprint(dumps) if changed else marker.held(dumps)
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

        def lacks(proxy: Proxy) -> str | None:
            pages = _Pages(proxy.tunnel)
            for marker in proxy.meant_by(wanted):
                dumps = pages.of(marker)
                held = _held(marker, dumps, before.get((str(marker), proxy.owner)))
                if held is False:
                    why = refusing.look(proxy.tunnel)
                    return f"no {marker}" + (f"; {why}" if why else "")
                if held:
                    holding.add(str(marker))
                    since[proxy.pod] = max(since.get(proxy.pod, 0.0), newest(dumps))
            return None

        meant = [p for p in self.proxies() if p.meant_by(wanted)] if wanted else []
        try:
            found = self.wait(meant, lacks, "the arrival of the change")
        except Inconclusive as error:
            error.help = refusing.action() or error.help
            raise
        for marker in wanted:
            if str(marker) not in holding and not (isinstance(marker, RouteHeld) and not marker.needed):
                raise Inconclusive(
                    "MB0412",
                    f"No meshed pod is there to hold the change ({marker}): none runs that it is for, or none knows the service.",
                    help="check that these pods run and have sidecars"
                    + (_NOT_HIDDEN if self._sidecars == ISTIO else ""),
                )
        return Arrival({pod: ms for pod, ms in found.proxies.items() if pod in since}, since)

    def wait_absent(self, markers: Iterable[Marker], before: Before, during: Before | None = None) -> Arrival:
        """Wait until no proxy holds a marker any more that it did not hold before the change.

        Args:
            markers: What is to be gone.
            before: What ``before`` said of these markers before the change.
            during: What it said just before they were taken back. What leaves no name is gone when the pages are no more what
                they were then: what they were before the change they may never be again, if something else came since.

        Raises:
            Inconclusive: naming the proxy that still does, when the time is up.
        """
        unwanted = tuple(markers)

        def still_has(proxy: Proxy) -> str | None:
            pages = _Pages(proxy.tunnel)
            for marker in proxy.meant_by(unwanted):
                key = str(marker), proxy.owner
                if before.get(key) is not True and _stays(
                    marker, pages.of(marker), before.get(key), (during or {}).get(key)
                ):
                    return f"still {marker}"
            return None

        meant = [p for p in self.proxies() if p.meant_by(unwanted)] if unwanted else []
        return self.wait(meant, still_has, "the withdrawal of the change")

    def wait_switched_off(self) -> None:
        """Wait until no proxy holds settings of a fault that make it do something: of an armed filter, or of a route.

        Raises:
            Inconclusive: naming the proxy that does.
        """

        def probe(proxy: Proxy) -> str | None:
            tokens = fault_tokens(proxy.tunnel.get(EXTENSIONS)) | marked_routes(proxy.tunnel.get(ROUTES))
            return f"still switched fault {min(tokens)}" if tokens else None

        self.wait(self.proxies(), probe, "the end of the faults of an earlier run")


def _held(marker: Marker, dumps: list[Dump], before: bool | str | None) -> bool | None:
    if isinstance(marker, ConfigChanged):
        return None if before is None else fingerprint(dumps) != before
    return marker.held(dumps)


def _stays(marker: Marker, dumps: list[Dump], before: bool | str | None, during: bool | str | None) -> bool | None:
    if isinstance(marker, ConfigChanged) and during is not None:
        return fingerprint(dumps) == during != before
    return _held(marker, dumps, before)
