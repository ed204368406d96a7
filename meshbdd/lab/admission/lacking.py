"""The short list of what Istio has and the lab does not: refused by its path, never passed over in silence.

Everything else of these kinds is compiled. EnvoyFilters are the other way round: three forms are compiled, see
``envoy_filter.unsupported``; kinds that are not here (WasmPlugin, Gateway, TCPRoute ...) are not served at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from meshbdd.lab.admission.rules import Object, Problem

CREDENTIALS = "certificates out of Secrets and ConfigMaps (name files instead)"
_GATEWAYS = "waypoints and gateways"

LACKING: Mapping[str, Mapping[str, str]] = {
    "VirtualService": {"spec.tls": "TLS routes", "spec.tcp": "TCP routes"},
    "DestinationRule": {
        f"spec{place}.tls.credentialName": f"{CREDENTIALS}, where the rule has a workloadSelector"
        for place in (
            ".trafficPolicy", ".trafficPolicy.portLevelSettings[]", ".subsets[].trafficPolicy",
            ".subsets[].trafficPolicy.portLevelSettings[]",
        )
    },
    "AuthorizationPolicy": {
        "spec.action=CUSTOM": "external authorizers", "spec.targetRef": _GATEWAYS, "spec.targetRefs": _GATEWAYS,
    },
    "Sidecar": {
        "spec.ingress": "ingress listeners of a Sidecar",
        "spec.egress[].port": "a listener for one port (it has one for all)",
        "spec.egress[].bind": "a listener for one address (it has one for all)",
        "spec.egress[].captureMode=IPTABLES": "captured traffic",
        "spec.egress[].captureMode=NONE": "captured traffic",
        "spec.outboundTrafficPolicy.egressProxy": "egress proxies",
    },
    "HTTPRoute": {
        "spec.rules[].sessionPersistence": "session persistence",
        "spec.rules[].filters[].type=CORS": "CORS filters",
        "spec.rules[].filters[].type=ExtensionRef": "filters of other kinds",
        "spec.rules[].backendRefs[].filters[].type=RequestRedirect": "redirects of one backend (Istio has none either)",
        "spec.rules[].backendRefs[].filters[].type=URLRewrite": "rewrites of one backend (Istio has none either)",
        "spec.rules[].backendRefs[].filters[].type=RequestMirror": "mirrors of one backend (Istio has none either)",
        "spec.rules[].backendRefs[].filters[].type=CORS": "CORS filters",
        "spec.rules[].backendRefs[].filters[].type=ExtensionRef": "filters of other kinds",
    },
}  # fmt: skip
"""Kind → path (of a field, or of a field with a value) → what the lab does not have."""


def _find(node: Any, parts: list[str], path: str) -> Iterator[str]:
    part, rest = parts[0], parts[1:]
    name, _, wanted = part.partition("=")
    name, many = name.removesuffix("[]"), name.endswith("[]")
    value = node.get(name) if isinstance(node, Mapping) else None
    where = f"{path}.{name}" if path else name
    if many:
        for index, item in enumerate(value or []):
            yield from _find(item, rest, f"{where}[{index}]")
    elif rest:
        yield from _find(value, rest, where)
    elif (value == wanted) if wanted else value not in (None, [], ""):
        yield where


def lacking(kind: str, spec: Object) -> Iterator[Problem]:
    """The fields of a ``spec`` that the lab does not compile: path and reason."""
    for pattern, what in LACKING.get(kind, {}).items():
        for path in _find({"spec": spec}, pattern.split("."), ""):
            yield path, f"the lab does not have {what}"
