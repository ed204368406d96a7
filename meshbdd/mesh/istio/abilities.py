"""Istio's statement of what it can do."""

from __future__ import annotations

from meshbdd.intents import Down, Fault
from meshbdd.mesh.abilities import ONLY_THE_LABS_CLIENTS, YES, Ability, Answer, Need
from meshbdd.mesh.manifest import kinds_of

_LOGS = "where the mesh logs accesses as JSON"
"""https://istio.io/latest/docs/tasks/observability/logs/access-log/: off by default, and text where it is on."""

_ANYWHERE = {Ability.MANIFESTS: f"of the kinds {kinds_of('istio')}", Ability.PROMETHEUS: "with Prometheus"}
_ON_CLUSTERS = {
    Ability.CLIENTS: ONLY_THE_LABS_CLIENTS,
    Ability.ACCESS_LOG: _LOGS,
    Ability.CIRCUITS: _LOGS,
    Ability.DENIALS: _LOGS,
    Ability.ROTATION: "where the control plane issues certificates that are renewed so soon",
    Ability.TRACES: f"{_LOGS} with a field traceparent",
}
"""Conditions that every lab meets."""


def answer(need: Need, target: str) -> Answer:
    """Whether Istio can, see ``mesh.abilities.Answering``."""
    if isinstance(need, Ability) and need in _ANYWHERE:
        return Answer(True, _ANYWHERE[need])
    if target == "lab":
        return YES
    if isinstance(need, Fault | Down):  # which calls met it is read from the logs
        return Answer(True, _LOGS)
    return Answer(True, _ON_CLUSTERS.get(need, "")) if isinstance(need, Ability) else YES
