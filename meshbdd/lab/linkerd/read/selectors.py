"""Label selectors as Linkerd's policy controller reads them: linkerd2 policy-controller/k8s/api/src/labels.rs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Object = Mapping[str, Any]


def selects(selector: Object | None, labels: Mapping[str, str]) -> bool:
    """Whether a label selector picks an object; an empty one picks all."""
    wanted = (selector or {}).get("matchLabels") or {}
    if any(labels.get(name) != value for name, value in wanted.items()):
        return False
    for expression in (selector or {}).get("matchExpressions") or []:
        value, values, asks = labels.get(expression["key"]), expression.get("values"), expression["operator"]
        if (values is None) == (asks in {"In", "NotIn"}):
            # Values where none belong, or none where some do: Linkerd takes it as matching nothing.
            return False
        held = {
            "In": value in (values or ()),
            "NotIn": value not in (values or ()),
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }
        if not held[asks]:
            return False
    return True
