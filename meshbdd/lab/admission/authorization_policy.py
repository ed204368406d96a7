"""AuthorizationPolicy: what Istio's webhook checks and what it warns of."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Any

from meshbdd.lab.admission.fields import TARGET, TEXT, array, choice, obj, table
from meshbdd.lab.admission.rules import Object, Problem, selector
from meshbdd.lab.compile.read.authorization_policy import (
    CLAIMS,
    HEADERS,
    METADATA_PREFIX,
    OPERATION_KEYS,
    SOURCE_KEYS,
)

_TEXTS = array(TEXT)
_ACCOUNTS = array({**TEXT, "maxLength": 320}, maxItems=16)
_SOURCE = obj({
    "principals": _TEXTS, "notPrincipals": _TEXTS, "requestPrincipals": _TEXTS, "notRequestPrincipals": _TEXTS,
    "namespaces": _TEXTS, "notNamespaces": _TEXTS, "ipBlocks": _TEXTS, "notIpBlocks": _TEXTS,
    "remoteIpBlocks": _TEXTS, "notRemoteIpBlocks": _TEXTS, "serviceAccounts": _ACCOUNTS,
    "notServiceAccounts": _ACCOUNTS, "trustDomains": _TEXTS, "notTrustDomains": _TEXTS,
})  # fmt: skip
_OPERATION = obj({
    "hosts": _TEXTS, "notHosts": _TEXTS, "ports": _TEXTS, "notPorts": _TEXTS, "methods": _TEXTS, "notMethods": _TEXTS,
    "paths": _TEXTS, "notPaths": _TEXTS,
})  # fmt: skip
_WHEN = obj({"key": TEXT, "values": _TEXTS, "notValues": _TEXTS}, required=("key",))
_RULE = obj({
    "from": array(obj({"source": _SOURCE}), maxItems=512), "to": array(obj({"operation": _OPERATION})),
    "when": array(_WHEN),
})  # fmt: skip
SCHEMA = obj({
    "selector": obj({"matchLabels": table({**TEXT, "maxLength": 63})}), "targetRef": TARGET,
    "targetRefs": array(TARGET, maxItems=16), "rules": array(_RULE, maxItems=512),
    "action": choice("ALLOW", "DENY", "AUDIT", "CUSTOM"), "provider": obj({"name": TEXT}),
})  # fmt: skip

_OF_CONNECTIONS = (
    "principals", "notPrincipals", "ipBlocks", "notIpBlocks", "namespaces", "notNamespaces", "remoteIpBlocks",
    "notRemoteIpBlocks", "serviceAccounts", "notServiceAccounts",
)  # fmt: skip
"""Fields of a source that a TCP connection can be asked."""
_CHECKED = {
    "ipBlocks": "source.ip", "notIpBlocks": "source.ip", "remoteIpBlocks": "remote.ip", "notRemoteIpBlocks": "remote.ip",
    "serviceAccounts": "source.serviceAccount", "notServiceAccounts": "source.serviceAccount",
    "trustDomains": "source.trustDomain", "notTrustDomains": "source.trustDomain",
}  # fmt: skip
"""Fields of a source whose values are checked, as the values of that key of a condition are."""
_SEGMENT = re.compile(r"[a-zA-Z0-9\-._~%!$&'()+,;:@=]+")
_NOT_WITH_CUSTOM = ("namespaces", "serviceAccounts", "trustDomains", "principals", "requestPrincipals")


def problems(spec: Object, _namespace: str) -> Iterator[Problem]:
    """What Istio's schema and webhook refuse."""
    yield from selector((spec.get("selector") or {}).get("matchLabels") or {}, "spec.selector.matchLabels")
    chosen = [name for name in ("selector", "targetRef", "targetRefs") if spec.get(name) is not None]
    if len(chosen) > 1:
        yield f"spec.{chosen[1]}", f"a policy has either {chosen[0]} or {chosen[1]}, not both"
    action, rules = spec.get("action") or "ALLOW", spec.get("rules") or []
    if action in {"DENY", "CUSTOM"} and not rules:
        yield "spec.rules", f"{action} without rules never applies; an empty rule {{}} applies to every request"
    if spec.get("provider") is not None and action != "CUSTOM":
        yield "spec.provider", f"only CUSTOM has a provider, not {action}"
    if action == "CUSTOM" and rules:
        yield from _custom(spec)
    for index, rule in enumerate(rules):
        yield from _rule(rule or {}, f"spec.rules[{index}]")


def _custom(spec: Object) -> Iterator[Problem]:
    if not (spec.get("provider") or {}).get("name"):
        yield "spec.provider.name", "CUSTOM names its provider"
    for index, rule in enumerate(spec["rules"]):
        for number, entry in enumerate((rule or {}).get("from") or []):
            for name in _NOT_WITH_CUSTOM:
                for field in (name, f"not{name[0].upper()}{name[1:]}"):
                    if (entry.get("source") or {}).get(field):
                        yield f"spec.rules[{index}].from[{number}].source.{field}", "CUSTOM does not take it"


def _rule(rule: Object, path: str) -> Iterator[Problem]:
    for index, entry in enumerate(rule.get("from") or []):
        yield from _source((entry or {}).get("source"), f"{path}.from[{index}].source")
    for index, entry in enumerate(rule.get("to") or []):
        yield from _operation((entry or {}).get("operation"), f"{path}.to[{index}].operation")
    for index, condition in enumerate(rule.get("when") or []):
        yield from _condition(condition, f"{path}.when[{index}]")


