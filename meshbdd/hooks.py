"""behave's hooks: choose the lab or a cluster, give each scenario its world, and undo whatever happens.

The only place besides the command line where the lab and the world meet.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from behave.model_type import Status

from meshbdd import behave_fixes
from meshbdd.cluster import Cluster, changed_by_others, sweep, sweep_own
from meshbdd.cluster.client import default_kubeconfig, server_of
from meshbdd.cluster.signals import Signals
from meshbdd.errors import BadInput, MeshbddError, Place, RestoreIncomplete
from meshbdd.evidence import RunBegan
from meshbdd.mesh import MESHES, Gate
from meshbdd.mesh.installed import find_mesh
from meshbdd.options import table_rows
from meshbdd.phrases import asked_by, problem_of
from meshbdd.rehearsal import first_refusal
from meshbdd.report import expect, report_problem, tell
from meshbdd.scenario.left_behind import left_behind
from meshbdd.settings import Settings, load_settings
from meshbdd.skipping import impossible, other_mesh, skip_rest
from meshbdd.world import Environment, StepText, World

_NOT_GREEN = {Status.failed, Status.error, Status.hook_error, Status.undefined, Status.pending}

__all__ = ["after_all", "after_scenario", "after_step", "before_all", "before_scenario", "before_step"]


behave_fixes.allow_a_project_without_steps()
behave_fixes.refuse_what_is_not_read()


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
    server = server_of(Path(named)) if named else None
    found = next((lab for lab in lifecycle.running() if server == lab.url), None)
    if named and found is None:
        _say(f"KUBECONFIG={named} is ignored: it leads to no lab that runs (use -D target=cluster to test a cluster)")
    found = found or lifecycle.find(settings.lab)
    started = None
    if found is None:
        mesh = "istio" if settings.mesh == "auto" else settings.mesh
        found = lifecycle.up(settings.lab, images=settings.images, cwd=settings.project, mesh=mesh)
        started = found.name
    elif settings.mesh not in {"auto", found.mesh}:
        raise BadInput(
            "MB0217",
            f"The lab '{found.name}' is up and plays {found.mesh}; the run is to be on {settings.mesh}.",
            help=f"name another lab (-D lab={settings.mesh}), or take this one down: meshbdd lab down {found.name}",
        )
    settings = replace(settings, prometheus=settings.prometheus or found.prometheus)
    return Cluster.connect(found.kubeconfig, namespace=settings.namespace), settings, started


def before_all(context: Any) -> None:
    """Connect, take the signals over, and undo what dead runs left behind."""
    expect(context._runner.features)
    behave_fixes.explain_undefined_steps(context._runner)
    behave_fixes.show_sentences(lambda: context.world.place if hasattr(context, "world") else None)
    context.meshbdd_signals = Signals(lambda: _remaining(context))
    context.meshbdd_signals.install()
    try:
        settings = load_settings(Path(context.config.base_dir), options=dict(context.config.userdata))
        cluster, settings, started = _choose(settings)
        context.meshbdd_started_lab = started
        settings = replace(settings, mesh=find_mesh(cluster, settings.mesh))
        run = secrets.token_hex(16)
        mesh = MESHES[settings.mesh](cluster, run)
        gate = Gate(cluster, settings.gate_timeout, mesh.sidecars)
        context.meshbdd = Environment(settings, cluster, mesh, gate, run, settings.target, tell)
        _undo_left_behind(context.meshbdd)
        tell(RunBegan(_facts(context.meshbdd, started)))
    except MeshbddError as error:
        report_problem(error)  # what runs the hooks says it on the screen
        raise


def _undo_left_behind(environment: Environment) -> None:
    cluster, gate, namespace, run = environment.cluster, environment.gate, environment.namespace, environment.run
    changed = list(changed_by_others(cluster, namespace, run))
    budget = environment.settings.undo_budget
    for sentence in sweep(cluster, namespace, budget, own_run=run, switched_off=gate.wait_switched_off):
        _say(sentence)
    if changed:
        environment.standing.owe(*left_behind(cluster, changed, changed_by_others(cluster, namespace, run)))


def _facts(environment: Environment, started: str | None) -> dict[str, str]:
    where = (
        f"lab, {'started for this run' if started else 'was up already'}" if environment.target == "lab" else "cluster"
    )
    settings = environment.settings
    facts = {"Target": where, "Mesh": settings.mesh, "Namespace": environment.namespace, "Run": environment.run}
    if environment.target != "lab":
        return {**facts, "Context": settings.context or "the kubeconfig's current one"}
    from meshbdd.lab import lifecycle  # noqa: PLC0415 - see above

    return facts | {f"Lab deviation {name}": told for name, told in lifecycle.deviations(settings.mesh).items()}


def _remaining(context: Any) -> list[str]:
    world, environment = getattr(context, "world", None), getattr(context, "meshbdd", None)
    changes = world.changes.undo_stack.changes if world else ()
    standing = environment.standing.changes if environment else ()
    return [str(change.edit) for change in (*standing, *changes)]


def before_scenario(context: Any, scenario: Any) -> None:
    """Give the scenario a world of its own, unless it is none for this mesh."""
    environment, registry = context.meshbdd, context._runner.step_registry
    steps = [
        StepText(
            step.name,
            Place(Path(step.filename), step.line),
            problem_of(step, registry),
            table_rows(step.table),
            asked_by(step, environment.namespace, registry),
        )
        for step in scenario.all_steps
    ]
    reason = other_mesh(scenario.effective_tags, environment.settings.mesh) or impossible(environment, steps)
    if reason is not None:
        scenario.mark_skipped(reason)
        return
    rehearsal = partial(
        first_refusal, tuple(scenario.all_steps), environment.cluster, environment.settings, registry, environment.run
    )
    context.world = World(environment, Path(scenario.filename), steps, rehearsal)


def before_step(context: Any, step: Any) -> None:
    """Remember where the step stands."""
    context.world.place = Place(Path(step.filename), step.line)


def after_step(context: Any, step: Any) -> None:
    """Skip what is left of a scenario that wants what this mesh cannot do."""
    skip_rest(context.scenario, step)


def after_scenario(context: Any, scenario: Any) -> None:
    """Undo, whatever happened; nothing interrupts this."""
    world, signals = getattr(context, "world", None), getattr(context, "meshbdd_signals", None)
    with signals.shielded() if signals else contextlib.nullcontext():
        if world is not None:
            world.close(skipped=bool(getattr(scenario, "should_skip", False)), broken=_broken(scenario))


def _broken(scenario: Any) -> bool:
    """Whether a step of a scenario failed, or could not be taken."""
    return any(step.status in _NOT_GREEN for step in scenario.all_steps)


def _leave(environment: Environment) -> None:
    """Take away what stood in the mesh for the whole run, and see that nothing of the run is left."""
    try:
        for sentence in environment.close():
            _say(sentence)
        left = sweep_own(environment.cluster, environment.namespace, environment.settings.undo_budget, environment.run)
        if left:
            raise RestoreIncomplete(
                "MB0319",
                f"Until the end of this run changes of its scenarios stood that were to be gone: {' '.join(left)}",
                help="believe no verdict of a scenario that came after them; it is restored now, run the features again",
            )
    except MeshbddError as error:
        report_problem(error)
        _say(str(error))


def after_all(context: Any) -> None:
    """Take down what this run started."""
    signals = getattr(context, "meshbdd_signals", None)
    with signals.shielded() if signals else contextlib.nullcontext():
        environment = getattr(context, "meshbdd", None)
        if environment is not None:
            _leave(environment)
        started = getattr(context, "meshbdd_started_lab", None)
        if started:
            from meshbdd.lab import lifecycle  # noqa: PLC0415 - see above

            lifecycle.down(started)
    if signals:
        signals.restore()
