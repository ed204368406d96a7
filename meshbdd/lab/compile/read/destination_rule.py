"""DestinationRule → the rule that governs a host, and the policy for one port and subset."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from meshbdd.lab.compile.ir import Rule, Subset, TrafficPolicy
from meshbdd.lab.compile.names import covers, full_host, origin, specificity

Object = Mapping[str, Any]


def exported_to(obj: Object, namespace: str) -> bool:
    """Whether an object's ``exportTo`` lets a namespace see it."""
    seen = obj["spec"].get("exportTo") or ["*"]
    own = obj["metadata"]["namespace"]
    return any(entry == "*" or (entry == "." and own == namespace) or entry == namespace for entry in seen)


def rule_for(host: str, service_namespace: str, caller: str, rules: Iterable[Object], root: str) -> Rule | None:
    """The rule for calls to ``host`` from namespace ``caller``.

    Looked up in the caller's namespace, then the service's, then the root namespace; in each the most specific host
    wins, and several rules for one host merge: the first traffic policy, the subsets of all.
    https://istio.io/latest/docs/ops/best-practices/traffic-management/#cross-namespace-configuration
    """
    fitting = [rule for rule in rules if covers(full_host(rule["spec"]["host"], rule["metadata"]["namespace"]), host)]
    for namespace in dict.fromkeys((caller, service_namespace, root)):
        found = [r for r in fitting if r["metadata"]["namespace"] == namespace and exported_to(r, caller)]
        # A rule with a workload selector is for those workloads alone; it never governs a whole namespace.
        found = [r for r in found if not r["spec"].get("workloadSelector")]
        if found:
            best = min((full_host(r["spec"]["host"], namespace) for r in found), key=specificity)
            return _merge([r for r in found if full_host(r["spec"]["host"], namespace) == best], best)
    return None


def _merge(rules: list[Object], host: str) -> Rule:
    policy: Object = next((r["spec"]["trafficPolicy"] for r in rules if r["spec"].get("trafficPolicy")), {})
    subsets: dict[str, Subset] = {}
    for rule in rules:
        for entry in rule["spec"].get("subsets") or []:
            made = Subset(entry["name"], entry.get("labels") or {}, entry.get("trafficPolicy") or {})
            subsets.setdefault(entry["name"], made)
    first = rules[0]
    return Rule(host, first["metadata"]["namespace"], origin(first), policy, tuple(subsets.values()))


def _at_port(policy: Object, port: int) -> TrafficPolicy | None:
    for entry in policy.get("portLevelSettings") or []:
        if (entry.get("port") or {}).get("number") == port:
            return _blocks(entry)
    return None


def _blocks(policy: Object) -> TrafficPolicy:
    return TrafficPolicy(
        policy.get("connectionPool"), policy.get("outlierDetection"), policy.get("loadBalancer"), policy.get("tls")
    )


def policy_for(rule: Rule | None, port: int, subset: Subset | None = None) -> TrafficPolicy:
    """The policy at one port: port-level settings stand alone, a subset's blocks replace the host's one by one."""
    if rule is None:
        return TrafficPolicy()
    base = _at_port(rule.policy, port) or _blocks(rule.policy)
    if subset is None or not subset.policy:
        return base
    own = _blocks(subset.policy)
    at_port = _at_port(subset.policy, port) or TrafficPolicy()
    return TrafficPolicy(
        at_port.connection_pool or own.connection_pool or base.connection_pool,
        at_port.outlier_detection or own.outlier_detection or base.outlier_detection,
        at_port.load_balancer or own.load_balancer or base.load_balancer,
        at_port.tls or own.tls or base.tls,
    )
