"""The words that stand in braces in a phrase, and the options that a step takes from its table.

Patterns are loose and converters strict: «'50' is not a percentage; write it like 50%» helps a tester where a strict
pattern would end in "undefined step".
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from behave import register_type
from behave.model import Table

from meshbdd.errors import BadInput
from meshbdd.intents import Side, TlsMode
from meshbdd.telemetry.promql import checked
from meshbdd.units import Duration, Percent, Rate

T = TypeVar("T")
_WORD = r'[^\s"]+'
PLACEHOLDER = re.compile(r"\{(\w+)(?::\w+)?\}")
"""A placeholder in a step's pattern, with the name of its type."""
_VALUE = re.compile(r'"[^"]*"')
_ALIKE = 0.6
"""How much of two phrases must agree before one is offered for the other."""
_QUOTED = r'[^"]+'


def _typed(pattern: str, convert: Callable[[str], T]) -> Callable[[str], T]:
    def converter(text: str) -> T:
        try:
            return convert(text)
        except BadInput as error:
            help_ = f" {error.help[0].upper()}{error.help[1:]}." if error.help else ""
            raise ValueError(f"{error.code}: {error.sentence}{help_}") from None

    converter.pattern = pattern  # type: ignore[attr-defined] # what behave's parser looks for
    return converter


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise BadInput("MB0106", f"'{text}' is not a count.", help="write a whole number from 1")
    return int(text)


def _status(text: str) -> int:
    if not text.isdigit() or not 100 <= int(text) <= 599:
        raise BadInput("MB0107", f"'{text}' is not an HTTP status.", help="write a number from 100 to 599")
    return int(text)


def _number(text: str) -> float:
    try:
        value = float(text)
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


GRPC_STATUSES = (
    "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE",
    "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip


def _grpc(text: str) -> str:
    if text not in GRPC_STATUSES:
        near = difflib.get_close_matches(text.upper(), GRPC_STATUSES, 1)
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
        Duration=_typed(_WORD, Duration.parse),
        Rate=_typed(_WORD, Rate.parse),
        Quantile=_typed(r"p\S+", _quantile),
        Count=_typed(_WORD, _count),
        Status=_typed(_WORD, _status),
        Grpc=_typed(_WORD, _grpc),
        Service=_typed(_WORD, _service),
        Number=_typed(_WORD, _number),
        Promql=_typed(r".+", checked),
        Subset=_typed(_WORD, _subset),
        TlsMode=_typed(_WORD, _tls_mode),
        Text=_typed(_QUOTED, str),
    )


def read_options(table: Table | None, known: tuple[str, ...]) -> dict[str, str]:
    """The options in a step's two-column table; behave takes its first row for headings, it counts all the same.

    Args:
        table: The step's table; ``None`` for none.
        known: Options that the step takes; one that ends in a blank takes a name, like ``"header "``.

    Raises:
        BadInput: not two columns, an option that the step does not take, or one that stands twice.
    """
    if table is None:
        return {}
    rows = [list(table.headings), *(list(row.cells) for row in table.rows)]
    options: dict[str, str] = {}
    for cells in rows:
        if len(cells) != 2:
            raise BadInput("MB0110", f"The options have {len(cells)} columns.", help="write two: | option | value |")
        name, value = cells[0].strip(), cells[1].strip()
        if name not in known and not any(name.startswith(k) and len(name) > len(k) for k in known if k.endswith(" ")):
            near = difflib.get_close_matches(name, known, 1)
            shown = ", ".join(k + ("NAME" if k.endswith(" ") else "") for k in known)
            raise BadInput(
                "MB0111",
                f"'{name}' is no option of this step.",
                help=f"did you mean '{near[0]}'?" if near else f"it takes: {shown}",
            )
        if name in options:
            raise BadInput("MB0112", f"The option '{name}' stands twice.", help="keep one of the two")
        options[name] = value
    return options


def count_option(options: Mapping[str, str], name: str) -> int | None:
    """An option that is a whole number from 1; ``None`` where it does not stand.

    Raises:
        BadInput: it is none.
    """
    return _count(options[name]) if name in options else None


def status_option(options: Mapping[str, str]) -> int | None:
    """The option ``status``; ``None`` where it does not stand.

    Raises:
        BadInput: it is no HTTP status.
    """
    return _status(options["status"]) if "status" in options else None


def table_rows(table: Table | None) -> dict[str, str]:
    """The rows of a table that look like options, before anybody has checked them."""
    rows = [] if table is None else [list(table.headings), *(list(row.cells) for row in table.rows)]
    return {cells[0].strip(): cells[1].strip() for cells in rows if len(cells) == 2}


def scope_options() -> tuple[str, ...]:
    """The options of every fault."""
    return ("status", "called by", "method", "path", "header ", "inject at")


def read_side(options: Mapping[str, str]) -> Side | None:
    """The option ``inject at``: ``caller`` or ``server``; ``None`` where it does not stand.

    Raises:
        BadInput: another word.
    """
    word = options.get("inject at")
    if word is None:
        return None
    if word not in set(Side):
        raise BadInput("MB0116", f"'{word}' is no place for a fault.", help="write caller or server")
    return Side(word)


def _tls_mode(text: str) -> TlsMode:
    if text not in set(TlsMode):
        near = difflib.get_close_matches(text.lower(), [str(mode) for mode in TlsMode], 1)
        raise BadInput(
            "MB0117",
            f"'{text}' is no mode of mutual TLS.",
            help=f"write {near[0] if near else 'strict, permissive or disabled'}",
        )
    return TlsMode(text)


def step_problem(registry: Any, step: Any) -> str | None:
    """Why a step is not understood; ``None`` where it is."""
    match = registry.find_match(step)
    if match is None:
        near = _nearest_phrase(step.name, [matcher.pattern for matcher in registry.steps["step"]])
        return f"no step says this; did you mean «{near}»?" if near else "no step says this."
    error = getattr(match, "stored_error", None)
    return str(error) if error else None


def _nearest_phrase(text: str, patterns: Iterable[str]) -> str | None:
    """The phrase that somebody may have meant: the one that shares the most words with the text, nearly right ones too."""
    said = [word for word in _VALUE.sub(" ", text).split() if not any(character.isdigit() for character in word)]

    def likeness(pattern: str) -> float:
        own = PLACEHOLDER.sub(" ", pattern.replace('"', " ")).split()
        near = [found[0] for word in said if (found := difflib.get_close_matches(word, own, 1, 0.7))]
        same = sum(block.size for block in difflib.SequenceMatcher(None, own, near).get_matching_blocks())
        return 2 * same / (len(own) + len(said))

    best = max(patterns, key=likeness, default=None)
    return PLACEHOLDER.sub(r"{\1}", best) if best and likeness(best) >= _ALIKE else None
