"""Delegation: a rule of one virtual service stands for the rules of another.

As istio/istio ``pilot/pkg/model/virtualservice.go`` merges them: the delegate's word counts, what it leaves out comes
from the root, and a delegate's rule whose match is not within the root's is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

Object = Mapping[str, Any]

_INHERITED = (
    "rewrite", "directResponse", "timeout", "retries", "fault", "mirror", "mirrorPercent", "mirrorPercentage",
    "corsPolicy", "mirrors", "headers",
)  # fmt: skip
_TEXTS = ("uri", "scheme", "method", "authority")
_TABLES = ("headers", "withoutHeaders", "queryParams")


def with_delegates(
    rules: Iterable[Object], namespace: str, delegate: Callable[[str, str], Iterable[Object] | None]
) -> tuple[Object, ...]:
    """The rules with every delegating one replaced.

    Args:
        rules: The root's rules.
        namespace: The root's namespace, where its delegates are unless it says otherwise.
        delegate: The rules of a delegate by name and namespace; ``None`` where there is none to be seen.
    """
    made: list[Object] = []
    for rule in rules:
        target = rule.get("delegate")
        if not target:
            made.append(rule)
            continue
        for other in delegate(target.get("name") or "", target.get("namespace") or namespace) or ():
            merged = _merged(rule, other)
            if merged is not None:
                made.append(merged)
    return tuple(made)


def _merged(root: Object, delegate: Object) -> Object | None:
    matches = _matches(root.get("match") or [], delegate.get("match") or [])
    if matches is None:
        return None
    made = {**delegate, "match": matches, "name": _joined(root.get("name"), delegate.get("name"))}
    for field in _INHERITED:
        if made.get(field) is None and root.get(field) is not None:
            made[field] = root[field]
    return made


def _joined(first: str | None, second: str | None) -> str:
    return "-".join(part for part in (first, second) if part)


def _matches(roots: list[Object], delegates: list[Object]) -> list[Object] | None:
    """Every match of the delegate narrowed by each of the root's that it lies within; ``None``: one lies in none."""
    if not roots or not delegates:
        return delegates or roots
    made: list[Object] = []
    for match in delegates:
        within = [_narrowed(root, match) for root in roots if not _conflicts(root, match)]
        if not within:
            return None
        made += within
    return made


def _narrowed(root: Object, match: Object) -> Object:
    made = dict(match)
    for field in (*_TEXTS, "port", "sourceNamespace", "gateways", "statPrefix"):
        if not made.get(field) and root.get(field):
            made[field] = root[field]
    for field in (*_TABLES, "sourceLabels"):
        made[field] = {**(root.get(field) or {}), **(match.get(field) or {})}
    made["name"] = _joined(root.get("name"), match.get("name"))
    return made


def _conflicts(root: Object, match: Object) -> bool:
    if any(_texts_conflict(root.get(field), match.get(field)) for field in _TEXTS):
        return True
    for table in _TABLES:
        held = root.get(table) or {}
        if any(_texts_conflict(held.get(key), text) for key, text in (match.get(table) or {}).items()):
            return True
    labels, gateways = root.get("sourceLabels") or {}, root.get("gateways") or []
    return (
        bool(root.get("ignoreUriCase")) != bool(match.get("ignoreUriCase"))
        or bool(root.get("port") and match.get("port") and root["port"] != match["port"])
        or bool(root.get("sourceNamespace") and match.get("sourceNamespace") != root["sourceNamespace"])
        or any(labels.get(key, value) != value for key, value in (match.get("sourceLabels") or {}).items())
        or bool(gateways and not set(match.get("gateways") or ()) <= set(gateways))
    )


def _texts_conflict(root: Object | None, text: Object | None) -> bool:
    """Whether a text match is not within another; regular expressions are within nothing but what says nothing."""
    if root is None or text is None:
        return False
    if root.get("regex") or text.get("regex"):
        other = text if root.get("regex") else root
        if any(other.get(kind) for kind in ("regex", "prefix", "exact")):
            return True
    if root.get("exact"):
        return bool(text.get("prefix")) or text.get("exact", "") != root["exact"]
    if root.get("prefix"):
        said = text.get("prefix") or text.get("exact")
        return not said or not str(said).startswith(root["prefix"])
    return True
