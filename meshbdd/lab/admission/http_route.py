"""HTTPRoute, and GRPCRoute: what the Gateway API's definitions refuse beyond their schemas, and what a tester may not expect.

The rules are CEL expressions of the shipped definitions: https://gateway-api.sigs.k8s.io/reference/spec/
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from meshbdd.lab.admission.gateway import HTTP_ROUTE as SCHEMA
from meshbdd.lab.admission.rules import Object, Problem
from meshbdd.lab.compile.read.http_route import GROUP, parent_service
from meshbdd.lab.go import seconds

__all__ = ["SCHEMA", "grpc_problems", "problems", "warnings"]

_FIELDS = {
    "RequestHeaderModifier": "requestHeaderModifier", "ResponseHeaderModifier": "responseHeaderModifier",
    "RequestRedirect": "requestRedirect", "URLRewrite": "urlRewrite", "RequestMirror": "requestMirror",
    "ExtensionRef": "extensionRef", "CORS": "cors",
}  # fmt: skip
_NOT_OF_BACKENDS = {"RequestRedirect", "URLRewrite", "RequestMirror", "CORS", "ExtensionRef"}
_ONCE = frozenset({"RequestHeaderModifier", "ResponseHeaderModifier", "RequestRedirect", "URLRewrite", "CORS"})


_PATH = re.compile(r"(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})+")
_RPC = {
    "service": re.compile(r"\.?[a-z_][a-z_0-9]*(\.[a-z_][a-z_0-9]*)*", re.IGNORECASE | re.ASCII),
    "method": re.compile(r"[A-Za-z_][A-Za-z_0-9]*"),
}


def _rules(spec: Object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for index, rule in enumerate(spec.get("rules") or []):
        yield f"spec.rules[{index}]", rule


def problems(spec: Object, _namespace: str) -> Iterator[Problem]:
    """What the API server refuses by the definition's rules."""
    for path, rule in _rules(spec):
        yield from _filters(rule.get("filters") or [], f"{path}.filters")
        kinds = {item["type"] for item in rule.get("filters") or []}
        if "RequestRedirect" in kinds and rule.get("backendRefs"):
            yield f"{path}.filters", "a rule that redirects has no backendRefs"
        for index, match in enumerate(rule.get("matches") or []):
            yield from _match(match, f"{path}.matches[{index}]")
        for kind in ("requestRedirect", "urlRewrite"):
            for item in rule.get("filters") or []:
                if ((item.get(kind) or {}).get("path") or {}).get("type") == "ReplacePrefixMatch":
                    yield from _one_prefix(rule, path)
        yield from _backends(rule, path)
        timeouts = rule.get("timeouts") or {}
        whole, single = (timeouts.get(name) for name in ("request", "backendRequest"))
        if whole and single and seconds(whole) and seconds(single) > seconds(whole):
            yield f"{path}.timeouts.backendRequest", f"{single} is longer than the request's {whole}"


def grpc_problems(spec: Object, _namespace: str) -> Iterator[Problem]:
    """The same of a GRPCRoute."""
    for path, rule in _rules(spec):
        yield from _filters(rule.get("filters") or [], f"{path}.filters")
        for index, match in enumerate(rule.get("matches") or []):
            method, where = match.get("method"), f"{path}.matches[{index}].method"
            if method is not None and not (method.get("service") or method.get("method")):
                yield where, "it names a service, a method, or both"
            for name, words in _RPC.items() if method and method.get("type", "Exact") == "Exact" else ():
                if method.get(name) and not words.fullmatch(method[name]):
                    yield f"{where}.{name}", f'"{method[name]}" is no name of a {name}'
        yield from _backends(rule, path)


def _backends(rule: Object, path: str) -> Iterator[Problem]:
    for index, backend in enumerate(rule.get("backendRefs") or []):
        where = f"{path}.backendRefs[{index}]"
        target = (backend.get("group") or "", backend.get("kind") or "Service")
        if target == ("", "Service") and backend.get("port") is None:
            yield f"{where}.port", "a Service needs its port"
        yield from _filters(backend.get("filters") or [], f"{where}.filters")


def _filters(filters: list[Any], path: str) -> Iterator[Problem]:
    kinds = [item["type"] for item in filters]
    for kind in sorted(_ONCE):
        if kinds.count(kind) > 1:
            yield path, f"{kind} stands twice"
    if {"RequestRedirect", "URLRewrite"} <= set(kinds):
        yield path, "a rule either redirects or rewrites"
    for index, item in enumerate(filters):
        for kind, field in _FIELDS.items():
            if (item["type"] == kind) != (item.get(field) is not None):
                said = "is missing" if item["type"] == kind else f"does not go with type {item['type']}"
                yield f"{path}[{index}].{field}", f"it {said}"
        mirror = item.get("requestMirror") or {}
        if mirror.get("percent") is not None and mirror.get("fraction") is not None:
            yield f"{path}[{index}].requestMirror", "a mirror has either percent or fraction"


def _match(match: Object, path: str) -> Iterator[Problem]:
    value, kind = ((match.get("path") or {}).get(name) for name in ("value", "type"))
    if value is not None and kind != "RegularExpression":
        if not value.startswith("/"):
            yield f"{path}.path.value", f'"{value}" does not begin with a slash'
        for bad in ("//", "/./", "/../", "%2f", "%2F", "#"):
            if bad in value:
                yield f"{path}.path.value", f'"{value}" must not hold "{bad}"'
        if value.endswith(("/..", "/.")):
            yield f"{path}.path.value", f'"{value}" must not end so'
        if not _PATH.fullmatch(value):
            yield f"{path}.path.value", f'"{value}" has a character that no path has'


def _one_prefix(rule: Object, path: str) -> Iterator[Problem]:
    matches = rule.get("matches") or [{}]
    if len(matches) != 1 or ((matches[0].get("path") or {}).get("type") or "PathPrefix") != "PathPrefix":
        yield f"{path}.filters", "ReplacePrefixMatch needs exactly one match, of a path's prefix"


def warnings(spec: Object) -> Iterator[str]:
    """What a tester may not expect: a parent that the lab has nothing for."""
    for index, ref in enumerate(spec.get("parentRefs") or []):
        if parent_service(ref, "") is None:
            kind = f"{ref.get('group', GROUP)}/{ref.get('kind', 'Gateway')}"
            yield f"spec.parentRefs[{index}]: the lab has no {kind}, so the route touches no sidecar by it"
    for path, rule in _rules(spec):
        if rule.get("sessionPersistence") is not None:
            yield f"{path}.sessionPersistence: Istio does not heed it"
        held = [(f"{path}.filters", rule, {"ExtensionRef"})]
        held += [
            (f"{path}.backendRefs[{i}].filters", b, _NOT_OF_BACKENDS)
            for i, b in enumerate(rule.get("backendRefs") or [])
        ]
        for where, holder, unknown in held:
            for item in holder.get("filters") or []:
                if item["type"] in unknown:
                    yield f"{where}: Istio has no {item['type']} there, and applies nothing of the route"
