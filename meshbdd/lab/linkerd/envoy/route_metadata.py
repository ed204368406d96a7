"""What a route of the outbound side says of itself: to the sidecar's script, to its metrics, to whoever reads its config dump."""

from __future__ import annotations

from typing import Any

from meshbdd.lab.linkerd.envoy.labels import labels
from meshbdd.lab.linkerd.model import Meta, Rule, Timeouts

Json = dict[str, Any]


def told(parent: Meta, route: Meta, rule: Rule, logical: str, *, grpc: bool) -> Json:
    """What a sidecar's route says of itself: for its error messages, its metrics, and whoever reads its config dump."""
    return {
        "logical": logical,
        "parent": str(parent),
        "route": str(route),
        "family": "grpc" if grpc else "http",
        "parent_labels": labels(parent, "group", "kind", "namespace", "name", "port"),
        "route_labels": labels(route, "group", "kind", "namespace", "name"),
        "backends": [
            {"name": str(backend.meta), "weight": backend.weight if rule.split else 1} for backend in rule.backends
        ],
        # Whether an answer of 504 would have been tried again: decides what a request gets that found nobody.
        "retries_504": str(retries_504(rule)).lower(),
    }


def overrides(rule: Rule) -> Json:
    """What the script has to know of a rule whose requests may say their own timeouts and retries."""
    if not rule.request_headers_allowed:
        return {}
    timeouts = rule.timeouts or Timeouts()
    said = {"request": timeouts.request, "response": timeouts.response}
    return {"obeys": True, **{name: float(value) * 1000 for name, value in said.items() if value is not None}}


def retries_504(rule: Rule) -> bool:
    """Whether an answer of 504 is tried again."""
    return rule.retries is not None and any(low <= 504 <= high for low, high in rule.retries.statuses)
