"""Secrets in diffs of YAML, where the name of a secret and its value stand on different lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from meshbdd.report.redact import MASK, is_secret, lines

_LINE = re.compile(r"( *)((?:- +)*)(?:([\"']?)([\w./-]+)\3:(?: +(.*))?|(.*))$")
"""Spaces, the marks of a list, and a field with its value or an item."""

_VALUES = frozenset({"exact", "prefix", "suffix", "regex", "value", "values", "notValues", "contains", "pattern"})
"""Fields that hold what another one names: of matches on headers in Istio's and Linkerd's resources, of environments."""
_NAMES = frozenset({"name", "key", "header", "headerName"})
_INDEX = re.compile(r"\[([^\]]+)\]")
"""``request.headers[authorization]``, as an AuthorizationPolicy names a header."""


@dataclass(slots=True)
class _Field:
    """A line of YAML; ``indent`` counts from where its field begins, behind the marks of lists."""

    head: str
    indent: int
    starts: bool
    name: str
    value: str


def diff(written: str) -> str:
    """A unified diff of YAML with masked values."""
    rows = written.split("\n")
    marks = [row[:1] if row[:1] in {"+", "-", " "} and not row.startswith(("---", "+++")) else None for row in rows]
    shown = iter(_masked([row[1:] for row, mark in zip(rows, marks, strict=True) if mark is not None]))
    return "\n".join(row if mark is None else mark + next(shown) for row, mark in zip(rows, marks, strict=True))


def _masked(rows: list[str]) -> list[str]:
    fields = [_field(row) for row in rows]
    secret = [False] * len(rows)
    for number, field in enumerate(fields):
        if is_secret(field.name) and not field.value:
            for inner in _below(fields, number):
                # A mapping of that name may say more than the value: the rules of a JWT, the name of a cookie.
                secret[inner] |= fields[inner].name in _VALUES or not fields[inner].name
        elif field.name in _NAMES and is_secret((_INDEX.findall(field.value) or [field.value])[-1].strip("\"'")):
            for beside in _beside(fields, number):
                if fields[beside].name in _VALUES:
                    secret[beside] = True
                    for inner in _below(fields, beside):
                        secret[inner] = True
        elif is_secret(field.name):  # the rest of a value that is longer than a line
            for inner in _below(fields, number):
                secret[inner] = True
    return [_mask(rows[n], field) if secret[n] else lines(rows[n]) for n, field in enumerate(fields)]


def _field(row: str) -> _Field:
    found = _LINE.match(row)
    spaces, marks, quote, name, value, item = found.groups(default="") if found else ("", "", "", "", "", row)
    head = spaces + marks
    return _Field(head + (f"{quote}{name}{quote}:" if name else ""), len(head), bool(marks), name, value or item)


def _mask(row: str, field: _Field) -> str:
    if not field.value or field.value in {"null", "true", "false"}:
        return row
    return f"{field.head} {MASK}" if field.name else f"{field.head}{MASK}"


def _below(fields: list[_Field], number: int) -> Iterator[int]:
    """The lines inside a field: those further right, and a list's marks below its name."""
    edge = fields[number].indent
    for inner in range(number + 1, len(fields)):
        field = fields[inner]
        if field.indent <= edge and (field.name or field.value):
            return
        yield inner


def _beside(fields: list[_Field], number: int) -> Iterator[int]:
    """The other fields of the mapping that a field is in."""
    edge = fields[number].indent
    first = number
    while not fields[first].starts and first and fields[first - 1].indent >= edge:
        first -= 1
    for other in range(first, len(fields)):
        field = fields[other]
        if other > number and (field.indent < edge or (field.starts and field.indent == edge)):
            return
        if other != number and field.indent == edge:
            yield other
