"""Label selectors as Linkerd's policy controller reads them: linkerd2 policy-controller/k8s/api/src/labels.rs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshbdd.mesh.catalog import selected

Object = Mapping[str, Any]

_LISTS = {"In", "NotIn"}
"""What an expression can ask of a list of values; all others take none."""


def selects(selector: Object | None, labels: Mapping[str, str]) -> bool:
    """Whether a label selector picks what has these labels; an empty one picks all."""
    wanted = selector or {}
    return selected(wanted.get("matchLabels") or {}, labels) and all(
        _fits(expression, labels) for expression in wanted.get("matchExpressions") or []
    )


def _fits(expression: Object, labels: Mapping[str, str]) -> bool:
    """One with values where none belong, or without where some do, Linkerd takes to fit nothing."""
    asks, values, value = str(expression["operator"]), expression.get("values"), labels.get(expression["key"])
    if (values is not None) != (asks in _LISTS):
        return False
    if values is not None:
        return (value in values) is (asks == "In")
    return (value is not None) is (asks == "Exists")
