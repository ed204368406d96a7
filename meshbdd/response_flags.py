"""Envoy's response flags in words."""

from __future__ import annotations

from collections.abc import Iterable

MEANINGS = {
    "DC": "the caller closed the connection",
    "DI": "delayed by an injected fault",
    "DPE": "the caller's request was no HTTP",
    "DT": "the request or the connection lasted too long",
    "FI": "aborted by an injected fault",
    "IH": "a header that must be strict was not",
    "LH": "the local health check failed",
    "LR": "the connection was reset by the proxy itself",
    "NC": "the cluster is not known to the proxy",
    "NFCF": "no filter configuration in time",
    "NR": "no route matched",
    "OM": "the overload manager stopped it",
    "RL": "rate limited",
    "RLSE": "the rate limit service failed",
    "SI": "the stream was idle too long",
    "UAEX": "denied by the authorization service or filter",
    "UC": "the service closed the connection",
    "UF": "no connection to the service",
    "UH": "no healthy endpoint, all are ejected or there are none",
    "UMSDR": "it lasted longer than the route allows",
    "UO": "the circuit breaker's limit was reached",
    "UPE": "the service's answer was no HTTP",
    "UR": "the service reset the stream",
    "URX": "all retries, or all connection attempts, were used up",
    "UT": "the service took longer than the timeout",
}
"""https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage, %RESPONSE_FLAGS%."""

NO_ENDPOINT = "UH"
"""Nothing was left to send a call to: the circuit breaker's ejections look like this to a caller."""


def in_words(flags: Iterable[str]) -> str:
    """Flags as a sentence tells them: ``response flags FI, UH: no healthy endpoint …``."""
    known = sorted(flags)
    told = [f"{flag}: {MEANINGS[flag]}" if flag in MEANINGS and flag not in {"FI", "DI"} else flag for flag in known]
    return f"response flag{'s' if len(known) > 1 else ''} {', '.join(told)}"
