"""Istio's validation rules, one function for a thing that can be wrong; each yields (field path, why).

What Istio's webhook accepts is accepted here too, however doubtful (a status of 600, weights that do not sum to 100).
Learnt from istio/istio ``pkg/config/validation``; the words are ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from meshbdd.lab.compile.values import seconds

Problem = tuple[str, str]
Object = Mapping[str, Any]

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_DNS_LABEL = re.compile(r"(?i)[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_RETRY_CONDITIONS = frozenset({
    "5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "envoy-ratelimited", "retriable-4xx",
    "refused-stream", "retriable-status-codes", "retriable-headers", "http3-post-connect-failure", "cancelled",
    "deadline-exceeded", "internal", "resource-exhausted", "unavailable",
})  # fmt: skip
GRPC_NAMES = frozenset({
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
})  # fmt: skip


def host(name: str, path: str, *, wildcard: bool = True) -> Iterator[Problem]:
    """A host name, perhaps with a leading wildcard."""
    bare = name
    if wildcard and name.startswith("*"):
        bare = name[2:] if name.startswith("*.") else name[1:]
        if not bare:
            return
    if not bare or len(bare) > 255 or not all(_DNS_LABEL.fullmatch(part) for part in bare.rstrip(".").split(".")):
        yield path, f'"{name}" is no host name'


def percentage(block: Object | None, path: str) -> Iterator[Problem]:
    """A percentage from 0 to 100."""
    value = (block or {}).get("value")
    if value is not None and not 0 <= value <= 100:
        yield f"{path}.value", f"{value} is not between 0 and 100"


def port(number: Any, path: str) -> Iterator[Problem]:
    """A TCP port."""
    if number is not None and not 1 <= number <= 65535:
        yield path, f"{number} is no port (1 to 65535)"


def regex(text: str, path: str) -> Iterator[Problem]:
    """A regular expression that compiles; Envoy takes RE2, Python's syntax is near enough to find broken ones."""
    try:
        re.compile(text)
    except re.error as error:
        yield path, f'"{text}" is no regular expression: {error}'


def string_match(match: Any, path: str) -> Iterator[Problem]:
    """A string match whose regular expression compiles."""
    if isinstance(match, Mapping) and match.get("regex"):
        yield from regex(match["regex"], f"{path}.regex")


def subset_name(name: str, path: str) -> Iterator[Problem]:
    """A subset's name is a DNS label."""
    if name and not _LABEL.fullmatch(name):
        yield path, f'"{name}" is no subset name (lower-case letters, digits, hyphens)'


def selector(wanted: Object, path: str) -> Iterator[Problem]:
    """A selector's labels: no wildcards, no empty names."""
    for name, value in wanted.items():
        if not name or "*" in name or "*" in str(value):
            yield f"{path}.{name}", f'"{value}": a selector takes no wildcards and no empty names'


