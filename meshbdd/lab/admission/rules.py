"""Istio's validation rules, one function for a thing that can be wrong; each yields (field path, why).

What Istio's webhook accepts is accepted here too, however doubtful (a status of 600, weights that do not sum to 100).
Learnt from istio/istio ``pkg/config/validation``; the words are ours.
"""

from __future__ import annotations

import http
import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from meshbdd.lab.compile.names import overlaps
from meshbdd.lab.go import regex_problem, seconds

Problem = tuple[str, str]
Object = Mapping[str, Any]

_DNS_LABEL = re.compile(r"[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?")
_WILDCARD_LABEL = re.compile(rf"\*|(?:\*-?)?{_DNS_LABEL.pattern}")
_LABEL_NAME = re.compile(
    rf"(?:{_DNS_LABEL.pattern}(?:\.{_DNS_LABEL.pattern})*/)?(?:[A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
)
_LABEL_VALUE = re.compile(r"(?:(?:[A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~A-Za-z0-9]+")
_HEADER_VALUE = re.compile(r"(?:[^%]|%%|%[^%(]+(?:\([^)]*\)[^%]*)?%)*")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_PSEUDO = frozenset({":method", ":scheme", ":authority", ":path", ":status"})
_STATUSES = frozenset(status.value for status in http.HTTPStatus)
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


def is_dns_label(text: str) -> bool:
    """Whether a text is a DNS label; Istio takes capital letters, too."""
    return len(text) <= 63 and _DNS_LABEL.fullmatch(text) is not None


def dns_label(text: str, path: str) -> Iterator[Problem]:
    """A DNS label."""
    if not is_dns_label(text):
        yield path, f'"{text}" is no DNS label (letters, digits, hyphens)'


def is_host(name: str) -> bool:
    """Whether a text is a host name, or one whose first label is or begins with a wildcard."""
    first, dot, rest = name.partition(".")
    if not name or len(name) > 255 or len(first) > 63 or not _WILDCARD_LABEL.fullmatch(first):
        return False
    if not dot:
        return True
    labels_ = rest.split(".")
    if not labels_[-1]:
        labels_.pop()
    return bool(not labels_ or not labels_[-1].isdigit()) and all(map(is_dns_label, labels_))


def host(name: str, path: str) -> Iterator[Problem]:
    """A host name, perhaps with a wildcard in its first label, or an address."""
    if is_host(name):
        return
    try:
        ipaddress.ip_address(name)
    except ValueError:
        yield path, f'"{name}" is no host name'


def distinct_hosts(names: Sequence[str], path: str) -> Iterator[Problem]:
    """Hosts of which none is another, or one of another's."""
    for index, name in enumerate(names):
        for other in names[index + 1 :]:
            if name == other:
                yield path, f'"{name}" stands twice'
            elif overlaps(name, other):
                yield path, f'"{name}" and "{other}" have hosts in common'


def gateways(names: Iterable[str], path: str) -> Iterator[Problem]:
    """Names of gateways: ``mesh``, ``namespace/name``, or a host name of old."""
    for name in names:
        namespace, slash, own = name.partition("/")
        whole = is_dns_label(namespace) and is_dns_label(own)
        if not (whole if slash else "*" not in name and is_host(name)):
            yield path, f'"{name}" is no gateway (namespace/name)'


def export_to(entries: Sequence[str], namespace: str, path: str, *, selects: bool = False) -> Iterator[Problem]:
    """Who sees an object: ``*``, ``.`` or namespaces; of a rule for single workloads only its own namespace does."""
    seen = [namespace if entry == "." else entry for entry in entries]
    for entry in {entry for entry in seen if seen.count(entry) > 1}:
        yield path, f'"{entry}" stands twice'
    for entry in seen:
        if entry != "*" and not is_dns_label(entry):
            yield path, f'"{entry}" is neither a namespace nor * nor .'
    if selects and seen and set(seen) != {namespace}:
        yield path, "a rule with a workload selector is seen in its own namespace only"
    if "*" in seen and len(seen) > 1:
        yield path, "* stands alone"


def percentage(block: Object | None, path: str) -> Iterator[Problem]:
    """A percentage from 0 to 100, in steps of a ten-thousandth."""
    value = (block or {}).get("value")
    if value is not None and not (value == 0 or 0.0001 <= value <= 100):
        yield f"{path}.value", f"{value} is neither 0 nor between 0.0001 and 100"


def milliseconds(text: Any, path: str, *, step: str = "1ms") -> Iterator[Problem]:
    """A duration of whole milliseconds (or another ``step``), at least one."""
    if text is None:
        return
    try:
        value, unit = seconds(str(text)), seconds(step)
    except ValueError:
        return  # the schema says so
    if value < seconds("1ms"):
        yield path, f"{text} is shorter than 1ms"
    elif value % unit:
        yield path, f"{text} is not a multiple of {step}"


