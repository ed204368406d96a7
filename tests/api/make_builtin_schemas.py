"""Writes ``meshbdd/lab/api/builtin.json``: schemas of built-in kinds, from the models of the official Python client.

Run by hand when the client's version changes: ``python tests/api/make_builtin_schemas.py``. The models are generated
from Kubernetes' own OpenAPI document (Apache-2.0); descriptions are cut to their first sentence.
"""

from __future__ import annotations

import json
import re
import types
import typing
from pathlib import Path
from typing import Any

from kubernetes.client import models

KINDS = {
    "pods": "V1Pod", "services": "V1Service", "namespaces": "V1Namespace", "configmaps": "V1ConfigMap",
    "secrets": "V1Secret", "serviceaccounts": "V1ServiceAccount", "endpoints": "V1Endpoints", "nodes": "V1Node",
    "events": "CoreV1Event", "deployments.apps": "V1Deployment", "replicasets.apps": "V1ReplicaSet",
    "jobs.batch": "V1Job", "endpointslices.discovery.k8s.io": "V1EndpointSlice",
    "leases.coordination.k8s.io": "V1Lease",
}  # fmt: skip
QUANTITIES = {"limits", "requests", "sizeLimit", "divisor", "capacity", "allocatable", "allocatedResources"}
OUT = Path(__file__).parents[2] / "meshbdd" / "lab" / "api" / "builtin.json"
SIMPLE = {
    str: {"type": "string"},
    int: {"type": "integer"},
    bool: {"type": "boolean"},
    float: {"type": "number"},
    bytes: {"type": "string"},
}


def schema(told: Any, found: dict[str, Any], path: str) -> dict[str, Any]:
    origin, arguments = typing.get_origin(told), typing.get_args(told)
    if origin is typing.Annotated:
        return schema(arguments[0], found, path)
    if origin in {typing.Union, types.UnionType}:
        kept = [argument for argument in arguments if argument is not type(None)]
        shapes = [schema(argument, found, path) for argument in kept]
        if {s.get("type") for s in shapes} == {"integer", "string"}:
            return {"x-kubernetes-int-or-string": True}
        return shapes[0]
    if origin is list:
        return {"type": "array", "items": schema(arguments[0], found, path)}
    if origin is dict:
        inner = {"x-kubernetes-int-or-string": True} if path in QUANTITIES else schema(arguments[1], found, path)
        return {"type": "object", "additionalProperties": inner}
    if told in SIMPLE:
        return {"x-kubernetes-int-or-string": True} if path in QUANTITIES else dict(SIMPLE[told])
    if isinstance(told, type) and told.__name__ == "datetime":
        return {"type": "string", "format": "date-time"}
    if isinstance(told, type) and hasattr(told, "model_fields"):
        if told.__name__ in {"V1ObjectMeta", "V1ManagedFieldsEntry"}:
            return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        model(told, found)
        return {"$ref": told.__name__}
    return {"x-kubernetes-preserve-unknown-fields": True}


def model(kind: Any, found: dict[str, Any]) -> None:
    if kind.__name__ in found:
        return
    properties: dict[str, Any] = {}
    found[kind.__name__] = {"type": "object", "properties": properties}
    for name, field in kind.model_fields.items():
        public = (field.alias or kind.attribute_map.get(name, name)).lstrip("_")  # "_exec" is "exec"
        properties[public] = schema(field.annotation, found, public)
        words = re.sub(r"\s+", " ", field.description or "").strip().split(". ")[0].rstrip(".")
        if words and "$ref" not in properties[public]:
            properties[public]["description"] = words[:160]


def main() -> None:
    found: dict[str, Any] = {}
    for name in KINDS.values():
        model(getattr(models, name), found)
    lines = [f"{json.dumps(name)}: {json.dumps(told)}" for name, told in sorted(found.items())]
    kinds = json.dumps(KINDS)
    OUT.write_text('{"kinds": ' + kinds + ',\n"models": {\n' + ",\n".join(lines) + "\n}}\n")


if __name__ == "__main__":
    main()
