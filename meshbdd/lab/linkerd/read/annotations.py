"""Retries, timeouts and failure accrual: annotations of Services and routes.

linkerd2 policy-controller/k8s/index/src/outbound/index.rs; https://linkerd.io/2/reference/retries/, …/timeouts/,
…/circuit-breaking/
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal

from meshbdd.lab.linkerd.model import Accrual, Backoff, Biaser, Retries, SuccessRate, Timeouts
from meshbdd.lab.linkerd.values import Unreadable, annotation_duration, debugged, fraction, number, plain, port_set

Annotations = Mapping[str, str]

GRPC_CONDITIONS = ("cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable")
_ACCRUAL = "balancer.linkerd.io/failure-accrual"
_CONSECUTIVE = _ACCRUAL + "-consecutive-"
_ALPHA = "balancer.alpha.linkerd.io/"
_SUCCESS_RATE = _ALPHA + "failure-accrual-success-rate"
_LEAST_WINDOW, _MOST_MIN_REQUESTS = Decimal("0.010"), 1_000_000
"""Bounds of the proxy: linkerd2 policy-controller/core/src/outbound.rs."""
_MOST_PENALTY = Decimal(2**32 - 1) / 1000


def _duration(annotations: Annotations, key: str) -> Decimal | None:
    return annotation_duration(annotations[key]) if key in annotations else None


def ports(annotations: Annotations, key: str, warn: Callable[[str], None]) -> frozenset[int] | None:
    """A list of ports for the policy controller, which takes one that it cannot read for an empty one; ``None``: not said.

    linkerd2 policy-controller/k8s/index/src/ports.rs, ``ports_annotation``.
    """
    text = annotations.get(key)
    if text is None:
        return None
    try:
        return port_set(text)
    except Unreadable as error:
        warn(f"INFO Invalid ports list spec={text} error={error} annotation={key}")
        return frozenset()


def timeouts(annotations: Annotations) -> Timeouts:
    """``timeout.linkerd.io/*``.

    Raises:
        Unreadable: one of them cannot be read.
    """
    return Timeouts(
        response=_duration(annotations, "timeout.linkerd.io/response"),
        request=_duration(annotations, "timeout.linkerd.io/request"),
        idle=_duration(annotations, "timeout.linkerd.io/idle"),
    )


def _limits(annotations: Annotations) -> tuple[int | None, Decimal | None]:
    text = annotations.get("retry.linkerd.io/limit")
    limit = number(text, 65535) if text is not None else None
    return limit or None, _duration(annotations, "retry.linkerd.io/timeout") or None


def _statuses(text: str) -> tuple[int, int] | None:
    def code(word: str) -> int | None:
        try:
            said = number(word)
        except Unreadable:
            return None
        return said if 100 <= said < 600 else None

    if text.lower() == "5xx":
        return 500, 599
    if text.lower() == "gateway-error":
        return 502, 504
    first, dash, last = text.partition("-")
    start, end = code(first), code(last if dash else first)
    return (start, end) if start and end and start <= end else None


def http_retries(annotations: Annotations) -> Retries | None:
    """``retry.linkerd.io/http`` with limit and timeout; any of the three is a policy, a limit of 0 counts as not said.

    Raises:
        Unreadable: one of them cannot be read; the list is not trimmed.
    """
    limit, timeout = _limits(annotations)
    text = annotations.get("retry.linkerd.io/http")
    if limit is None and timeout is None and text is None:
        return None
    ranges = []
    for part in text.split(",") if text is not None else ():
        found = _statuses(part)
        if found is None:
            raise Unreadable(f"invalid retry condition: {text}")
        ranges.append(found)
    return Retries(limit or 1, tuple(ranges), timeout=timeout)


def grpc_retries(annotations: Annotations) -> Retries | None:
    """``retry.linkerd.io/grpc`` with limit and timeout.

    Raises:
        Unreadable: one of them cannot be read.
    """
    limit, timeout = _limits(annotations)
    text = annotations.get("retry.linkerd.io/grpc")
    if limit is None and timeout is None and text is None:
        return None
    names = []
    for part in text.split(",") if text is not None else ():
        if part.lower() not in GRPC_CONDITIONS:
            raise Unreadable(f"Unknown grpc retry condition: {part}")
        names.append(part.lower())
    return Retries(limit or 1, grpc=tuple(names), timeout=timeout)


def accrual(annotations: Annotations) -> Accrual | None:
    """``balancer.linkerd.io/failure-accrual`` and its parameters.

    Raises:
        Unreadable: an unknown mode, or a parameter that cannot be.
    """
    mode = annotations.get(_ACCRUAL)
    if mode is None:
        return None
    if mode not in {"consecutive", "unified"}:
        raise Unreadable(f"unsupported failure accrual mode: {mode}")
    text = annotations.get(_CONSECUTIVE + "max-failures")
    failures = number(text.strip()) if text is not None else 7
    backoff = _backoff(annotations)
    if mode == "consecutive":
        return Accrual(failures, backoff)
    return Accrual(failures, backoff, _success_rate(annotations))


def _backoff(annotations: Annotations) -> Backoff:
    most = _duration(annotations, _CONSECUTIVE + "max-penalty")
    least = _duration(annotations, _CONSECUTIVE + "min-penalty")
    most = Decimal(60) if most is None else most
    least = Decimal(1) if least is None else least
    text = annotations.get(_CONSECUTIVE + "jitter-ratio")
    jitter = fraction(text.strip()) if text is not None else 0.5
    if least > most:
        raise Unreadable(f"min_penalty ({debugged(least)}) cannot exceed max_penalty ({debugged(most)})")
    if not most:
        raise Unreadable("max_penalty cannot be zero")
    if not jitter >= 0:  # what is no number at all is not at least 0 either
        raise Unreadable("jitter cannot be negative")
    if jitter > 100:
        raise Unreadable("jitter cannot be greater than 100")
    return Backoff(least, most, jitter)


def _success_rate(annotations: Annotations) -> SuccessRate:
    """The unified mode's own parameters; a threshold of 0 switches the rate off, and then its bounds do not count.

    ``parse_success_rate_params``.
    """
    text = annotations.get(_SUCCESS_RATE + "-threshold")
    threshold = fraction(text.strip()) if text is not None else 0.8
    if not 0 <= threshold <= 1:
        raise Unreadable(f"success-rate threshold must be between 0.0 and 1.0, got {plain(threshold)}")
    said = _duration(annotations, _SUCCESS_RATE + "-window")
    window = Decimal(10) if said is None else said
    if not window:
        raise Unreadable("success-rate-window must be greater than zero")
    if threshold and window < _LEAST_WINDOW:
        raise Unreadable(f"success-rate-window must be at least 10ms, got {debugged(window)}")
    text = annotations.get(_SUCCESS_RATE + "-min-requests")
    requests = number(text.strip()) if text is not None else 5
    if threshold and requests > _MOST_MIN_REQUESTS:
        raise Unreadable(f"success-rate-min-requests cannot exceed {_MOST_MIN_REQUESTS}, got {requests}")
    return SuccessRate(threshold, window, requests)


def _boolean(annotations: Annotations, key: str) -> bool:
    """A switch: the words of Go's strconv.ParseBool, trimmed; off where it is not set (``parse_bool_annotation``)."""
    said = annotations.get(key, "false").strip()
    if said in {"1", "t", "T", "true", "TRUE", "True"}:
        return True
    if said in {"0", "f", "F", "false", "FALSE", "False"}:
        return False
    raise Unreadable(f"unsupported {key} value: '{said}' (expected a boolean such as 'true' or 'false')")


def honors_retry_after(annotations: Annotations) -> bool:
    """``balancer.alpha.linkerd.io/failure-accrual-honor-retry-after``.

    Only the unified mode acts on it: linkerd2 policy-controller/grpc/src/outbound.rs, ``to_proto``.

    Raises:
        Unreadable: no boolean.
    """
    return _boolean(annotations, _ALPHA + "failure-accrual-honor-retry-after")


def penalizes_failures(annotations: Annotations) -> bool:
    """``balancer.alpha.linkerd.io/penalize-failures``.

    Raises:
        Unreadable: no boolean.
    """
    return _boolean(annotations, _ALPHA + "penalize-failures")


def biaser(annotations: Annotations) -> Biaser | None:
    """``balancer.alpha.linkerd.io/penalize-failures`` with its parameters.

    Raises:
        Unreadable: no boolean, or a parameter that cannot be.
    """
    if not penalizes_failures(annotations):
        return None
    penalty = _parameter(annotations, _ALPHA + "load-biaser-penalty", Decimal(5))
    if penalty > _MOST_PENALTY:
        raise Unreadable("load-biaser-penalty exceeds the maximum supported value (~49.7 days)")
    return Biaser(penalty, _parameter(annotations, _ALPHA + "load-biaser-max-retry-after", Decimal(300)))


def _parameter(annotations: Annotations, key: str, default: Decimal) -> Decimal:
    try:
        said = _duration(annotations, key)
    except Unreadable:
        raise Unreadable(f"invalid {key} value") from None
    return default if said is None else said