def labels(wanted: Object, path: str) -> Iterator[Problem]:
    """Label names and values as Kubernetes takes them."""
    for name, value in wanted.items():
        if value and not re.fullmatch(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", str(value)):
            yield f"{path}.{name}", f'"{value}" is no label value'


def retry(block: Object, path: str) -> Iterator[Problem]:
    """Retries: attempts, and conditions that Envoy knows."""
    attempts = block.get("attempts", 0)
    if attempts < 0:
        yield f"{path}.attempts", f"{attempts} is negative"
    if attempts == 0 and any(
        block.get(name) for name in ("perTryTimeout", "retryOn", "retryRemoteLocalities", "backoff")
    ):
        yield path, "0 attempts turn retries off, so nothing else may be said"
    for word in (word.strip() for word in str(block.get("retryOn") or "").split(",")):
        if word.isdigit():
            if not 100 <= int(word) <= 599:
                yield f"{path}.retryOn", f"{word} is no HTTP status"
        elif word and word not in _RETRY_CONDITIONS:
            yield f"{path}.retryOn", f'"{word}" is no retry condition'


def fault(block: Object, path: str) -> Iterator[Problem]:
    """A fault: an abort, a delay, or both."""
    abort, delay = block.get("abort"), block.get("delay")
    if abort is None and delay is None:
        yield path, "a fault has an abort, a delay, or both"
    if abort is not None:
        yield from percentage(abort.get("percentage"), f"{path}.abort.percentage")
        status = abort.get("httpStatus")
        if status is not None and not 200 <= status <= 600:
            yield f"{path}.abort.httpStatus", f"{status} is no HTTP status (200 to 599)"
        grpc = abort.get("grpcStatus")
        if grpc is not None and grpc not in GRPC_NAMES:
            yield f"{path}.abort.grpcStatus", f'"{grpc}" is no gRPC status (such as UNAVAILABLE)'
        if abort.get("http2Error") is not None:
            yield f"{path}.abort.http2Error", "Istio does not support HTTP/2 error faults"
    if delay is not None:
        yield from percentage(delay.get("percentage"), f"{path}.delay.percentage")
        if delay.get("percent") is not None and not 0 <= delay["percent"] <= 100:
            yield f"{path}.delay.percent", f"{delay['percent']} is not between 0 and 100"
        if delay.get("exponentialDelay") is not None:
            yield f"{path}.delay.exponentialDelay", "Istio does not support exponential delays"


def destination(block: Object, path: str) -> Iterator[Problem]:
    """A destination: a host, a subset, a port."""
    if block.get("host") == "*":
        yield f"{path}.host", '"*" is no destination'
    elif block.get("host"):
        yield from host(block["host"], f"{path}.host", wildcard=False)
    yield from subset_name(block.get("subset") or "", f"{path}.subset")
    yield from port((block.get("port") or {}).get("number"), f"{path}.port.number")


def at_least(text: Any, least: str) -> bool:
    """Whether a duration is not shorter than another."""
    try:
        return seconds(str(text)) >= seconds(least)
    except ValueError:
        return True  # another rule says so


def outlier(block: Object, path: str) -> Iterator[Problem]:
    """Outlier detection's percentages."""
    for name in ("maxEjectionPercent", "minHealthPercent"):
        if name in block and not 0 <= block[name] <= 100:
            yield f"{path}.{name}", f"{block[name]} is not between 0 and 100"
    if block.get("consecutiveErrors", 0) < 0:
        yield f"{path}.consecutiveErrors", f"{block['consecutiveErrors']} is negative"


def pool(block: Object, path: str) -> Iterator[Problem]:
    """Connection limits are not negative, and something is said."""
    if not block.get("tcp") and not block.get("http"):
        yield path, "a connection pool says something of tcp or http"
    for side, name in (
        ("tcp", "maxConnections"), ("http", "http1MaxPendingRequests"), ("http", "http2MaxRequests"),
        ("http", "maxRequestsPerConnection"), ("http", "maxRetries"), ("http", "maxConcurrentStreams"),
    ):  # fmt: skip
        value = (block.get(side) or {}).get(name)
        if value is not None and value < 0:
            yield f"{path}.{side}.{name}", f"{value} is negative"
    http = block.get("http") or {}
    if http.get("h2UpgradePolicy") == "UPGRADE" and http.get("useClientProtocol"):
        yield f"{path}.http", "useClientProtocol must not be set beside h2UpgradePolicy UPGRADE"


def traffic_policy(block: Object | None, path: str, *, port_level: bool = False) -> Iterator[Problem]:
    """A traffic policy, of a host, a subset or a port."""
    if block is None:
        return
    said = (
        "connectionPool",
        "loadBalancer",
        "outlierDetection",
        "tls",
        "portLevelSettings",
        "tunnel",
        "proxyProtocol",
        "retryBudget",
    )
    if not port_level and not any(block.get(name) is not None for name in said):
        yield path, "a traffic policy says something"
    if block.get("outlierDetection") is not None:
        yield from outlier(block["outlierDetection"], f"{path}.outlierDetection")
    if block.get("connectionPool") is not None:
        yield from pool(block["connectionPool"], f"{path}.connectionPool")
    tls = block.get("tls") or {}
    if tls.get("mode") == "MUTUAL" and not tls.get("credentialName"):
        for name in ("clientCertificate", "privateKey"):
            if not tls.get(name):
                yield f"{path}.tls.{name}", "mode MUTUAL needs a certificate and its key"
    for index, entry in enumerate(block.get("portLevelSettings") or []):
        where = f"{path}.portLevelSettings[{index}]"
        if not entry.get("port"):
            yield f"{where}.port", "a port-level setting names its port"
        else:
            yield from port(entry["port"].get("number", 0), f"{where}.port.number")
        yield from traffic_policy(entry, where, port_level=True)
