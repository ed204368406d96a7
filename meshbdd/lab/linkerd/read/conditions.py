"""Conditions of a ServiceProfile: linkerd2 pkg/profiles/profiles.go, ``ValidateRequestMatch``, ``ValidateResponseMatch``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Object = Mapping[str, Any]

_LEAST, _MOST = 100, 599


def request_fault(said: Object) -> str | None:
    """Why a route's condition is none, in Linkerd's words."""
    fault = _seqs(said, request_fault)
    if fault is None and said.get("not") is not None:
        fault = request_fault(said["not"])
    if fault is not None:
        return fault
    some = (
        any(said.get(name) is not None for name in ("all", "any", "not")) or said.get("method") or said.get("pathRegex")
    )
    return None if some else "A request match must have a field set"


def response_fault(said: Object) -> str | None:
    """Why a response class's condition is none, in Linkerd's words."""
    fault = _seqs(said, response_fault)
    if fault is None and said.get("status") is not None:
        fault = _range(said["status"])
    if fault is None and said.get("not") is not None:
        fault = response_fault(said["not"])
    if fault is not None:
        return fault
    some = any(said.get(name) is not None for name in ("all", "any", "status", "not"))
    return None if some else "A response match must have a field set"


def _seqs(said: Object, fault_of: Callable[[Object], str | None]) -> str | None:
    for name in ("all", "any"):
        for entry in said.get(name) or []:
            fault = fault_of(entry)
            if fault is not None:
                return fault
    return None


def _range(status: Object) -> str | None:
    low, high = status.get("min") or 0, status.get("max") or 0
    if low and not _LEAST <= low <= _MOST:
        return f"Range minimum must be between {_LEAST} and {_MOST}, inclusive"
    if high and not _LEAST <= high <= _MOST:
        return f"Range maximum must be between {_LEAST} and {_MOST}, inclusive"
    return "Range maximum cannot be smaller than minimum" if high and high < low else None
