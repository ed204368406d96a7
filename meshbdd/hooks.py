"""behave's hooks: choose the lab or a cluster, give each scenario its world, and undo whatever happens.

The only place besides the command line where the lab and the world meet.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from behave.matchers import StepParseError

from meshbdd import behave_fixes
from meshbdd.cluster import Cluster, sweep
from meshbdd.cluster.client import default_kubeconfig
from meshbdd.cluster.signals import Signals
from meshbdd.errors import BadInput, ClaimFailed, Inconclusive, MeshbddError, Place, RestoreIncomplete
from meshbdd.mesh import Gate, Istio
from meshbdd.report import tell
from meshbdd.settings import Settings, load_settings
from meshbdd.vocabulary import step_problem
from meshbdd.world import Environment, StepText, World

__all__ = ["after_all", "after_scenario", "after_step", "before_all", "before_scenario", "before_step"]


behave_fixes.allow_a_project_without_steps()


@dataclass(slots=True)
class Tally:
    """What became of a run, for the one who started it."""

    passed: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    inconclusive: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    bad_input: list[str] = field(default_factory=list)
    restore_incomplete: list[str] = field(default_factory=list)
    skipped: int = 0
    refusal: MeshbddError | None = None

    @property
    def exit_code(self) -> int:
        """The exit code of ``meshbdd run``: what needs attention first wins."""
        if self.restore_incomplete:
            return 3
        if self.refusal is not None:
            return self.refusal.exit_code
        if self.failed:
            return 1
        if self.bad_input:
            return BadInput.exit_code
        if self.inconclusive or self.broken:
            return 4
        return 0 if self.passed else 2


tally = Tally()
"""Of the run in this process."""


def _say(sentence: str) -> None:
    if sys.__stderr__ is not None:
        sys.__stderr__.write(f"meshbdd: {sentence}\n")


def _choose(settings: Settings) -> tuple[Cluster, Settings, str | None]:
    """The cluster to run on, the settings that it completes, and the name of the lab that was started for it."""
    if settings.target == "cluster":
        cluster = Cluster.connect(default_kubeconfig(), context=settings.context, namespace=settings.namespace)
        return cluster, settings, None
    from meshbdd.lab import lifecycle  # noqa: PLC0415 - a run on a cluster needs no lab installed

    named = os.environ.get("KUBECONFIG")
    found = next(
        (lab for lab in lifecycle.running() if named and Path(named).resolve() == lab.kubeconfig.resolve()), None
    )
    if named and found is None:
        _say(f"KUBECONFIG={named} is ignored: it leads to no lab that runs (use -D target=cluster to test a cluster)")
    found = found or lifecycle.find(settings.lab)
    started = None
    if found is None:
        found = lifecycle.up(settings.lab, images=settings.images, cwd=settings.project)
        started = found.name
    settings = replace(settings, prometheus=settings.prometheus or found.prometheus)
    return Cluster.connect(found.kubeconfig, namespace=settings.namespace), settings, started


def before_all(context: Any) -> None:
    """Connect, take the signals over, and undo what dead runs left behind."""
    behave_fixes.show_sentences(lambda: context.world.place if hasattr(context, "world") else None)
    context.meshbdd_signals = Signals(lambda: _remaining(context))
    context.meshbdd_signals.install()
    try:
        settings = load_settings(Path(context.config.base_dir), options=dict(context.config.userdata))
        cluster, settings, started = _choose(settings)
        context.meshbdd_started_lab = started
        run = secrets.token_hex(16)
        for sentence in sweep(cluster, settings.namespace or cluster.namespace, settings.undo_budget, own_run=run):
            _say(sentence)
        gate = Gate(cluster, settings.gate_timeout)
        context.meshbdd = Environment(settings, cluster, Istio(cluster, run), gate, run, settings.target, tell)
    except MeshbddError as error:
        tally.refusal = error
        _say(str(error))
        raise


def _remaining(context: Any) -> list[str]:
    world = getattr(context, "world", None)
    return [str(change.edit) for change in world.changes.undo_stack.changes] if world else []


def before_scenario(context: Any, scenario: Any) -> None:
    """Give the scenario a world of its own."""
    registry = context._runner.step_registry
    steps = [
        StepText(step.name, Place(Path(step.filename), step.line), step_problem(registry, step))
        for step in scenario.all_steps
    ]
    context.world = World(context.meshbdd, Path(scenario.filename), steps)
    context.meshbdd_outcome = None


def before_step(context: Any, step: Any) -> None:
    """Remember where the step stands."""
    context.world.place = Place(Path(step.filename), step.line)


def after_step(context: Any, step: Any) -> None:
    """Remember what ended a scenario."""
    error = step.exception
    if error is None:
        return
    context.meshbdd_outcome = error


def after_scenario(context: Any, scenario: Any) -> None:
    """Undo, whatever happened; nothing interrupts this."""
    world = getattr(context, "world", None)
    problem: Exception | None = None
    with context.meshbdd_signals.shielded():
        try:
            if world is not None:
                world.close()
        except RestoreIncomplete as error:
            tally.restore_incomplete.append(f"{scenario.name}: {error.sentence}")
            problem = error
        except MeshbddError as error:
            problem = error
    _count(scenario, context.meshbdd_outcome if hasattr(context, "meshbdd_outcome") else None, problem)
    if problem is not None:
        raise problem


def _count(scenario: Any, outcome: Exception | None, problem: Exception | None) -> None:
    error = outcome or problem
    if error is None and scenario.status.name == "skipped":
        tally.skipped += 1
    elif error is None and all(step.status.name == "passed" for step in scenario.all_steps):
        tally.passed.append(scenario.name)
    elif isinstance(error, ClaimFailed | AssertionError):
        tally.failed.append(scenario.name)
    elif isinstance(error, Inconclusive):
        tally.inconclusive.append(f"{scenario.name}: {error.sentence}")
    elif isinstance(error, BadInput):
        tally.bad_input.append(f"{scenario.name}: {error.sentence}")
    elif wrong := [step for step in scenario.all_steps if step.status.name == "undefined" or _not_understood(step)]:
        tally.bad_input.append(f"{scenario.name}: «{wrong[0].name}» is not understood")
    else:
        tally.broken.append(f"{scenario.name}: {error or scenario.status.name}".splitlines()[0])


def _not_understood(step: Any) -> bool:
    """Whether a converter refused a value in the step's text."""
    return isinstance(step.exception, StepParseError)


def after_all(context: Any) -> None:
    """Take down what this run started."""
    signals = getattr(context, "meshbdd_signals", None)
    with signals.shielded() if signals else contextlib.nullcontext():
        environment = getattr(context, "meshbdd", None)
        if environment is not None:
            environment.gate.close()
        started = getattr(context, "meshbdd_started_lab", None)
        if started:
            from meshbdd.lab import lifecycle  # noqa: PLC0415 - see above

            lifecycle.down(started)
    if signals:
        signals.restore()
