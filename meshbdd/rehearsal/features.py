"""One feature file, rehearsed: what its steps would refuse, and what is doubtful about what they would write."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from behave.model import Scenario, Step
from behave.step_registry import registry

from meshbdd.claims import Claim
from meshbdd.claims.share import ShareClaim
from meshbdd.cluster import Cluster
from meshbdd.cluster.client import ApiFailure
from meshbdd.errors import BadInput, MeshbddError, NotPossible, Place, Refused
from meshbdd.mesh import MESHES, Gate
from meshbdd.options import table_rows
from meshbdd.phrases import problem_of
from meshbdd.rehearsal.applied import Applied, names_in
from meshbdd.rehearsal.delays import StepLine, unnoticed_delays
from meshbdd.rehearsal.doubts import grpc_faults_of_http, planned_count, thin_count
from meshbdd.rehearsal.feature_file import read_feature
from meshbdd.rehearsal.following import follows
from meshbdd.rehearsal.judged import Said, sends, unjudged
from meshbdd.rehearsal.report import Report
from meshbdd.rehearsal.stage import Admit, Object, OnlyInARun, StageCluster, StageGate, everything, namespaces
from meshbdd.rehearsal.writes import Writes
from meshbdd.scenario import Environment, StepText, mentions
from meshbdd.scenario.asides import mixed
from meshbdd.scenario.hosts import resolves
from meshbdd.sense import Finding, Severity
from meshbdd.settings import Settings
from meshbdd.skipping import demanded
from meshbdd.vocabulary import is_ours
from meshbdd.waiting import asked_once
from meshbdd.world import World

_CODE = re.compile(r"(MB\d{4}): (.*)", re.DOTALL)


class _RehearsedWorld(World):
    """A world whose claims are looked at and not judged."""

    claim_made: Claim | None = None

    def judge(self, claim: Claim) -> None:
        """Remember the claim, unless it is one that no number of requests could show and that may ask for any.

        Raises:
            BadInput: it is.
        """
        if self.traffic.draws and isinstance(claim, ShareClaim):
            _ = claim.sequential
        self.claim_made = claim


@dataclass(frozen=True, slots=True)
class _Stage:
    settings: Settings
    objects: tuple[Object, ...]
    admit: Admit
    live: Cluster | None = None
    run: str = "rehearsal"


def rehearse(file: Path, objects: Iterable[Object], settings: Settings, namespace: str, admit: Admit) -> Report:
    """Rehearse a feature file.

    Args:
        file: The feature file.
        objects: The world that it would run in.
        settings: As a run's.
        namespace: The default namespace of services and manifests.
        admit: Asked before each write.
    """
    report = Report()
    stage = _Stage(
        replace(settings, namespace=namespace),
        tuple(objects),
        admit,
    )
    try:
        for scenario in read_feature(file).walk_scenarios():
            _scenario(scenario, file, stage, report)
    except BadInput as error:
        report.refused(error, Place(file))
    return report


def first_refusal(
    steps: Sequence[Step], live: Cluster, settings: Settings, known: Any, run: str = "rehearsal"
) -> MeshbddError | None:
    """What a scenario would be refused for, or skipped since the mesh cannot do it, somewhere in it, if it began now.

    Steps that a project wrote itself may change anything, so nothing behind the first of them is foreseen; nor is anything
    where the account may not see all of the cluster.

    Args:
        steps: behave's model of its steps.
        live: The cluster that it would run on; it is read, and the rehearsal's writes go nowhere.
        settings: The run's.
        known: behave's registry of steps.
        run: The run: what it has standing in the cluster is its own to change.
    """
    try:
        objects = everything(live)
    except ApiFailure as failure:
        if failure.status != HTTPStatus.FORBIDDEN:
            raise
        return None
    stage = _Stage(
        replace(settings, namespace=settings.namespace or live.namespace), objects, lambda _: None, live, run
    )
    file = Path(steps[0].filename)
    world, _ = _set(stage, file, steps)
    for step in steps:
        match = known.find_match(step)
        if match is None or not is_ours(match.func):
            return None
        world.place = Place(file, step.line)
        error = _perform(step, match, world)
        if error is not None and not isinstance(error, OnlyInARun):
            error.met_at(world.place)
            return error
    return None


def _set(stage: _Stage, file: Path, steps: Iterable[Step]) -> tuple[_RehearsedWorld, StageCluster]:
    """A world on the stage, which knows what a scenario's steps will say."""
    cluster = StageCluster(stage.objects, stage.settings.namespace or "", stage.admit, stage.live)
    as_cluster = cast("Cluster", cluster)
    mesh = MESHES[stage.settings.mesh](as_cluster, stage.run)
    environment = Environment(
        stage.settings, as_cluster, mesh, cast("Gate", StageGate()), stage.run, "lab", lambda _e: None
    )
    world = _RehearsedWorld(environment, file, ())
    texts = [StepText(step.name, Place(file, step.line), options=table_rows(step.table)) for step in steps]
    if stage.live is None:  # what other name services know, where the world comes from files, only a run can tell
        homes = namespaces(stage.objects)
        world.traffic.requests.resolves = lambda host: host.rpartition(".")[2] not in homes or resolves(host)
    world.changes.said = tuple(mentions(texts, environment.namespace))
    return world, cluster


