"""Values of Linkerd's annotations, read as Linkerd reads them: one that it cannot read silently counts as not said.

linkerd2 policy-controller/k8s/index/src/outbound/index.rs: ``parse_duration``, ``parse_consecutive_params``, and
``parse_http_retry`` beside it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from meshbdd.errors import BadInput

ACCRUAL = "balancer.linkerd.io/failure-accrual"
MAX_FAILURES = f"{ACCRUAL}-consecutive-max-failures"
MIN_PENALTY = f"{ACCRUAL}-consecutive-min-penalty"
CONSECUTIVE = frozenset({
    ACCRUAL, MAX_FAILURES, MIN_PENALTY, f"{ACCRUAL}-consecutive-max-penalty", f"{ACCRUAL}-consecutive-jitter-ratio",
})  # fmt: skip
"""All that is said of a circuit breaker that counts failures in a row."""

_DURATIONS = {
    "timeout.linkerd.io/request", "timeout.linkerd.io/response", "timeout.linkerd.io/idle", "retry.linkerd.io/timeout",
    MIN_PENALTY, f"{ACCRUAL}-consecutive-max-penalty",
}  # fmt: skip
_NUMBERS = {MAX_FAILURES: 2**32 - 1, "retry.linkerd.io/limit": 2**16 - 1}
"""Annotations that are whole numbers, and the largest that each may be."""
_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_LARGEST_DURATION = 2**64 - 1
_DURATION = re.compile(r"\+?([0-9]+)(ms|s|m|h|d)|\+?0+()")
_NUMBER = re.compile(r"\+?[0-9]+")


def seconds_of(text: str) -> float:
    """A duration in seconds.

    Raises:
        BadInput: Linkerd takes it for none.
    """
    found = _DURATION.fullmatch(text.strip())
    milliseconds = int(found[1] or 0) * _UNITS.get(found[2], 0) if found else _LARGEST_DURATION + 1
    if milliseconds > _LARGEST_DURATION:
        raise BadInput(
            "MB0453",
            f'"{text}" is no duration that Linkerd takes, and it would silently leave the whole annotation out.',
            help="write one whole number and its unit: 500ms, 2s, 1m",
        )
    return milliseconds / 1000


def number_of(text: str, largest: int) -> int:
    """A whole number.

    Raises:
        BadInput: Linkerd takes it for none, or it is too large.
    """
    found = _NUMBER.fullmatch(text.strip())
    if found is None or int(found[0]) > largest:
        raise BadInput(
            "MB0464",
            f'"{text}" is no whole number that Linkerd takes, and it would silently leave the whole annotation out.',
            help=f"write a number from 0 to {largest}",
        )
    return int(found[0])


def refuse_unreadable(annotations: Mapping[str, str]) -> None:
    """See that Linkerd can read the durations and whole numbers among annotations.

    Raises:
        BadInput: it cannot.
    """
    for name, text in annotations.items():
        if name in _DURATIONS:
            seconds_of(text)
        elif name in _NUMBERS:
            number_of(text, _NUMBERS[name])
