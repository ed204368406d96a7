"""Matches, filters and direct answers of routes."""

from __future__ import annotations

import re
from typing import Any

from meshbdd.lab.compile.ir import HeaderOps, Match, Text
from meshbdd.lab.linkerd.envoy.order import Entry, prefix_of
from meshbdd.lab.linkerd.model import FailureInjector, Filter, Modifier, Redirection, RpcMatch

Json = dict[str, Any]

ERROR_HEADER = "l5d-proxy-error"
_REDIRECTS = {
    301: "MOVED_PERMANENTLY",
    302: "FOUND",
    303: "SEE_OTHER",
    307: "TEMPORARY_REDIRECT",
    308: "PERMANENT_REDIRECT",
}


def _text(said: Text) -> Json:
    return {"safe_regex": {"regex": said["regex"]}} if "regex" in said else {"exact": said["exact"]}


def _headers(said: dict[str, Text]) -> list[Json]:
    return [{"name": name, "string_match": _text(text)} for name, text in said.items()]


def _host(host: str) -> Json:
    """A host name in the authority, whatever its case, dot at the end and port."""
    pattern = r"[^:]+\." + re.escape(host[2:]) if host.startswith("*.") else re.escape(host)
    return {"name": ":authority", "string_match": {"safe_regex": {"regex": rf"(?i){pattern}\.?(:\d+)?"}}}


def write_match(entry: Entry[Any]) -> Json:
    """An Envoy route match."""
    match = entry.match
    made = _rpc(match) if isinstance(match, RpcMatch) else _path(match, whole=entry.whole)
    headers = _headers(dict(match.headers))
    if isinstance(match, RpcMatch):
        headers.append({"name": ":method", "string_match": {"exact": "POST"}})
    else:
        if match.method is not None:
            headers.append({"name": ":method", "string_match": _text(match.method)})
        if match.query:
            made["query_parameters"] = [
                {"name": name, "string_match": _text(text)} for name, text in match.query.items()
            ]
    if entry.host is not None:
        headers.append(_host(entry.host))
    if headers:
        made["headers"] = headers
    return made


def _path(match: Match, *, whole: bool) -> Json:
    prefix = prefix_of(match)
    if prefix is None:
        uri = match.uri or {}
        return {"safe_regex": {"regex": uri["regex"]}} if "regex" in uri else {"path": uri["exact"]}
    if whole:
        return {"path": prefix or "/"}
    return {"path_separated_prefix": prefix} if prefix else {"prefix": "/"}


def _rpc(match: RpcMatch) -> Json:
    if match.service and match.method:
        return {"path": f"/{match.service}/{match.method}"}
    if match.service:
        return {"prefix": f"/{match.service}/"}
    if match.method:
        return {"safe_regex": {"regex": f"/[^/]*/{re.escape(match.method)}(/.*)?"}}
    return {"prefix": "/"}


def _operations(ops: HeaderOps, side: str) -> Json:
    added = [
        {"header": {"key": name, "value": _literal(value)}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        for name, value in ops.set.items()
    ]
    added += [{"header": {"key": name, "value": _literal(value)}} for name, value in ops.add.items()]
    made: Json = {}
    if added:
        made[f"{side}_headers_to_add"] = added
    if ops.remove:
        made[f"{side}_headers_to_remove"] = list(ops.remove)
    return made


def _literal(value: str) -> str:
    """A value in which Envoy finds nothing to substitute."""
    return value.replace("%", "%%")


def modifiers(filters: tuple[Filter, ...]) -> Json:
    """The header operations among filters, as fields of an Envoy route."""
    made: Json = {}
    for found in filters:
        if isinstance(found, Modifier):
            for name, value in _operations(found.ops, found.side).items():
                made[name] = [*made.get(name, []), *value]
    return made


def header(name: str, value: str) -> Json:
    """A header to be set, whatever it was."""
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def direct(status: int, message: str | None) -> Json:
    """An answer without a body; ``message`` as the proxy's error header."""
    made: Json = {"direct_response": {"status": status}}
    if message is not None:
        made["response_headers_to_add"] = [header(ERROR_HEADER, _literal(message))]
    return made


def answer_of(filters: tuple[Filter, ...], *, informs: bool) -> Json | None:
    """The answer that filters give instead of a backend; ``informs``: with the proxy's error header."""
    for found in filters:
        if isinstance(found, FailureInjector):
            return direct(found.status, found.message if informs else None)
        if isinstance(found, Redirection):
            return _redirect(found, informs=informs)
    return None


def _redirect(found: Redirection, *, informs: bool) -> Json:
    redirect: Json = {"response_code": _REDIRECTS[found.status]}
    for name, value in (
        ("scheme_redirect", found.scheme),
        ("host_redirect", found.host),
        ("port_redirect", found.port),
    ):
        if value:
            redirect[name] = value
    if found.path is not None:
        name = "path_redirect" if "full" in found.path else "prefix_rewrite"
        redirect[name] = next(iter(found.path.values()))
    made: Json = {"redirect": redirect}
    if informs:
        made["response_headers_to_add"] = [header(ERROR_HEADER, "redirected")]
    return made
