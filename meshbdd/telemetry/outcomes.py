"""Labels of the meshes' metrics that tell how a call ended: that no call has ended so yet is a fair zero, and no wrong label.

Any other label that matches nothing names something that is not there, and a zero of it would be true of everything.
"""

from __future__ import annotations

import itertools
import json
import re

from meshbdd.grpc_statuses import GRPC_CODES
from meshbdd.response_flags import MEANINGS
from meshbdd.telemetry.prometheus import Matcher, selectors

_CODES = frozenset({"0", *map(str, range(100, 600))})
"""HTTP's, which have three digits (RFC 9110, 15), and that of a call without an answer."""
_FLAGS = frozenset({"-", *MEANINGS, *(",".join(pair) for pair in itertools.permutations(MEANINGS, 2))})
_GRPC = frozenset(map(str, range(17)))
_GRPC_NAMES = frozenset({"OK", *GRPC_CODES})
_ANY: frozenset[str] = frozenset()

_OUTCOMES = (
    (
        re.compile(r"istio_(?:requests_total|request_\w+|response_\w+)"),
        {
            "response_code": _CODES,
            "response_flags": _FLAGS,
            "grpc_response_status": _GRPC,
            "connection_security_policy": frozenset({"mutual_tls", "none"}),
        },
    ),
    (
        re.compile(r"response_(?:total|latency_ms_\w+)"),
        {
            "status_code": _CODES,
            "classification": frozenset({"success", "failure"}),
            "grpc_status": _GRPC_NAMES,
            "error": _ANY,
            "tls": _ANY,
        },
    ),
    (
        re.compile(r"outbound_(?:http|grpc)_route_\w*statuses_total"),
        {"http_status": _CODES, "grpc_status": _GRPC_NAMES, "error": _ANY},
    ),
)
"""Metrics, and their labels of outcomes with the values that these can have (none named: any):
https://istio.io/latest/docs/reference/config/metrics/ and https://linkerd.io/2/reference/proxy-metrics/"""

_ONLY_OF_FAILURES = {"error"}
"""Labels that the series of calls which went well do not have."""


def apart_from_outcomes(source: str) -> str | None:
    """What a selector selects whatever became of the calls; nothing where it asks for no outcome that there can be.

    Of the outcomes that it asks for, some call must tell: the selector asks for series that have their labels.

    Args:
        source: The selector, without window and shift.
    """
    metric, matchers = (selectors(source) or [("", [])])[0]
    known = next((labels for pattern, labels in _OUTCOMES if pattern.fullmatch(metric)), {})
    asked = [matcher for matcher in matchers if matcher[0] in known]
    if not asked or len(matchers) != _count(source) or not all(_possible(m, known[m[0]]) for m in asked):
        return None
    told = [(label, "!~", "unknown|") for label in sorted({label for label, _, _ in asked} - _ONLY_OF_FAILURES)]
    kept = [matcher for matcher in matchers if matcher not in asked] + told
    return f"{metric}{{{','.join(f'{label}{operator}{json.dumps(value)}' for label, operator, value in kept)}}}"


def _count(source: str) -> int:
    """How many matchers a selector has, also those that are written in a way that is not read."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'|`[^`]*`', "", source)
    return len(re.findall(r"=~|!~|!=|=", bare))


def _possible(matcher: Matcher, values: frozenset[str]) -> bool:
    """Whether a label can have a value that a matcher asks for."""
    _, operator, wanted = matcher
    if not values or operator in {"!=", "!~"}:
        return True
    if operator == "=":
        return wanted in values
    try:
        return any(re.fullmatch(wanted, value) for value in values)
    except re.error:  # RE2 takes some that Python does not
        return False
