"""OpenAPI documents: v3 for each group and version, v2 for kubectl's client-side apply.

Schemas of custom resources are the CRD's own; built-in kinds are described as far as ``kubectl`` needs to find them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from meshbdd.lab.api import builtin
from meshbdd.lab.api.errors import Object
from meshbdd.lab.api.http import Request, Response, encode, read_accept
from meshbdd.lab.api.registry import Registry, Resource

_JSON = "application/json"
V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
_OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_BASIC: Object = {
    "apiVersion": {"type": "string", "description": "APIVersion defines the versioned schema of this representation."},
    "kind": {"type": "string", "description": "Kind is a string value representing the REST resource."},
}


_COMPONENTS = "#/components/schemas/"


def _kind(resource: Resource, version: str) -> Object:
    return {"group": resource.group, "version": version, "kind": resource.kind}


def schema_name(resource: Resource, version: str) -> str:
    """The component name of a kind: its group reversed, version, kind."""
    if resource.custom:
        return ".".join([*reversed(resource.group.split(".")), version, resource.kind])
    group = resource.group.partition(".")[0] or "core"
    return f"io.k8s.api.{group}.{version}.{resource.kind}"


def _schema(resource: Resource, version: str, reference: str) -> Object:
    served = resource.version(version)
    own: Object = dict(
        (served.schema if served else None) or {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    )
    properties = dict(own.get("properties") or {})
    metadata = {"$ref": f"{reference}{_OBJECT_META}"}
    own["properties"] = {**_BASIC, **properties, "metadata": metadata}
    own["x-kubernetes-group-version-kind"] = [_kind(resource, version)]
    return own


def _metadata_schema() -> Object:
    text: Object = {"type": "string"}
    names: Object = {"type": "object", "additionalProperties": text}
    fields: Object = {
        **dict.fromkeys(("name", "generateName", "namespace", "uid", "resourceVersion", "selfLink"), text),
        **{name: {"type": "string", "format": "date-time"} for name in ("creationTimestamp", "deletionTimestamp")},
        "generation": {"type": "integer"}, "deletionGracePeriodSeconds": {"type": "integer"}, "labels": names,
        "annotations": names, "finalizers": {"type": "array", "items": text},
        "ownerReferences": {"type": "array", "items": {"type": "object"}},
        "managedFields": {"type": "array", "items": {"type": "object"}},
    }  # fmt: skip
    return {
        "type": "object",
        "description": "ObjectMeta is metadata that all persisted resources must have.",
        "properties": fields,
    }


def _parameters(*names: str) -> list[Object]:
    return [{"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}} for name in names]


def _operations(resource: Resource, version: str) -> Iterable[tuple[str, Object]]:
    root = f"/apis/{resource.group}/{version}" if resource.group else f"/api/{version}"
    base = f"{root}/namespaces/{{namespace}}/{resource.plural}" if resource.namespaced else f"{root}/{resource.plural}"
    kind = _kind(resource, version)
    writing = _parameters("dryRun", "fieldManager", "fieldValidation")

    def operation(action: str, *, writes: bool = False) -> Object:
        told: Object = {
            "operationId": f"{action}{resource.kind}", "responses": {"200": {"description": "OK"}},
            "x-kubernetes-action": action, "x-kubernetes-group-version-kind": kind,
        }  # fmt: skip
        if writes:
            told["parameters"] = writing
        return told

    yield base, {"get": operation("list"), "post": operation("post", writes=True)}
    if resource.stored:
        yield f"{base}/{{name}}", {
            "get": operation("get"), "put": operation("put", writes=True), "patch": operation("patch", writes=True),
            "delete": operation("delete"),
        }  # fmt: skip


def document(registry: Registry, group: str, version: str) -> Object:
    """The OpenAPI v3 document of one group and version."""
    resources = registry.in_version(group, version)
    schemas: Object = {_OBJECT_META: _metadata_schema()}
    paths: Object = {}
    for resource in resources:
        told = builtin.components(resource.key)
        if told:
            schemas.update(told[1])
            own = {**told[1][told[0]], "x-kubernetes-group-version-kind": [_kind(resource, version)]}
            own["properties"] = {**_BASIC, **own["properties"], "metadata": {"$ref": f"{_COMPONENTS}{_OBJECT_META}"}}
            schemas[told[0]] = own
        else:
            schemas[schema_name(resource, version)] = _schema(resource, version, _COMPONENTS)
        paths.update(_operations(resource, version))
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.32.13"},
        "paths": paths,
        "components": {"schemas": schemas},
    }


class Documents:
    """The documents of what is served now; made when asked for and kept until the registry changes."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._revision = -1
        self._texts: dict[str, bytes] = {}

    def _text(self, name: str) -> bytes | None:
        if self._revision != self._registry.revision:
            self._revision = self._registry.revision
            self._texts = {}
        if name not in self._texts:
            parts = name.split("/")
            version = parts[-1]
            group = "" if parts[0] == "api" else (parts[1] if len(parts) == 3 else "?")
            if not self._registry.in_version(group, version):
                return None
            told = document(self._registry, group, version)
            self._texts[name] = json.dumps(told, separators=(",", ":")).encode()
        return self._texts[name]

    def _names(self) -> list[str]:
        names = ["api/v1"]
        for group, versions in self._registry.groups().items():
            names += [f"apis/{group}/{version}" for version in versions]
        return names

    def serve_v3(self, request: Request, name: str) -> Response:
        """The index (``name`` empty) or the document of a group and version."""
        if not name:
            paths: Object = {}
            for each in self._names():
                paths[each] = {"serverRelativeURL": f"/openapi/v3/{each}?hash={_digest(self._text(each) or b'')}"}
            return Response(200, encode({"paths": paths}, request))
        text = self._text(name)
        if text is None:
            return Response(404, b"404 page not found\n", "text/plain; charset=utf-8")
        digest = _digest(text)
        headers = [("etag", f'"{digest}"'), ("vary", "Accept")]
        told = request.one("hash")
        if told and told != digest:
            where = [("location", f"/openapi/v3/{name}?hash={digest}")]
            return Response(301, b"", headers=[*headers, *where])
        if request.headers.get("if-none-match") == f'"{digest}"':
            return Response(304, b"", headers=headers)
        if told:
            headers.append(("cache-control", "public, immutable"))
        return Response(200, text, headers=headers)

    def serve_v2(self, request: Request) -> Response:
        """The swagger document, as JSON or as protobuf; without schemas, so that kubectl merges by the last applied."""
        told: Object = {
            "swagger": "2.0",
            "info": {"title": "Kubernetes", "version": "v1.32.13"},
            "paths": {},
            "definitions": {},
        }
        for entry in read_accept(request.headers.get("accept", "")):
            if "proto-openapi.spec.v2" in entry.name:
                return Response(200, _swagger_protobuf(), V2_PROTOBUF)
            if entry.name in {_JSON, "*/*", "application/*"}:
                return Response(200, encode(told, request))
        return Response(406, b"", headers=[("vary", "Accept")])


def _digest(text: bytes) -> str:
    return hashlib.sha512(text).hexdigest().upper()


def _field(number: int, content: bytes) -> bytes:
    size, raw = len(content), bytearray([number << 3 | 2])
    while size > 0x7F:
        raw.append(size & 0x7F | 0x80)
        size >>= 7
    raw.append(size)
    return bytes(raw) + content


def _swagger_protobuf() -> bytes:
    # openapi.v2.Document of google/gnostic-models: 1 swagger, 2 info (1 title, 2 version), 8 paths, 9 definitions
    info: Any = _field(1, b"Kubernetes") + _field(2, b"v1.32.13")
    return _field(1, b"2.0") + _field(2, info) + _field(8, b"") + _field(9, b"")
