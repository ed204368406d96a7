"""Fields that Istio has and the lab's compiler does not: refused by their path, never passed over in silence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from meshbdd.lab.admission import authorization_policy, envoy_filter
from meshbdd.lab.admission.rules import Problem

_POLICY = {
    "tunnel": "tunnels",
    "proxyProtocol": "the PROXY protocol",
    "retryBudget": "retry budgets",
    "loadBalancer.localityLbSetting": "localities (there is one machine)",
    "loadBalancer.warmupDurationSecs": "warm-up",
    "loadBalancer.warmup": "warm-up",
    "connectionPool.http.http2KeepAlive": "HTTP/2 keep-alive settings",
    "outlierDetection.outlierDetectionHttpErrorCodes": "outlier detection by other statuses",
}
_VIRTUAL_SERVICE = {
    "spec.tls": "TLS routes",
    "spec.tcp": "TCP routes",
    "spec.http[].delegate": "delegates",
    "spec.http[].corsPolicy": "CORS",
    "spec.http[].match[].statPrefix": "statistics prefixes",
    "spec.http[].redirect.derivePort": "derived ports",
}
_DESTINATION_RULE = {
    "spec.workloadSelector": "rules for single workloads",
    **{f"spec.trafficPolicy.{path}": why for path, why in _POLICY.items()},
    **{f"spec.trafficPolicy.portLevelSettings[].{path}": why for path, why in _POLICY.items()},
    **{f"spec.subsets[].trafficPolicy.{path}": why for path, why in _POLICY.items()},
}
_FORMS = {"EnvoyFilter": envoy_filter.unsupported, "AuthorizationPolicy": authorization_policy.unsupported}
_TABLE = {"VirtualService": _VIRTUAL_SERVICE, "DestinationRule": _DESTINATION_RULE}


def _find(node: Any, parts: list[str], path: str) -> Iterator[str]:
    if not parts:
        if node not in (None, {}, [], ""):
            yield path
        return
    part, rest = parts[0], parts[1:]
    name, many = part.removesuffix("[]"), part.endswith("[]")
    value = node.get(name) if isinstance(node, Mapping) else None
    where = f"{path}.{name}" if path else name
    if many:
        for index, item in enumerate(value or []):
            yield from _find(item, rest, f"{where}[{index}]")
    elif value is not None:
        yield from _find(value, rest, where)


def unsupported(obj: Mapping[str, Any]) -> list[Problem]:
    """The fields of ``obj`` that the lab cannot compile: path and reason."""
    found = [
        (path, f"the lab does not have {what}")
        for pattern, what in _TABLE.get(obj.get("kind", ""), {}).items()
        for path in _find(obj, pattern.split("."), "")
    ]
    if obj.get("kind") in _FORMS:
        found += list(_FORMS[obj["kind"]](obj.get("spec") or {}))
    if obj.get("kind") == "DestinationRule":
        found += list(_own_certificates(obj.get("spec") or {}))
    return found


def _own_certificates(spec: Mapping[str, Any]) -> Iterator[Problem]:
    policies = [("spec.trafficPolicy", spec.get("trafficPolicy") or {})]
    policies += [
        (f"spec.subsets[{i}].trafficPolicy", s.get("trafficPolicy") or {})
        for i, s in enumerate(spec.get("subsets") or [])
    ]
    for path, policy in policies:
        mode = (policy.get("tls") or {}).get("mode")
        if mode in {"SIMPLE", "MUTUAL"}:
            yield f"{path}.tls.mode", f"the lab does not have TLS with certificates of your own (mode {mode})"
        if (policy.get("loadBalancer") or {}).get("simple") == "PASSTHROUGH":
            yield f"{path}.loadBalancer.simple", "the lab does not have the original destination that PASSTHROUGH needs"
