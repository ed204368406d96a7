"""The words that stand in braces in a phrase.

Patterns are loose and converters strict: «'50' is not a percentage; write it like 50%» helps a tester where a strict
pattern would end in "undefined step".
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from behave import register_type

import meshbdd
from meshbdd.errors import BadInput
from meshbdd.grpc_statuses import GRPC_CODES
from meshbdd.intents import TlsMode
from meshbdd.telemetry.promql import checked
from meshbdd.units import Duration, Percent, Rate, shortened

T = TypeVar("T")
_ROOM = Path(meshbdd.__file__).resolve().parent
_OURS = {_ROOM / "steps", _ROOM.parent / "steps"}
"""Where the vocabulary's step files are: in the wheel, and in a checkout. behave executes them without importing, so they
are not known by a module's name."""
_WORD = r'[^\s"]+'
PLACEHOLDER = re.compile(r"\{(\w+)(?::\w+)?\}")
"""A placeholder in a step's pattern, with the name of its type."""
_WORDS = re.compile(r'"[^"]*"|[^\s"]+')
_SAME = {"are": "is", "was": "is", "were": "is", "be": "is"}
_ALIKE = 0.52
"""How much of two phrases must agree before one is offered for the other."""
_ALIKE_WORDS = 0.6
"""The same of two words."""
_QUOTED = r'[^"]+'
_DIGITS = re.compile(r"[0-9]{1,9}")
"""A number as proxies take it: their fields have 32 bits, and nothing in a test is counted beyond."""


def in_a_line(error: BadInput) -> str:
    """An error's code, sentence and help in one line, as behave shows what is wrong with a step's words."""
    help_ = f" {error.help[0].upper()}{error.help[1:]}." if error.help else ""
    return f"{error.code}: {error.sentence}{help_}"


def _typed(pattern: str, convert: Callable[[str], T]) -> Callable[[str], T]:
    def converter(text: str) -> T:
        try:
            return convert(text)
        except BadInput as error:
            raise ValueError(in_a_line(error)) from error

    converter.pattern = pattern  # type: ignore[attr-defined] # what behave's parser looks for
    return converter


def read_count(text: str) -> int:
    """A whole number from 1."""
    if not _DIGITS.fullmatch(text) or int(text) < 1:
        raise BadInput(
            "MB0106", f"'{shortened(text)}' is not a count.", help="write a whole number from 1, of nine digits at most"
        )
    return int(text)


def read_duration(text: str) -> Duration:
    """A time that is longer than none."""
    duration = Duration.parse(text)
    if duration.milliseconds < 1:
        raise BadInput("MB0126", f"'{text}' is no time at all.", help="write 1ms or more")
    return duration


def read_status(text: str) -> int:
    """An HTTP status."""
    if not _DIGITS.fullmatch(text) or not 100 <= int(text) <= 599:
        raise BadInput("MB0107", f"'{text}' is not an HTTP status.", help="write a number from 100 to 599")
    return int(text)


def _number(text: str) -> float:
    try:
        value = math.nan if "_" in text else float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise BadInput("MB0113", f"'{text}' is not a number.", help="write it like 5 or 0.25")
    return value


def _service(text: str) -> str:
    parts = text.split(".")
    if len(parts) > 2 or not all(p and p.replace("-", "").isalnum() and p == p.lower() and p[0] != "-" for p in parts):
        raise BadInput(
            "MB0108", f"'{text}' is not the name of a service.", help="write name or name.namespace, in lower case"
        )
    return text


QUANTILES = ("p50", "p90", "p95", "p99", "p99.9")


def _quantile(text: str) -> float:
    if text not in QUANTILES:
        raise BadInput(
            "MB0114",
            f"'{text}' is not a latency quantile.",
            help=f"write {', '.join(QUANTILES[:-1])} or {QUANTILES[-1]}",
        )
    return float(text[1:])


