"""``meshbdd check``: what is wrong or doubtful about features and manifests, before anything runs."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meshbdd.cli.admission import admitting
from meshbdd.cli.judging import Manifest, judge, judge_wherever, orders_for
from meshbdd.errors import BadInput, Place

if TYPE_CHECKING:  # imported by the command itself, so that --help is quick
    from meshbdd.rehearsal import Report

Object = dict[str, Any]

_FEATURES, _MANIFESTS = {".feature"}, {".yaml", ".yml", ".json"}
_MESHES = {"istio", "linkerd"}
_CONTROL_PLANES = {"istio": "istio-system", "linkerd": "linkerd"}
"""Mesh → the namespace that it has wherever it is installed, and that nobody writes into a world."""


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--world",
    type=click.Path(path_type=Path),
    help="YAML with the services and pods there are; the demo shop if left out.",
)
@click.option(
    "--mesh",
    type=click.Choice(sorted(_MESHES)),
    help="For which mesh; the setting's, or Linkerd where all is for it, else Istio, unless said.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(files: tuple[Path, ...], world: Path | None, mesh: str | None, as_json: bool) -> None:
    """Say what is wrong or doubtful about features and manifests; nothing is run and nothing is written.

    FILES are .feature and .yaml files, or folders of them, but for those in a folder istio/ or linkerd/ that are another
    mesh's. Manifests are judged together, as if all of them were applied. Those with a fault, and those that a given
    feature applies, are for one test each: they are judged one by one, on top of the others and of what the feature's
    scenarios apply before them.

    Exit code: 0 no error, 1 an error, 2 something is not understood.
    """
    from meshbdd.rehearsal import Report, manifests_of, rehearse  # noqa: PLC0415 - slow to import
    from meshbdd.sense import injects_fault  # noqa: PLC0415 - slow to import
    from meshbdd.settings import load_settings  # noqa: PLC0415 - slow to import

    settings = load_settings()
    namespace = settings.namespace or "shop"
    report = Report()
    settings = replace(settings, mesh=mesh or settings.mesh)
    words = _mesh_of(files, world, namespace) if settings.mesh == "auto" else settings.mesh
    if words == "linkerd":
        settings = replace(settings, mesh=words)
    features, files_of_objects = _sort(files, words)
    manifests = _read(files_of_objects, namespace, report)
    orders = [manifests_of(feature, settings) for feature in features]
    before = orders_for(words, orders)
    tests = [m for m in manifests if m.file.resolve() in before or any(map(injects_fault, m.objects))]
    there = judge([m for m in manifests if m not in tests], _world(world, namespace, words), words, report)
    rehearsed = Report()
    if features:
        _load_steps(features)
    for feature in features:
        rehearsed.take(rehearse(feature, there, settings, namespace, admitting(words)))
    left_open = orders_for(words, [rehearsed.left_open])
    for manifest in tests:
        file = manifest.file.resolve()
        times = {before_it: before_it in left_open.get(file, ()) for before_it in before.get(file, ())}
        judge_wherever(manifest, times, there, words, report, namespace)
    report.take(rehearsed)
    _print(report, len(features) + len(files_of_objects), as_json=as_json)
    raise SystemExit(2 if report.not_understood else 1 if report.errors else 0)


def _sort(files: Iterable[Path], mesh: str) -> tuple[list[Path], list[Path]]:
    """Feature files and manifests; a folder stands for those below it that a run on this mesh would read.

    Raises:
        BadInput: a file that is missing, or neither.
    """
    features: list[Path] = []
    manifests: list[Path] = []
    for file in files:
        if not file.exists():
            raise BadInput("MB0244", f"There is no file {file}.", help="check the path")
        below = _below(file, mesh) if file.is_dir() else [file]
        if not below:
            raise BadInput("MB0246", f"{file} holds no feature file and no manifest.", help="name another folder")
        for found in below:
            if found.suffix not in _FEATURES | _MANIFESTS:
                raise BadInput(
                    "MB0245", f"{found} is neither a feature file nor a manifest.", help="name .feature and .yaml files"
                )
            (features if found.suffix in _FEATURES else manifests).append(found)
    return list(dict.fromkeys(features)), list(dict.fromkeys(manifests))


def _mesh_of(files: Iterable[Path], world: Path | None, namespace: str) -> str:
    """The mesh that the files and their world are for: Linkerd, which is told then, or else Istio."""
    from meshbdd.mesh.manifest import read_objects  # noqa: PLC0415 - slow to import
    from meshbdd.sense import linkerds_alone, name_of  # noqa: PLC0415 - slow to import

    objects: list[Object] = []
    for file in [*_sort(files, "istio")[1], *([world] if world is not None and world.is_file() else [])]:
        with contextlib.suppress(BadInput):  # it is told when the file is read to be judged
            objects += read_objects(file, namespace)
    because = linkerds_alone(objects)
    if because is None:
        return "istio"
    click.echo(f"Judged for Linkerd, as {name_of(because)} is for it; --mesh names another one.", err=True)
    return "linkerd"


def _below(folder: Path, mesh: str) -> list[Path]:
    """The files of a folder, without manifests in another mesh's words: meshbdd.mesh.manifest.find_manifest."""
    found = sorted(p for p in folder.rglob("*") if p.suffix in _FEATURES | _MANIFESTS)
    others = _MESHES - {mesh}
    return [
        path
        for path in found
        if path.suffix in _FEATURES
        or (others.isdisjoint(path.relative_to(folder).parts[:-1]) and not (path.parent / mesh / path.name).is_file())
    ]