def _source(source: Object | None, path: str) -> Iterator[Problem]:
    if not any((source or {}).values()):
        yield path, "a source says something"
        return
    assert source is not None  # noqa: S101 - by the line above
    accounts = source.get("serviceAccounts") or source.get("notServiceAccounts")
    for name in ("principals", "notPrincipals", "namespaces", "notNamespaces"):
        if accounts and source.get(name):
            yield f"{path}.{name}", "service accounts do not go with principals or namespaces"
    for name, values in source.items():
        key = _CHECKED.get(name, "")
        yield from _values(key, values or [], f"{path}.{name}")
        if key == "source.trustDomain":
            for value in values or []:
                if "/" in value:
                    yield f"{path}.{name}", f'"{value}": a trust domain has no slash'


def _operation(operation: Object | None, path: str) -> Iterator[Problem]:
    if not any((operation or {}).values()):
        yield path, "an operation says something"
        return
    assert operation is not None  # noqa: S101 - by the line above
    for name, values in operation.items():
        key = "destination.port" if name in {"ports", "notPorts"} else ""
        yield from _values(key, values or [], f"{path}.{name}")
        if name in {"paths", "notPaths"}:
            for value in values or []:
                yield from _template(value, f"{path}.{name}")


def _condition(condition: Object, path: str) -> Iterator[Problem]:
    key = condition.get("key") or ""
    prefixes = (HEADERS, CLAIMS, METADATA_PREFIX)
    if key not in {*OPERATION_KEYS, *SOURCE_KEYS} and not key.startswith(prefixes):
        yield f"{path}.key", f'"{key}" is no attribute'
        return
    if key.startswith(prefixes) and not re.fullmatch(r"[^\[]+\[.+\]", key):
        yield f"{path}.key", f'"{key}" has the form {key.partition("[")[0].rstrip(".")}[name]'
    if not condition.get("values") and not condition.get("notValues"):
        yield path, "a condition has values or notValues"
    for name in ("values", "notValues"):
        yield from _values(key, condition.get(name) or [], f"{path}.{name}")


def _values(key: str, values: list[str], path: str) -> Iterator[Problem]:
    for value in values:
        if not value:
            yield path, "an empty value is not allowed"
        elif key in {"source.ip", "remote.ip", "destination.ip"} and not _is_range(value):
            yield path, f'"{value}" is no IP address or range'
        elif key == "destination.port" and not (value.isascii() and value.isdigit() and int(value) <= 65535):
            yield path, f'"{value}" is no port (0 to 65535)'
        elif key == "source.serviceAccount" and not re.fullmatch(r"[^/*]+(/[^/*]+)?", value):
            yield path, f'"{value}" is not ACCOUNT or NAMESPACE/ACCOUNT, without wildcards'
        elif key == "source.trustDomain" and (value.count("*") > 1 or "*" in value[1:-1]):
            yield path, f'"{value}": one wildcard is allowed, at the start or at the end'


def _is_range(value: str) -> bool:
    try:
        if "/" in value:
            address, _, bits = value.partition("/")
            size = ipaddress.ip_address(address).max_prefixlen
            return bits.isascii() and bits.isdigit() and str(int(bits)) == bits and int(bits) <= size
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True


def _template(path_value: str, path: str) -> Iterator[Problem]:
    """A path with ``{*}`` (one segment) and ``{**}`` (any number, at the end) holds no other braces."""
    is_template, ended = "{*}" in path_value or "{**}" in path_value, False
    for segment in path_value.strip("/").split("/"):
        if segment in {"{*}", "{**}"}:
            if ended:
                yield path, f'"{path_value}": {{**}} stands last'
                return
            ended = segment == "{**}"
        elif "{" in segment or "}" in segment:
            yield path, f'"{path_value}" has a brace that belongs to neither {{*}} nor {{**}}'
            return
        elif is_template and not _SEGMENT.fullmatch(segment):
            yield path, f'"{path_value}": the segment "{segment}" has a character that a path template does not take'
            return


def warnings(spec: Object) -> Iterator[str]:
    """What Istio warns of: a selector without labels, a DENY that closes every TCP port; and a policy for no sidecar."""
    for name in ("targetRef", "targetRefs"):
        if spec.get(name):
            yield f"spec.{name} is about waypoints and gateways, which the lab does not have: no sidecar heeds this policy"
    if spec.get("selector") is not None and not (spec["selector"].get("matchLabels") or {}):
        yield "spec.selector has no labels, so it selects the whole namespace"
    for index, rule in enumerate(spec.get("rules") or []):
        sources: list[Any] = [entry["source"] for entry in (rule or {}).get("from") or []]
        operations: list[Any] = [entry["operation"] for entry in (rule or {}).get("to") or []]
        in_from = any(source.get(name) for source in sources for name in _OF_CONNECTIONS)
        in_to = any(operation.get(name) for operation in operations for name in ("ports", "notPorts"))
        http_only = (sources and not operations and not in_from) or (operations and not in_to)
        if http_only and spec.get("action") == "DENY":
            yield f"spec.rules[{index}] speaks of HTTP alone, so it denies every call to TCP ports; name the ports"
