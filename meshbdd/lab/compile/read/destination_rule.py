"""DestinationRule → the rule that governs a host for a caller, and the policy for one port and subset.

The lookup is that of istio/istio ``pilot/pkg/model`` (``destinationRule``, ``mergeDestinationRule``):
https://istio.io/latest/docs/ops/best-practices/traffic-management/#cross-namespace-configuration
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from meshbdd.lab.compile.names import covers, full_host, origin, specificity
from meshbdd.lab.compile.policies import Rule, Subset, TrafficPolicy

Object = Mapping[str, Any]
_PUBLIC, _PRIVATE = "*", "."


@dataclass(frozen=True, slots=True)
class _Entry:
    """One rule, or several merged ones: who sees it, and which workloads it is for (``None``: all)."""

    rule: Rule
    seen_by: frozenset[str]
    selector: Mapping[str, str] | None

    def exported_to(self, namespace: str) -> bool:
        return not self.seen_by or _PUBLIC in self.seen_by or namespace in self.seen_by


_Index = dict[str, dict[str, list[_Entry]]]
"""Namespace → host → entries."""


class DestinationRules:
    """All rules.

    Args:
        rules: The objects, oldest first.
        root: The mesh's root namespace.
    """

    def __init__(self, rules: Iterable[Object], root: str) -> None:
        self._root = root
        self._local: _Index = defaultdict(dict)
        self._exported: _Index = defaultdict(dict)
        self._root_private: dict[str, list[_Entry]] = {}
        # Those with a selector first: they merge among themselves.
        for item in sorted(rules, key=lambda r: r["spec"].get("workloadSelector") is None):
            self._add(_entry(item))
        self._found: dict[tuple[str, str, str], list[_Entry]] = {}

    def _add(self, entry: _Entry) -> None:
        namespace, host = entry.rule.namespace, entry.rule.host
        seen = entry.seen_by
        if not seen or seen & {_PUBLIC, _PRIVATE, namespace}:
            _merge_into(self._local[namespace].setdefault(host, []), entry)
        if len(seen) == 1 and seen <= {_PRIVATE, namespace}:
            if namespace == self._root:
                _merge_into(self._root_private.setdefault(host, []), entry)
        else:
            _merge_into(self._exported[namespace].setdefault(host, []), entry)

    def rule(
        self, host: str, service_namespace: str, caller: str, labels: Mapping[str, str] | None = None
    ) -> Rule | None:
        """The rule for calls to a host.

        Args:
            host: The Service's whole name.
            service_namespace: Where the Service is.
            caller: The caller's namespace.
            labels: The caller's labels; ``None`` leaves out rules for single workloads (the server's side).
        """
        key = (host, service_namespace, caller)
        if key not in self._found:
            self._found[key] = self._lookup(*key)
        everyone = None
        for entry in self._found[key]:
            if entry.selector is None:
                everyone = entry.rule
            elif labels is None or entry.rule.namespace != caller:
                continue
            elif all(labels.get(name) == value for name, value in entry.selector.items()):
                return entry.rule
        return everyone

    def _lookup(self, host: str, service_namespace: str, caller: str) -> list[_Entry]:
        """In the caller's namespace, then the service's, then the root namespace; the most specific host wins."""
        own = self._root_private if caller == self._root else self._local.get(caller, {})
        if (found := _most_specific(own, host)) is not None:
            return found
        for namespace in dict.fromkeys((service_namespace, self._root)):
            exported = [
                entry
                for entry in _most_specific(self._exported.get(namespace, {}), host) or ()
                if entry.exported_to(caller)
            ]
            if exported:
                return exported
        return []


def _most_specific(by_host: Mapping[str, list[_Entry]], host: str) -> list[_Entry] | None:
    fitting = [pattern for pattern in by_host if covers(pattern, host)]
    return by_host[min(fitting, key=specificity)] if fitting else None


def _entry(item: Object) -> _Entry:
    spec, meta = item["spec"], item["metadata"]
    selector = spec.get("workloadSelector")
    rule = Rule(
        host=full_host(spec["host"], meta["namespace"]),
        namespace=meta["namespace"],
        origin=origin(item),
        policy=spec.get("trafficPolicy"),
        subsets=tuple(_subset(entry) for entry in spec.get("subsets") or []),
        selects=selector is not None,
    )
    seen = frozenset(spec.get("exportTo") or ()) if selector is None else frozenset({_PRIVATE})
    return _Entry(rule, seen, None if selector is None else selector.get("matchLabels") or {})


def _subset(entry: Object) -> Subset:
    return Subset(entry["name"], entry.get("labels") or {}, entry.get("trafficPolicy") or {})


def _merge_into(entries: list[_Entry], new: _Entry) -> None:
    """Merge a rule into those for the same host that have the same readers and workloads, or put it beside them."""
    separate = True
    for index, held in enumerate(entries):
        if held.seen_by != new.seen_by and not (held.seen_by and new.seen_by >= held.seen_by):
            separate = True
            continue
        separate = held.seen_by != new.seen_by
        if held.selector is not None and new.selector is not None and held.selector != new.selector:
            separate = True
            continue
        if held.selector == new.selector:
            separate = False
        entries[index] = replace(held, rule=_merged(held.rule, new.rule))
    if separate:
        entries.append(new)


def _merged(held: Rule, new: Rule) -> Rule:
    """The first traffic policy, the subsets of both; of two subsets by one name the first."""
    names = {subset.name for subset in held.subsets}
    return replace(
        held,
        policy=held.policy if held.policy is not None else new.policy,
        subsets=(*held.subsets, *(subset for subset in new.subsets if subset.name not in names)),
    )


def _blocks(policy: Object) -> TrafficPolicy:
    return TrafficPolicy(
        policy.get("connectionPool"),
        policy.get("outlierDetection"),
        policy.get("loadBalancer"),
        policy.get("tls"),
        policy.get("retryBudget"),
        policy.get("proxyProtocol"),
    )


def _at_port(policy: Object, port: int) -> tuple[TrafficPolicy, bool]:
    """The policy at a port, and whether it stands for that port alone; then nothing is inherited."""
    for entry in policy.get("portLevelSettings") or []:
        if (entry.get("port") or {}).get("number") == port:
            return replace(_blocks(entry), retry_budget=None, proxy_protocol=None), True
    return _blocks(policy), False


def policy_for(rule: Rule | None, port: int, subset: Subset | None = None) -> TrafficPolicy:
    """The policy at one port: settings of a port stand alone, a subset's blocks replace the host's one by one."""
    base, _ = _at_port(rule.policy or {}, port) if rule is not None else (TrafficPolicy(), False)
    if subset is None or not subset.policy:
        return base
    own, alone = _at_port(subset.policy, port)
    if alone:
        return replace(own, retry_budget=base.retry_budget, proxy_protocol=base.proxy_protocol)
    return TrafficPolicy(
        own.connection_pool if own.connection_pool is not None else base.connection_pool,
        own.outlier_detection if own.outlier_detection is not None else base.outlier_detection,
        own.load_balancer if own.load_balancer is not None else base.load_balancer,
        own.tls if own.tls is not None else base.tls,
        own.retry_budget if own.retry_budget is not None else base.retry_budget,
        own.proxy_protocol if own.proxy_protocol is not None else base.proxy_protocol,
    )


def endpoint_tls_mode(rule: Rule | None, port: int, subset: Subset | None = None) -> str | None:
    """The mode of TLS that a rule's endpoints are told with; unlike a cluster's a port's settings inherit it.

    istio/istio ``pilot/pkg/xds/endpoints/mtls_checker.go``.
    """
    for policy in (subset.policy if subset else None, rule.policy if rule else None):
        ports = [
            p for p in (policy or {}).get("portLevelSettings") or [] if (p.get("port") or {}).get("number") == port
        ]
        for block in (*ports, policy or {}):
            if (mode := _blocks(block).tls_mode) is not None:
                return mode
    return None


def hash_settings(rule: Rule | None, subset_name: str, port: int | None) -> Object | None:
    """The consistent hash that a route's destination asks for: the subset's port, the subset, the port, the host.

    Args:
        rule: The destination's rule.
        subset_name: The destination's subset, or ``""``.
        port: The port that the destination names; ``None`` where it names none.
    """
    if rule is None:
        return None
    subset = next((s for s in rule.subsets if s.name == subset_name), None)
    policies = [subset.policy if subset else {}, rule.policy or {}]
    for policy in policies:
        for entry in policy.get("portLevelSettings") or []:
            if port is not None and (entry.get("port") or {}).get("number") == port:
                if found := (entry.get("loadBalancer") or {}).get("consistentHash"):
                    return dict(found)
                break
        if found := (policy.get("loadBalancer") or {}).get("consistentHash"):
            return dict(found)
    return None
