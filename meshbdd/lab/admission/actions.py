"""What a route of a VirtualService does other than sending on: redirects, direct responses, rewrites."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Any

from meshbdd.lab.admission import rules
from meshbdd.lab.admission.rules import Object, Problem

_LARGE, _TOO_LARGE = 100 * 1024, 1024 * 1024
"""Sizes of a direct response's body, in bytes: Istio warns of the one and refuses the other."""


def redirect(rule: Object, path: str) -> Iterator[Problem]:
    """The problems of a route's redirect, which stands at ``path``."""
    block = rule.get("redirect")
    if block is None:
        return
    if block.get("uri") and block.get("prefixRewrite"):
        yield f"{path}.prefixRewrite", "a redirect has either uri or prefixRewrite"
    for match in rule.get("match") or [] if block.get("prefixRewrite") else []:
        if match.get("uri") and "prefix" not in match["uri"]:
            yield f"{path}.prefixRewrite", "it needs matches of prefixes"
    said = any(block.get(name) for name in ("uri", "prefixRewrite", "authority", "scheme"))
    if not said and block.get("port") is None and block.get("derivePort") is None:
        yield path, "a redirect says a uri, an authority, a scheme or a port"
    code = block.get("redirectCode")
    if code and not 300 <= code <= 399:
        yield f"{path}.redirectCode", f"{code} is no redirect (300 to 399)"
    if block.get("scheme") and block["scheme"] not in {"http", "https"}:
        yield f"{path}.scheme", f'"{block["scheme"]}" is neither http nor https'
    if block.get("port"):
        yield from rules.port(block["port"], f"{path}.port")


def _decoded(text: str) -> bytes | None:
    """Base64 of either alphabet, padded or not, as protobuf takes it; ``None``: it is none."""
    text = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


def _body_size(direct: Object) -> int:
    body = direct.get("body") or {}
    if body.get("bytes"):
        return len(_decoded(body["bytes"]) or b"")
    return len(str(body.get("string") or "").encode())


def direct_response(direct: Object | None, path: str) -> Iterator[Problem]:
    """The problems of a direct response."""
    if direct is None:
        return
    if not 200 <= direct["status"] <= 600:
        yield f"{path}.status", f"{direct['status']} is no HTTP status (200 to 599)"
    given = (direct.get("body") or {}).get("bytes")
    if given and _decoded(given) is None:
        yield f"{path}.body.bytes", "it is not base64"
    if _body_size(direct) > _TOO_LARGE:
        yield f"{path}.body", "it is larger than 1 MB"


def rewrite(rule: Object, path: str) -> Iterator[Problem]:
    """The problems of what a route, at ``path``, rewrites; its headers may name the authority, too."""
    block = rule.get("rewrite")
    if block is not None:
        regex = block.get("uriRegexRewrite")
        if block.get("uri") and regex is not None:
            yield f"{path}.rewrite", "a rewrite has either uri or uriRegexRewrite"
        if not block.get("uri") and regex is None and not block.get("authority"):
            yield f"{path}.rewrite", "a rewrite says a uri, a uriRegexRewrite or an authority"
        if regex is not None and not (regex.get("match") and regex.get("rewrite")):
            yield f"{path}.rewrite.uriRegexRewrite", "it needs match and rewrite"
        elif regex is not None:
            yield from rules.regex(regex["match"], f"{path}.rewrite.uriRegexRewrite.match")
    operations = (rule.get("headers") or {}).get("request") or {}
    authorities = [text for text in [(block or {}).get("authority")] if text]
    authorities += [
        value
        for table_ in (operations.get("set") or {}, operations.get("add") or {})
        for name, value in table_.items()
        if name.lower() in {"host", ":authority"}
    ]
    if len(authorities) > 1:
        yield f"{path}.headers.request", f"the authority is set more than once: {', '.join(authorities)}"


def large_bodies(spec: Object) -> Iterator[str]:
    """Paths of direct responses whose size Istio warns of."""
    for index, rule in enumerate(spec.get("http") or []):
        direct: Mapping[str, Any] | None = rule.get("directResponse")
        if direct is not None and _LARGE < _body_size(direct) <= _TOO_LARGE:
            yield f"spec.http[{index}].directResponse.body"
