"""Label selectors as Linkerd's policy controller reads them: linkerd2 policy-controller/k8s/api/src/labels.rs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshbdd.mesh.base import Asked
from meshbdd.mesh.catalog import selected

Object = Mapping[str, Any]

_LISTS = {"In", "NotIn"}
"""What an expression can ask of a list of values; all others take none."""


def selects(selector: Object | None, labels: Mapping[str, str]) -> bool:
    """Whether a label selector picks what has these labels; an empty one picks all."""
    wanted = (selector or {}).get("matchLabels") or {}
    return selected(wanted, labels) and all(asked.met(labels) for asked in asked_by(selector))


def asked_by(selector: Object | None) -> tuple[Asked, ...]:
    """What the expressions of a label selector ask for."""
    return tuple(_asked(expression) for expression in (selector or {}).get("matchExpressions") or [])


def _asked(expression: Object) -> Asked:
    """One with values where none belong, or without where some do, Linkerd takes to fit nothing."""
    asks, values, name = str(expression["operator"]), expression.get("values"), str(expression["key"])
    if (values is not None) != (asks in _LISTS):
        return Asked(name, frozenset())
    if values is not None:
        return Asked(name, frozenset(values), among=asks == "In")
    return Asked(name, frozenset({None}), among=asks != "Exists")
