"""Claims over the answers of one step. Each says in words what it saw instead, or nothing where it holds."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.fidelity.calls import Answer

Answers = Sequence[Answer]

ALPHA = 1e-6
"""Chance of a false alarm of one claim about a share, at most."""


@dataclass(frozen=True, slots=True)
class Check:
    """One claim: its words, and what contradicts it (``None``: nothing)."""

    words: str
    contradiction: Callable[[Answers], str | None]


def _each(words: str, holds: Callable[[Answer], bool], seen: Callable[[Answer], object]) -> Check:
    def contradiction(answers: Answers) -> str | None:
        wrong = Counter(str(seen(answer)) for answer in answers if not holds(answer))
        return ", ".join(f"{value} ×{count}" for value, count in wrong.most_common(4)) if wrong else None

    return Check(words, contradiction)


def status(*codes: int) -> Check:
    """Every answer has one of these statuses; 0 is a connection that ended without an answer."""
    words = " or ".join(str(code) if code else "connection closed" for code in codes)
    return _each(words, lambda a: a.status in codes, lambda a: a.status)


def flags(*texts: str) -> Check:
    """The calling sidecar gave every answer one of these response flags (``-``: none)."""
    return _each(f"flag {' or '.join(texts)}", lambda a: a.flags in texts, lambda a: a.flags)


def server_flags(text: str) -> Check:
    """The called sidecar gave this response flag to each attempt."""
    return _each(
        f"flag {text} at the callee",
        lambda a: bool(a.server) and all(e["response_flags"] == text for e in a.server),
        lambda a: [e["response_flags"] for e in a.server],
    )


def details(text: str) -> Check:
    """The calling sidecar's words for how each answer came about."""
    return _each(
        f"details {text}",
        lambda a: bool(a.entry) and text in a.entry["response_code_details"],  # type: ignore[index]
        lambda a: a.entry and a.entry["response_code_details"],
    )


def reached(least: int, most: int | None = None) -> Check:
    """How many attempts of each request reached an application."""
    most = least if most is None else most
    words = "nothing reached the application" if most == 0 else f"{_range(least, most)} attempts each"
    return _each(words, lambda a: least <= len(a.records) <= most, lambda a: f"{len(a.records)} attempts")


def _range(least: float, most: float) -> str:
    return f"{least:g}" if least == most else f"{least:g}–{most:g}"


def took(least: float, most: float) -> Check:
    """How long each answer took, in seconds."""
    return _each(
        # A timer of Envoy counts from the beginning of its event loop's turn, up to a few milliseconds early.
        f"{least:g}–{most:g} s",
        lambda a: 0.98 * least - 0.005 <= a.seconds <= most,
        lambda a: f"{a.seconds:.2f} s",
    )


def body(text: str) -> Check:
    """What each answer's body is."""
    return _each(f'body "{text}"', lambda a: a.body == text, lambda a: a.body[:80])


def answer_header(name: str, value: str | None) -> Check:
    """A header of each answer; ``None``: it is not there."""
    return _each(f"{name}: {value}", lambda a: a.headers.get(name) == value, lambda a: a.headers.get(name))


def saw(name: str, *values: str | None) -> Check:
    """What the application saw in a request header, attempt by attempt; ``None``: no such header."""

    def seen(answer: Answer) -> tuple[str | None, ...]:
        return tuple(dict(record["headers"]).get(name) for record in answer.records)

    return _each(f"application sees {name}: {', '.join(map(str, values))}", lambda a: seen(a) == values, seen)


def saw_part(name: str, part: str) -> Check:
    """The application saw a request header with this in it."""

    def seen(answer: Answer) -> list[str]:
        return [dict(record["headers"]).get(name, "") for record in answer.records]

    return _each(
        f"application sees {part} in {name}", lambda a: bool(a.records) and all(part in v for v in seen(a)), seen
    )


def path(text: str) -> Check:
    """The path that the application saw."""
    return _each(
        f"application sees {text}",
        lambda a: bool(a.records) and all(r["path"] == text for r in a.records),
        lambda a: [r["path"] for r in a.records],
    )


def by_version(*versions: str) -> Check:
    """Which versions answered each request's attempts, in no order."""
    return _each(
        f"handled by {', '.join(versions)}",
        lambda a: sorted(r["version"] for r in a.records) == sorted(versions),
        lambda a: sorted(r["version"] for r in a.records),
    )


def by_pod(*pods: str) -> Check:
    """Which pods handled each request's attempts, in no order."""
    return _each(
        f"handled by {', '.join(pods)}",
        lambda a: sorted(r["pod"] for r in a.records) == sorted(pods),
        lambda a: sorted(r["pod"] for r in a.records),
    )


def at_port(number: int) -> Check:
    """Which port of the application each attempt came to."""
    return _each(
        f"at port {number}",
        lambda a: bool(a.records) and all(r["port"] == number for r in a.records),
        lambda a: [r["port"] for r in a.records],
    )


# Claims about all answers together


def binomial_bounds(n: int, p: float, alpha: float = ALPHA) -> tuple[int, int]:
    """The fewest and the most hits of n draws at p that are not rarer than ``alpha`` on their side."""

    def term(k: int) -> float:
        return math.exp(
            math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
            + (k * math.log(p) if k else 0.0) + ((n - k) * math.log1p(-p) if n - k else 0.0)
        )  # fmt: skip

    low, tail = 0, 0.0
    while (tail := tail + term(low)) < alpha / 2:
        low += 1
    high, tail = n, 0.0
    while (tail := tail + term(high)) < alpha / 2:
        high -= 1
    return low, high


def share(words: str, p: float, hit: Callable[[Answer], bool]) -> Check:
    """A share of all answers: p, within what chance allows (false alarm at most ``ALPHA``)."""

    def contradiction(answers: Answers) -> str | None:
        hits = sum(map(hit, answers))
        low, high = binomial_bounds(len(answers), p)
        return None if low <= hits <= high else f"{hits} of {len(answers)}, expected {low}–{high}"

    return Check(f"{words}: {100 * p:g} %", contradiction)


def count(words: str, least: int, most: int, hit: Callable[[Answer], bool]) -> Check:
    """How many of all answers are of a kind."""

    def contradiction(answers: Answers) -> str | None:
        hits = sum(map(hit, answers))
        return None if least <= hits <= most else f"{hits} of {len(answers)}"

    return Check(f"{words}: {_range(least, most)}", contradiction)


def sequence(words: str, expected: Sequence[object], seen: Callable[[Answer], object]) -> Check:
    """What the answers are, one after the other."""

    def contradiction(answers: Answers) -> str | None:
        got = [seen(answer) for answer in answers]
        return None if got == list(expected) else str(got)[:200]

    return Check(words, contradiction)


def over_all(words: str, contradiction: Callable[[Answers], str | None]) -> Check:
    """Any other claim about all answers."""
    return Check(words, contradiction)
