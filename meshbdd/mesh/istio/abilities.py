"""Istio's statement of what it can do."""

from __future__ import annotations

from meshbdd.intents import Down, Fault
from meshbdd.mesh.abilities import ONLY_THE_LABS_CLIENTS, YES, Ability, Answer, Need

_LOGS = "where the mesh logs accesses as JSON"
"""https://istio.io/latest/docs/tasks/observability/logs/access-log/: off by default, and text where it is on."""

_ON_CLUSTERS = {
    Ability.CLIENTS: ONLY_THE_LABS_CLIENTS,
    Ability.ACCESS_LOG: _LOGS,
    Ability.CIRCUITS: _LOGS,
    Ability.DENIALS: _LOGS,
    Ability.TRACES: f"{_LOGS} with a field traceparent",
}
"""Conditions that every lab meets."""


def answer(need: Need, target: str) -> Answer:
    """Whether Istio can, see ``mesh.abilities.Answering``."""
    if need is Ability.PROMETHEUS:
        return Answer(True, "with Prometheus")
    if target == "lab":
        return YES
    if isinstance(need, Fault | Down):  # which calls met it is read from the logs
        return Answer(True, _LOGS)
    return Answer(True, _ON_CLUSTERS.get(need, "")) if isinstance(need, Ability) else YES
