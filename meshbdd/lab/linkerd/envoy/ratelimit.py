"""HTTPLocalRateLimitPolicy as Envoy's local rate limit: a bucket for all, one for each identity, one for each override."""

from __future__ import annotations

from typing import Any

from meshbdd.lab.linkerd.model import RateLimit

Json = dict[str, Any]

LOCAL = "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
NAME = "envoy.filters.http.local_ratelimit"
CLIENT_HEADER = "l5d-client-id"
_NO_LIMIT = 4294967295
_MOST_CLIENTS = 1000


def _bucket(per_second: int) -> Json:
    return {"max_tokens": per_second, "tokens_per_fill": per_second, "fill_interval": "1s"}


def _always() -> Json:
    return {"default_value": {"numerator": 100}, "runtime_key": "lab"}


def http_filter() -> Json:
    """The filter itself, which lets everything pass; virtual hosts say what is limited."""
    return {"name": NAME, "typed_config": {"@type": LOCAL, "stat_prefix": "inbound"}}


def per_host(limit: RateLimit) -> Json:
    """The limits of one port, for ``typed_per_filter_config``. Callers without an identity share one bucket."""
    descriptors: list[Json] = []
    for most, clients in limit.overrides:
        # The clients of one override have a bucket each, as every identity has.
        descriptors += [
            {"entries": [{"key": "client", "value": client}], "token_bucket": _bucket(most)} for client in clients
        ]
    if limit.identity is not None:
        descriptors.append({"entries": [{"key": "client"}], "token_bucket": _bucket(limit.identity)})
    config: Json = {
        "@type": LOCAL,
        "stat_prefix": "inbound",
        "token_bucket": _bucket(limit.total if limit.total is not None else _NO_LIMIT),
        "filter_enabled": _always(),
        "filter_enforced": _always(),
        "rate_limited_as_resource_exhausted": True,
    }
    if descriptors:
        config["descriptors"] = descriptors
        config["max_dynamic_descriptors"] = _MOST_CLIENTS
        config["rate_limits"] = [{"actions": [_client()]}]
    return {NAME: config}


def scope(limit: RateLimit) -> str:
    """Which limit a refused request passed, for metrics; empty where it may have been either."""
    personal = limit.identity is not None or bool(limit.overrides)
    if limit.total is None:
        return "identity"
    return "" if personal else "total"


def _client() -> Json:
    return {"request_headers": {"header_name": CLIENT_HEADER, "descriptor_key": "client"}}
