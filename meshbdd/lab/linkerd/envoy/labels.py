"""Where a piece of policy came from, in one word for Envoy's counters."""

from __future__ import annotations

from meshbdd.lab.linkerd.model import Meta, Resource


def labels(meta: Meta, *fields: str) -> str:
    """Where a piece of policy came from as one word, for metrics: fields in this order, parted by bars."""
    if isinstance(meta, Resource):
        return "|".join(str(getattr(meta, field)) for field in fields)
    values = {"kind": "default", "name": meta.name}
    return "|".join(values.get(field, "") for field in fields)
