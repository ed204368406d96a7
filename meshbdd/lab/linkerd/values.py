"""Linkerd's three ways to read a duration, and lists of ports."""

from __future__ import annotations

import math
import re
from decimal import Decimal

_UNITS = {"ms": Decimal("0.001"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600), "d": Decimal(86400)}
_LAST_PORT = 65535
_U64 = 2**64 - 1
_FLOAT = re.compile(r"[+-]?(inf|infinity|nan|([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?)", re.IGNORECASE)
_NANOSECOND = Decimal("1e-9")
_GO_UNITS = {
    "ns": _NANOSECOND, "us": Decimal("1e-6"), "\u00b5s": Decimal("1e-6"), "\u03bcs": Decimal("1e-6"),
    **{unit: size for unit, size in _UNITS.items() if unit != "d"},
}  # fmt: skip
_EXPECTED_UNITS = "expected one of 'ns', 'us', '\u00b5s', 'ms', 's', 'm', or 'h'"
_GO_PART = re.compile(r"(?P<count>[^a-zA-Z\u00b5\u03bc]*)(?P<unit>[a-zA-Z\u00b5\u03bc]+)")


class Unreadable(ValueError):
    """A value that Linkerd does not take, in its own words."""


def number(text: str, most: int = 4294967295) -> int:
    """A whole number as Rust parses it: digits alone.

    Raises:
        Unreadable: it is none.
    """
    if not text:
        raise Unreadable("cannot parse integer from empty string")
    if not re.fullmatch(r"\+?[0-9]+", text):
        raise Unreadable("invalid digit found in string")
    if int(text) > most:
        raise Unreadable("number too large to fit in target type")
    return int(text)


def fraction(text: str) -> float:
    """A decimal number as Rust parses it: ``inf`` and ``nan`` are some, ``1_0`` is none.

    Raises:
        Unreadable: it is none.
    """
    if not text:
        raise Unreadable("cannot parse float from empty string")
    if not _FLOAT.fullmatch(text):
        raise Unreadable("invalid float literal")
    return float(text)


def plain(value: float) -> str:
    """A number as Rust's Display writes it: never with an exponent, and whole ones without a point."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else f"{value}"
    return f"{Decimal(repr(value)):f}".removesuffix(".0")


def debugged(seconds: Decimal) -> str:
    """A duration as Rust's Debug writes it: ``1.5s``, ``500ms``, ``0ns``."""
    if seconds >= 1:
        return f"{seconds.normalize():f}s"
    for unit, size in (("ms", 1000), ("\u00b5s", 1_000_000)):
        if seconds * size >= 1:
            return f"{(seconds * size).normalize():f}{unit}"
    return f"{(seconds * 1_000_000_000).normalize():f}ns"


def annotation_duration(text: str) -> Decimal:
    """A duration in an annotation: one whole number and its unit.

    linkerd2 policy-controller/k8s/index/src/outbound/index.rs, ``parse_duration``.

    Raises:
        Unreadable: anything else, such as ``1.5s``, ``1m30s`` or ``soon``.
    """
    text = text.strip()
    if text.startswith("-"):
        raise Unreadable(f"duration value cannot be negative: '{text}'")
    digits = [index for index, letter in enumerate(text) if letter.isascii() and letter.isdigit()]
    if not digits:
        raise Unreadable(f"{text} does not contain a timeout duration value")
    digit_end = digits[-1] + 1
    if "." in text[:digit_end]:
        raise Unreadable("fractional values not supported")
    magnitude, unit = number(text[:digit_end], _U64), text[digit_end:]
    if not unit and magnitude == 0:
        return Decimal(0)
    if not unit:
        raise Unreadable(f"missing duration unit; did you mean '{magnitude}s' or '{magnitude}ms'?")
    if unit not in _UNITS:
        raise Unreadable(f"invalid duration unit {unit} (expected one of 'ms', 's', 'm', 'h', or 'd')")
    if magnitude * _UNITS[unit] * 1000 > _U64:
        raise Unreadable(f"Timeout value {text} overflows when converted to 'ms'")
    return magnitude * _UNITS[unit]


def gateway_duration(text: str) -> Decimal | None:
    """``timeouts.request`` of a gateway.networking.k8s.io route: read like an annotation, and nothing if that fails."""
    try:
        return annotation_duration(text) or None
    except Unreadable:
        return None


def k8s_duration(text: str) -> Decimal:
    """A duration in a policy.linkerd.io object, in Go's syntax: ``1m30s``, ``1.5s``, ``500us``; it may be negative.

    linkerd2 policy-controller/k8s/api/src/duration.rs

    Raises:
        Unreadable: it is none.
    """
    rest, total = text.lstrip("+").lstrip("-"), Decimal(0)
    while rest:
        found = _GO_PART.match(rest)
        if found is None:
            if rest == "0":
                return Decimal(0)
            raise Unreadable(f"missing a unit: {_EXPECTED_UNITS}")
        try:
            count = fraction(found["count"])
        except Unreadable as error:
            raise Unreadable(f"invalid floating-point number: {error}") from None
        if found["unit"] not in _GO_UNITS:
            raise Unreadable(f"invalid unit: {_EXPECTED_UNITS}")
        total += (Decimal(repr(count)) * _GO_UNITS[found["unit"]]).quantize(_NANOSECOND)
        rest = rest[found.end() :]
    return -total if text.startswith("-") else total


def policy_duration(text: str) -> Decimal | None:
    """``timeouts.request`` of a policy.linkerd.io route: 0 is none, and the sign is lost."""
    return abs(k8s_duration(text)) or None


def port_set(text: str) -> frozenset[int]:
    """A list of ports as the policy controller reads it: whole or not at all.

    linkerd2 policy-controller/k8s/index/src/ports.rs, ``parse_portset``.

    Raises:
        Unreadable: something in it is neither a port nor a rising range of ports; blank places are passed over.
    """
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if dash:
            lower, upper = _port(first), _port(last)
            if lower > upper:
                raise Unreadable("Port range must be increasing")
            found.update(range(lower, upper + 1))
        elif part.strip():
            found.add(_port(part))
    return frozenset(found)


def _port(text: str) -> int:
    try:
        port = number(text.strip(), _LAST_PORT)
    except Unreadable:
        port = 0
    if not port:
        raise Unreadable("parsing port")
    return port


def ports(text: str) -> frozenset[int]:
    """A list of ports as the destination service reads it: numbers and ranges; what is neither is passed over.

    linkerd2 pkg/util/parsing.go, ``ParsePorts``.
    """
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if first.isdigit() and (last or first).isdigit() and int(last or first) <= _LAST_PORT:
            found.update(range(int(first), int(last or first) + 1))
    return frozenset(found)
