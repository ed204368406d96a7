"""From a sidecar's raw counters to Linkerd's metrics: the page at port 4191 (``/metrics``).

Families, labels and the words for what is missing are linkerd2-proxy's, as recorded from two real proxies
(tests/golden/data/linkerd/metrics.json). What is not said there is not served.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from meshbdd.lab.compile import Compiled
from meshbdd.lab.linkerd.metrics import gauges
from meshbdd.lab.linkerd.metrics.families import Families, Labels, client, endpoint, named, place, said, target

PAGES = ("/stats/prometheus", "/clusters?format=json", "/certs")
"""The pages of Envoy's admin interface that the metrics are made of."""

_RAW = re.compile(
    r"envoy_l5d_(inbound|route|attempt)_(total|duration_bucket|duration_sum|duration_count)\{(.*)\} (\S+)$"
)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_FAILED_GRPC = {"2", "4", "7", "13", "14", "15"}
"""UNKNOWN beside the statuses that break a circuit: linkerd2-proxy linkerd/app/core/src/classify.rs."""
_GRPC = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE",
    "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
"""The statuses of gRPC by their numbers: https://grpc.io/docs/guides/status-codes/"""
_TIMED_OUT, _NOBODY, _REFUSED = "UT", "UH", "UF"
_BROKEN = {"UC", "UR", "UPE", "LR"}
_OK, _BAD_GATEWAY, _GATEWAY_TIMEOUT = "200", "502", "504"
_DEADLINE_EXCEEDED, _UNAVAILABLE = "4", "14"


def linkerd_metrics(pages: Mapping[str, str], compiled: Compiled | None) -> str:
    """Envoy's pages under Linkerd's names.

    Args:
        pages: The texts of ``PAGES``.
        compiled: The sidecar's configuration, which knows whose an endpoint's address is.
    """
    families = Families()
    counters = {"inbound": _inbound, "route": _route, "attempt": _attempt}
    for line in pages["/stats/prometheus"].splitlines():
        match = _RAW.match(line)
        if match:
            counters[match[1]](families, match[2], dict(_LABEL.findall(match[3])), float(match[4]))
    if compiled is not None:
        gauges.endpoints(families, pages["/clusters?format=json"], compiled)
    expiry = gauges.expiry(pages["/certs"])
    if expiry is not None:
        families.add("identity_cert_expiration_timestamp_seconds", {}, expiry, "gauge")
    return families.text()


# The called side


def _inbound(families: Families, what: str, raw: Mapping[str, str], value: float) -> None:
    peer, server = client(said(raw["peer"])), named("srv", raw["server"], "group", "kind", "name")
    where = target(raw["target"])
    told: Labels = {**where, **server, "srv_port": where["target_port"]}
    route = named("route", raw["route"], "group", "kind", "name")
    authz = named("authz", raw["authz"], "group", "kind", "name")
    denied, unknown = raw["details"].startswith("rbac_access_denied"), not said(raw["route"])
    limited, redirected = raw["flags"] == "RL", raw["details"] == "direct_response"
    waited_in_vain = _REFUSED in raw["flags"].split(",") and raw["status"] == _GATEWAY_TIMEOUT
    if what == "total":
        if denied:
            families.add("inbound_http_authz_deny_total", {**told, **route, **peer}, value)
        elif unknown:
            families.add("inbound_http_route_not_found_total", {**told, **peer}, value)
        else:
            families.add("inbound_http_authz_allow_total", {**told, **route, **authz, **peer}, value)
        if waited_in_vain or ((limited or redirected) and not unknown):
            families.add(
                "inbound_http_errors_total", {**told, "error": "failfast" if waited_in_vain else "unexpected"}, value
            )
        if limited:
            limit = named("ratelimit", raw["limit"], "group", "kind", "name", "scope")
            families.add("inbound_http_local_ratelimit_total", {**told, **limit, **peer}, value)
    if not (denied or unknown or limited or redirected or waited_in_vain):
        labels = {"direction": "inbound", **where, **peer, **server, "srv_port": where["target_port"], **route, **authz}
        _response(families, labels, what, raw, value)


# The calling side: requests, then tries


def _route(families: Families, what: str, raw: Mapping[str, str], value: float) -> None:
    if not _recorded(raw) or _dropped(raw):
        return
    family = f"outbound_{raw['family']}_route"
    labels: Labels = {**_governed(raw), "hostname": ""}
    if what != "total":
        _histogram(families, f"{family}_request_duration_seconds", labels, what, raw, value, 0.001)
        return
    error = _error(raw)
    # What was cut in its body has told its status before; any other status is the proxy's own.
    told = not error or (raw["status"] == _OK and raw["grpc"] not in {_DEADLINE_EXCEEDED, _UNAVAILABLE})
    ended: Labels = {_status_label(raw): _status(raw, raw["status"]) if told else "", "error": error}
    families.add(f"{family}_request_statuses_total", {**labels, **ended}, value)
    retries = int(raw["attempts"]) - 1 if raw["attempts"].isdigit() else 0
    if retries > 0:
        families.add(f"{family}_retry_requests_total", labels, value * retries)
        well = _classification(raw["status"], said(raw["grpc"])) == "success"
        name = "retry_successes_total" if well else "retry_limit_exceeded_total"
        families.add(f"{family}_{name}", labels, value)


