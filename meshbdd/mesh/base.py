"""A plan: what will be written, why there, and how its arrival is seen."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from meshbdd.cluster import Edit
from meshbdd.cluster.record import read_path, write_path
from meshbdd.intents import ServiceRef

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Marker:
    """What in a proxy's configuration shows that it holds a plan.

    Attributes:
        kind: ``route``: a route of this name prefix; ``cluster``: a cluster made from this object.
        token: The route name's prefix, or the object's path in ``filter_metadata.istio.config``.
        caller_labels: Only proxies of pods with these labels are to hold it.
    """

    kind: str
    token: str
    caller_labels: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """The outcome of planning one intent.

    Attributes:
        summary: The intent in a sentence.
        edits: What is written, in order.
        tags: For each edit the prefix of the routes that it adds; empty where it adds none.
        markers: How proxies show that they hold it.
        service: The service that it is about, where there is one.
        reason: Why it is injected where it is.
        callers: Labels of the only caller that the plan is for; ``None``: every caller.
    """

    summary: str
    edits: tuple[Edit, ...]
    tags: tuple[str, ...]
    markers: tuple[Marker, ...] = ()
    service: ServiceRef | None = None
    reason: str = ""
    callers: Mapping[str, str] | None = None


def difference(edit: Edit, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> str:
    """What an edit changed, as a unified diff of YAML, without what the API server writes itself."""
    old = _lines(before) if before else []
    new = _lines(after) if after else []
    return "\n".join(difflib.unified_diff(old, new, f"{edit} before", f"{edit} after", lineterm="", n=3))


def _lines(obj: Mapping[str, Any]) -> list[str]:
    shown = copy.deepcopy(dict(obj))
    meta = shown.get("metadata", {})
    kept = {key: meta[key] for key in ("name", "namespace") if key in meta}
    return str(
        yaml.safe_dump({"kind": shown.get("kind"), "metadata": kept, "spec": shown.get("spec")}, sort_keys=False)
    ).splitlines()


def preview(edit: Edit, live: Mapping[str, Any] | None) -> Object:
    """What an edit would make of an object, without writing it."""
    if live is None:
        return copy.deepcopy(edit.new or {})
    wanted = copy.deepcopy(dict(live))
    write_path(wanted, edit.path, edit.make(read_path(live, edit.path)))
    return wanted
