"""What the API says of an object that it does not take, in a tester's words."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from meshbdd.cluster.failures import ApiFailure
from meshbdd.cluster.kinds import KINDS, as_written, kind_of
from meshbdd.errors import BadInput, EnvironmentBroken

if TYPE_CHECKING:
    from meshbdd.cluster.client import Cluster

_DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_UNKNOWN = re.compile(r'unknown field "([^"]+)"')
_NO_NAMESPACE = re.compile(r'namespaces "([^"]+)" not found')
_FIELD = re.compile(r"\bspec(?:\.\w+|\[\d+\])+")
_DENIED = re.compile(
    r'^The API refused .*? with \d+: (?:admission webhook "[^"]*" denied the request: )?(.*)$', re.DOTALL
)
_NOT_IN_THE_LAB = 'admission webhook "lab.meshbdd.dev" denied the request: configuration is invalid: '
"""How the lab refuses what the mesh takes and the lab does not play: ``meshbdd.lab.admission.webhook``."""
_OF_THE_OBJECT = {400, 404, 422}
"""Statuses that say that the object is wrong: it cannot be decoded, its namespace is not there, or its content is invalid."""


class RefusedObject(BadInput):
    """The API does not take an object.

    Attributes:
        field: The path of the field that is wrong; empty where it is none.
    """

    field: str = ""


class UnplayableObject(EnvironmentBroken):
    """The lab does not take an object that the mesh may take: it cannot play all of it.

    Attributes:
        field: The path of the field that the lab does not have.
    """

    field: str = ""


def unknown_field(obj: Mapping[str, Any], path: str, near: str | None) -> RefusedObject:
    """A field of an object that its kind does not have.

    Args:
        obj: The object.
        path: The field's path.
        near: The field that may have been meant.
    """
    return _refused(
        "MB0320",
        f"{obj['kind']} {obj['metadata']['name']} has a field that nobody knows: {path}.",
        f'did you mean "{near}"?' if near else _advice(obj),
        path,
    )


def _advice(obj: Mapping[str, Any]) -> str:
    """What to do about a field that a kind does not have: a later version of it may."""
    latest = KINDS[kind_of(obj)].group_version if kind_of(obj) in KINDS else ""
    older = latest and as_written(obj).group_version != latest
    return (
        f"write apiVersion: {latest} if it has the field, or take it out"
        if older
        else "correct its name, or take it out"
    )


def missing_namespace(obj: Mapping[str, Any], known: Iterable[str]) -> RefusedObject:
    """The namespace of an object is not there.

    Args:
        obj: The object.
        known: The namespaces that are.
    """
    name = obj["metadata"].get("namespace") or ""
    near = difflib.get_close_matches(name, sorted(known), 1)
    return _refused(
        "MB0321",
        f'{obj["kind"]} {obj["metadata"]["name"]} is for the namespace "{name}", which does not exist.',
        f'did you mean "{near[0]}"?' if near else "correct metadata.namespace",
        "metadata.namespace",
    )


def see_namespace(obj: Mapping[str, Any], world: Iterable[Mapping[str, Any]]) -> None:
    """See that an object's namespace is among those of a world; one that tells of none at all may have any.

    Args:
        obj: The object.
        world: Objects, namespaces among them.

    Raises:
        RefusedObject: it is not.
    """
    known = {other["metadata"]["name"] for other in world if other["kind"] == "Namespace"}
    name = obj["metadata"].get("namespace")
    if known and name and name not in known and obj["kind"] in KINDS:
        raise missing_namespace(obj, known)


def _refused(code: str, sentence: str, action: str, field: str) -> RefusedObject:
    error = RefusedObject(code, sentence, help=action)
    error.field = field
    return error


def understood(
    cluster: Cluster, failure: ApiFailure, obj: Mapping[str, Any]
) -> RefusedObject | UnplayableObject | None:
    """A refusal as a mistake in the object, or as a limit of the lab; ``None`` where it is neither.

    Args:
        cluster: Whose API it was.
        failure: The refusal.
        obj: The object.
    """
    if failure.status not in _OF_THE_OBJECT:
        return None
    if unknown := _UNKNOWN.search(failure.sentence):
        return unknown_field(obj, unknown[1], nearest_field(_schema(cluster, obj), unknown[1]))
    if _NO_NAMESPACE.search(failure.sentence):
        return missing_namespace(obj, (found["metadata"]["name"] for found in cluster.list("Namespace")))
    said = _DENIED.match(failure.sentence)
    field = _FIELD.search(failure.sentence)
    _, _, lacking = failure.sentence.partition(_NOT_IN_THE_LAB)
    if lacking:
        unplayable = UnplayableObject(
            "MB0325",
            f"The lab cannot play an object that the mesh may well take: {lacking}",
            help="run it on a cluster with the mesh, or leave the object out in the lab",
        )
        unplayable.field = field[0] if field else ""
        return unplayable
    return _refused(
        "MB0322",
        f"The API refuses {obj['kind']} {obj['metadata']['name']}: {said[1] if said else failure.sentence}",
        "correct the field",
        field[0] if field else "",
    )


def nearest_field(schema: Mapping[str, Any], path: str) -> str | None:
    """The field that may have been meant by one that its kind does not have.

    Args:
        schema: The kind's OpenAPI schema; empty where nobody knows it.
        path: The path of the unknown field, ``spec.http[0].retrys`` for instance.
    """
    *parents, name = path.split(".")
    for parent in parents:
        schema = (schema.get("properties") or {}).get(parent.partition("[")[0]) or {}
        for _ in range(parent.count("[")):
            schema = schema.get("items") or {}
    near = difflib.get_close_matches(name, list(schema.get("properties") or {}), 1)
    return near[0] if near else None


def _schema(cluster: Cluster, obj: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema of a kind that a definition brought; of Kubernetes' own kinds none is needed for a sentence."""
    kind = as_written(obj)
    group, _, version = kind.group_version.partition("/")
    try:
        definition = json.loads(cluster.request("GET", f"{_DEFINITIONS}/{kind.plural}.{group}"))
    except ApiFailure:  # nobody may look, or there is none: a suggestion less
        return {}
    found = [v["schema"]["openAPIV3Schema"] for v in definition["spec"]["versions"] if v["name"] == version]
    return found[0] if found else {}
