"""Just enough protobuf for what kubectl posts: the envelope ``runtime.Unknown`` and a few kinds.

Field numbers from k8s.io/api v0.32 (``generated.proto``). Anything else is refused with 415.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from meshbdd.lab.api.errors import Object, bad_request, unsupported_media_type

MAGIC = b"k8s\x00"


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _slice(raw: bytes, at: int, size: int) -> bytes:
    if at + size > len(raw):
        raise IndexError
    return raw[at : at + size]


def fields(raw: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field numbers and raw values of a message: integers for varints, bytes for anything with a length.

    Raises:
        ApiError: 400 for a truncated message.
    """
    at = 0
    try:
        while at < len(raw):
            key, at = _varint(raw, at)
            match key & 7:
                case 0:
                    value, at = _varint(raw, at)
                    yield key >> 3, value
                case 2:
                    size, at = _varint(raw, at)
                    yield key >> 3, _slice(raw, at, size)
                    at += size
                case 1 | 5:
                    at += 8 if key & 7 == 1 else 4
                case _:
                    _slice(raw, at, len(raw))  # groups are not used: refuse
    except IndexError:
        raise bad_request("the protobuf body is truncated or malformed") from None


@dataclass(frozen=True, slots=True)
class Field:
    """How one field is read: ``kind`` is text, int, int-or-text, bool, message, map or bytemap."""

    name: str
    kind: str = "text"
    message: str = ""
    many: bool = False


_M = "message"
MESSAGES: dict[str, dict[int, Field]] = {
    "ObjectMeta": {
        1: Field("name"), 2: Field("generateName"), 3: Field("namespace"), 5: Field("uid"), 6: Field("resourceVersion"),
        7: Field("generation", "int"), 11: Field("labels", "map"), 12: Field("annotations", "map"),
        14: Field("finalizers", many=True),
    },
    "Namespace": {1: Field("metadata", _M, "ObjectMeta"), 2: Field("spec", _M, "NamespaceSpec")},
    "NamespaceSpec": {1: Field("finalizers", many=True)},
    "ConfigMap": {
        1: Field("metadata", _M, "ObjectMeta"), 2: Field("data", "map"), 3: Field("binaryData", "bytemap"),
        4: Field("immutable", "bool"),
    },
    "Secret": {
        1: Field("metadata", _M, "ObjectMeta"), 2: Field("data", "bytemap"), 3: Field("type"),
        4: Field("stringData", "map"), 5: Field("immutable", "bool"),
    },
    "ServiceAccount": {1: Field("metadata", _M, "ObjectMeta")},
    "Deployment": {1: Field("metadata", _M, "ObjectMeta"), 2: Field("spec", _M, "DeploymentSpec")},
    "DeploymentSpec": {
        1: Field("replicas", "int"), 2: Field("selector", _M, "LabelSelector"), 3: Field("template", _M, "PodTemplate"),
    },
    "LabelSelector": {1: Field("matchLabels", "map")},
    "PodTemplate": {1: Field("metadata", _M, "ObjectMeta"), 2: Field("spec", _M, "PodSpec")},
    "PodSpec": {2: Field("containers", _M, "Container", many=True), 3: Field("restartPolicy")},
    "Container": {
        1: Field("name"), 2: Field("image"), 3: Field("command", many=True), 4: Field("args", many=True),
        6: Field("ports", _M, "ContainerPort", many=True),
    },
    "ContainerPort": {1: Field("name"), 3: Field("containerPort", "int"), 4: Field("protocol")},
    "Service": {1: Field("metadata", _M, "ObjectMeta"), 2: Field("spec", _M, "ServiceSpec")},
    "ServiceSpec": {
        1: Field("ports", _M, "ServicePort", many=True), 2: Field("selector", "map"), 3: Field("clusterIP"),
        4: Field("type"),
    },
    "ServicePort": {
        1: Field("name"), 2: Field("protocol"), 3: Field("port", "int"), 4: Field("targetPort", "int-or-text"),
        5: Field("nodePort", "int"),
    },
    "DeleteOptions": {
        1: Field("gracePeriodSeconds", "int"), 2: Field("preconditions", _M, "Preconditions"),
        4: Field("propagationPolicy"), 5: Field("dryRun", many=True),
    },
    "Preconditions": {1: Field("uid"), 2: Field("resourceVersion")},
    "SelfSubjectAccessReview": {1: Field("metadata", _M, "ObjectMeta"), 2: Field("spec", _M, "AccessSpec")},
    "AccessSpec": {
        1: Field("resourceAttributes", _M, "ResourceAttributes"),
        2: Field("nonResourceAttributes", _M, "NonResourceAttributes"),
    },
    "ResourceAttributes": {
        1: Field("namespace"), 2: Field("verb"), 3: Field("group"), 4: Field("version"), 5: Field("resource"),
        6: Field("subresource"), 7: Field("name"),
    },
    "NonResourceAttributes": {1: Field("path"), 2: Field("verb")},
    "SelfSubjectRulesReview": {1: Field("metadata", _M, "ObjectMeta"), 2: Field("spec", _M, "RulesSpec")},
    "RulesSpec": {1: Field("namespace")},
    "SelfSubjectReview": {1: Field("metadata", _M, "ObjectMeta")},
    "TokenRequest": {1: Field("metadata", _M, "ObjectMeta"), 2: Field("spec", _M, "TokenSpec")},
    "TokenSpec": {1: Field("audiences", many=True), 4: Field("expirationSeconds", "int")},
}  # fmt: skip


