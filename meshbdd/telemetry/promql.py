"""As much of PromQL's grammar as it takes to see what a query counts, and since when.

A counter alone tells of its whole life, and a window of the time that it spans; a claim is about one scenario. So the
selectors of a query are found here, with the window, the shift and the functions that each stands in. The grammar is
https://prometheus.io/docs/prometheus/latest/querying/basics/; Prometheus itself says what is wrong with a query.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from meshbdd.errors import BadInput

_TOKEN = re.compile(
    r"""(?P<space>(?:\s|\#[^\n]*)+)|(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`)|(?P<window>\[[^\]]*\])"""
    r"""|(?P<number>\d[\w.]*)|(?P<name>[A-Za-z_:][\w:]*)|(?P<sign>.)""",
    re.DOTALL,
)
_LABELS_FOLLOW = {"by", "without", "on", "ignoring", "group_left", "group_right"}
_WORDS = {"and", "or", "unless", "bool", "atan2", "inf", "nan", "offset"}
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "y": 31536000}
_NAME = re.compile(r'__name__\s*(=~|!~|!=|=)\s*["\'`]([^"\'`]*)["\'`]')
_CLOSING = {")": "(", "}": "{"}

COUNTING = frozenset({"count", "group", "absent", "count_values"})
"""Functions that ask which series there are, not what they say."""
SPREAD = frozenset({"avg", "min", "bottomk", "quantile", "stddev", "stdvar"})
"""Aggregations in which a series that did not grow weighs as much as one that did."""
GROWTH = frozenset({"rate", "irate", "increase", "resets", "changes"})
"""Functions that make of a counter's window what was counted in it, or how often."""


@dataclass(frozen=True, slots=True)
class Selector:
    """One selector of a query.

    Attributes:
        start: Where it begins in the query.
        end: Where it ends, its window and shift left out.
        metric: The metric's name; empty where it is no single one.
        window: Seconds of its range; ``None`` for an instant.
        back: Seconds by which it is shifted into the past; infinite where it names a time.
        functions: The functions that it stands in, the innermost last.
    """

    start: int
    end: int
    metric: str
    window: float | None
    back: float
    functions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Query:
    """What a query selects.

    Attributes:
        text: The query.
        selectors: Its selectors, as they stand.
        back: Seconds that its subqueries reach back, all together.
    """

    text: str
    selectors: tuple[Selector, ...]
    back: float

    @property
    def reach(self) -> float:
        """How many seconds it looks back at most."""
        return self.back + max((s.back + (s.window or 0.0) for s in self.selectors), default=0.0)

    @property
    def only_adds(self) -> bool:
        """Whether it is a mere sum of what one selector finds, so that one more counter could but raise it."""
        if len(self.selectors) != 1:
            return False
        return (
            re.fullmatch(rf"\s*sum\s*\(\s*{re.escape(self.source(self.selectors[0]))}\s*\)\s*", self.text) is not None
        )

    def source(self, selector: Selector) -> str:
        """A selector's own text."""
        return self.text[selector.start : selector.end]

    def replaced(self, others: Sequence[tuple[Selector, str]]) -> str:
        """The query with other expressions in the place of selectors."""
        text = self.text
        for selector, expression in sorted(others, key=lambda pair: pair[0].start, reverse=True):
            text = text[: selector.start] + expression + text[selector.end :]
        return text


def parse(text: str) -> Query:
    """Find a query's selectors.

    Raises:
        BadInput: a bracket or a quote is not closed, a window is no duration, or there is nothing.
    """
    return _Parser(text).query()


