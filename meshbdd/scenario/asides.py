"""Claims that send requests for themselves, and the queries that would count these."""

from __future__ import annotations

import re
from collections.abc import Sequence

from meshbdd.errors import BadInput
from meshbdd.telemetry.prometheus import OF_COUNTERS
from meshbdd.telemetry.promql import parse

ASKED = re.compile(r'the query "(.+)" is (?:at least|at most|exactly) ')
"""A claim that asks Prometheus."""
_SENDS_ITS_OWN = re.compile(
    r"a slow \S+ does not slow |the sidecar adds less than \S+ to the \S+ latency|"
    r'the response field "[^"]*" of "[^"]*" is unchanged|\S+ rejects plaintext'
)
"""Claims that always send requests for themselves."""


def mixed(steps: Sequence[str]) -> tuple[int, BadInput] | None:
    """Where a query would count requests that a claim before it sends for itself, and why it is refused; ``None``: nowhere.

    Args:
        steps: The texts of a scenario's steps.
    """
    sender = ""
    for number, text in enumerate(steps):
        asked = ASKED.match(text)
        if asked and sender and _counts(asked[1]):
            sentence = f"«{text}» would count the requests that «{sender}» sends for itself."
            return number, BadInput("MB0654", sentence, help="state the query before that claim")
        if _SENDS_ITS_OWN.match(text):
            sender = text
    return None


def _counts(promql: str) -> bool:
    """Whether a query is about a counter, by the names of its metrics."""
    try:
        selectors = parse(promql).selectors
    except BadInput:  # its own step says so
        return False
    return any(selector.metric.endswith(OF_COUNTERS) for selector in selectors)