def _text(raw: int | bytes) -> str:
    return raw.decode("utf-8", "replace") if isinstance(raw, bytes) else str(raw)


def _entry(raw: bytes, *, binary: bool) -> tuple[str, str]:
    pair = dict(fields(raw))
    value = pair.get(2, b"")
    shown = base64.b64encode(value).decode() if binary and isinstance(value, bytes) else _text(value)
    return _text(pair.get(1, b"")), shown


def _value(raw: int | bytes, field: Field) -> Any:
    match field.kind:
        case "int":
            return raw
        case "bool":
            return bool(raw)
        case "int-or-text":
            told = dict(fields(raw if isinstance(raw, bytes) else b""))  # 1 type (0: number), 2 number, 3 text
            return _text(told.get(3, b"")) if told.get(1, 0) else told.get(2, 0)
        case "message":
            return read_message(raw if isinstance(raw, bytes) else b"", field.message)
        case _:
            return _text(raw)


def read_message(raw: bytes, name: str) -> Object:
    """A message as the JSON object that it stands for; unknown fields are dropped."""
    obj: Object = {}
    known = MESSAGES[name]
    for number, value in fields(raw):
        field = known.get(number)
        if field is None:
            continue
        if field.kind in {"map", "bytemap"} and isinstance(value, bytes):
            key, text = _entry(value, binary=field.kind == "bytemap")
            obj.setdefault(field.name, {})[key] = text
        elif field.many:
            obj.setdefault(field.name, []).append(_value(value, field))
        elif not (value == b"" and field.kind == "text"):
            obj[field.name] = _value(value, field)
    return obj


def read_object(raw: bytes) -> Object:
    """An object in the envelope.

    Raises:
        ApiError: 400 for a malformed body, 415 for a kind that is not understood as protobuf.
    """
    if not raw.startswith(MAGIC):
        raise bad_request("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    outer = dict(fields(raw[len(MAGIC) :]))
    meta = outer.get(1, b"")
    kinds = dict(fields(meta)) if isinstance(meta, bytes) else {}
    kind = _text(kinds.get(2, b""))
    content = outer.get(2, b"")
    if kind not in MESSAGES or not isinstance(content, bytes):
        raise unsupported_media_type(("application/json", "application/yaml"))
    return {"apiVersion": _text(kinds.get(1, b"")), "kind": kind, **read_message(content, kind)}