def _attempt(families: Families, what: str, raw: Mapping[str, str], value: float) -> None:
    if not said(raw["backend"]):
        return
    # Behind a script the status is one for Envoy's router, and the application's is kept beside it.
    told = {
        **raw, "status": said(raw["original"]) or raw["status"], "grpc": said(raw["original_grpc"]) or raw["grpc"],
        "service_account": raw["account"],
    }  # fmt: skip
    flags = set(raw["flags"].split(","))
    if flags & {_REFUSED, *_BROKEN}:
        if _REFUSED in flags and said(raw["identity"]):
            return  # a meshed endpoint that takes no connection is not ready: no request is given to it
        told |= {"status": _BAD_GATEWAY, "grpc": "", "flags": ""}
    labels: Labels = {"direction": "outbound", **endpoint(raw["backend"], raw["target"], told)}
    answered = told["status"].isdigit() and told["status"] != "0" and not said(told["flags"])
    if answered:
        _response(families, labels, what, told, value)
    elif what == "total":
        families.add("request_total", labels, value)
        failed = {"classification": "failure", "grpc_status": "", "error": "unclassified"}
        families.add("response_total", {**labels, **failed}, value)
    if not _recorded(raw):
        return
    both = {**_governed(raw), **place("backend", raw["backend"])}
    family = f"outbound_{raw['family']}_route_backend"
    if what != "total":
        _histogram(families, f"{family}_response_duration_seconds", both, what, raw, value, 0.001)
        return
    families.add(f"{family}_requests_total", both, value)
    status = told["status"] if answered else ""
    # Only a try has a limit of its own; one that the request's limit cuts has no flag.
    error = "" if answered else ("RESPONSE_HEADERS_TIMEOUT" if _TIMED_OUT in flags else "UNKNOWN")
    ended = {_status_label(raw): status and _status(told, status), "error": error}
    families.add(f"{family}_response_statuses_total", {**both, **ended}, value)


def _recorded(raw: Mapping[str, str]) -> bool:
    """Whether a Service or an EgressNetwork governs the request; of other requests no route families were recorded."""
    return bool(said(raw["parent"])) and not raw["parent"].startswith("|default")


def _dropped(raw: Mapping[str, str]) -> bool:
    """Whether the connection was shut down instead of an answer (``envoy.scripts``); the answer is one that nobody got."""
    return (raw["status"], raw["attempts"], said(raw["flags"])) == (_BAD_GATEWAY, "0", "")


def _governed(raw: Mapping[str, str]) -> Labels:
    parent = named("parent", raw["parent"], "group", "kind", "namespace", "name", "port")
    return {**parent, "parent_section_name": "", **named("route", raw["route"], "group", "kind", "namespace", "name")}


def _status_label(raw: Mapping[str, str]) -> str:
    return "grpc_status" if raw["family"] == "grpc" else "http_status"


def _status(raw: Mapping[str, str], status: str) -> str:
    """A status in the words of its family."""
    if raw["family"] != "grpc":
        return status
    number = said(raw["grpc"])
    return _GRPC[int(number)] if number.isdigit() and int(number) < len(_GRPC) else _GRPC[2]


def _error(raw: Mapping[str, str]) -> str:
    """The proxy's word for what kept a request from its answer; empty where Linkerd counts the status instead."""
    flags = set(raw["flags"].split(","))
    if _TIMED_OUT in flags:
        return "REQUEST_TIMEOUT"
    if _NOBODY in flags or (_REFUSED in flags and raw["status"] in {"503", "504"}):
        return "FAIL_FAST" if raw["status"] == _GATEWAY_TIMEOUT or raw["grpc"] == _DEADLINE_EXCEEDED else "LOAD_SHED"
    return ""


# Both sides


def _response(families: Families, labels: Labels, what: str, raw: Mapping[str, str], value: float) -> None:
    status, grpc = raw["status"], said(raw["grpc"])
    if what != "total":
        _histogram(families, "response_latency_ms", {**labels, "status_code": status}, what, raw, value)
        return
    families.add("request_total", labels, value)
    ended: Labels = {
        "status_code": status, "classification": _classification(status, grpc), "grpc_status": grpc, "error": "",
    }  # fmt: skip
    families.add("response_total", {**labels, **ended}, value)


def _classification(status: str, grpc: str) -> str:
    failed = grpc in _FAILED_GRPC or (status.isdigit() and int(status) >= 500)
    return "failure" if failed else "success"


def _histogram(
    families: Families, name: str, labels: Labels, what: str, raw: Mapping[str, str], value: float, unit: float = 1
) -> None:
    if what == "duration_bucket":
        least = raw["le"] if raw["le"] == "+Inf" else f"{float(raw['le']) * unit:g}"
        families.add(name, {**labels, "le": least}, value, "histogram", "_bucket")
    else:
        amount = value * unit if what == "duration_sum" else value
        families.add(name, labels, amount, "histogram", what.removeprefix("duration"))
