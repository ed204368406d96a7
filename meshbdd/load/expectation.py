"""What a load is expected to show: ``p99 < 300ms, errors < 1%``."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from meshbdd.errors import BadInput
from meshbdd.load.summary import Summary
from meshbdd.units import Duration, Percent, Rate

_TERM = re.compile(r"([a-z][a-z0-9.]*)\s*(<=|>=|<|>)\s*(\S+)")
_QUANTILE = re.compile(r"p(\d{1,2}(?:\.\d+)?|100)")
_NO_RATE = re.compile(r"0+(?:\.0+)?/s")
"""No rate to send at, but a bound for one."""
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": lambda seen, limit: seen < limit,
    "<=": lambda seen, limit: seen <= limit,
    ">": lambda seen, limit: seen > limit,
    ">=": lambda seen, limit: seen >= limit,
}
_HELP = 'write terms like "p99 < 300ms, errors < 1%, rate > 100/s", with commas between them'


@dataclass(frozen=True, slots=True)
class Expectation:
    """One term.

    Attributes:
        text: As the tester wrote it.
        what: ``p99`` …, ``max``, ``errors`` or ``rate``.
        compare: ``<``, ``<=``, ``>`` or ``>=``.
        limit: Milliseconds, a share from 0 to 1, or requests per second.
    """

    text: str
    what: str
    compare: str
    limit: float

    def judge(self, summary: Summary, at_best: Summary) -> tuple[bool | None, str]:
        """Whether it is met, and what was seen; ``None`` where that hangs on requests for which this machine was late.

        Args:
            summary: The load's numbers.
            at_best: What they could be if this machine had not been late.
        """
        met, told = self._judge(summary)
        if at_best is summary or met == self._judge(at_best)[0]:
            return met, told
        return None, f"{told}; open, for this machine was late"

    def _judge(self, summary: Summary) -> tuple[bool, str]:
        """As the numbers are.

        A latency is that of a rank among all requests, so one that got no answer cannot make it look better. Of a service
        that serves nothing only ``errors`` says something: it is not quick, and not slow either.
        """
        seen, told = _seen(self.what, summary)
        if self.what != "errors" and not summary.succeeded:
            return False, f"{told}; no request succeeded"
        return _COMPARE[self.compare](seen, self.limit), told


def _seen(what: str, summary: Summary) -> tuple[float, str]:
    if what == "errors":
        total, failed = summary.requests + summary.unsent + summary.missed, summary.failed + summary.missed
        share = failed / total if total else 0.0
        never = f", {summary.missed} of them missed by this machine" if summary.missed else ""
        return share, f"{failed} of {total} ({share:.3%}){never}"
    if what == "rate":
        rate = summary.successes_per_second
        return rate, f"{rate:.1f}/s succeeded"
    milliseconds = summary.latency_ms(100.0 if what == "max" else float(what[1:]))
    if math.isinf(milliseconds):
        return milliseconds, "no answer"
    failed = summary.answered - summary.succeeded
    among = f" ({failed} of {summary.answered} answers are failures)" if failed else ""
    return milliseconds, f"{milliseconds:.3f} ms{among}"


def read_expectations(text: str) -> list[Expectation]:
    """Read terms with commas between them; one after the last does no harm.

    Raises:
        BadInput: a term that is none.
    """
    return [_term(part.strip()) for part in text.strip().removesuffix(",").split(",")]


def _term(text: str) -> Expectation:
    match = _TERM.fullmatch(text)
    if match is None:
        raise BadInput("MB0530", f"'{text}' is no expectation.", help=_HELP)
    what, compare, value = match.groups()
    if what == "errors":
        return Expectation(text, what, compare, Percent.parse(value).fraction)
    if what == "rate":
        return Expectation(text, what, compare, 0.0 if _NO_RATE.fullmatch(value) else Rate.parse(value).per_second)
    quantile = _QUANTILE.fullmatch(what)
    if what != "max" and (quantile is None or float(quantile[1]) == 0):
        raise BadInput("MB0531", f"'{what}' in '{text}' is nothing that a load shows.", help=_HELP)
    return Expectation(text, what, compare, Duration.parse(value).milliseconds)
