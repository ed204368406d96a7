"""Secrets stay out of reports: their names are known, their values are masked."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
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
        return text(written)
    if not isinstance(data, dict | list):
        return text(written)
    masked = _fields(data)
    return text(written) if masked == data else json.dumps(masked, ensure_ascii=False)


def text(written: str) -> str:
    """Text without credentials that show themselves by their form."""
    return _IN_TEXT.sub(lambda found: f"{found[1]} {MASK}" if found[1] else MASK, written)


def _fields(node: Any) -> Any:
    if isinstance(node, dict):
        return {
            name: MASK if is_secret(str(name)) and value is not None else _fields(value) for name, value in node.items()
        }
    if isinstance(node, list):
        return [_fields(item) for item in node]
    return text(node) if isinstance(node, str) else node
