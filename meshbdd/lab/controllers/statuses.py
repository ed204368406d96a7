"""Conditions in an object's status: since when each holds, and those that others wrote."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from typing import Any


def _conditions(status: Any) -> Iterator[dict[str, Any]]:
    for name, value in status.items() if isinstance(status, Mapping) else ():
        for item in value if isinstance(value, list) else ():
            if name == "conditions":
                yield item
            else:
                yield from _conditions(item)


def _without_times(condition: Mapping[str, Any]) -> str:
    return json.dumps({k: v for k, v in condition.items() if k != "lastTransitionTime"}, sort_keys=True)


def with_times(status: Mapping[str, Any], before: Mapping[str, Any], now: str) -> dict[str, Any]:
    """A status whose conditions say since when they hold: as ``before`` where nothing changed, else ``now``."""
    known = {_without_times(condition): condition["lastTransitionTime"] for condition in _conditions(before)}
    made = copy.deepcopy(dict(status))
    for condition in _conditions(made):
        condition.setdefault("message", "")
        condition["lastTransitionTime"] = known.get(_without_times(condition), now)
    return made
