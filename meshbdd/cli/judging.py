"""Manifests that are applied together: what is doubtful about each of their documents, and the world that they make."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshbdd.cli.admission import refusal, see_fields
from meshbdd.cli.planned import UNREADABLE, refused
from meshbdd.errors import BadInput, Place

if TYPE_CHECKING:
    from meshbdd.rehearsal import Report

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Manifest:
    """A file, and the objects in it."""

    file: Path
    objects: list[Object]


@dataclass(frozen=True, slots=True)
class _Document:
    name: str
    file: Path
    obj: Object


def judge(manifests: Iterable[Manifest], there: list[Object], mesh: str, report: Report) -> list[Object]:
    """Judge manifests that are applied together, and give the world with them.

    Of several documents of one object the last is in force; the others are judged as they would be in its place, for each
    was meant.

    Args:
        manifests: They.
        there: The world without them.
        mesh: The mesh that reads them.
        report: Takes what is found.
    """
    from meshbdd.mesh.manifest_lines import place_of  # noqa: PLC0415 - slow to import
    from meshbdd.sense import catalog, check, check_changes, name_of, unknown_kinds  # noqa: PLC0415 - slow to import

    documents = list(_documents(manifests, there))
    last = {document.name: document for document in documents}
    objects = [document.obj for document in last.values()]
    for finding in (*check_changes(objects, there, mesh), *unknown_kinds(objects)):
        report.add(finding, Place(last[finding.object].file) if finding.object in last else None)
    without = [obj for obj in there if name_of(obj) not in last]
    for document in documents:
        if last[document.name] is not document:
            others = [other.obj for name, other in last.items() if name != document.name]
            own = (*check([*without, *others, document.obj], mesh), *unknown_kinds([document.obj]))
            for finding in (finding for finding in own if finding.object == document.name):
                report.add(finding, Place(document.file))
    shaped = [document for document in documents if _has_its_fields(document, [*there, *objects], mesh, report)]
    said = {finding.object for finding in report.findings if finding.code == catalog.WILDCARD_ON_MESH.code}
    denials = [None if document.name in said else refusal(document.obj, mesh) for document in shaped]
    admitted = [document for document, denial in zip(shaped, denials, strict=True) if denial is None]
    for document, denial in zip(shaped, denials, strict=True):
        beside = {other.name: other.obj for other in admitted if other.name != document.name}
        in_vain = refused(document.obj, beside.values(), there) if mesh == "linkerd" else None
        if in_vain is not None and (denial is None or in_vain.code in UNREADABLE):
            report.refused(in_vain, place_of(document.file, document.obj, "metadata.name"))
        elif denial is not None:
            report.add(catalog.WOULD_BE_REFUSED.on(document.obj, denial), Place(document.file))
    return [*without, *objects]


def orders_for(
    mesh: str, orders: Iterable[Mapping[Path, Iterable[tuple[Path, ...]]]]
) -> dict[Path, set[tuple[Path, ...]]]:
    """What features apply before each of their manifests, with the files that a run on a mesh would read instead of these.

    Args:
        mesh: The mesh.
        orders: Of each feature: manifest → those applied before it, each time.
    """
    found: dict[Path, set[tuple[Path, ...]]] = {}
    for order in orders:
        for manifest, times in order.items():
            for file in {manifest, _in_words_of(mesh, manifest)}:
                found.setdefault(file, set()).update(tuple(_in_words_of(mesh, f) for f in before) for before in times)
    return found


def _in_words_of(mesh: str, file: Path) -> Path:
    own = file.parent / mesh / file.name
    return own if own.is_file() else file


def judge_wherever(
    manifest: Manifest,
    times: Mapping[tuple[Path, ...], bool],
    there: list[Object],
    mesh: str,
    report: Report,
    namespace: str,
) -> None:
    """Judge a manifest that is for one test: what is said of it is so each time that it is applied.

    What is so some of the times alone the rehearsal says, at the step; where it cannot, the errors of that time are said here.

    Args:
        manifest: It.
        times: For each time what the scenario has applied before → whether only a run can tell what comes of the step.
        there: The world without all of these.
        mesh: The mesh that reads them.
        report: Takes what is found.
        namespace: The default one of manifests.
    """
    from meshbdd.mesh.manifest import read_objects  # noqa: PLC0415 - slow to import

    found: list[Report] = []
    times = times or {(): False}
    for before in times:
        world = there
        for file in before:
            with contextlib.suppress(BadInput):  # the rehearsal says so
                world = judge([Manifest(file, read_objects(file, namespace))], world, mesh, type(report)())
        found.append(type(report)())
        judge([manifest], world, mesh, found[-1])
    first, *others = found
    always = [finding for finding in first.findings if all(finding in other.places for other in others)]
    for finding in always:
        report.add(finding, first.places[finding])
    report.not_understood |= bool(always) and all(one.not_understood for one in found)
    for one in (one for one, left_open in zip(found, times.values(), strict=True) if left_open and one.errors):
        for finding in (finding for finding in one.findings if finding.severity == "error"):
            report.add(finding, one.places[finding])
        report.not_understood |= one.not_understood


def _has_its_fields(document: _Document, world: Iterable[Object], mesh: str, report: Report) -> bool:
    """Whether the API knows the namespace and all the fields of a document; what it does not know is reported."""
    from meshbdd.cluster.refusals import RefusedObject, see_namespace  # noqa: PLC0415 - slow to import
    from meshbdd.mesh.manifest_lines import place_of  # noqa: PLC0415 - slow to import

    try:
        see_namespace(document.obj, world)
        see_fields(document.obj, mesh)
    except RefusedObject as error:
        report.refused(error, place_of(document.file, document.obj, error.field))
        return False
    return True


def _documents(manifests: Iterable[Manifest], there: Sequence[Object]) -> Iterator[_Document]:
    """All documents, those last that only tell a Service something, whatever their files are called."""
    from meshbdd.sense import name_of  # noqa: PLC0415 - slow to import

    all_ = [_Document(name_of(obj), manifest.file, obj) for manifest in manifests for obj in manifest.objects]
    known: dict[str, Mapping[str, Any]] = {name_of(obj): obj for obj in there}
    for document in sorted(all_, key=lambda document: _only_tells(document.obj)):
        told = known.get(document.name) if _only_tells(document.obj) else None
        metadata = {**told["metadata"], **document.obj["metadata"]} if told else {}
        obj = {**told, "metadata": metadata} if told else document.obj
        known[document.name] = obj
        yield _Document(document.name, document.file, obj)


def _only_tells(obj: Object) -> bool:
    """Whether it is a Service without a spec: it is told something, and stays what it is."""
    return bool(obj["kind"] == "Service" and "spec" not in obj)
