"""Routes: one IR route → one Envoy route."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from meshbdd.lab.compile.envoy.types import FAULT, PREVIOUS_HOSTS, PREVIOUS_PRIORITIES, typed, without_none
from meshbdd.lab.compile.ir import Destination, Fault, HeaderOps, Match, Redirect, Retry, Route
from meshbdd.lab.compile.values import duration, percent, string_match

ClusterOf = Callable[[Destination], str]
HashPolicyOf = Callable[[Destination], list[dict[str, Any]]]

# istio/istio pilot/pkg/networking/core/route/retry/retry.go
DEFAULT_RETRY_ON = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
DEFAULT_RETRIES = 2
_HOST_SELECTION_ATTEMPTS = "5"
_REDIRECTS = {302: "FOUND", 303: "SEE_OTHER", 307: "TEMPORARY_REDIRECT", 308: "PERMANENT_REDIRECT"}


def write_route(route: Route, service: str, cluster_of: ClusterOf, hash_policy_of: HashPolicyOf) -> dict[str, Any]:
    """An Envoy route.

    Args:
        route: What to write.
        service: ``host:port`` of the virtual host, for the tracing decorator.
        cluster_of: Names the cluster of a destination.
        hash_policy_of: The hash policy that a destination's rule asks for; empty for none.
    """
    made: dict[str, Any] = {"match": write_match(route.match), "decorator": {"operation": f"{service}/*"}}
    if route.name:
        made["name"] = route.name
    if route.origin:
        made["metadata"] = {"filter_metadata": {"istio": {"config": route.origin}}}
    if route.redirect is not None:
        made["redirect"] = _redirect(route.redirect)
    elif route.direct_response is not None:
        body = route.direct_response.body
        content = {"inline_string": body} if body is not None else {"inline_bytes": route.direct_response.body_bytes}
        made["direct_response"] = {"status": route.direct_response.status}
        if body is not None or route.direct_response.body_bytes is not None:
            made["direct_response"]["body"] = content
    else:
        made["route"] = _action(route, cluster_of, hash_policy_of)
    only = route.destinations[0] if len(route.destinations) == 1 else None
    requests = [route.request_headers, *([only.request_headers] if only else [])]
    responses = [route.response_headers, *([only.response_headers] if only else [])]
    made |= _header_operations("request", requests) | _header_operations("response", responses)
    if route.fault is not None:
        made["typed_per_filter_config"] = {"envoy.filters.http.fault": {"@type": FAULT, **_fault(route.fault)}}
    return made


def write_match(match: Match | None) -> dict[str, Any]:
    """An Envoy route match; headers sorted by name, the pseudo headers last, as Istio writes them."""
    if match is None:
        return {"prefix": "/"}
    made: dict[str, Any] = {"case_sensitive": not match.ignore_uri_case}
    uri = match.uri or {"prefix": "/"}
    if "exact" in uri:
        made["path"] = uri["exact"]
    elif "prefix" in uri:
        made["prefix"] = uri["prefix"]
    else:
        made["safe_regex"] = {"regex": uri["regex"]}
    headers = [_header(name, text) for name, text in match.headers.items()]
    headers += [
        {**_header(name, text), "invert_match": True, "treat_missing_header_as_empty": True}
        if text and text.get("regex") != "*"
        else {"name": name, "present_match": True, "invert_match": True, "treat_missing_header_as_empty": True}
        for name, text in match.without_headers.items()
    ]
    headers.sort(key=lambda header: str(header["name"]))
    for name, said in ((":method", match.method), (":authority", match.authority), (":scheme", match.scheme)):
        if said:
            headers.append(_header(name, said))
    if headers:
        made["headers"] = headers
    if match.query:
        made["query_parameters"] = [
            {"name": name, "string_match": string_match(text)} if text else {"name": name, "present_match": True}
            for name, text in sorted(match.query.items())
        ]
    return made


def _header(name: str, text: Mapping[str, Any]) -> dict[str, Any]:
    if not text or text.get("regex") == "*":
        return {"name": name, "present_match": True}
    return {"name": name, "string_match": string_match(text)}


def _fault(fault: Fault) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if fault.has_delay and fault.delay is not None:
        share = {"numerator": fault.delay_hundredths} if fault.delay_hundredths else {}
        made["delay"] = {
            "fixed_delay": duration(fault.delay),
            "percentage": percent(fault.delay_percent) if fault.delay_percent is not None else share,
        }
    if fault.has_abort:
        abort = without_none({"http_status": fault.abort_status, "grpc_status": fault.abort_grpc})
        if abort:
            # Without a percentage nothing is aborted: Envoy takes the missing share for 0.
            made["abort"] = {
                **abort,
                **({"percentage": percent(fault.abort_percent)} if fault.abort_percent is not None else {}),
            }
    return made


def write_retry(retry: Retry | None, *, hashed: bool) -> dict[str, Any] | None:
    """An Envoy retry policy; ``None`` of a route means Istio's default, 0 attempts mean none at all."""
    if retry is not None and retry.attempts <= 0:
        return None
    made: dict[str, Any] = {
        "num_retries": retry.attempts if retry else DEFAULT_RETRIES,
        "host_selection_retry_max_attempts": _HOST_SELECTION_ATTEMPTS,
    }
    conditions, codes = _conditions(retry.retry_on if retry else None)
    made["retry_on"] = conditions
    if codes:
        made["retriable_status_codes"] = codes
    if (retry is None or retry.ignore_previous_hosts) and not hashed:
        made["retry_host_predicate"] = [typed("envoy.retry_host_predicates.previous_hosts", PREVIOUS_HOSTS)]
    if retry is not None:
        if retry.per_try_timeout:
            made["per_try_timeout"] = duration(retry.per_try_timeout)
        if retry.backoff:
            made["retry_back_off"] = {"base_interval": duration(retry.backoff)}
        if retry.remote_localities:
            made["retry_priority"] = typed(
                "envoy.retry_priorities.previous_priorities", PREVIOUS_PRIORITIES, {"update_frequency": 2}
            )
    return made


