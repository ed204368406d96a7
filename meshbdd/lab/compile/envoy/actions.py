"""What a route does with a request: where it goes, how often it is tried, what is changed on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from meshbdd.lab.compile.envoy.types import PREVIOUS_HOSTS, PREVIOUS_PRIORITIES, typed, without_none
from meshbdd.lab.compile.ir import Destination, Fault, HeaderOps, MirrorTo, Redirect, Retry, Route
from meshbdd.lab.compile.values import duration, percent, quote, string_match
from meshbdd.lab.go import seconds

ClusterOf = Callable[[Destination], str]
HashOf = Callable[[Destination], Mapping[str, Any] | None]

# istio/istio pilot/pkg/networking/core/route/retry/retry.go
DEFAULT_RETRY_ON = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
DEFAULT_RETRIES = 2
_HOST_SELECTION_ATTEMPTS = "5"
_REDIRECTS = {302: "FOUND", 303: "SEE_OTHER", 307: "TEMPORARY_REDIRECT", 308: "PERMANENT_REDIRECT"}


def write_fault(fault: Fault) -> dict[str, Any]:
    """The settings of a route's fault filter."""
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


def write_cors(policy: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a route's CORS filter."""
    origins = policy.get("allowOrigins") or [{"exact": name} for name in policy.get("allowOrigin") or []]
    made: dict[str, Any] = {
        "filter_enabled": {"default_value": {"numerator": 100}},
        "forward_not_matching_preflights": policy.get("unmatchedPreflights") != "IGNORE",
    }
    if origins:
        made["allow_origin_string_match"] = [string_match(text) for text in origins]
    for theirs, ours in (
        ("allowHeaders", "allow_headers"), ("allowMethods", "allow_methods"), ("exposeHeaders", "expose_headers"),
    ):  # fmt: skip
        if policy.get(theirs):
            made[ours] = ",".join(policy[theirs])
    if policy.get("maxAge"):
        made["max_age"] = str(int(seconds(policy["maxAge"])))
    if policy.get("allowCredentials") is not None:
        made["allow_credentials"] = policy["allowCredentials"]
    return made


def write_retry(retry: Retry | None, *, hashed: bool) -> dict[str, Any] | None:
    """An Envoy retry policy; ``None`` of a route means Istio's default, 0 attempts mean none at all.

    Args:
        retry: What the route says.
        hashed: Whether a hash chooses the endpoint; then a retry may meet the same one again.
    """
    if retry is not None and retry.attempts <= 0:
        return None
    conditions, codes = _conditions(retry.retry_on if retry else None)
    made: dict[str, Any] = {
        "num_retries": retry.attempts if retry else DEFAULT_RETRIES,
        "host_selection_retry_max_attempts": _HOST_SELECTION_ATTEMPTS,
        "retry_on": conditions,
    }
    if codes:
        made["retriable_status_codes"] = codes
    elsewhere = retry.ignore_previous_hosts if retry is not None else None
    if elsewhere if elsewhere is not None else not hashed:
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


def write_action(route: Route, cluster_of: ClusterOf, hash_of: HashOf, match: Mapping[str, Any]) -> dict[str, Any]:
    """What a route does that neither redirects nor answers by itself."""
    timeout = duration(route.timeout) if route.timeout else "0s"
    made: dict[str, Any] = {"timeout": timeout, "max_grpc_timeout": timeout}
    if route.missing_is_500:
        made["cluster_not_found_response_code"] = "INTERNAL_SERVER_ERROR"
    # A destination of weight 0 beside others is not even named.
    several = len(route.destinations) > 1
    destinations = [one for one in route.destinations if one.weight or not several]
    hashes = [made_of for one in destinations if (made_of := write_hash(hash_of(one)))]
    # Of hashed routes, those of a virtual service with one destination do without the predicate.
    hashed = not several and route.origin is not None and any(hash_of(one) is not None for one in destinations)
    retry = write_retry(route.retry, hashed=hashed)
    if retry is not None:
        made["retry_policy"] = retry
    if several:
        made["weighted_clusters"] = {"clusters": [_weighted(one, cluster_of) for one in destinations]}
    elif destinations:
        made["cluster"] = cluster_of(destinations[0])
    if hashes:
        made["hash_policy"] = hashes
    if route.mirrors:
        made["request_mirror_policies"] = [_mirror(mirror, cluster_of) for mirror in route.mirrors]
    made |= _rewrite(route, match)
    # A rewrite of the authority beats a Host among the route's headers, which beats one among the destination's.
    only = destinations[0].request_headers if len(destinations) == 1 and not several else HeaderOps()
    host = route.rewrite_authority or _host_in(route.request_headers) or _host_in(only)
    if host:
        made["host_rewrite_literal"] = host
    return made


def _rewrite(route: Route, match: Mapping[str, Any]) -> dict[str, Any]:
    if route.rewrite_regex is not None:
        pattern, substitution = route.rewrite_regex
        return {"regex_rewrite": {"pattern": {"regex": pattern}, "substitution": substitution}}
    if route.removes_prefix:
        prefix = quote(match.get("path_separated_prefix", ""))
        return {"regex_rewrite": {"pattern": {"regex": f"^{prefix}(/?)(.*)"}, "substitution": "/\\2"}}
    return {"prefix_rewrite": route.rewrite_uri} if route.rewrite_uri else {}


def _mirror(mirror: MirrorTo, cluster_of: ClusterOf) -> dict[str, Any]:
    whole = {"numerator": mirror.hundredths if mirror.hundredths is not None else 100}
    return {
        "cluster": cluster_of(mirror.destination),
        "runtime_fraction": {"default_value": percent(mirror.percent) if mirror.percent is not None else whole},
        "trace_sampled": False,
        "disable_shadow_host_suffix_append": True,
    }


def write_hash(settings: Mapping[str, Any] | None) -> dict[str, Any]:
    """What of a request chooses the endpoint, for a consistent hash; empty for none."""
    settings = settings or {}
    if settings.get("httpHeaderName"):
        return {"header": {"header_name": settings["httpHeaderName"]}}
    if settings.get("httpCookie"):
        cookie = settings["httpCookie"]
        made = {"name": cookie["name"], **({"path": cookie["path"]} if cookie.get("path") else {})}
        if cookie.get("ttl"):
            made["ttl"] = duration(cookie["ttl"])
        if cookie.get("attributes"):
            made["attributes"] = [
                without_none({"name": a["name"], "value": a.get("value")}) for a in cookie["attributes"]
            ]
        return {"cookie": made}
    if settings.get("useSourceIp") is not None:
        return {"connection_properties": {"source_ip": True} if settings["useSourceIp"] else {}}
    if settings.get("httpQueryParameterName"):
        return {"query_parameter": {"name": settings["httpQueryParameterName"]}}
    return {}


def _host_in(operations: HeaderOps) -> str | None:
    """A ``Host`` among the headers to be set, else to be added, is a rewrite of the authority."""
    for table in (operations.set, operations.add):
        for name, value in table.items():
            if _is_host(name):
                return value
    return None


def _is_host(name: str) -> bool:
    return name.lower() in {"host", ":authority"}


def _is_internal(name: str) -> bool:
    """Whether Envoy keeps a header for itself: it can be neither set nor removed."""
    return name.startswith(":") or name.lower() == "host"


def _weighted(destination: Destination, cluster_of: ClusterOf) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": cluster_of(destination), "weight": destination.weight}
    entry |= header_operations("request", [destination.request_headers])
    entry |= header_operations("response", [destination.response_headers])
    host = _host_in(destination.request_headers)
    return {**entry, "host_rewrite_literal": host} if host else entry


def header_operations(side: str, operations: Iterable[HeaderOps]) -> dict[str, Any]:
    """Headers to be added and removed, in the order given."""
    added: list[dict[str, Any]] = []
    removed: list[str] = []
    for ops in operations:
        for name, value in sorted(ops.set.items()):
            if not _is_internal(name):
                header = {"key": name, "value": value}
                added.append({"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"})
        for name, value in sorted(ops.add.items()):
            if not _is_internal(name):
                added.append({"header": {"key": name, "value": value}})
        removed += [name for name in ops.remove if not _is_internal(name)]
    made: dict[str, Any] = {}
    if added:
        made[f"{side}_headers_to_add"] = added
    if removed:
        made[f"{side}_headers_to_remove"] = removed
    return made


def write_redirect(redirect: Redirect, port: int) -> dict[str, Any]:
    """A redirect, on the listener of ``port``."""
    to_port = port if redirect.request_port else redirect.port
    if to_port == {"http": 80, "https": 443}.get(redirect.scheme or "http"):
        to_port = None  # the scheme's own port goes unsaid
    path = {"prefix_rewrite": redirect.prefix} if redirect.prefix else {"path_redirect": redirect.uri}
    return without_none(
        {
            "host_redirect": redirect.authority or None,
            **path,
            "scheme_redirect": redirect.scheme or None,
            "port_redirect": to_port or None,
            "response_code": _REDIRECTS.get(redirect.code),
        }
    )
