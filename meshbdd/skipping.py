"""Scenarios that are skipped with a reason: they demand another mesh, or want what this one cannot do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from behave.model_type import Status

from meshbdd.errors import MeshbddError, NotPossible
from meshbdd.mesh.abilities import TITLES
from meshbdd.report.outcome import sentence_of
from meshbdd.scenario import Environment, StepText


def demanded(tags: Iterable[str]) -> Sequence[str]:
    """The meshes that a scenario's tags demand, any of them; none where it runs on every mesh."""
    return sorted({tag.lower() for tag in tags} & set(TITLES))


def other_mesh(tags: Iterable[str], mesh: str) -> str | None:
    """Why a scenario is none for a mesh; ``None`` where its tags demand no other.

    Args:
        tags: Its own, its rule's and its feature's. ``@istio`` and ``@linkerd`` demand a mesh, both of them either one.
        mesh: The mesh of the run.
    """
    meshes = demanded(tags)
    if not meshes or mesh in meshes:
        return None
    names = " or ".join(TITLES[name] for name in meshes)
    shown = " ".join(f"@{name}" for name in meshes)
    return f"needs {names}: tagged {shown}; this run is on {TITLES[mesh]}"


def impossible(environment: Environment, steps: Iterable[StepText]) -> str | None:
    """Why a mesh cannot do all that a scenario asks of it; ``None`` where it can, or where something else is wrong.

    Args:
        environment: What the run shares.
        steps: Those of the scenario. One that is not understood is a mistake on every mesh, and told as such.
    """
    steps = list(steps)
    if any(step.problem for step in steps):
        return None
    for step in steps:
        for asked in step.needs:
            try:
                environment.require(asked, step.text)
            except NotPossible as error:
                return sentence_of(error)
            except MeshbddError:
                continue  # said again when it matters, at its place
    return None


def skip_rest(scenario: Any, step: Any) -> None:
    """Skip a scenario from a step on that the mesh cannot do; other steps are left as they are.

    behave has written the error down as the step's own. Without that, the step counts as not run, and the scenario as
    skipped.

    Args:
        scenario: behave's model of it.
        step: behave's model of the step that has just run.
    """
    error = step.exception
    if not isinstance(error, NotPossible):
        return
    step.exception = step.exc_traceback = step.error_message = None
    step.captured.reset()
    step.status = Status.untested
    scenario.skip(sentence_of(error))
