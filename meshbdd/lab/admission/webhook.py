"""Deciding on an object: the schema, then Istio's rules, then what the lab cannot do."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from meshbdd.lab.admission import (
    authorization_policy,
    destination_rule,
    envoy_filter,
    http_route,
    peer_authentication,
    reachability,
    sidecar,
    virtual_service,
)
from meshbdd.lab.admission.definitions import schema_of, spec_schema
from meshbdd.lab.admission.fields import Schema
from meshbdd.lab.admission.lacking import lacking
from meshbdd.lab.admission.rules import Object, Problem, at_least
from meshbdd.lab.api.errors import ApiError
from meshbdd.lab.api.schema import prune, validate

_RULES: dict[str, Callable[[Object, str], Iterator[Problem]]] = {
    "VirtualService": virtual_service.problems,
    "DestinationRule": destination_rule.problems,
    "PeerAuthentication": peer_authentication.problems,
    "EnvoyFilter": envoy_filter.problems,
    "AuthorizationPolicy": authorization_policy.problems,
    "Sidecar": sidecar.problems,
    "HTTPRoute": http_route.problems,
}
_WARNINGS: dict[str, Callable[[Object], Iterator[str]]] = {
    "VirtualService": reachability.warnings,
    "DestinationRule": destination_rule.warnings,
    "PeerAuthentication": peer_authentication.warnings,
    "EnvoyFilter": envoy_filter.warnings,
    "AuthorizationPolicy": authorization_policy.warnings,
    "Sidecar": sidecar.warnings,
    "HTTPRoute": http_route.warnings,
}
_UNSUPPORTED: dict[str, Callable[[Object], Iterator[Problem]]] = {
    "DestinationRule": destination_rule.unsupported,
    "VirtualService": virtual_service.unsupported,
    "EnvoyFilter": envoy_filter.unsupported,
}
"""What the lab does not compile, where the short list does not say it all."""


@dataclass(frozen=True, slots=True)
class Admission:
    """The decision on an object.

    Attributes:
        refused: One sentence that names object, field and value; ``None``: accepted.
        refused_by: ``schema``, ``webhook`` or ``unsupported``.
        warnings: What Istio would warn of.
    """

    refused: str | None = None
    refused_by: str | None = None
    warnings: tuple[str, ...] = ()


def _least(schema: Schema, value: Any, path: str) -> Iterator[Problem]:
    """The durations that are shorter than their schema allows (a CEL rule in Istio's definitions)."""
    if "x-meshbdd-least" in schema and isinstance(value, str) and not at_least(value, schema["x-meshbdd-least"]):
        yield path, f"{value} is shorter than {schema['x-meshbdd-least']}"
    if isinstance(value, Mapping):
        for name, item in value.items():
            inner = (schema.get("properties") or {}).get(name) or schema.get("additionalProperties")
            if isinstance(inner, Mapping):
                yield from _least(dict(inner), item, f"{path}.{name}")
    elif isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            yield from _least(schema["items"], item, f"{path}[{index}]")


def admit(obj: Mapping[str, Any]) -> Admission:
    """Decide as Istio does; kinds that are not Istio's are accepted."""
    kind = str(obj.get("kind", ""))
    whole = schema_of(kind, obj.get("apiVersion"))
    if whole is None:
        return Admission()
    meta = obj.get("metadata") or {}
    namespace = meta.get("namespace") or ""
    name = f"{kind} {meta.get('name', '?')}" + (f" in {namespace}" if namespace else "")
    if obj.get("spec") is None and "spec" in whole.get("required", ()):
        return Admission(f"{name}: spec: Required value", "schema")
    schema, spec = whole["properties"]["spec"], obj.get("spec") or {}
    for cause in validate(schema, spec, "spec"):
        return Admission(f"{name}: {cause.field}: {cause.message}", "schema")
    for path, why in _least(schema, spec, "spec"):
        return Admission(f"{name}: {path}: {why}", "schema")
    for decided, found in (("webhook", _RULES[kind](spec, namespace)), ("unsupported", _lacking(kind, spec))):
        problems = list(found)
        if problems:
            return Admission(f"{name}: " + "; ".join(f"{path}: {why}" for path, why in problems), decided)
    return Admission(warnings=tuple(_WARNINGS[kind](spec)))


def unknown_fields(obj: Mapping[str, Any]) -> list[str]:
    """The paths of a ``spec`` that its schema does not know; kubectl asks the API server to refuse them."""
    schema = spec_schema(str(obj.get("kind", "")), obj.get("apiVersion"))
    return sorted(prune(schema, copy.deepcopy(obj.get("spec") or {}), "spec")) if schema is not None else []


def _lacking(kind: str, spec: Object) -> Iterator[Problem]:
    return _UNSUPPORTED[kind](spec) if kind in _UNSUPPORTED else lacking(kind, spec)


def admission_hook(operation: str, resource: str, new: Object | None, _old: Object | None) -> list[str]:
    """The API's admission for Istio's kinds.

    Raises:
        ApiError: 400 in the words of a denied admission request.
    """
    if operation == "DELETE" or new is None or not resource.endswith((".istio.io", ".gateway.networking.k8s.io")):
        return []
    decision = admit(new)
    if decision.refused is not None:
        webhook = "lab.meshbdd.dev" if decision.refused_by == "unsupported" else "rev.validation.istio.io"
        message = f'admission webhook "{webhook}" denied the request: configuration is invalid: {decision.refused}'
        raise ApiError(400, "BadRequest", message)
    return list(decision.warnings)
