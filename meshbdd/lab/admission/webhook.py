"""Deciding on an object: the schema, then Istio's rules, then what the lab cannot do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from meshbdd.lab.admission import authorization_policy, envoy_filter, kinds
from meshbdd.lab.admission.definitions import spec_schema
from meshbdd.lab.admission.fields import Schema
from meshbdd.lab.admission.rules import Object, Problem, at_least
from meshbdd.lab.admission.unsupported import unsupported
from meshbdd.lab.api.errors import ApiError
from meshbdd.lab.api.schema import validate

_RULES: dict[str, Callable[[Object], Iterator[Problem]]] = {
    "VirtualService": kinds.virtual_service,
    "DestinationRule": kinds.destination_rule,
    "PeerAuthentication": kinds.peer_authentication,
    "EnvoyFilter": envoy_filter.problems,
    "AuthorizationPolicy": authorization_policy.problems,
}
_WARNINGS: dict[str, Callable[[Object], Iterator[str]]] = {
    "VirtualService": kinds.virtual_service_warnings,
    "DestinationRule": kinds.destination_rule_warnings,
    "EnvoyFilter": envoy_filter.warnings,
    "AuthorizationPolicy": authorization_policy.warnings,
}


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
    schema = spec_schema(kind)
    if schema is None:
        return Admission()
    meta = obj.get("metadata") or {}
    name = f"{kind} {meta.get('name', '?')}" + (f" in {meta['namespace']}" if meta.get("namespace") else "")
    spec = obj.get("spec") or {}
    for cause in validate(schema, spec, "spec"):
        return Admission(f"{name}: {cause.field}: {cause.message}", "schema")
    for path, why in _least(schema, spec, "spec"):
        return Admission(f"{name}: {path}: {why}", "schema")
    problems = list(_RULES[kind](spec))
    if problems:
        return Admission(f"{name}: " + "; ".join(f"{path}: {why}" for path, why in problems), "webhook")
    missing = unsupported(obj)
    if missing:
        return Admission(f"{name}: " + "; ".join(f"{path}: {why}" for path, why in missing), "unsupported")
    return Admission(warnings=tuple(_WARNINGS[kind](spec)) if kind in _WARNINGS else ())


def admission_hook(operation: str, resource: str, new: Object | None, _old: Object | None) -> list[str]:
    """The API's admission for Istio's kinds.

    Raises:
        ApiError: 400 in the words of a denied admission request.
    """
    if operation == "DELETE" or new is None or "istio.io" not in resource:
        return []
    decision = admit(new)
    if decision.refused is not None:
        webhook = "lab.meshbdd.dev" if decision.refused_by == "unsupported" else "rev.validation.istio.io"
        message = f'admission webhook "{webhook}" denied the request: configuration is invalid: {decision.refused}'
        raise ApiError(400, "BadRequest", message)
    return list(decision.warnings)
