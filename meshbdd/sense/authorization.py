"""AuthorizationPolicies: rules about callers that do not exist, and rules that no request can match."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from meshbdd.sense import catalog
from meshbdd.sense.finding import Finding
from meshbdd.sense.inventory import ROOT_NAMESPACE, Inventory
from meshbdd.sense.reading import Object, mapping, mappings, namespace_of, texts, told
from meshbdd.sense.selectors import has_targets, selected_pods
from meshbdd.sense.tls import DISABLE, in_force

_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"}


def check(world: Inventory) -> Iterator[Finding]:
    """What the rules of AuthorizationPolicies say of sources and operations."""
    for policy in world.of("AuthorizationPolicy"):
        for number, rule in enumerate(mappings(policy, "spec", "rules"), 1):
            for entry in mappings(rule, "from"):
                source = mapping(entry, "source")
                yield from _namespaces(world, policy, number, source)
                yield from _principals(world, policy, number, source)
                yield from _unknown_callers(world, policy, number, source)
            for entry in mappings(rule, "to"):
                yield from _operation(world, policy, number, mapping(entry, "operation"))


def _namespaces(world: Inventory, policy: Object, number: int, source: Any) -> Iterator[Finding]:
    for name in (*texts(source, "namespaces"), *texts(source, "notNamespaces")):
        if world.namespaces and not any(_like(name, known) for known in world.namespaces):
            yield catalog.UNKNOWN_NAMESPACE.on(
                policy,
                f'rule {number} is about namespace "{name}", which does not exist (there are {told(sorted(world.namespaces))}).',
            )


def _like(pattern: str, name: str) -> bool:
    """Istio's patterns: a star alone, before a suffix, or after a prefix."""
    if pattern == "*":
        return True
    if pattern.startswith("*"):
        return name.endswith(pattern[1:])
    if pattern.endswith("*"):
        return name.startswith(pattern[:-1])
    return name == pattern


def _principals(world: Inventory, policy: Object, number: int, source: Any) -> Iterator[Finding]:
    accounts = {f"/ns/{w.namespace}/sa/{w.account}" for w in world.workloads}
    rooted = any(w.namespace == ROOT_NAMESPACE for w in world.workloads)  # files do not tell of the mesh's own pods
    for name in texts(source, "principals"):
        # Which trust domain a mesh has, and which ones it takes for its own, only its configuration says.
        domain = name.partition("/ns/")[0].removeprefix("*") if "/ns/" in name else "cluster.local"
        known = [domain + account for account in accounts]
        if name.startswith("spiffe://"):
            yield catalog.UNKNOWN_PRINCIPAL.on(
                policy,
                f'rule {number}: principal "{name}" matches nobody: Istio writes it without spiffe://.',
                f"write {name.removeprefix('spiffe://')}",
            )
        elif known and (rooted or not _may_be_of_root(name)) and not any(_like(name, p) for p in known):
            yield catalog.UNKNOWN_PRINCIPAL.on(policy, f'rule {number}: no pod has principal "{name}".')
    for name in texts(source, "serviceAccounts"):
        full = name if "/" in name else f"{namespace_of(policy)}/{name}"
        if not rooted and full.startswith(f"{ROOT_NAMESPACE}/"):
            continue
        if accounts and "/ns/{}/sa/{}".format(*full.split("/", 1)) not in accounts:
            yield catalog.UNKNOWN_PRINCIPAL.on(policy, f'rule {number}: no pod has the service account "{full}".')


def _may_be_of_root(principal: str) -> bool:
    """Whether a principal, or a pattern of such, means pods of the root namespace: gateways are often there."""
    _, found, account = principal.partition("/ns/")
    if not found:
        return principal.startswith("*")
    root = f"{ROOT_NAMESPACE}/"
    return account.startswith(root) or (account.endswith("*") and root.startswith(account[:-1]))


def _unknown_callers(world: Inventory, policy: Object, number: int, source: Any) -> Iterator[Finding]:
    """Callers are known by their certificates: where mutual TLS is off, a rule about who they are matches nobody."""
    about = [word for word in ("principals", "namespaces", "serviceAccounts") if texts(source, word)]
    pods = [] if has_targets(policy) or not about else selected_pods(world, policy)
    ports = [(pod, port) for pod in pods if pod.meshed for port in (*world.listens_on([pod]), None)]
    modes = {in_force(world, pod, port) for pod, port in ports}
    if modes == {DISABLE}:
        yield catalog.NEVER_MATCHES.on(
            policy,
            f"rule {number} is about {told(about)}, and mutual TLS is disabled at its pods: who calls them is not known there, "
            "so it matches no request.",
            "take the PeerAuthentication's DISABLE back",
        )


def _operation(world: Inventory, policy: Object, number: int, operation: Any) -> Iterator[Finding]:
    for method in texts(operation, "methods"):
        if method != method.upper() and method.upper() in _METHODS:
            yield catalog.NEVER_MATCHES.on(
                policy, f'rule {number}: method "{method}" matches no request: methods are compared as they are written.',
                f"write {method.upper()}",
            )  # fmt: skip
    for path in texts(operation, "paths"):
        if not path.startswith(("/", "*", "{")):
            yield catalog.NEVER_MATCHES.on(
                policy, f'rule {number}: path "{path}" matches no request: paths begin with "/".', f"write /{path}"
            )
    pods = [] if has_targets(policy) else selected_pods(world, policy)  # of a waypoint it means the Service's port
    for port in texts(operation, "ports"):
        if port.isdigit() and (targets := world.only_of_services(pods, int(port))):
            yield catalog.NOT_A_WORKLOAD_PORT.on(
                policy,
                f"rule {number} is for port {port}, which is the Service's; its calls come to the pods at port "
                f"{told(sorted(map(str, targets)))}, and that is what it takes, so it matches none of them.",
            )
