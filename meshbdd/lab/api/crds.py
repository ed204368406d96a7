"""A CustomResourceDefinition as a served resource, and the status that tells it is established."""

from __future__ import annotations

from meshbdd.lab.api.errors import Object
from meshbdd.lab.api.registry import CRD_VERBS, Column, Resource, Version, version_rank
from meshbdd.lab.api.resources import NAME

KEY = "customresourcedefinitions.apiextensions.k8s.io"
_GET_PATCH = ("get", "patch", "update")


def _column(told: Object) -> Column:
    return Column(
        told["name"], told["type"], told["jsonPath"], told.get("format", ""),
        told.get("description") or f"Custom resource definition column (in JSONPath format): {told['jsonPath']}",
        told.get("priority", 0),
    )  # fmt: skip


def _version(told: Object, group: str, kind: str, storage: str) -> Version:
    columns = [_column(column) for column in told.get("additionalPrinterColumns") or ()]
    if not columns:
        columns = [Column("Age", "date", ".metadata.creationTimestamp", description=_AGE)]
    warning = None
    if told.get("deprecated"):
        warning = told.get("deprecationWarning") or (
            f"{group}/{told['name']} {kind} is deprecated; use {group}/{storage} {kind}"
        )
    schema = (told.get("schema") or {}).get("openAPIV3Schema")
    return Version(told["name"], schema, (NAME, *columns), warning)


_AGE = (
    "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed "
    "to be set in happens-before order across separate operations. Clients may not set this value. It is represented "
    "in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata"
)


def to_resource(crd: Object) -> Resource:
    """The resource that a valid CRD defines."""
    spec = crd["spec"]
    names, group = spec["names"], spec["group"]
    served = sorted((v for v in spec["versions"] if v.get("served", True)), key=lambda v: version_rank(v["name"]))
    storage = next(version["name"] for version in spec["versions"] if version.get("storage"))
    subresources = [version.get("subresources") or {} for version in spec["versions"]]
    status = any("status" in found for found in subresources)
    scale = next((found["scale"] for found in subresources if "scale" in found), None)
    more: tuple[tuple[str, str, tuple[str, ...]], ...] = ()
    if status:
        more = (*more, ("status", names["kind"], _GET_PATCH))
    if scale:
        more = (*more, ("scale", "Scale", _GET_PATCH))
    preferred = next((v["name"] for v in served if not v.get("deprecated")), storage)
    return Resource(
        group=group, plural=names["plural"], singular=names.get("singular") or names["kind"].lower(),
        kind=names["kind"], namespaced=spec["scope"] == "Namespaced",
        versions=tuple(_version(version, group, names["kind"], preferred) for version in served), storage=storage,
        list_kind=names.get("listKind", ""), short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()), status=status, scale=scale, generation=True, custom=True,
        verbs=CRD_VERBS, subresources=more,
    )  # fmt: skip


def established(crd: Object, now: str) -> Object:
    """The status of a CRD that is served."""
    conditions = [
        ("NamesAccepted", "NoConflicts", "no conflicts found"),
        ("Established", "InitialNamesAccepted", "the initial names have been accepted"),
    ]
    storage = next(version["name"] for version in crd["spec"]["versions"] if version.get("storage"))
    return {
        "conditions": [
            {"type": kind, "status": "True", "lastTransitionTime": now, "reason": reason, "message": message}
            for kind, reason, message in conditions
        ],
        "acceptedNames": crd["spec"]["names"],
        "storedVersions": [storage],
    }
