"""Matches, header operations and redirects of HTTP and gRPC routes.

linkerd2 policy-controller/k8s/index/src/routes/{http,grpc}.rs; names and values of headers: Rust's http crate.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from meshbdd.lab.compile.ir import HeaderOps, Match, Text
from meshbdd.lab.linkerd.model import Filter, Modifier, Redirection, RpcMatch
from meshbdd.lab.linkerd.read import regexes
from meshbdd.lab.linkerd.values import Unreadable

Object = Mapping[str, Any]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VISIBLE = re.compile(r"[\t\x20-\x7e]*")
_FILTERS = ("RequestHeaderModifier", "ResponseHeaderModifier", "RequestRedirect")


def _text(entry: Object) -> Text:
    if entry.get("type", "Exact") == "Exact":
        return {"exact": entry["value"]}
    return {"regex": regexes.read(entry["value"])}


def _quoted(text: str) -> str:
    """A text as Rust's Debug writes it."""
    return json.dumps(text, ensure_ascii=False)


def _path(path: Object) -> Text:
    kind, value = path.get("type", "PathPrefix"), path.get("value", "/")
    if kind == "RegularExpression":
        return {"regex": regexes.read(value)}
    if not value.startswith("/"):
        raise Unreadable(
            f"HttpPathMatch paths must be absolute (begin with `/`); {_quoted(value)} is not an absolute path"
        )
    return {"exact" if kind == "Exact" else "path_prefix": value}


def _headers(entries: list[Object] | None) -> dict[str, Text]:
    return {_header_name(entry["name"]): _header_text(entry) for entry in entries or []}


def _header_name(text: str) -> str:
    """A header's name as Rust's http crate keeps it: a token in lower case."""
    if not _TOKEN.fullmatch(text):
        raise Unreadable("invalid HTTP header name")
    return text.lower()


def _header_value(text: str) -> str:
    if not _VISIBLE.fullmatch(text):
        raise Unreadable("failed to parse header value")
    return text


def _header_text(entry: Object) -> Text:
    if entry.get("type", "Exact") == "Exact":
        return {"exact": _header_value(entry["value"])}
    return _text(entry)


def http_match(match: Object) -> Match:
    """One match of an HTTPRoute.

    Raises:
        Unreadable: a path that is not absolute, or no regular expression.
    """
    return Match(
        uri=_path(match["path"]) if match.get("path") else None,
        method={"exact": match["method"]} if match.get("method") else None,
        headers=_headers(match.get("headers")),
        query={entry["name"]: _text(entry) for entry in match.get("queryParams") or []},
    )


def rpc_match(match: Object) -> RpcMatch:
    """One match of a GRPCRoute.

    Raises:
        Unreadable: a regular expression, which Linkerd does not have for methods.
    """
    method = match.get("method")
    if method and method.get("type", "Exact") != "Exact":
        raise Unreadable(f"unsupported GRPCRoute method match type: Some({method['type']})")
    headers = _headers(match.get("headers"))
    if method is None:
        return RpcMatch(headers=headers)
    return RpcMatch(method.get("service") or "", method.get("method") or "", headers, any_rpc=False)


def _ops(block: Object | None) -> HeaderOps:
    def pairs(name: str) -> dict[str, str]:
        return {_header_name(entry["name"]): _header_value(entry["value"]) for entry in (block or {}).get(name) or []}

    added, put = pairs("add"), pairs("set")
    return HeaderOps(put, added, tuple(_header_name(name) for name in (block or {}).get("remove") or ()))


def _new_path(block: Object) -> dict[str, str]:
    """Where to; the type beside the path is not asked (``path_modifier``)."""
    for name, kind in (("replaceFullPath", "full"), ("replacePrefixMatch", "prefix")):
        path = block.get(name)
        if path is None:
            continue
        if not path.startswith("/"):
            raise Unreadable(
                "RequestRedirect filters may only contain absolute paths (starting with '/'); "
                f"{_quoted(path)} is not an absolute path"
            )
        return {kind: path}
    raise Unreadable("RequestRedirect filter must contain either replace_full_path or replace_prefix_match")


def _redirect(block: Object) -> Redirection:
    said = _new_path(block["path"]) if block.get("path") is not None else None
    return Redirection(
        status=block.get("statusCode") or 302,
        scheme=block.get("scheme"),
        host=block.get("hostname") or "",
        port=block.get("port") or 0,
        path=said,
    )


def route_filter(block: Object, *, response_as_request: bool = False) -> Filter:
    """One filter of a rule or a backend.

    Args:
        block: The filter.
        response_as_request: Linkerd's outbound side reads the response modifier of a policy.linkerd.io route as one
            for requests (policy-controller/k8s/index/src/outbound/index/http.rs, ``convert_linkerd_filter``).

    Raises:
        Unreadable: a filter that Linkerd does not have.
    """
    kind = block["type"]
    if kind == "RequestHeaderModifier":
        return Modifier("request", _ops(block.get("requestHeaderModifier")))
    if kind == "ResponseHeaderModifier":
        return Modifier("request" if response_as_request else "response", _ops(block.get("responseHeaderModifier")))
    if kind == "RequestRedirect":
        return _redirect(block.get("requestRedirect") or {})
    raise Unreadable(f"{kind} filter is not supported")


def see_filter(block: Object) -> None:
    """See that a filter of a route can be read, as the webhook does: it passes those over that Linkerd does not have.

    linkerd2 policy-controller/runtime/src/admission.rs, ``validate_filter``.

    Raises:
        Unreadable: a header or a path that cannot be.
    """
    if block["type"] in _FILTERS:
        route_filter(block)
