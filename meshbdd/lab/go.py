"""How a Go program reads a text: Kubernetes, Istio and Linkerd's controllers take durations and expressions as Go does."""

from __future__ import annotations

import functools
import re
from decimal import ROUND_DOWN, Decimal
from typing import Any

import re2

_PART = re.compile(r"([0-9]*)(\.[0-9]*)?(h|ms|us|µs|μs|ns|m|s)")
_NANOSECONDS = {
    "h": 3_600_000_000_000, "m": 60_000_000_000, "s": 1_000_000_000, "ms": 1_000_000, "us": 1_000,
    "µs": 1_000, "μs": 1_000, "ns": 1,
}  # fmt: skip
_LONGEST = 2**63 - 1
"""A Go duration is a signed number of nanoseconds of 64 bits: some 292 years."""

_QUIET = re2.Options()
_QUIET.log_errors = False
_ESCAPED = re.compile(r"\\Q.*?(?:\\E|$)|\\(.)", re.DOTALL)


def seconds(text: str) -> Decimal:
    """A duration (``1h30m``, ``1.5s``, ``300ms``, ``+5s``, ``-5s``, ``0``) in seconds, as ``time.ParseDuration`` reads it.

    Raises:
        ValueError: it is none, or longer than Go can hold; the words are Go's.
    """
    sign, rest = (text[0], text[1:]) if text[:1] in {"+", "-"} else ("", text)
    if rest == "0":
        return Decimal(0)
    total, end = Decimal(0), 0
    for part in _PART.finditer(rest):
        whole, fraction, unit = part.groups()
        if part.start() != end or not (whole or (fraction or ".") != "."):
            break
        end = part.end()
        # Each part is cut to a nanosecond, not their sum.
        for number in (Decimal(whole or 0), Decimal(f"0{fraction or '.'}0")):
            total += (number * _NANOSECONDS[unit]).to_integral_value(ROUND_DOWN)
    if not rest or end != len(rest) or total > _LONGEST + (sign == "-"):
        raise ValueError(f'time: invalid duration "{text}"')
    return (-total if sign == "-" else total).scaleb(-9)


@functools.lru_cache(maxsize=1024)
def _compiled(pattern: str) -> Any:
    return re2.compile(pattern, _QUIET)


def regex_found(pattern: str, text: str) -> bool:
    """Whether a regular expression of Go's is found in a text, as a schema's ``pattern`` is.

    Raises:
        re2.error: it is none; see ``regex_problem``.
    """
    return _compiled(pattern).search(text) is not None


def regex_problem(text: str) -> str | None:
    r"""Why a text is no regular expression to Go's ``regexp.Compile`` and to Envoy; ``None``: it is one.

    Both take the syntax of RE2, which RE2 itself decides here; that has one escape more than Go, ``\C``.
    """
    if any(found.group(1) == "C" for found in _ESCAPED.finditer(text)):
        return r"invalid escape sequence: \C"
    try:
        _compiled(text)
    except re2.error as error:
        (why,) = error.args
        return why.decode() if isinstance(why, bytes) else str(why)
    return None
