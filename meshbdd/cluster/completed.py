"""What the API makes of a write: it fills defaults in, and what stands there later is compared with what was written."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace

from meshbdd.cluster.client import ApiFailure, Cluster
from meshbdd.cluster.record import Layer, Object, Record, mark, read_path

_PLAIN = ".istio.io"
"""Of the kinds of these groups no field has a default: istio/api kubernetes/customresourcedefinitions.gen.yaml."""


def completed(cluster: Cluster, wanted: Object, *, new: bool = False) -> Object:
    """An object whose undo record says what will stand in it once it is written, defaults and all.

    Without that, taking a change back would take the defaults in it for somebody else's words, and keep them.

    Args:
        cluster: It is asked, and keeps nothing.
        wanted: The object as it is to be written, with its record.
        new: Whether it is to be created.

    Raises:
        ApiFailure: the API would refuse it.
        Unanswered: no answer came.
    """
    record = Record.of(wanted)
    if record is None or _group(wanted).endswith(_PLAIN) or not any(_shows(layer, wanted) for layer in record.layers):
        return wanted
    try:
        kept = cluster.create(wanted, dry_run=True) if new else cluster.replace(wanted, dry_run=True)
    except ApiFailure as failure:
        if failure.status == 400 and "dry" in failure.sentence.lower():  # a webhook that knows no dry run
            return wanted
        raise
    layers = tuple(
        replace(layer, wrote=read_path(kept, layer.path)) if _shows(layer, wanted) else layer for layer in record.layers
    )
    if layers == record.layers:
        return wanted
    made = copy.deepcopy(wanted)
    mark(made, replace(record, layers=layers))
    return made


def _shows(layer: Layer, obj: Object) -> bool:
    """Whether what a change wrote is what stands in an object now: no later one lies above it, and nobody's edit."""
    return isinstance(layer.wrote, (Mapping, list)) and read_path(obj, layer.path) == layer.wrote


def _group(obj: Object) -> str:
    return "." + str(obj.get("apiVersion") or "").partition("/")[0]
