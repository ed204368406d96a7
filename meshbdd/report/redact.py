"""Secrets stay out of reports: their names are known, their values are masked."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

MASK = "•••"

_SECRET = re.compile(
    r"authorization|cookie|token|secret|passw|api[-_]?key|session|credential|signature|client[-_]?cert|private[-_]?key"
    r"|jwt|otp|\bpin\b|cvv|cvc|card[-_]?number|iban",
    re.IGNORECASE,
)
"""Parts of names of headers, fields and query parameters."""

_HARMLESS = frozenset({"x-forwarded-client-cert"})
"""Istio's header with the SPIFFE names of the peers: what a test of mutual TLS is about, and public."""

_IN_TEXT = re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{8,}|\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")
"""Credentials that are known by their own form, wherever they stand; the second is a JSON Web Token."""

_NAME = r"[\w.%+-]*"
_QUOTED = re.compile(rf"""(["']({_NAME})["']\s*:\s*)("(?:[^"\\]|\\.)*"?|'[^']*'?|[^\s,}}\]"']+)""")
"""A field of JSON, also of JSON that is cut off."""
_ASSIGNED = re.compile(rf"(?<![\w.%+-])(({_NAME})=)(\"[^\"]*\"?|'[^']*'?|[^\s&;,\"'<>]+)")
"""A parameter of a query, a field of a form, a cookie."""
_LINE = re.compile(r"^([ \t]*(?:- )?([\w.-]+)[ \t]*:[ \t]+)(?![\[{|>&*])(\S.*)$", re.MULTILINE)
"""A header of a message, a field of YAML."""
_PASSWORD_IN_URL = re.compile(r"(?<=://)[^\s/@]+(?=@)")


def is_secret(name: str) -> bool:
    """Whether the value under this name is to be masked."""
    return name.lower() not in _HARMLESS and bool(_SECRET.search(name))


def headers(named: Mapping[str, str]) -> dict[str, str]:
    """Headers with masked values."""
    return {name: MASK if is_secret(name) else text(value) for name, value in named.items()}


def url(address: str) -> str:
    """A URL without passwords and secret parameters."""
    parts = urlsplit(address)
    host = parts.netloc.rpartition("@")[2]
    pairs = [pair.partition("=") for pair in parts.query.split("&")]
    query = "&".join(
        f"{name}={MASK}" if equals and is_secret(unquote(name)) else name + equals + value
        for name, equals, value in pairs
    )
    return urlunsplit((parts.scheme, f"{MASK}@{host}" if "@" in parts.netloc else host, parts.path, query, ""))


def body(content: bytes | str) -> str:
    """A body as text; JSON and forms with masked fields."""
    written = content.decode("utf-8", "replace") if isinstance(content, bytes) else content
    try:
        data = json.loads(written)
    except ValueError:
        if re.fullmatch(r"[\w.%+*~-]+=[^\s&]*(&[\w.%+*~-]+=[^\s&]*)*", written.strip()):
            return url(f"?{written.strip()}").removeprefix("?")
        return lines(written)
    if not isinstance(data, dict | list):
        return text(written)
    masked = _fields(data)
    return text(written) if masked == data else json.dumps(masked, ensure_ascii=False)


def text(written: str) -> str:
    """Text without credentials that show themselves by their form, or by the name before them."""
    masked = _IN_TEXT.sub(lambda found: f"{found[1]} {MASK}" if found[1] else MASK, written)
    masked = _PASSWORD_IN_URL.sub(MASK, masked)
    masked = _QUOTED.sub(lambda found: f'{found[1]}"{MASK}"' if _masks(found[2], found[3]) else found[0], masked)
    return _ASSIGNED.sub(lambda found: found[1] + MASK if _masks(unquote(found[2]), found[3]) else found[0], masked)


def lines(written: str) -> str:
    """A step's text: a message in HTTP's form, YAML, JSON or words."""
    return text(_LINE.sub(lambda found: found[1] + MASK if _masks(found[2], found[3]) else found[0], written))


def rows(table: Sequence[Sequence[str]]) -> list[list[str]]:
    """A step's table: the value beside a secret's name, and the column below it."""
    columns = {number for number, heading in enumerate(table[0] if table else ()) if is_secret(heading)}
    return [
        [
            MASK if (row_number and number in columns) or (number == 1 and is_secret(row[0])) else text(cell)
            for number, cell in enumerate(row)
        ]
        for row_number, row in enumerate(table)
    ]


def _masks(name: str, value: str) -> bool:
    return is_secret(name) and value not in {"null", "true", "false"}


def _fields(node: Any) -> Any:
    if isinstance(node, dict):
        return {
            name: MASK if is_secret(str(name)) and value is not None else _fields(value) for name, value in node.items()
        }
    if isinstance(node, list):
        return [_fields(item) for item in node]
    return text(node) if isinstance(node, str) else node
