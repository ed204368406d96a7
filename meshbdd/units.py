"""The quantities that a tester writes: percentages, durations, rates.

Each type knows its own spelling in both directions, so that an error message quotes a value as the tester would.
Converters accept any text and raise a clear ``BadInput``: a strict pattern in a step would make behave say only
"undefined step".
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Decimal
from functools import total_ordering

from meshbdd.errors import BadInput

_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_UNITS_IN_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(rf"(?:{_NUMBER}(?:ms|s|m|h))+")
_DURATION_PART = re.compile(rf"({_NUMBER})(ms|s|m|h)")
_SHOWN = 40
"""Characters of a number that a sentence shows."""
_LONGEST_HOURS = 87_600
"""Ten years: certificates of authorities last so long, and nothing that anybody waits for."""
_MOST_PER_SECOND = 1_000_000
"""More than any one machine sends; and a number with which everything else can still be reckoned."""


def shortened(text: str) -> str:
    """A number as a sentence shows it."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def counted(number: int, noun: str, verb: str = "", verbs: str = "") -> str:
    """A number of things as a sentence has it, with the verb that follows: ``1 call was``, ``2 calls were``."""
    said = (f"{number} {noun}", verb) if number == 1 else (f"{number} {noun}s", verbs)
    return " ".join(filter(None, said))


def _plain(number: float) -> str:
    return format(Decimal(repr(number)).normalize(), "f")


@total_ordering
@dataclass(frozen=True, slots=True)
class Percent:
    """A share from 0 to 100 percent, written ``100%`` or ``2.5%``."""

    value: float

    @classmethod
    def parse(cls, text: str) -> Percent:
        """Read ``2.5%``.

        Raises:
            BadInput: no percent sign, no number, or a value outside 0..100.
        """
        if not re.fullmatch(rf"{_NUMBER}%", text):
            guess = text.rstrip("%")
            example = f"{guess}%" if re.fullmatch(_NUMBER, guess) else "50%"
            raise BadInput("MB0101", f"'{text}' is not a percentage.", help=f"write it like {example}")
        value = float(text[:-1])
        if value > 100:
            raise BadInput("MB0102", f"{text} is not between 0% and 100%.", help="write a percentage from 0% to 100%")
        return cls(value)

    @property
    def fraction(self) -> float:
        """The share as a number from 0 to 1."""
        return self.value / 100

    def __lt__(self, other: Percent) -> bool:
        return self.value < other.value

    def __str__(self) -> str:
        return f"{_plain(self.value)}%"


@total_ordering
@dataclass(frozen=True, slots=True)
class Duration:
    """A span of time in seconds, written ``250ms``, ``5s``, ``1m30s``."""

    seconds: float

    @classmethod
    def parse(cls, text: str) -> Duration:
        """Read ``1m30s``.

        Raises:
            BadInput: no unit, an unknown unit, no number, or more than anybody waits for.
        """
        if re.fullmatch(_NUMBER, text):
            raise BadInput("MB0103", f"'{text}' has no unit.", help=f"write {text}s, {text}ms or {text}m")
        if not _DURATION.fullmatch(text):
            raise BadInput("MB0104", f"'{text}' is not a duration.", help="write it like 250ms, 5s or 1m30s")
        seconds = sum(float(number) * _UNITS_IN_SECONDS[unit] for number, unit in _DURATION_PART.findall(text))
        if seconds > _LONGEST_HOURS * 3600:
            raise BadInput(
                "MB0130",
                f"{shortened(text)} is longer than ten years: nobody waits for that.",
                help=f"write {_LONGEST_HOURS}h or less",
            )
        return cls(seconds)

    @property
    def milliseconds(self) -> float:
        """The span in milliseconds."""
        return self.seconds * 1000

    def __lt__(self, other: Duration) -> bool:
        return self.seconds < other.seconds

    def __str__(self) -> str:
        if self.seconds < 1:
            return f"{_plain(round(self.seconds * 1000, 3))}ms"
        hours, rest = divmod(self.seconds, 3600)
        minutes, seconds = divmod(rest, 60)
        parts = ((int(hours), "h"), (int(minutes), "m"), (round(seconds, 3), "s"))
        return "".join(f"{_plain(number)}{unit}" for number, unit in parts if number) or "0ms"


@dataclass(frozen=True, slots=True)
class Rate:
    """Requests per second, written ``200/s``."""

    per_second: float

    @classmethod
    def parse(cls, text: str) -> Rate:
        """Read ``200/s``.

        Raises:
            BadInput: not a positive number of requests per second, or more than a machine sends.
        """
        match = re.fullmatch(rf"({_NUMBER})/s", text)
        if not match or math.isclose(float(match[1]), 0):
            raise BadInput("MB0105", f"'{text}' is not a rate.", help="write it like 200/s")
        if float(match[1]) > _MOST_PER_SECOND:
            raise BadInput("MB0131", f"No machine sends {shortened(text)}.", help=f"write {_MOST_PER_SECOND}/s or less")
        return cls(float(match[1]))

    def __str__(self) -> str:
        return f"{_plain(self.per_second)}/s"
