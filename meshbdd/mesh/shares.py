"""The shares that an object configures: weights of a split, percentages of a fault."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def configured_shares(obj: Mapping[str, Any]) -> list[float]:
    """The shares, strictly between none and all, that a route's weights and faults configure.

    Args:
        obj: A VirtualService, or an HTTPRoute of the Gateway API.
    """
    spec = obj.get("spec") or {}
    shares: list[float] = []
    for route in spec.get("http") or []:
        shares += _weights(route.get("route") or [], default=0)
        shares += _percentages(route.get("fault") or {})
    for rule in spec.get("rules") or []:
        if isinstance(rule, Mapping):
            # A backend without a weight has 1: gateway-api, BackendRef.weight
            shares += _weights(rule.get("backendRefs") or [], default=1)
    return [share for share in shares if 0 < share < 1]


def _weights(destinations: Sequence[Mapping[str, Any]], *, default: int) -> list[float]:
    weights = [destination.get("weight", default) for destination in destinations]
    total = sum(weights)
    return [weight / total for weight in weights] if total else []


def _percentages(fault: Mapping[str, Any]) -> Iterator[float]:
    for what in ("abort", "delay"):
        percentage = (fault.get(what) or {}).get("percentage") or {}
        if "value" in percentage:
            yield percentage["value"] / 100
