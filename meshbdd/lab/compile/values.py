"""Values in Kubernetes YAML → values in Envoy's protobuf JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import ROUND_DOWN, Decimal
from typing import Any

_META = re.compile(r"[\\.+*?()|\[\]{}^$]")
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(h|ms|us|µs|ns|m|s)")
_SECONDS = {
    "h": Decimal(3600), "m": Decimal(60), "s": Decimal(1),
    "ms": Decimal("0.001"), "us": Decimal("0.000001"), "µs": Decimal("0.000001"), "ns": Decimal("0.000000001"),
}  # fmt: skip


def seconds(text: str) -> Decimal:
    """A Go duration (``1h30m``, ``1.5s``, ``300ms``) in seconds.

    Raises:
        ValueError: it is none.
    """
    if text in {"0", "0s"}:
        return Decimal(0)
    if not text or _PART.sub("", text):
        raise ValueError(text)
    return sum((Decimal(number) * _SECONDS[unit] for number, unit in _PART.findall(text)), Decimal(0))


def duration(text: str) -> str:
    """A Go duration as protobuf JSON has it: whole seconds, or 3, 6 or 9 digits (``0.300s``)."""
    nanos = int(seconds(text) * 1_000_000_000)
    whole, rest = divmod(nanos, 1_000_000_000)
    if not rest:
        return f"{whole}s"
    digits = f"{rest:09d}"
    while len(digits) > 3 and digits.endswith("000"):
        digits = digits[:-3]
    return f"{whole}.{digits}s"


def percent(value: float) -> dict[str, Any]:
    """A percentage as Envoy's fraction, cut to a ten-thousandth as Istio does (``uint32(value * 10000)``)."""
    millionths = int((Decimal(str(value)) * 10_000).to_integral_value(ROUND_DOWN))
    # A numerator of 0 is protobuf's default and therefore left out, as Istio's output does.
    return {"denominator": "MILLION", **({"numerator": millionths} if millionths else {})}


def string_match(match: Mapping[str, Any], *, ignore_case: bool = False) -> dict[str, Any]:
    """Istio's StringMatch as Envoy's StringMatcher."""
    made: dict[str, Any]
    if "exact" in match:
        made = {"exact": match["exact"]}
    elif "prefix" in match:
        made = {"prefix": match["prefix"]}
    else:
        made = {"safe_regex": {"regex": match.get("regex", "")}}
    if ignore_case and "safe_regex" not in made:
        made["ignore_case"] = True
    return made


def quote(text: str) -> str:
    """Take a text literally in a regular expression, as Go's ``regexp.QuoteMeta`` does."""
    return _META.sub(lambda found: "\\" + found.group(), text)
