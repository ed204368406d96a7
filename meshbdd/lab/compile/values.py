"""Values in Kubernetes YAML → values in Envoy's protobuf JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from meshbdd.lab.go import seconds

_META = re.compile(r"[\\.+*?()|\[\]{}^$]")


def duration(text: str) -> str:
    """A Go duration as protobuf JSON has it: whole seconds, or 3, 6 or 9 digits (``0.300s``)."""
    nanos = int(seconds(text) * 1_000_000_000)
    whole, rest = divmod(abs(nanos), 1_000_000_000)
    sign = "-" if nanos < 0 else ""
    if not rest:
        return f"{sign}{whole}s"
    digits = f"{rest:09d}"
    while len(digits) > 3 and digits.endswith("000"):
        digits = digits[:-3]
    return f"{sign}{whole}.{digits}s"


def percent(value: float) -> dict[str, Any]:
    """A percentage as Envoy's fraction, cut to a ten-thousandth by Istio's arithmetic.

    That is ``uint32(p.Value * 10000)`` on a 64-bit float (pilot/pkg/networking/core/route/route.go): 1.13 becomes 11299.
    """
    millionths = int(float(value) * 10_000)
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
