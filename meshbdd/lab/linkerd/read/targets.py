"""References by group and kind, as Linkerd compares them: linkerd2 policy-controller/k8s/api/src/policy{,/target_ref}.rs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshbdd.lab.linkerd.objects import CORE

Object = Mapping[str, Any]


def targets(ref: Object, group: str, kind: str) -> bool:
    """Whether a reference names a kind; no group and an empty one are the core group, and case does not count."""
    return ((ref.get("group") or CORE).lower(), ref["kind"].lower()) == (group.lower(), kind.lower())


def canonical(ref: Object) -> str:
    """The kind that a reference names, with its group where one is said."""
    return ref["kind"] if ref.get("group") is None else f"{ref['kind']}.{ref['group']}"
