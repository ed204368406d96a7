"""The pods that a policy is for, and those that a manifest makes it be for or no more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from meshbdd.mesh.base import Object, Where
from meshbdd.mesh.catalog import Catalog
from meshbdd.mesh.istio.hosts import ROOT_NAMESPACE

_NOBODY = Where(pods=frozenset())
_TARGETS = ("targetRef", "targetRefs")
_CHOOSE = {"selector", "workloadSelector", *_TARGETS}
"""Fields that say for whom a policy is, and nothing else."""


def has_targets(policy: Object) -> bool:
    """Whether a policy is for what waypoints and gateways serve, which every sidecar passes over."""
    return any(policy["spec"].get(name) for name in _TARGETS)


def pods_for(policy: Object) -> Where:
    """The proxies of the pods that a policy is for: those of its namespace, of all in the root namespace."""
    if has_targets(policy):
        return _NOBODY
    spec, home = policy["spec"], policy["metadata"]["namespace"]
    labels = (spec.get("selector") or {}).get("matchLabels") or (spec.get("workloadSelector") or {}).get("labels")
    return Where(None if home == ROOT_NAMESPACE else home, dict(labels) if labels else None)


@dataclass(frozen=True, slots=True)
class Moved:
    """Where a policy is in force once a manifest is applied, and was not before; each is there only if it has pods.

    Attributes:
        come: Where it is new. It is there as well where nobody has it, before or after.
        gone: Where it was.
        stays: Where it says something else than before.
    """

    come: Where | None
    gone: Where | None
    stays: Where | None

    @classmethod
    def between(cls, catalog: Catalog, live: Object | None, wanted: Object) -> Moved:
        """By what stands there, where anything does, and what is written."""
        new = pods_for(wanted)
        if live is None:
            return cls(new, None, None)
        old = pods_for(live)
        pods = [pod["metadata"] for pod in catalog.with_proxy(new.namespace)]
        before, after = ([where.takes(pod) for pod in pods] for where in (old, new))
        then_and_now = set(zip(before, after, strict=True))
        stays = (True, True) in then_and_now and _said(live) != _said(wanted)
        return cls(
            replace(new, but=(old,)) if (False, True) in then_and_now or then_and_now <= {(False, False)} else None,
            replace(old, but=(new,)) if (True, False) in then_and_now else None,
            Where(new.namespace, {**(old.labels or {}), **(new.labels or {})} or None) if stays else None,
        )


def _said(policy: Object) -> Mapping[str, Any]:
    return {name: value for name, value in policy["spec"].items() if name not in _CHOOSE}
