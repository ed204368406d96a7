"""Why a change does not arrive: a proxy that refuses it, as far as the object's status and the proxy itself tell.

The lab's control plane writes what Envoy answered into the object. Istio's writes it into its own log; there the proxies'
counters show that something was refused, and its listeners also what.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from meshbdd.cluster import Cluster, Edit
from meshbdd.cluster.tunnel import Tunnel
from meshbdd.errors import Inconclusive, MeshbddError
from meshbdd.mesh.base import Dump
from meshbdd.mesh.markers import LISTENERS

_COUNTERS = "/stats?format=json&filter=update_rejected"
_KINDS = {"cds": "clusters", "lds": "listeners", "rds": "routes"}
"""Envoy's discovery services whose refusals are counted, https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol"""

_USUAL_SECONDS = 0.05
"""A change that arrives within this is not asked about: most do, and asking costs them time."""
_PAUSE_SECONDS = 0.5
"""Between two questions; a refusal counts that stands for so long while the change is still not there."""
_LONGEST_DETAIL = 400

_CORRECT = "correct what the sentence names; until then the proxies keep the configuration that they had"
_SEE_LOG = "correct the object: the log of the mesh's control plane (istiod) says what the proxy answered"


@dataclass(slots=True)
class _Asked:
    """What a proxy has told so far."""

    first: Mapping[str, int]
    again: float
    told: str = ""


class Refusing:
    """Looks for refusals of one change while it is waited for.

    Args:
        cluster: Where its objects are.
        written: What was written.
    """

    def __init__(self, cluster: Cluster, written: Sequence[Edit]) -> None:
        self._cluster = cluster
        self._written = written
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._again = 0.0
        self._said = ""
        self._proxies: dict[str, _Asked] = {}

    def look(self, tunnel: Tunnel) -> str:
        """Ask why the proxy behind ``tunnel`` does not hold the change yet; each proxy is asked by one thread.

        Returns:
            What it has refused meanwhile; empty where it has not, or does not tell.

        Raises:
            Inconclusive: an object's status says that it is refused.
        """
        now = time.monotonic()
        if now - self._began < _USUAL_SECONDS:
            return ""
        self._see_statuses(now)
        asked = self._proxies.get(tunnel.pod)
        if asked is None:
            self._proxies[tunnel.pod] = _Asked(_counters(tunnel.get(_COUNTERS)), now + _PAUSE_SECONDS)
            return ""
        if now >= asked.again:
            asked.again = now + _PAUSE_SECONDS
            asked.told = _refused(asked.first, _counters(tunnel.get(_COUNTERS)), tunnel)
        return asked.told

    def action(self) -> str | None:
        """What helps where a proxy has refused something; ``None`` where none has."""
        return _SEE_LOG if any(asked.told for asked in self._proxies.values()) else None

    def _see_statuses(self, now: float) -> None:
        with self._lock:
            if now < self._again:
                return
            self._again = now + _PAUSE_SECONDS
            before, self._said = self._said, self._status()
            if self._said and self._said == before:
                raise Inconclusive("MB0463", self._said, help=_CORRECT)

    def _status(self) -> str:
        for edit in self._written:
            try:
                obj = self._cluster.find(edit.kind, edit.name, edit.namespace) or {}
            except MeshbddError:  # whoever waits has its own deadline, and its own sentence
                return ""
            for condition in _refusals(obj):
                return f"{edit} is not in force: {_short(condition['message'].splitlines()[0]).rstrip('.')}."
        return ""


def _refusals(obj: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The conditions by which a control plane says that an object, as it is now, did not make it into the proxies."""
    for condition in (obj.get("status") or {}).get("conditions") or []:
        now = condition.get("observedGeneration") in {None, (obj.get("metadata") or {}).get("generation")}
        if (
            condition.get("type") == "Programmed"
            and condition.get("status") == "False"
            and now
            and condition.get("message")
        ):
            yield condition


def _counters(page: Dump) -> dict[str, int]:
    """Kind of configuration → how many updates of it a proxy has refused so far."""
    found: dict[str, int] = {}
    for stat in page.get("stats") or []:
        for part in str(stat.get("name", "")).split("."):
            if part in _KINDS:
                found[part] = found.get(part, 0) + int(stat.get("value") or 0)
    return found


def _refused(first: Mapping[str, int], now: Mapping[str, int], tunnel: Tunnel) -> str:
    kinds = [name for part, name in _KINDS.items() if now.get(part, 0) > first.get(part, 0)]
    told = [f"the proxy has refused an update of its {' and '.join(kinds)} meanwhile"] if kinds else []
    told += listener_errors(tunnel.get(LISTENERS)) if now.get("lds") else []
    return "; ".join(told)


def listener_errors(page: Dump) -> list[str]:
    """What is wrong with the listeners whose last update a proxy refused, a sentence for each reason."""
    refused: dict[str, set[str]] = {}
    for config in page.get("configs") or []:
        error = config.get("error_state") or {}
        details = " ".join(str(error.get("details", "")).split())
        if details:
            # Of one that it never held, the name stands in what it refuses alone.
            name = config.get("name") or (error.get("failed_configuration") or {}).get("name")
            refused.setdefault(_short(details), set()).add(str(name))
    return [
        f"it refuses the listener{'s' * (len(names) > 1)} {' and '.join(sorted(names))}: {details}"
        for details, names in refused.items()
    ]


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_DETAIL else f"{text[:_LONGEST_DETAIL]}…"
