"""What Istio's webhook checks of each kind, and what it only warns of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from meshbdd.lab.admission import rules
from meshbdd.lab.admission.rules import Object, Problem


def virtual_service(spec: Object) -> Iterator[Problem]:
    """A VirtualService's spec."""
    gateways = spec.get("gateways") or ["mesh"]
    hosts = spec.get("hosts") or []
    for index, name in enumerate(hosts):
        yield from rules.host(name, f"spec.hosts[{index}]")
        if name == "*" and "mesh" in gateways:
            yield f"spec.hosts[{index}]", '"*" is not allowed for sidecars, only for gateways'
    for name in {name for name in hosts if hosts.count(name) > 1}:
        yield "spec.hosts", f'"{name}" stands twice'
    if hosts and not any(spec.get(kind) for kind in ("http", "tcp", "tls")):
        yield "spec", "a virtual service has http, tcp or tls routes"
    for index, rule in enumerate(spec.get("http") or []):
        yield from _http_route(rule, f"spec.http[{index}]")


def _http_route(rule: Object, path: str) -> Iterator[Problem]:
    actions = [name for name in ("redirect", "directResponse", "delegate") if rule.get(name)]
    if not rule.get("route") and not actions:
        yield path, "a route needs a destination, a redirect, a direct response or a delegate"
    if len(actions) + bool(rule.get("route")) > 1:
        yield path, f"a route has either destinations or {actions[0]}, not both"
    for action in ("redirect", "directResponse"):
        for other in ("fault", "rewrite"):
            if rule.get(action) and rule.get(other) is not None:
                yield f"{path}.{other}", f"a route with {action} takes no {other}"
    if rule.get("fault") is not None:
        yield from rules.fault(rule["fault"], f"{path}.fault")
    if rule.get("retries") is not None:
        yield from rules.retry(rule["retries"], f"{path}.retries")
    yield from _mirrors(rule, path)
    for index, block in enumerate(rule.get("match") or []):
        yield from _match(block, f"{path}.match[{index}]")
    yield from _weights(rule.get("route") or [], f"{path}.route")
    status = (rule.get("directResponse") or {}).get("status")
    if status is not None and not 100 <= status <= 599:
        yield f"{path}.directResponse.status", f"{status} is no HTTP status"
    code = (rule.get("redirect") or {}).get("redirectCode")
    if code and code not in {301, 302, 303, 307, 308}:
        yield f"{path}.redirect.redirectCode", f"{code} is no redirect (301, 302, 303, 307, 308)"


def _mirrors(rule: Object, path: str) -> Iterator[Problem]:
    yield from rules.percentage(rule.get("mirrorPercentage"), f"{path}.mirrorPercentage")
    if rule.get("mirror") is not None:
        yield from rules.destination(rule["mirror"], f"{path}.mirror")
    for index, entry in enumerate(rule.get("mirrors") or []):
        yield from rules.destination(entry["destination"], f"{path}.mirrors[{index}].destination")
        yield from rules.percentage(entry.get("percentage"), f"{path}.mirrors[{index}].percentage")


def _match(block: Object, path: str) -> Iterator[Problem]:
    for name in ("uri", "scheme", "method", "authority"):
        yield from rules.string_match(block.get(name), f"{path}.{name}")
    for name in ("headers", "withoutHeaders", "queryParams"):
        for key, value in (block.get(name) or {}).items():
            yield from rules.string_match(value, f"{path}.{name}.{key}")
    if block.get("port"):
        yield from rules.port(block["port"], f"{path}.port")
    yield from rules.labels(block.get("sourceLabels") or {}, f"{path}.sourceLabels")


def _weights(entries: list[Any], path: str) -> Iterator[Problem]:
    for index, entry in enumerate(entries):
        yield from rules.destination(entry["destination"], f"{path}[{index}].destination")
        if entry.get("weight", 0) < 0:
            yield f"{path}[{index}].weight", f"{entry['weight']} is negative"
    if len(entries) > 1 and sum(entry.get("weight", 0) for entry in entries) == 0:
        yield path, "the weights of several destinations sum to 0"


def virtual_service_warnings(spec: Object) -> Iterator[str]:
    """What Istio warns of: rules that nothing can reach."""
    caught = None
    for index, rule in enumerate(spec.get("http") or []):
        if caught is not None:
            yield f"spec.http[{index}] is never reached: spec.http[{caught}] takes every request before it"
        blocks = rule.get("match") or []
        if caught is None and (not blocks or any(not _narrows(block) for block in blocks)):
            caught = index


def _narrows(block: Mapping[str, Any]) -> bool:
    uri = block.get("uri") or {}
    everything = not uri or uri.get("prefix") == "/"
    return not everything or any(value for key, value in block.items() if key not in {"uri", "name", "ignoreUriCase"})


def destination_rule(spec: Object) -> Iterator[Problem]:
    """A DestinationRule's spec."""
    if spec.get("host"):
        yield from rules.host(spec["host"], "spec.host")
    yield from rules.traffic_policy(spec.get("trafficPolicy"), "spec.trafficPolicy")
    names = [entry.get("name") for entry in spec.get("subsets") or []]
    for index, entry in enumerate(spec.get("subsets") or []):
        path = f"spec.subsets[{index}]"
        yield from rules.subset_name(entry.get("name") or "", f"{path}.name")
        if names.count(entry.get("name")) > 1 and names.index(entry.get("name")) != index:
            yield f"{path}.name", f'"{entry.get("name")}" stands twice'
        yield from rules.labels(entry.get("labels") or {}, f"{path}.labels")
        yield from rules.traffic_policy(entry.get("trafficPolicy"), f"{path}.trafficPolicy")


def destination_rule_warnings(spec: Object) -> Iterator[str]:
    """What Istio warns of: a field whose meaning is gone."""
    policies = [("spec.trafficPolicy", spec.get("trafficPolicy"))]
    policies += [
        (f"spec.subsets[{i}].trafficPolicy", s.get("trafficPolicy")) for i, s in enumerate(spec.get("subsets") or [])
    ]
    for path, policy in policies:
        if ((policy or {}).get("outlierDetection") or {}).get("consecutiveErrors"):
            yield f"{path}.outlierDetection.consecutiveErrors is deprecated and does nothing; use consecutive5xxErrors"


def peer_authentication(spec: Object) -> Iterator[Problem]:
    """A PeerAuthentication's spec."""
    wanted = (spec.get("selector") or {}).get("matchLabels") or {}
    yield from rules.selector(wanted, "spec.selector.matchLabels")
    if spec.get("portLevelMtls") and not wanted:
        yield "spec.portLevelMtls", "modes of single ports need a selector"
    for number in spec.get("portLevelMtls") or {}:
        if not str(number).isdigit() or not 1 <= int(number) <= 65535:
            yield f"spec.portLevelMtls.{number}", f'"{number}" is no port'