def _subset(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", text):
        raise BadInput(
            "MB0118", f"'{text}' is not the name of a subset.", help="write lower-case letters, digits and hyphens"
        )
    return text


def _grpc(text: str) -> str:
    if text not in GRPC_CODES:
        near = difflib.get_close_matches(text.upper(), GRPC_CODES, 1)
        raise BadInput(
            "MB0109",
            f"'{text}' is not a gRPC error status.",
            help=f"write {near[0] if near else 'a name like UNAVAILABLE'}",
        )
    return text


def register_types() -> None:
    """Make the types known to behave; before any step that uses them."""
    register_type(
        Percent=_typed(_WORD, Percent.parse),
        Duration=_typed(_WORD, read_duration),
        Rate=_typed(_WORD, Rate.parse),
        Quantile=_typed(r"p\S+", _quantile),
        Count=_typed(_WORD, read_count),
        Status=_typed(_WORD, read_status),
        Grpc=_typed(_WORD, _grpc),
        Service=_typed(_WORD, _service),
        Number=_typed(_WORD, _number),
        Promql=_typed(r".+", checked),
        Subset=_typed(_WORD, _subset),
        TlsMode=_typed(_WORD, _tls_mode),
        Text=_typed(_QUOTED, str),
    )


def _tls_mode(text: str) -> TlsMode:
    if text not in set(TlsMode):
        near = difflib.get_close_matches(text.lower(), [str(mode) for mode in TlsMode], 1)
        raise BadInput(
            "MB0117",
            f"'{text}' is no mode of mutual TLS.",
            help=f"write {near[0] if near else 'strict, permissive or disabled'}",
        )
    return TlsMode(text)


def is_ours(function: Any) -> bool:
    """Whether a step is one of the vocabulary, and not of a project's own: those are run in a run alone."""
    return Path(function.__code__.co_filename).resolve().parent in _OURS


def step_problem(registry: Any, step: Any) -> str | None:
    """Why a step is not understood; ``None`` where it is."""
    match = registry.find_match(step)
    if match is None:
        if not any(is_ours(matcher.func) for matcher in registry.steps["step"]):
            return "no step says this, for meshbdd's own are not there: write import meshbdd.steps into environment.py."
        near = _nearest_phrase(step.name, [matcher.pattern for matcher in registry.steps["step"]])
        return f"no step says this; did you mean «{near}»?" if near else "no step says this."
    error = getattr(match, "stored_error", None)
    return str(error) if error else None


def _nearest_phrase(text: str, patterns: Iterable[str]) -> str | None:
    """The phrase that somebody may have meant: the one that shares the most words with the text, nearly right ones too."""
    said = _words(text)
    pattern, likeness = max(
        ((p, _likeness(said, _words(p))) for p in patterns), key=lambda pair: pair[1], default=("", 0)
    )
    return PLACEHOLDER.sub(r"{\1}", pattern) if likeness >= _ALIKE else None


def _words(text: str) -> list[str]:
    return [_SAME.get(word, word) for word in _WORDS.findall(text)]


def _likeness(said: Sequence[str], own: Sequence[str]) -> float:
    """How much of two phrases agrees, from 0 to 1, whatever the order of their words."""
    pairs = sorted(((_kinship(s, o), i, j) for i, s in enumerate(said) for j, o in enumerate(own)), reverse=True)
    seen_said: set[int] = set()
    seen_own: set[int] = set()
    total = 0.0
    for kinship, i, j in pairs:
        if i not in seen_said and j not in seen_own:
            seen_said.add(i)
            seen_own.add(j)
            total += kinship
    return 2 * total / (len(said) + len(own))


def _kinship(said: str, own: str) -> float:
    """How likely a word stands for a word of a phrase; less so for a placeholder, which takes any."""
    if own.startswith('"') or said.startswith('"'):
        return 0.9 if own[0] == said[0] else 0.0
    if own.startswith("{"):
        return 0.7 if any(sign.isdigit() or sign in "-." for sign in said) else 0.1
    alike = difflib.SequenceMatcher(None, said, own).ratio()
    return alike if alike >= _ALIKE_WORDS else 0.0
