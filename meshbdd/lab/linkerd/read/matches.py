"""Matches, header operations and redirects of HTTP and gRPC routes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from meshbdd.lab.compile.ir import HeaderOps, Match, Text
from meshbdd.lab.linkerd.model import Filter, Modifier, Redirection, RpcMatch
from meshbdd.lab.linkerd.values import Unreadable

Object = Mapping[str, Any]


def _text(entry: Object, where: str) -> Text:
    if entry.get("type", "Exact") == "Exact":
        return {"exact": entry["value"]}
    return {"regex": _regex(entry["value"], where)}


def _regex(text: str, where: str) -> str:
    # Python's syntax stands in for Rust's; both refuse what is no regular expression at all.
    try:
        re.compile(text)
    except re.error as error:
        raise Unreadable(f"invalid {where} regular expression: {error}") from None
    return text


def _path(path: Object) -> Text:
    kind, value = path.get("type", "PathPrefix"), path.get("value", "/")
    if kind == "RegularExpression":
        return {"regex": _regex(value, "path")}
    if not value.startswith("/"):
        raise Unreadable(
            f"HttpPathMatch paths must be absolute (begin with `/`); {value!r} is not an absolute path".replace(
                "'", '"'
            )
        )
    return {"exact" if kind == "Exact" else "path_prefix": value}


def _headers(entries: list[Object] | None) -> dict[str, Text]:
    return {entry["name"].lower(): _text(entry, "header") for entry in entries or []}


def http_match(match: Object) -> Match:
    """One match of an HTTPRoute.

    Raises:
        Unreadable: a path that is not absolute, or no regular expression.
    """
    return Match(
        uri=_path(match["path"]) if match.get("path") else None,
        method={"exact": match["method"]} if match.get("method") else None,
        headers=_headers(match.get("headers")),
        query={entry["name"]: _text(entry, "query parameter") for entry in match.get("queryParams") or []},
    )


def rpc_match(match: Object) -> RpcMatch:
    """One match of a GRPCRoute.

    Raises:
        Unreadable: a regular expression, which Linkerd does not have for methods.
    """
    method = match.get("method")
    if method and method.get("type", "Exact") != "Exact":
        raise Unreadable("RegularExpression method match is not supported")
    headers = _headers(match.get("headers"))
    if method is None:
        return RpcMatch(headers=headers)
    return RpcMatch(method.get("service") or "", method.get("method") or "", headers, any_rpc=False)


def _ops(block: Object | None) -> HeaderOps:
    def pairs(name: str) -> dict[str, str]:
        return {entry["name"]: entry["value"] for entry in (block or {}).get(name) or []}

    return HeaderOps(pairs("set"), pairs("add"), tuple((block or {}).get("remove") or ()))


def _redirect(block: Object) -> Redirection:
    path = block.get("path") or {}
    said = None
    if path.get("type") == "ReplaceFullPath":
        said = {"full": path.get("replaceFullPath", "")}
    elif path.get("type") == "ReplacePrefixMatch":
        said = {"prefix": path.get("replacePrefixMatch", "")}
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