def header_name(name: str, path: str, *, pseudo: bool = True) -> Iterator[Problem]:
    """The name of a header."""
    if not (pseudo and name in _PSEUDO) and not _HEADER_NAME.fullmatch(name):
        yield path, f'"{name}" is no header name'


def header_operations(headers: Object | None, path: str) -> Iterator[Problem]:
    """Headers to be set, added and removed; the authority may be set in requests, and nothing else that Envoy keeps."""
    for side in ("request", "response"):
        ops = (headers or {}).get(side) or {}
        for kind in ("set", "add"):
            for name, value in (ops.get(kind) or {}).items():
                authority = side == "request" and name.lower() in {"host", ":authority"}
                if not name or (not authority and (name.startswith(":") or name.lower() == "host")):
                    yield f"{path}.{side}.{kind}", f'"{name}" cannot be set'
                if _CONTROL.search(value) or not _HEADER_VALUE.fullmatch(value):
                    yield f"{path}.{side}.{kind}.{name}", f"{value!r} is no header value (write %% for a percent sign)"
        for name in ops.get("remove") or []:
            if not name or name.startswith(":") or name.lower() == "host":
                yield f"{path}.{side}.remove", f'"{name}" cannot be removed'


def port(number: Any, path: str) -> Iterator[Problem]:
    """A TCP port."""
    if number is not None and not 1 <= number <= 65535:
        yield path, f"{number} is no port (1 to 65535)"


def regex(text: str, path: str) -> Iterator[Problem]:
    """A regular expression of Go's, which are also Envoy's."""
    if len(text.encode()) > 1024:
        yield path, "a regular expression has at most 1024 bytes"
    why = regex_problem(text)
    if why is not None:
        yield path, f'"{text}" is no regular expression: {why}'


def string_match(match: Any, path: str, *, empty_prefix: bool = False) -> Iterator[Problem]:
    """A string match that says something, and whose regular expression compiles."""
    if not isinstance(match, Mapping):
        return
    if match.get("prefix") == "" and not empty_prefix:
        yield f"{path}.prefix", "an empty prefix matches nothing in particular"
    if match.get("regex") == "":
        yield f"{path}.regex", "an empty regular expression matches nothing in particular"
    elif match.get("regex"):
        yield from regex(match["regex"], f"{path}.regex")


def subset_name(name: str, path: str) -> Iterator[Problem]:
    """A subset's name is a DNS label."""
    if name and not is_dns_label(name):
        yield path, f'"{name}" is no subset name (letters, digits, hyphens)'


def selector(wanted: Object, path: str) -> Iterator[Problem]:
    """A selector's labels: no wildcards, no empty names."""
    for name, value in wanted.items():
        if not name or "*" in name or "*" in str(value):
            yield f"{path}.{name}", f'"{value}": a selector takes no wildcards and no empty names'


def labels(wanted: Object, path: str) -> Iterator[Problem]:
    """Label names and values as Istio takes them."""
    for name, value in wanted.items():
        if not _LABEL_NAME.fullmatch(name):
            yield path, f'"{name}" is no label name'
        if not _LABEL_VALUE.fullmatch(str(value)):
            yield f"{path}.{name}", f'"{value}" is no label value'


def retry(block: Object, path: str) -> Iterator[Problem]:
    """Retries: attempts, and conditions that Envoy knows."""
    attempts = block.get("attempts", 0)
    if attempts < 0:
        yield f"{path}.attempts", f"{attempts} is negative"
    others = block.get("retryOn") or None, block.get("perTryTimeout"), block.get("retryRemoteLocalities")
    if attempts == 0 and any(other is not None for other in others):
        yield path, "0 attempts turn retries off, so nothing else may be said"
    # Blanks count: "5xx, 429" is refused.
    for word in block["retryOn"].split(",") if block.get("retryOn") else ():
        number = int(word) if word.isascii() and word.isdigit() else 0
        if number not in _STATUSES and word not in _RETRY_CONDITIONS:
            yield f"{path}.retryOn", f'"{word}" is neither a retry condition nor an HTTP status'
    for name in ("perTryTimeout", "backoff"):
        yield from milliseconds(block.get(name), f"{path}.{name}")


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
        yield from milliseconds(delay.get("fixedDelay"), f"{path}.delay.fixedDelay")
        if delay.get("exponentialDelay") is not None:
            yield f"{path}.delay.exponentialDelay", "Istio does not support exponential delays"


def destination(block: Object, path: str) -> Iterator[Problem]:
    """A destination: a host, a subset, a port."""
    name = block.get("host") or ""
    if name == "*" or not is_host(name):
        yield f"{path}.host", f'"{name}" is no destination'
    yield from subset_name(block.get("subset") or "", f"{path}.subset")
    if block.get("port") is not None:
        yield from port(block["port"].get("number") or 0, f"{path}.port.number")


def at_least(text: Any, least: str) -> bool:
    """Whether a duration is not shorter than another."""
    try:
        return seconds(str(text)) >= seconds(least)
    except ValueError:
        return True  # another rule says so
