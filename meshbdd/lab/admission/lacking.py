"""The short list of what Istio has and the lab does not: refused by its path, never passed over in silence.

Everything else of these kinds is compiled. EnvoyFilters are the other way round: four forms are compiled, see
``envoy_filter.unsupported``; kinds that are not here (WasmPlugin, Gateway, TCPRoute ...) are not served at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from meshbdd.lab.admission.rules import Object, Problem

UTILIZATION = "balancing by what backends report of their load"
CREDENTIALS = "certificates out of Secrets and ConfigMaps (name files instead)"

LACKING: Mapping[str, Mapping[str, str]] = {
    "VirtualService": {
        "spec.tls": "TLS routes (the lab's sidecars send HTTP alone)", "spec.tcp": "TCP routes (the lab's sidecars send HTTP alone)",
        "spec.http[].mirror_percent": "the old name of mirrorPercent",
    },
    "DestinationRule": {
        f"spec{place}.{field}": what
        for field, what in (
            ("tls.credentialName", f"{CREDENTIALS}, where the rule has a workloadSelector"),
            ("loadBalancer.backendUtilization", UTILIZATION),
        )
        for place in (
            ".trafficPolicy", ".trafficPolicy.portLevelSettings[]", ".subsets[].trafficPolicy",
            ".subsets[].trafficPolicy.portLevelSettings[]",
        )
    },
    "AuthorizationPolicy": {
        "spec.action=CUSTOM": "external authorizers (they stand in the mesh's configuration, which the lab does not have)",
    },
    "Sidecar": {
        "spec.ingress": "ingress listeners of a Sidecar (on loopback a sidecar takes a pod's ports where its Services say)",
        "spec.egress[].port": "a listener for one port (on loopback a sidecar has one listener for all)",
        "spec.egress[].bind": "a listener for one address (on loopback a sidecar has one listener for all)",
        "spec.egress[].captureMode=NONE": "a listener that nothing is led to (on loopback nothing is led to any)",
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
