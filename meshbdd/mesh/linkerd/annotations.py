"""Values of Linkerd's annotations, read as Linkerd reads them: one that it cannot read silently counts as not said.

linkerd2 policy-controller/k8s/index/src/outbound/index.rs: ``parse_duration``, ``parse_accrual_config``,
``parse_consecutive_params``, and ``parse_http_retry`` and ``parse_grpc_retry`` beside it.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping

from meshbdd.errors import BadInput

ACCRUAL = "balancer.linkerd.io/failure-accrual"
MAX_FAILURES = f"{ACCRUAL}-consecutive-max-failures"
MIN_PENALTY = f"{ACCRUAL}-consecutive-min-penalty"
MAX_PENALTY = f"{ACCRUAL}-consecutive-max-penalty"
JITTER = f"{ACCRUAL}-consecutive-jitter-ratio"
CONSECUTIVE = frozenset({ACCRUAL, MAX_FAILURES, MIN_PENALTY, MAX_PENALTY, JITTER})
"""All that is said of a circuit breaker that counts failures in a row."""

_DURATIONS = {
    "timeout.linkerd.io/request", "timeout.linkerd.io/response", "timeout.linkerd.io/idle", "retry.linkerd.io/timeout",
    MIN_PENALTY, MAX_PENALTY,
}  # fmt: skip
_NUMBERS = {MAX_FAILURES: 2**32 - 1, "retry.linkerd.io/limit": 2**16 - 1}
"""Annotations that are whole numbers, and the largest that each may be."""
_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_LARGEST_DURATION = 2**64 - 1
_DURATION = re.compile(r"\+?([0-9]+)(ms|s|m|h|d)|\+?0+()")
_NUMBER = re.compile(r"\+?[0-9]+")
_FLOAT = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_CODE = re.compile(r"\+?0*[0-9]{3}")
_FIRST_CODE, _LAST_CODE = 100, 599
_MODES = ("consecutive", "unified")
_LEAST_PENALTY, _LARGEST_PENALTY, _MOST_JITTER = "1s", "60s", 100
"""What Linkerd takes where nothing is said of the two, and the largest jitter."""
_GROUPS = (ACCRUAL, "retry.linkerd.io/", "timeout.linkerd.io/")
"""What begins the names of annotations that Linkerd reads as one: with a mistake in one of them it leaves out all."""
_GRPC = ("cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable")


def seconds_of(text: str, name: str = "") -> float:
    """A duration in seconds.

    Args:
        text: As it is written.
        name: The annotation's, for the sentence.

    Raises:
        BadInput: Linkerd takes it for none.
    """
    found = _DURATION.fullmatch(text.strip())
    milliseconds = int(found[1] or 0) * _UNITS.get(found[2], 0) if found else _LARGEST_DURATION + 1
    if milliseconds > _LARGEST_DURATION:
        raise BadInput(
            "MB0453",
            f"{_quoted(text, name)} is no duration that Linkerd takes, and it would silently leave the whole annotation out.",
            help="write one whole number and its unit: 500ms, 2s, 1m",
        )
    return milliseconds / 1000


def number_of(text: str, largest: int, name: str = "") -> int:
    """A whole number.

    Args:
        text: As it is written.
        largest: That it may be.
        name: The annotation's, for the sentence.

    Raises:
        BadInput: Linkerd takes it for none, or it is too large.
    """
    found = _NUMBER.fullmatch(text.strip())
    if found is None or int(found[0]) > largest:
        raise BadInput(
            "MB0464",
            f"{_quoted(text, name)} is no whole number that Linkerd takes, and it would silently leave the whole annotation out.",
            help=f"write a number from 0 to {largest}",
        )
    return int(found[0])


def _quoted(text: str, name: str) -> str:
    return f'"{text}" in {name}' if name else f'"{text}"'


def same(name: str, there: str | None, text: str) -> bool:
    """Whether two values of an annotation mean the same to Linkerd: 1s is 1000ms, and nobody would see one become the other."""
    if there is None or there == text:
        return there == text
    try:
        if name in _DURATIONS:
            return seconds_of(there) == seconds_of(text)
        return name in _NUMBERS and number_of(there, _NUMBERS[name]) == number_of(text, _NUMBERS[name])
    except BadInput:
        return False


def refuse_unreadable(annotations: Mapping[str, str], there: Mapping[str, str]) -> None:
    """See that Linkerd can read annotations of a Service.

    Args:
        annotations: What is to be written.
        there: What the Service has; of a group in which nothing is written it does not matter.

    Raises:
        BadInput: it cannot; what else it cannot read is with it.
    """
    errors = list(_unreadable(annotations, there))
    if errors:
        errors[0].also = tuple(errors[1:])
        raise errors[0]


def _unreadable(annotations: Mapping[str, str], there: Mapping[str, str]) -> Iterator[BadInput]:
    groups = tuple(group for group in _GROUPS if any(name.startswith(group) for name in annotations))
    read = {name: text for name, text in {**there, **annotations}.items() if name.startswith(groups)}
    for name, text in read.items():
        try:
            if name in _DURATIONS:
                seconds_of(text, name)
            elif name in _NUMBERS:
                number_of(text, _NUMBERS[name], name)
        except BadInput as error:
            yield error
    for what, wanted in (*_unread_retries(read), *_unread_accrual(read)):
        yield BadInput(
            "MB0469", f"Linkerd cannot read {what}, and would silently leave the whole of it out.", help=wanted
        )


def _unread_retries(annotations: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """What of retries Linkerd takes for a mistake, and what to write."""
    for name, (known, words) in _CONDITIONS.items():
        text = annotations.get(name)
        if text is not None and not all(known(word) for word in text.split(",")):
            yield f'"{text}" in {name}', f"write, with commas and no spaces between them, some of: {words}"


def _unread_accrual(annotations: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """What of failure accrual Linkerd takes for a mistake, and what to write; without a mode it reads nothing of it."""
    mode = annotations.get(ACCRUAL)
    if mode is None:
        return
    if mode not in _MODES:
        yield f'the mode "{mode}" of failure accrual', f"write one of: {', '.join(_MODES)}"
    with contextlib.suppress(BadInput):  # one that is no duration is told of already
        yield from _penalties(annotations)
    jitter = annotations.get(JITTER, "0").strip()
    if not _FLOAT.fullmatch(jitter) or not 0 <= float(jitter) <= _MOST_JITTER:
        yield f'"{jitter}" in {JITTER}', f"write a number from 0 to {_MOST_JITTER}"


def _penalties(annotations: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    least = seconds_of(annotations.get(MIN_PENALTY, _LEAST_PENALTY))
    most = seconds_of(annotations.get(MAX_PENALTY, _LARGEST_PENALTY))
    if least > most or not most:
        yield (
            f"failure accrual with a least penalty of {least:g} s and a largest of {most:g} s",
            f"set {MAX_PENALTY} to more than 0, and to no less than the least penalty",
        )


def _http_condition(word: str) -> bool:
    if word.lower() in {"5xx", "gateway-error"}:
        return True
    first, dash, last = word.partition("-")
    codes = [int(code) if _CODE.fullmatch(code) else 0 for code in ((first, last) if dash else (first,))]
    return codes == sorted(codes) and all(_FIRST_CODE <= code <= _LAST_CODE for code in codes)


_CONDITIONS: Mapping[str, tuple[Callable[[str], bool], str]] = {
    "retry.linkerd.io/http": (_http_condition, "5xx, gateway-error, a status such as 503, a range such as 500-504"),
    "retry.linkerd.io/grpc": (lambda word: word.lower() in _GRPC, ", ".join(_GRPC)),
}
"""Annotations that are lists of what is retried → whether a word is such a condition, and which there are."""
