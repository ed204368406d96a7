"""An event as it may be shown: whatever is attached, drawn or written for machines is made of this."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from meshbdd.evidence import ChangeArrived, TrafficSent
from meshbdd.report import redact, redact_yaml

_T = TypeVar("_T")


def shown(event: _T) -> _T:
    """An event without secrets.

    Requests and answers keep theirs, for they are masked where they are written as an exchange, and only few are.
    Samples of a long load are made from its record each time they are asked for; here they are made once.
    """
    if isinstance(event, TrafficSent):
        return replace(event, samples=tuple(event.samples), target=redact.text(event.target))
    masked = _masked(event)
    if isinstance(masked, ChangeArrived):
        masked = replace(masked, differences=tuple(map(redact_yaml.diff, masked.differences)))
    return masked  # type: ignore[no-any-return] # of the same type


def _masked(value: Any) -> Any:
    if isinstance(value, str):
        return redact.text(value)
    if isinstance(value, Mapping):
        return {
            name: redact.MASK if isinstance(item, str) and redact.is_secret(str(name)) else _masked(item)
            for name, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [*map(_masked, value)] if isinstance(value, list) else tuple(map(_masked, value))
    if is_dataclass(value) and not isinstance(value, type):
        return replace(
            value, **{field.name: _masked(getattr(value, field.name)) for field in fields(value) if field.init}
        )
    return value