def _scenario(scenario: Scenario, file: Path, stage: _Stage, report: Report) -> None:
    stage = replace(stage, settings=replace(stage.settings, mesh=_mesh(scenario, stage.settings)))
    steps = list(scenario.all_steps)
    world, cluster = _set(stage, file, steps)
    count: int | None = None
    lines = []
    if found := mixed([step.name for step in steps]):
        report.refused(found[1], Place(file, steps[found[0]].line))
    refused: dict[str, str] = {}
    left_out = set[tuple[str, str]]()
    writes = Writes(stage.settings.mesh, report)
    said: list[Said] = []
    applied = Applied(file, stage.settings)
    for step in steps:
        place, times = Place(file, step.line), applied.met(step.name)
        lines.append(StepLine(step.name, str(place)))
        problem = problem_of(step)
        said.append(Said(step.name, place, understood=False))
        if problem is not None:
            refused[step.name] = _not_understood(step.name, problem, place, report)
            continue
        before = cluster.objects
        world.place, world.claim_made = place, None
        match = registry.find_match(step)
        if is_ours(match.func):  # those that a project wrote itself are not ours to run without a mesh
            error = _perform(step, match, world)
            if isinstance(error, OnlyInARun):
                report.leave_open(times)
                error = None
            claim = world.claim_made
            said[-1] = replace(said[-1], claim=claim.text if claim else "", understood=error is None)
            if error is not None:
                if not follows(error, step.name, refused, left_out):
                    _refused(error, place, report)
                left_out |= names_in(step.name, file, stage.settings)
                refused[step.name] = error.code
        count = planned_count(step.name, count)
        if (thin := thin_count(world.claim_made, count, str(place))) is not None:
            report.add(thin, place)
        if sends(step.name):
            writes.used()
        writes.written(before, cluster.objects, place)
    writes.used()
    delays = unnoticed_delays(lines, cluster.objects, cluster.namespace)
    for finding in (*delays, *grpc_faults_of_http(lines, world.traffic.requests.all, cluster.namespace)):
        report.add(finding, next(Place(file, s.line) for s in steps if str(Place(file, s.line)) == finding.object))
    for inconclusive, place in unjudged(said):
        report.refused(inconclusive, place)


def _mesh(scenario: Scenario, settings: Settings) -> str:
    """The mesh that a scenario demands, else that of the settings; Istio where they leave it open."""
    open_to = demanded(scenario.effective_tags) or sorted(MESHES)
    return settings.mesh if settings.mesh in open_to else open_to[0]


def _not_understood(text: str, problem: str, place: Place, report: Report) -> str:
    """Report a step that is not understood; gives the code."""
    if coded := _CODE.fullmatch(problem):
        code, sentence, help_ = coded[1], coded[2], None
    else:
        code, help_ = "MB0508", "meshbdd steps lists the phrases"
        sentence = f"The step «{text}» is not understood: {problem}"
    report.refused(BadInput(code, sentence, help=help_, place=place), place)
    return code


def _perform(step: Step, match: Any, world: World) -> MeshbddError | None:
    """Run a step; gives what it is refused for, or that only a run can tell what comes of it: nothing answers here."""
    named = {argument.name: argument.value for argument in match.arguments}
    context = SimpleNamespace(world=world, table=step.table, text=step.text)
    try:
        with asked_once():
            match.func(context, **named)
    except (BadInput, Refused, NotPossible) as error:
        return error
    except Exception:  # noqa: BLE001 - there are no answers, logs and proxies here
        return OnlyInARun(f"what comes of «{step.name}»")
    return None


def _refused(error: MeshbddError, place: Place, report: Report) -> None:
    if isinstance(error, NotPossible):
        report.add(Finding(str(place), error.code, Severity.INFO, error.sentence, error.help or ""), place)
    else:
        report.refused(error, place)
