"""Routes: one IR route → one Envoy route."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshbdd.lab.compile.envoy.actions import (
    ClusterOf,
    HashOf,
    header_operations,
    write_action,
    write_cors,
    write_fault,
    write_redirect,
)
from meshbdd.lab.compile.envoy.types import CORS_POLICY, FAULT
from meshbdd.lab.compile.ir import DirectResponse, Match, Route
from meshbdd.lab.compile.values import string_match

_FAULT_FILTER, _CORS_FILTER = "envoy.filters.http.fault", "envoy.filters.http.cors"


def write_route(route: Route, service: str, cluster_of: ClusterOf, hash_of: HashOf, port: int) -> dict[str, Any]:
    """An Envoy route.

    Args:
        route: What to write.
        service: ``host:port`` of the virtual host, for the tracing decorator.
        cluster_of: Names the cluster of a destination.
        hash_of: The consistent hash that a destination's rule asks for.
        port: The port that is called.
    """
    made: dict[str, Any] = {"match": write_match(route.match), "decorator": {"operation": f"{service}/*"}}
    if route.name:
        made["name"] = route.name
    if route.match is not None and route.match.statistics:
        made["stat_prefix"] = route.match.statistics
    if route.origin:
        made["metadata"] = {"filter_metadata": {"istio": {"config": route.origin}}}
    if route.redirect is not None:
        made["redirect"] = write_redirect(route.redirect, port)
    elif route.direct_response is not None:
        made["direct_response"] = _direct_response(route.direct_response)
    else:
        made["route"] = write_action(route, cluster_of, hash_of, made["match"])
    only = route.destinations[:1] if len(route.destinations) == 1 and "route" in made else ()
    made |= header_operations("request", [route.request_headers, *(one.request_headers for one in only)])
    made |= header_operations("response", [route.response_headers, *(one.response_headers for one in only)])
    filters: dict[str, Any] = {}
    if route.fault is not None:
        filters[_FAULT_FILTER] = {"@type": FAULT, **write_fault(route.fault)}
    if route.cors is not None:
        filters[_CORS_FILTER] = {"@type": CORS_POLICY, **write_cors(route.cors)}
    if filters:
        made["typed_per_filter_config"] = filters
    return made


def _direct_response(direct: DirectResponse) -> dict[str, Any]:
    made: dict[str, Any] = {"status": direct.status}
    if direct.body is not None:
        made["body"] = {"inline_string": direct.body}
    elif direct.body_bytes is not None:
        made["body"] = {"inline_bytes": direct.body_bytes}
    return made


def write_match(match: Match | None) -> dict[str, Any]:
    """An Envoy route match; headers sorted by name, the pseudo headers last, as Istio writes them."""
    if match is None:
        return {"prefix": "/"}
    made: dict[str, Any] = {"case_sensitive": not match.ignore_uri_case}
    uri = match.uri or {"prefix": "/"}
    if "exact" in uri:
        made["path"] = uri["exact"]
    elif "regex" in uri:
        made["safe_regex"] = {"regex": uri["regex"]}
    elif match.by_segments and uri.get("prefix") != "/":
        made["path_separated_prefix"] = str(uri["prefix"]).removesuffix("/")
    else:
        made["prefix"] = uri.get("prefix", "/")
    headers = [_header(name, text) for name, text in match.headers.items()]
    headers += [
        {**_header(name, text), "invert_match": True, "treat_missing_header_as_empty": True}
        if text and text.get("regex") != "*"
        else {"name": name, "present_match": True, "invert_match": True}
        for name, text in match.without_headers.items()
    ]
    headers.sort(key=lambda header: str(header["name"]))
    for name, said in ((":method", match.method), (":authority", match.authority), (":scheme", match.scheme)):
        if said is not None:
            headers.append(_header(name, said))
    if headers:
        made["headers"] = headers
    if match.query:
        made["query_parameters"] = [_header(name, text) for name, text in sorted(match.query.items())]
    return made


def _header(name: str, text: Mapping[str, Any]) -> dict[str, Any]:
    if not text or text.get("regex") == "*":
        return {"name": name, "present_match": True}
    return {"name": name, "string_match": string_match(text)}
