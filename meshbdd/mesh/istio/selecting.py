"""The pods that a policy is for, and those that a manifest makes it be for or no more."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from meshbdd.errors import Inconclusive
from meshbdd.mesh.base import Labels, Object, Where
from meshbdd.mesh.catalog import Catalog, selected
from meshbdd.mesh.istio.hosts import ROOT_NAMESPACE

_NOBODY = Where(pods=frozenset())
_TARGETS = ("targetRef", "targetRefs")
_CHOOSE = {"selector", "workloadSelector", *_TARGETS}
"""Fields that say for whom a policy is, and nothing else."""
_Kind = tuple[str, Labels]
"""The namespace and the labels of some pods."""


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

    Of one for calls that come in, pods to which no Service leads are left out as long as it is for others as well: nobody's call
    meets it there, and their proxies need not have a chain in which it could show.

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
        inbound = all(_is_inbound(wanted["kind"], policy["spec"]) for policy in (live or wanted, wanted))
        old = pods_for(live) if live is not None else _NOBODY
        unled = _unled(catalog, new, old) if inbound else ()
        if live is None:
            return cls(replace(new, but=unled), None, None)
        pods = [pod["metadata"] for pod in catalog.with_proxy(new.namespace)]
        led = [pod for pod in pods if not any(where.takes(pod) for where in unled)]
        before, after = ([where.takes(pod) for pod in led] for where in (old, new))
        then_and_now = set(zip(before, after, strict=True))
        stays = (True, True) in then_and_now and _said(live) != _said(wanted)
        both = {**(old.labels or {}), **(new.labels or {})} or None
        comes = (False, True) in then_and_now or then_and_now <= {(False, False)}
        return cls(
            replace(new, but=(old, *unled)) if comes else None,
            replace(old, but=(new, *unled)) if (True, False) in then_and_now else None,
            Where(new.namespace, both, unled) if stays else None,
        )


def _is_inbound(kind: str, spec: Mapping[str, Any]) -> bool:
    """Whether all that a policy says is about calls that come in."""
    patches = spec.get("configPatches") or [{}]
    return kind != "EnvoyFilter" or all((p.get("match") or {}).get("context") == "SIDECAR_INBOUND" for p in patches)


def _unled(catalog: Catalog, new: Where, old: Where) -> tuple[Where, ...]:
    """The pods to which nothing leads by their labels; none if a policy comes to such pods alone, or is and was at none of them.

    They are known by their labels: one that is started anew has another name.
    """
    with contextlib.suppress(Inconclusive):  # a rehearsal may not know the pods
        leading = list(_leading(catalog, new.namespace))
        led, unled = set[_Kind](), set[_Kind]()
        comes, concerned = False, False
        for pod in catalog.with_proxy(new.namespace):
            meta = pod["metadata"]
            home, labels = meta["namespace"], meta.get("labels") or {}
            if any(there == home and selected(wanted, labels) for there, wanted in leading):
                led.add((home, frozenset(labels.items())))
                comes = comes or new.takes(meta)
            else:
                unled.add((home, frozenset(labels.items())))
                concerned = concerned or new.takes(meta) or old.takes(meta)
        if comes and concerned:
            return tuple(Where(home, dict(own), tuple(_with_more(home, own, led))) for home, own in unled)
    return ()


def _with_more(home: str, own: Labels, kinds: Iterable[_Kind]) -> Iterator[Where]:
    """The pods that have these labels as well as others."""
    for there, labels in kinds:
        if there == home and labels > own:
            yield Where(home, dict(labels))


def _leading(catalog: Catalog, namespace: str | None) -> Iterator[tuple[str, Mapping[str, str]]]:
    """The namespaces and labels of pods to which Services lead: those of any where it is endpoints that say to which."""
    for service in catalog.all("Service", namespace):
        if service["spec"].get("type") != "ExternalName":
            yield service["metadata"]["namespace"], service["spec"].get("selector") or {}
    for entry in catalog.readable("ServiceEntry"):
        if chosen := entry["spec"].get("workloadSelector"):
            yield entry["metadata"]["namespace"], chosen.get("labels") or {}


def _said(policy: Object) -> Mapping[str, Any]:
    return {name: value for name, value in policy["spec"].items() if name not in _CHOOSE}
