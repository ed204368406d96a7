"""When logs are complete: once nothing comes any more."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import TypeVar

from meshbdd.errors import Inconclusive
from meshbdd.scenario.environment import Environment
from meshbdd.telemetry.access_log import Entry
from meshbdd.units import Duration
from meshbdd.waiting import NotYet, eventually

T = TypeVar("T")

_QUIET = {"lab": 0.1, "cluster": 1.5}
"""Seconds in which a log that is complete does not grow: the lab's proxies flush theirs every 20 ms, Istio's every second
(istio/istio pkg/envoy/proxy.go, ``--file-flush-interval-msec 1000``)."""
_SETTLE = Duration(5)
"""Counters lag by Envoy's flush of statistics (5 s by default: istio/istio pkg/bootstrap/config.go), logs by less."""


def settled(environment: Environment, read: Callable[[], list[Entry]], *, loading: bool) -> list[Entry]:
    """What was logged, once nothing comes any more.

    Args:
        environment: How quick its proxies' logs are.
        read: Gives what was logged so far.
        loading: Whether a load is on, so that something always comes: then once it must be there.
    """
    quiet = _QUIET[environment.target]
    seen: list[tuple[float, list[Entry]]] = []

    def probe() -> None:
        entries, now = read(), time.monotonic()
        if not seen or len(seen[-1][1]) != len(entries):
            seen.append((now, entries))
        if now - seen[-1][0] < quiet:
            raise NotYet(f"{len(entries)} so far")

    with contextlib.suppress(Inconclusive):
        eventually(
            probe,
            what="it",
            within=Duration(quiet) if loading else _SETTLE,
            failure=Inconclusive,
            first_pause=quiet,  # a look asks for the log of every pod, and one before that tells nothing
        )
    return seen[-1][1]


def or_nothing(probe: Callable[[], T], otherwise: Callable[[], T], within: Duration = _SETTLE) -> T:
    """What a probe gives, or in the end what there is without it; the verdict says what is missing."""
    try:
        return eventually(probe, what="it", within=within, failure=Inconclusive)
    except Inconclusive:
        return otherwise()


def in_time(probe: Callable[[], object], limit: Duration) -> bool:
    """Ask until a probe gives an answer, or the time is up; the verdict says what there was to see."""
    try:
        eventually(probe, what="it", within=limit, failure=Inconclusive)
    except Inconclusive:
        return False
    return True
