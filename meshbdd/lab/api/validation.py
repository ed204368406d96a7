"""Rules of ``metadata`` that hold for every resource (apimachinery's ObjectMeta validation, in its own words)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from meshbdd.lab.api.errors import Cause, Object, bad_request, invalid
from meshbdd.lab.api.registry import Resource

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LABEL_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")

SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_LABEL_RULE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_LABEL_1035_RULE = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)
_QUALIFIED_RULE = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_VALUE_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)

METADATA_FIELDS = frozenset(
    {
        "name", "generateName", "namespace", "selfLink", "uid", "resourceVersion", "generation", "creationTimestamp",
        "deletionTimestamp", "deletionGracePeriodSeconds", "labels", "annotations", "ownerReferences", "finalizers",
        "managedFields",
    }
)  # fmt: skip

_LABELS_1123 = {"namespaces"}
_LABELS_1035 = {"services"}


def wrong(field: str, value: Any, why: str) -> Cause:
    """A ``FieldValueInvalid`` cause."""
    return Cause("FieldValueInvalid", f"Invalid value: {json.dumps(value, ensure_ascii=False)}: {why}", field)


def required(field: str, why: str = "") -> Cause:
    """A ``FieldValueRequired`` cause."""
    return Cause("FieldValueRequired", f"Required value: {why}" if why else "Required value", field)


def immutable(field: str, value: Any) -> Cause:
    """The cause for a change of a field that stays as it was created."""
    return wrong(field, value, "field is immutable")


def go_kind(value: Any) -> str:
    """How Go's JSON decoder names the type of a value."""
    if value is None:
        return "null"
    return {bool: "bool", int: "number", float: "number", str: "string", list: "array", dict: "object"}[type(value)]


def read_metadata(obj: Object, kind: str, version: str) -> Object:
    """The metadata of a body, its types checked.

    Raises:
        ApiError: 400, in the words of Go's decoder.
    """
    metadata = obj.get("metadata")
    if metadata is None:
        return {}

    def refuse(what: str) -> Exception:
        return bad_request(
            f'{kind} in version "{version}" cannot be handled as a {kind}: json: cannot unmarshal {what}'
        )

    if not isinstance(metadata, dict):
        raise refuse(f"{go_kind(metadata)} into Go value of type v1.ObjectMeta")
    for field in ("labels", "annotations"):
        found = metadata.get(field)
        if found is None:
            continue
        if not isinstance(found, dict):
            raise refuse(f"{go_kind(found)} into Go struct field ObjectMeta.{field} of type map[string]string")
        for value in found.values():
            if not isinstance(value, str):
                raise refuse(f"{go_kind(value)} into Go struct field ObjectMeta.{field} of type string")
    for field in ("name", "namespace", "generateName", "resourceVersion", "uid"):
        found = metadata.get(field)
        if found is not None and not isinstance(found, str):
            raise refuse(f"{go_kind(found)} into Go struct field ObjectMeta.{field} of type string")
    return metadata


def _name_causes(resource: Resource, name: str) -> Iterator[Cause]:
    rule, why, longest = _SUBDOMAIN, SUBDOMAIN_RULE, 253
    if resource.group == "" and resource.plural in _LABELS_1123:
        rule, why, longest = _LABEL, _LABEL_RULE, 63
    if resource.group == "" and resource.plural in _LABELS_1035:
        rule, why, longest = _LABEL_1035, _LABEL_1035_RULE, 63
    if len(name) > longest:
        yield wrong("metadata.name", name, f"must be no more than {longest} characters")
    elif not rule.fullmatch(name):
        yield wrong("metadata.name", name, why)


def _key_causes(field: str, key: str) -> Iterator[Cause]:
    prefix, slash, name = key.rpartition("/")
    if slash and not _SUBDOMAIN.fullmatch(prefix):
        yield wrong(field, key, f"prefix part {SUBDOMAIN_RULE}")
    if not name:
        yield wrong(field, key, "name part must be non-empty")
    elif len(name) > 63:
        yield wrong(field, key, "name part must be no more than 63 characters")
    elif not _QUALIFIED.fullmatch(name):
        yield wrong(field, key, _QUALIFIED_RULE)


def label_causes(labels: Object, field: str) -> Iterator[Cause]:
    """What is wrong with a label map."""
    for key, value in labels.items():
        yield from _key_causes(field, key)
        if len(value) > 63:
            yield wrong(field, value, "must be no more than 63 characters")
        elif not _VALUE.fullmatch(value):
            yield wrong(field, value, _VALUE_RULE)


def _owner_causes(owners: list[Object]) -> Iterator[Cause]:
    for owner in owners:
        for field in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(field):
                shown = "version" if field == "apiVersion" else field
                yield wrong(f"metadata.ownerReferences.{field}", "", f"{shown} must not be empty")
    if sum(1 for owner in owners if owner.get("controller")) > 1:
        yield wrong(
            "metadata.ownerReferences", owners, "Only one reference can have Controller set to true. Found \"true\" in "
            f"references for {' and '.join(str(o.get('name')) for o in owners if o.get('controller'))}",
        )  # fmt: skip


def metadata_causes(resource: Resource, metadata: Object) -> list[Cause]:
    """Everything that is wrong with the metadata of an object about to be kept."""
    name = metadata.get("name")
    if not name:
        return [required("metadata.name", "name or generateName is required")]
    causes = list(_name_causes(resource, name))
    causes += label_causes(metadata.get("labels") or {}, "metadata.labels")
    for key in metadata.get("annotations") or {}:
        causes += _key_causes("metadata.annotations", key.lower())
    causes += _owner_causes(metadata.get("ownerReferences") or [])
    return causes


def finalizer_warnings(metadata: Object) -> list[str]:
    """A warning for each finalizer without a domain; ``metadata`` may hold Kubernetes' own."""
    own = {"foregroundDeletion", "orphan", "kubernetes"}
    return [
        f'metadata.finalizers: "{name}": prefer a domain-qualified finalizer name to avoid accidental conflicts '
        "with other finalizer writers"
        for name in metadata.get("finalizers") or ()
        if "/" not in name and name not in own
    ]


def unknown_metadata(metadata: Object) -> list[str]:
    """Paths of fields that metadata does not have."""
    return [f"metadata.{field}" for field in metadata if field not in METADATA_FIELDS]


def check(resource: Resource, name: str, causes: list[Cause]) -> None:
    """Refuse if there are causes.

    Raises:
        ApiError: 422.
    """
    if causes:
        raise invalid(resource.kind, resource.group, name, causes)
