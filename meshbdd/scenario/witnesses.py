"""The pods that saw a scenario's requests, and those that went away, or whose proxy did, with what they logged and counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from meshbdd.claims import Outcome, Verdict
from meshbdd.intents import ServiceRef
from meshbdd.scenario.traffic import Traffic
from meshbdd.sidecars import FAULT_LABEL
from meshbdd.telemetry.proxies import Proxies, restarts


class Witnesses:
    """The pods with a proxy that were there when a scenario sent requests.

    Args:
        traffic: The scenario's requests.
        proxies: The way to the pods.
        asked: Whether anything will be claimed of what they saw.
    """

    def __init__(self, traffic: Traffic, proxies: Proxies, *, asked: bool) -> None:
        self._traffic = traffic
        self._proxies = proxies
        self._asked = asked
        self._seen: dict[tuple[str, int], Mapping[str, Any]] = {}
        self.look()

    def look(self) -> None:
        """Remember who is there, before the mesh is changed for instance."""
        if self._asked:
            staying = [pod for pod in self._proxies.every() if not pod["metadata"].get("deletionTimestamp")]
            self._seen.update({_life(pod): pod["metadata"] for pod in staying})

    def mesh_changed(self) -> None:
        """A change is in force: who went away before the first request has seen none."""
        if not self._traffic.has_sent:
            self._seen.clear()
            self.look()

    def gone(self, *services: ServiceRef) -> list[str]:
        """The names of the pods, of services and their fault backends, that are there no more, or have another proxy by now."""
        found = []
        for service in services if self._seen else ():
            there = {_life(pod) for pod in (*self._proxies.pods(service), *self._proxies.fault_backends(service))}
            selectors = self._proxies.selector(service).items(), {FAULT_LABEL: service.name}.items()
            for life, meta in self._seen.items():
                labels = (meta.get("labels") or {}).items()
                ours = meta.get("namespace") == service.namespace and any(wanted <= labels for wanted in selectors)
                if ours and life not in there:
                    found.append(str(meta["name"]))
        return sorted(found)

    def whole(self, verdict: Verdict, *services: ServiceRef, unless: Outcome | None = None) -> Verdict:
        """A verdict on what the pods of services saw: it cannot be told where one of them went away.

        Args:
            verdict: What those tell that are there.
            services: Whose pods they are.
            unless: The outcome that is so whatever others saw.
        """
        gone = [] if verdict.outcome in {unless, Outcome.INCONCLUSIVE} else self.gone(*services)
        if not gone:
            return verdict
        return replace(
            verdict,
            outcome=Outcome.INCONCLUSIVE,
            sentence=f"{verdict.sentence}; but pod {gone[0]} or its proxy went away in this scenario, with what it logged and counted",
            help="claim it before pods are replaced and proxies started anew, or keep them",
        )


def _life(pod: Mapping[str, Any]) -> tuple[str, int]:
    """A pod, and which start of its proxy it is."""
    return pod["metadata"]["uid"], restarts(pod)
