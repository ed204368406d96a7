"""One feature file, rehearsed: what its steps would refuse, and what is doubtful about what they would write."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from behave.model import Feature, Scenario
from behave.parser import ParserError, parse_file
from behave.step_registry import registry

from meshbdd.claims import Claim
from meshbdd.cluster import Cluster
from meshbdd.errors import BadInput, NotPossible, Place, Refused
from meshbdd.mesh import Gate, Istio, Linkerd, Mesh
from meshbdd.mesh.manifest import find_manifest
from meshbdd.phrases import is_ours
from meshbdd.rehearsal.doubts import StepLine, planned_count, thin_count, unnoticed_delays
from meshbdd.rehearsal.report import Report
from meshbdd.rehearsal.stage import Admit, Object, StageCluster, StageGate
from meshbdd.scenario import Environment, StepText, mentions
from meshbdd.sense import Finding, Severity, check_changes
from meshbdd.settings import Settings
from meshbdd.skipping import demanded
from meshbdd.vocabulary import step_problem, table_rows
from meshbdd.world import World

_FOLLOWS = {"MB0506", "MB0507"}
"""Nothing to take back: what a step says whose Given was refused before it."""

_MANIFEST = re.compile(r'the manifest "([^"]+)" is (?:applied|removed)')
_CODE = re.compile(r"(MB\d{4}): (.*)", re.DOTALL)


class _RehearsedWorld(World):
    """A world whose claims are looked at and not judged."""

    claim_made: Claim | None = None

    def judge(self, claim: Claim) -> None:
        """Remember the claim."""
        self.claim_made = claim


@dataclass(frozen=True, slots=True)
class _Stage:
    settings: Settings
    namespace: str
    objects: tuple[Object, ...]
    admit: Admit


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
    stage = _Stage(settings, namespace, tuple(objects), admit)
    try:
        for scenario in _read(file).walk_scenarios():
            _scenario(scenario, file, stage, report)
    except BadInput as error:
        report.refused(error, Place(file))
    return report


def manifests_of(file: Path, settings: Settings) -> set[Path]:
    """The manifests that a feature's steps apply, as far as they exist."""
    found = set()
    with contextlib.suppress(BadInput):  # the rehearsal says what is wrong with the file
        for scenario in _read(file).walk_scenarios():
            for step in scenario.all_steps:
                named = _MANIFEST.fullmatch(step.name)
                with contextlib.suppress(BadInput):
                    found |= {find_manifest(named[1], file, settings.project)} if named else set()
    return found


def _read(file: Path) -> Feature:
    """Parse a feature file.

    Raises:
        BadInput: it cannot be read, or is none.
    """
    try:
        feature = parse_file(str(file))
    except ParserError as error:
        said = str(error.args[0] if error.args else error).splitlines()[0].rstrip(".")
        place = Place(file, getattr(error, "line", None))
        raise BadInput("MB0241", f"{file} is no feature file: {said}.", help="mend that line", place=place) from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput("MB0242", f"{file} cannot be read: {error}.", help="check the path") from None
    if feature is None:
        raise BadInput("MB0243", f"{file} holds no feature.", help="begin it with Feature:")
    return cast("Feature", feature)


def _scenario(scenario: Scenario, file: Path, stage: _Stage, report: Report) -> None:
    cluster = StageCluster(stage.objects, stage.namespace, stage.admit)
    as_cluster = cast("Cluster", cluster)
    settings = replace(stage.settings, namespace=stage.namespace)
    environment = Environment(
        settings,
        as_cluster,
        _mesh(scenario, settings, as_cluster),
        cast("Gate", StageGate()),
        "rehearsal",
        "lab",
        lambda _e: None,
    )
    world = _RehearsedWorld(environment, file, ())
    texts = [StepText(step.name, Place(file, step.line), options=table_rows(step.table)) for step in scenario.all_steps]
    world.changes.said = tuple(mentions(texts, stage.namespace))
    count: int | None = None
    lines = []
    for step in scenario.all_steps:
        place = Place(file, step.line)
        lines.append(StepLine(step.name, str(place)))
        problem = step_problem(registry, step)
        if problem is not None:
            _not_understood(step.name, problem, place, report)
            continue
        before = cluster.objects
        world.place, world.claim_made = place, None
        _perform(step, world, place, report)
        count = planned_count(step.name, count)
        if (thin := thin_count(world.claim_made, count, str(place))) is not None:
            report.add(thin, place)
        _written(before, cluster.objects, place, report)
    for finding in unnoticed_delays(lines, cluster.objects, stage.namespace):
        report.add(
            finding, next(Place(file, s.line) for s in scenario.all_steps if str(Place(file, s.line)) == finding.object)
        )


def _mesh(scenario: Scenario, settings: Settings, cluster: Cluster) -> Mesh:
    """The mesh that a scenario demands, else that of the settings; Istio where they leave it open."""
    meshes = demanded(scenario.effective_tags)
    name = settings.mesh if settings.mesh in meshes or not meshes else meshes[0]
    return Linkerd(cluster, "rehearsal") if name == "linkerd" else Istio(cluster, "rehearsal")


def _not_understood(text: str, problem: str, place: Place, report: Report) -> None:
    coded = _CODE.fullmatch(problem)
    if coded:
        report.refused(BadInput(coded[1], coded[2], place=place), place)
    else:
        sentence = f"The step «{text}» is not understood: {problem}"
        report.refused(BadInput("MB0508", sentence, help="meshbdd steps lists the phrases", place=place), place)


def _perform(step: Any, world: World, place: Place, report: Report) -> None:
    """Run a step of the vocabulary; steps that a project wrote itself are not ours to run without a mesh."""
    match = registry.find_match(step)
    if not is_ours(match.func):
        return
    named = {argument.name: argument.value for argument in match.arguments}
    context = SimpleNamespace(world=world, table=step.table, text=step.text)
    try:
        match.func(context, **named)
    except (BadInput, Refused) as error:
        if error.code not in _FOLLOWS or not report.findings:
            report.refused(error, place)
    except NotPossible as error:
        report.add(Finding(str(place), error.code, Severity.INFO, error.sentence, error.help or ""), place)
    except Exception:  # noqa: BLE001, S110 - only a run can tell: there are no answers, logs and proxies here
        pass


def _written(before: list[Object], after: list[Object], place: Place, report: Report) -> None:
    known = {id(obj) for obj in before}
    changed = [obj for obj in after if id(obj) not in known]
    if changed:
        for finding in check_changes(changed, before):
            report.add(finding, place)