def _conditions(text: str | None) -> tuple[str, list[int]]:
    """``retryOn`` in two: Envoy's conditions, and the numbers, which need a condition of their own."""
    if not text:
        return DEFAULT_RETRY_ON, []
    words, codes = [], []
    for part in (part.strip() for part in text.split(",")):
        if part.isdigit():
            codes.append(int(part))
        elif part:
            words.append(part)
    if codes and "retriable-status-codes" not in words:
        words.append("retriable-status-codes")
    return ",".join(words), codes


def _action(route: Route, cluster_of: ClusterOf, hash_policy_of: HashPolicyOf) -> dict[str, Any]:
    timeout = duration(route.timeout) if route.timeout else "0s"
    made: dict[str, Any] = {"timeout": timeout, "max_grpc_timeout": timeout}
    hashes = next((found for d in route.destinations if (found := hash_policy_of(d))), [])
    # Of a hashed route's retries only those that a virtual service governs go without the predicate.
    retry = write_retry(route.retry, hashed=bool(hashes) and route.origin is not None)
    if retry is not None:
        made["retry_policy"] = retry
    if len(route.destinations) == 1:
        made["cluster"] = cluster_of(route.destinations[0])
    elif route.destinations:
        made["weighted_clusters"] = {"clusters": _weighted(route.destinations, cluster_of)}
    if hashes:
        made["hash_policy"] = hashes
    if route.mirrors:
        made["request_mirror_policies"] = [
            {
                "cluster": cluster_of(mirror.destination),
                "runtime_fraction": {"default_value": percent(mirror.percent)},
                "trace_sampled": False,
                "disable_shadow_host_suffix_append": True,
            }
            for mirror in route.mirrors
        ]
    if route.rewrite_uri is not None:
        made["prefix_rewrite"] = route.rewrite_uri
    if route.rewrite_regex is not None:
        pattern, substitution = route.rewrite_regex
        made["regex_rewrite"] = {"pattern": {"regex": pattern}, "substitution": substitution}
    host = route.rewrite_authority or _host_set(route)
    if host:
        made["host_rewrite_literal"] = host
    return made


def _host_set(route: Route) -> str | None:
    """A ``Host`` among the headers to be set is a rewrite of the authority."""
    only = route.destinations[0].request_headers.set if len(route.destinations) == 1 else {}
    return next((v for ops in (only, route.request_headers.set) for k, v in ops.items() if _is_host(k)), None)


def _is_host(name: str) -> bool:
    return name.lower() in {"host", ":authority"}


def _weighted(destinations: Iterable[Destination], cluster_of: ClusterOf) -> list[dict[str, Any]]:
    made = []
    for destination in destinations:
        if destination.weight == 0:
            continue
        entry: dict[str, Any] = {"name": cluster_of(destination), "weight": destination.weight}
        entry |= _header_operations("request", [destination.request_headers])
        entry |= _header_operations("response", [destination.response_headers])
        host = next((v for k, v in destination.request_headers.set.items() if _is_host(k)), None)
        if host:
            entry["host_rewrite_literal"] = host
        made.append(entry)
    return made


def _header_operations(side: str, operations: Iterable[HeaderOps]) -> dict[str, Any]:
    added: list[dict[str, Any]] = []
    removed: list[str] = []
    for ops in operations:
        for name, value in sorted(ops.set.items()):
            if not _is_host(name):
                header = {"key": name, "value": value}
                added.append({"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"})
        for name, value in sorted(ops.add.items()):
            if not _is_host(name):
                added.append({"header": {"key": name, "value": value}})
        removed += ops.remove
    made: dict[str, Any] = {}
    if added:
        made[f"{side}_headers_to_add"] = added
    if removed:
        made[f"{side}_headers_to_remove"] = removed
    return made


def _redirect(redirect: Redirect) -> dict[str, Any]:
    return without_none(
        {
            "host_redirect": redirect.authority or None,
            "path_redirect": redirect.uri or None,
            "scheme_redirect": redirect.scheme or None,
            "port_redirect": redirect.port,
            "response_code": _REDIRECTS.get(redirect.code),
        }
    )
