"""AuthorizationPolicy → the policies that govern a workload, the root namespace's first, the oldest first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from meshbdd.lab.compile.policies import AccessPolicy, AccessRule, Condition

Object = Mapping[str, Any]

DRY_RUN = "istio.io/dry-run"
OPERATION_KEYS = ("destination.ip", "destination.port", "connection.sni")
"""Keys of ``when`` that speak of what is called; those below speak of the caller."""
SOURCE_KEYS = (
    "source.ip", "remote.ip", "source.namespace", "source.serviceAccount", "source.trustDomain", "source.principal",
    "request.auth.principal", "request.auth.audiences", "request.auth.presenter",
)  # fmt: skip
METADATA_PREFIX, HEADERS, CLAIMS = "experimental.envoy.filters.", "request.headers", "request.auth.claims"

# field of a source or an operation → key, in the order in which Istio writes them
_SOURCE = (
    ("principals", "source.principal"), ("requestPrincipals", "request.auth.principal"),
    ("serviceAccounts", "source.serviceAccount"), ("trustDomains", "source.trustDomain"),
    ("namespaces", "source.namespace"), ("remoteIpBlocks", "remote.ip"), ("ipBlocks", "source.ip"),
)  # fmt: skip
_OPERATION = (("hosts", "host"), ("methods", "method"), ("paths", "path"), ("ports", "destination.port"))
_TRUE = {"1", "t", "T", "TRUE", "true", "True"}
"""What Go's ``strconv.ParseBool`` takes for true."""


class AuthorizationPolicies:
    """All policies.

    Args:
        policies: The objects, oldest first.
        root: The mesh's root namespace, whose policies apply to every namespace.
    """

    def __init__(self, policies: Iterable[Object], root: str) -> None:
        self._root = root
        self._by_namespace: dict[str, list[Object]] = {}
        for policy in policies:
            self._by_namespace.setdefault(policy["metadata"]["namespace"], []).append(policy)

    def of_workload(self, namespace: str, labels: Mapping[str, str]) -> list[AccessPolicy]:
        """The policies for a workload; those with target references are for waypoints and gateways."""
        found = []
        for home in dict.fromkeys((self._root, namespace)):
            for policy in self._by_namespace.get(home, ()):
                spec = policy.get("spec") or {}
                wanted = (spec.get("selector") or {}).get("matchLabels") or {}
                if spec.get("targetRef") or spec.get("targetRefs"):
                    continue
                if all(labels.get(name) == value for name, value in wanted.items()):
                    found.append(_policy(policy["metadata"], spec))
        return found


def _policy(meta: Object, spec: Object) -> AccessPolicy:
    return AccessPolicy(
        name=meta["name"],
        namespace=meta["namespace"],
        action=spec.get("action") or "ALLOW",
        rules=tuple(_rule(rule or {}, meta["namespace"]) for rule in spec.get("rules") or []),
        dry_run=(meta.get("annotations") or {}).get(DRY_RUN) in _TRUE,
    )


def _condition(key: str, values: Iterable[str] | None, not_values: Iterable[str] | None, home: str) -> Condition:
    """A condition; a service account without a namespace belongs to the policy's."""

    def whole(value: str) -> str:
        return f"{home}/{value}" if key == "source.serviceAccount" and "/" not in value else value

    return Condition(key, tuple(whole(v) for v in values or ()), tuple(whole(v) for v in not_values or ()))


def _rule(rule: Object, home: str) -> AccessRule | None:
    operations: list[Condition] = []
    sources: list[Condition] = []
    for block in rule.get("when") or []:
        key = block["key"]
        condition = _condition(key, block.get("values"), block.get("notValues"), home)
        if not condition.values and not condition.not_values:
            continue
        if key in OPERATION_KEYS or key.startswith(METADATA_PREFIX):
            operations.append(condition)
        elif key in SOURCE_KEYS or key.startswith((HEADERS, CLAIMS)):
            sources.append(condition)
        else:
            return None
    return AccessRule(
        operations=_lists([to.get("operation") for to in rule.get("to") or []], _OPERATION, operations, home),
        sources=_lists([item.get("source") for item in rule.get("from") or []], _SOURCE, sources, home),
    )


def _lists(
    blocks: list[Object | None], fields: Iterable[tuple[str, str]], always: list[Condition], home: str
) -> tuple[tuple[Condition, ...], ...]:
    made = []
    for block in blocks or [None]:
        said = (
            _condition(key, (block or {}).get(name), (block or {}).get(_negated(name)), home) for name, key in fields
        )
        made.append((*(c for c in said if c.values or c.not_values), *always))
    return tuple(made)


def _negated(field: str) -> str:
    """``principals`` → ``notPrincipals``."""
    return f"not{field[0].upper()}{field[1:]}"