def checked(text: str) -> str:
    """The query itself, when its brackets and quotes are in order.

    Raises:
        BadInput: they are not.
    """
    parse(text)
    return text


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = [t for t in _TOKEN.finditer(text) if t.lastgroup != "space"]
        self._at = 0
        _see_closed(text, self._tokens)

    def query(self) -> Query:
        found: list[Selector] = []
        functions: list[str] = []
        back, pending = 0.0, ""
        while self._at < len(self._tokens):
            token, word = self._tokens[self._at], self._word()
            self._at += 1
            if word.lower() in _LABELS_FOLLOW:
                if self._word() == "(":
                    self._skip_to(")")  # what stood before the labels is still to come: sum by (le) (…)
            elif token.lastgroup == "name" and (self._word() == "(" or self._word().lower() in {"by", "without"}):
                pending = word.lower()  # aggregations may be written in capitals
            elif word == "{" or (token.lastgroup == "name" and word.lower() not in _WORDS):
                found.append(self._selector(token, tuple(functions)))
            elif word == "(":
                functions.append(pending)
                pending = ""
            elif word == ")":
                functions.pop()
                back += sum(self._modifiers())
        return Query(self._text, tuple(found), back)

    def _word(self) -> str:
        return self._tokens[self._at].group() if self._at < len(self._tokens) else ""

    def _skip_to(self, sign: str) -> int:
        """Pass over what stands before a closing bracket and over it; gives where it ends."""
        while self._word() != sign:
            self._at += 1
        self._at += 1
        return self._tokens[self._at - 1].end()

    def _selector(self, token: re.Match[str], functions: tuple[str, ...]) -> Selector:
        name, end = token.group(), token.end()
        braced = name == "{"
        if braced or self._word() == "{":
            end = self._skip_to("}")
        if braced:
            named = _NAME.search(self._text, token.start(), end)
            name = named[2] if named and named[1] == "=" else ""
        window = None
        if self._word().startswith("["):
            window = _seconds(self._word()[1:-1])
            self._at += 1
        _, back = self._modifiers()
        return Selector(token.start(), end, name, window, back, functions)

    def _modifiers(self) -> tuple[float, float]:
        """What follows an expression: seconds of a subquery's range, and seconds of its shift."""
        window = back = 0.0
        while True:
            word = self._word()
            if word.startswith("["):
                window += _seconds(word[1:-1].partition(":")[0])
            elif word.lower() == "offset":
                self._at += 1
                ahead = self._word() == "-"
                self._at += ahead
                back += 0.0 if ahead else _seconds(self._word())
            elif word == "@":
                back = math.inf
            else:
                return window, back
            self._at += 1


def _see_closed(text: str, tokens: Sequence[re.Match[str]]) -> None:
    """See that every bracket and quote has its other half, and a window a duration.

    Raises:
        BadInput: one has not, or there is nothing at all.
    """
    open_: list[str] = []
    wrong = "" if tokens else "it is empty"
    for token in tokens:
        sign = token.group()
        if sign in {"(", "{"}:
            open_.append(sign)
        elif sign in _CLOSING and (not open_ or open_.pop() != _CLOSING[sign]):
            wrong = wrong or f"'{sign}' closes nothing"
        elif token.lastgroup == "sign" and sign in "[]\"'`":
            wrong = wrong or f"'{sign}' has no other half"
        elif token.lastgroup == "window":
            wrong = wrong or next((f"'{part}' is no duration" for part in sign[1:-1].split(":") if _is_none(part)), "")
    wrong = wrong or (f"'{open_[-1]}' is not closed" if open_ else "")
    if wrong:
        raise BadInput("MB0651", f"'{text}' is no PromQL: {wrong}.", help="mend the query")


def _seconds(text: str) -> float:
    """A duration of PromQL in seconds; of one that is not understood nobody knows how far it reaches."""
    parts = list(_parts(text.strip()))
    return sum(parts) if parts else math.inf


def _is_none(part: str) -> bool:
    """Whether what stands in a window can be no duration: a word, or a number of a unit that there is not.

    Newer Prometheuses calculate durations there, which is for them to judge.
    """
    word = part.strip()
    if not re.fullmatch(r"\w+", word):
        return False
    try:
        float(int(word, 0)) if word[:2].lower() == "0x" else float(word)
    except ValueError:
        return math.isinf(_seconds(word))
    return False


def _parts(text: str) -> Iterator[float]:
    if re.fullmatch(r"(?:\d+(?:ms|[smhdwy]))+", text):
        for number, unit in re.findall(r"(\d+)(ms|[smhdwy])", text):
            yield int(number) * _UNITS[unit]
    elif text.isdigit():
        yield float(text)
