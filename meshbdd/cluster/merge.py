"""Three-way merge: taking back what we wrote, and only that, from a value that others may have changed since."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Final

ABSENT: Final = object()
"""Stands for a key that is not there."""


def merge(wrote: Any, now: Any, original: Any) -> Any:
    """The value as it is now, with what we wrote turned back into the original.

    Maps are merged key by key. A list counts as one value, except that entries which others put before or after all of
    ours stay where they are. What others changed wins over the original.

    Args:
        wrote: What we wrote; ``ABSENT`` where nothing.
        now: What is there now.
        original: What was there before we wrote.
    """
    if now is not ABSENT and wrote is not ABSENT and now == wrote:
        return _copy(original)
    if now is ABSENT:
        return _copy(original) if wrote is ABSENT else ABSENT
    if isinstance(wrote, Mapping) and isinstance(now, Mapping):
        before = original if isinstance(original, Mapping) else {}
        return _merge_maps(wrote, now, before)
    if isinstance(wrote, list) and isinstance(now, list) and isinstance(original, list):
        return _merge_lists(wrote, now, original)
    return copy.deepcopy(now)


def _copy(value: Any) -> Any:
    return value if value is ABSENT else copy.deepcopy(value)  # a copy of ABSENT would be another object


def _merge_maps(wrote: Mapping[str, Any], now: Mapping[str, Any], original: Mapping[str, Any]) -> dict[str, Any]:
    merged = {}
    for key in [*now, *(key for key in original if key not in now)]:
        value = merge(wrote.get(key, ABSENT), now.get(key, ABSENT), original.get(key, ABSENT))
        if value is not ABSENT:
            merged[key] = value
    return merged


def _merge_lists(wrote: list[Any], now: list[Any], original: list[Any]) -> list[Any]:
    size = len(wrote)
    for start in range(len(now) - size + 1) if size else ():
        if now[start : start + size] == wrote:
            return copy.deepcopy([*now[:start], *original, *now[start + size :]])
    return copy.deepcopy(now)