def _world(file: Path | None, namespace: str, mesh: str) -> list[Object]:
    """What there is already; where it tells of namespaces, that of the mesh's control plane is among them."""
    objects = _world_of(file, namespace)
    known = {obj["metadata"]["name"] for obj in objects if obj["kind"] == "Namespace"}
    name = _CONTROL_PLANES[mesh]
    if known and name not in known:
        objects.append({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return objects


def _world_of(file: Path | None, namespace: str) -> list[Object]:
    from meshbdd.manifests import path as shipped  # noqa: PLC0415 - not needed for --help
    from meshbdd.mesh.manifest import read_objects  # noqa: PLC0415 - slow to import

    if file is not None:
        if not file.is_file():
            raise BadInput("MB0244", f"There is no file {file}.", help="check the path")
        return read_objects(file, namespace)
    rooms = [sorted(shipped(room).glob("*.yaml")) for room in ("shop", "vantage")]
    return [obj for room in rooms for path in room for obj in read_objects(path, namespace)]


def _read(files: Iterable[Path], namespace: str, report: Report) -> list[Manifest]:
    """The manifests; a file that cannot be read is a finding."""
    from meshbdd.mesh.manifest import read_objects  # noqa: PLC0415 - slow to import

    found = []
    for file in files:
        try:
            found.append(Manifest(file, read_objects(file, namespace)))
        except BadInput as error:
            report.refused(error, Place(file))
    return found


def _load_steps(features: Iterable[Path]) -> None:
    """The vocabulary, and the steps that a project wrote itself."""
    from behave.runner_util import load_step_modules  # noqa: PLC0415 - slow to import

    import meshbdd.steps  # noqa: PLC0415 - registers them

    ours = Path(str(meshbdd.steps.__file__)).resolve().parent
    homes = {home for file in features for home in file.resolve().parents if (home / "steps").is_dir()}
    own = sorted(home / "steps" for home in homes if (home / "steps").resolve() != ours)
    load_step_modules([str(folder) for folder in own])


def _print(report: Report, files: int, *, as_json: bool) -> None:
    findings = report.sorted()
    if as_json:
        click.echo(json.dumps([finding.to_json() for finding, _ in findings], indent=2, ensure_ascii=False))
        return
    for finding, place in findings:
        named = "" if finding.object == str(place) else f"{finding.object}: "
        lines = [f"{finding.code} {finding.severity}: {named}{finding.sentence}"]
        lines += [f"  --> {at}" for at in (place, report.steps.get(finding)) if at]
        lines += [f"  help: {finding.help}"] if finding.help else []
        click.echo("\n".join(lines))
    counts = {word: sum(f.severity == word for f, _ in findings) for word in ("error", "warning", "info")}
    told = ", ".join(f"{n} {word}{'s' if n > 1 and word != 'info' else ''}" for word, n in counts.items() if n)
    click.echo(f"{told or 'Nothing doubtful'} in {files} file{'s' if files != 1 else ''}.")
