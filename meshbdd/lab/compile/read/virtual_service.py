"""VirtualService → routes, for one kind of caller at one port."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from meshbdd.lab.compile.ir import (
    Destination,
    DirectResponse,
    Fault,
    HeaderOps,
    Match,
    MirrorTo,
    Redirect,
    Retry,
    Route,
    Workload,
)
from meshbdd.lab.compile.names import full_host, origin

Object = Mapping[str, Any]

GRPC_STATUSES = {
    name: number
    for number, name in enumerate((
        "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
        "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
        "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
    ))
}  # fmt: skip
"""https://github.com/grpc/grpc/blob/master/doc/statuscodes.md"""


def for_mesh(obj: Object) -> bool:
    """Whether sidecars use this virtual service: bound to ``mesh``, which is the default."""
    return "mesh" in (obj["spec"].get("gateways") or ["mesh"])


def read_routes(obj: Object, caller: Workload, port: int) -> list[Route]:
    """The routes that a caller's sidecar gets of a virtual service at one port, in order.

    A route that catches everything ends the list: Istio does not even emit what stands behind it.
    """
    made: list[Route] = []
    for rule in obj["spec"].get("http") or []:
        for match in _matches(rule, caller, port):
            made.append(_route(obj, rule, match))
            if match is None or match.catches_all:
                return made
    return made


def _matches(rule: Object, caller: Workload, port: int) -> Iterator[Match | None]:
    blocks = rule.get("match") or []
    if not blocks:
        yield None
    for block in blocks:
        if _is_for(block, caller, port):
            yield _match(block)


def _is_for(block: Object, caller: Workload, port: int) -> bool:
    if block.get("port") not in {None, 0, port}:
        return False
    if block.get("gateways") and "mesh" not in block["gateways"]:
        return False
    if block.get("sourceNamespace") not in {None, "", caller.namespace}:
        return False
    labels = block.get("sourceLabels") or {}
    return all(caller.labels.get(name) == value for name, value in labels.items())


def _match(block: Object) -> Match:
    return Match(
        uri=block.get("uri"),
        ignore_uri_case=bool(block.get("ignoreUriCase")),
        method=block.get("method"),
        authority=block.get("authority"),
        scheme=block.get("scheme"),
        headers=block.get("headers") or {},
        without_headers=block.get("withoutHeaders") or {},
        query=block.get("queryParams") or {},
    )


def _operations(headers: Object | None, side: str) -> HeaderOps:
    ops = ((headers or {}).get(side)) or {}
    return HeaderOps(ops.get("set") or {}, ops.get("add") or {}, tuple(ops.get("remove") or ()))


def _destination(entry: Object, namespace: str) -> Destination:
    target = entry["destination"]
    headers = entry.get("headers")
    return Destination(
        host=full_host(target["host"], namespace),
        port=(target.get("port") or {}).get("number"),
        subset=target.get("subset") or "",
        weight=int(entry.get("weight") or 0),
        request_headers=_operations(headers, "request"),
        response_headers=_operations(headers, "response"),
    )


def _fault(block: Object | None) -> Fault | None:
    if not block:
        return None
    abort, delay = block.get("abort") or {}, block.get("delay") or {}
    grpc = abort.get("grpcStatus")
    return Fault(
        abort_status=abort.get("httpStatus"),
        abort_grpc=GRPC_STATUSES.get(str(grpc)) if grpc is not None else None,
        abort_percent=(abort.get("percentage") or {}).get("value", 0.0) if "percentage" in abort else None,
        has_abort="abort" in block,
        delay=delay.get("fixedDelay"),
        delay_percent=(delay.get("percentage") or {}).get("value", 0.0) if "percentage" in delay else None,
        delay_hundredths=delay.get("percent"),
        has_delay="delay" in block,
    )


def _retry(block: Object | None) -> Retry | None:
    if block is None:
        return None
    return Retry(
        attempts=int(block.get("attempts") or 0),
        per_try_timeout=block.get("perTryTimeout"),
        retry_on=block.get("retryOn"),
        backoff=block.get("backoff"),
        ignore_previous_hosts=block.get("retryIgnorePreviousHosts") is not False,
        remote_localities=bool(block.get("retryRemoteLocalities")),
    )


def _mirrors(rule: Object, namespace: str) -> tuple[MirrorTo, ...]:
    made = []
    if rule.get("mirror"):
        share = (rule.get("mirrorPercentage") or {}).get("value")
        if share is None:
            share = (
                rule.get("mirrorPercent", rule.get("mirror_percent", 100.0)) if "mirrorPercentage" not in rule else 0.0
            )
        made.append(MirrorTo(_destination({"destination": rule["mirror"]}, namespace), float(share)))
    for entry in rule.get("mirrors") or []:
        share = (entry.get("percentage") or {}).get("value", 0.0) if "percentage" in entry else 100.0
        made.append(MirrorTo(_destination(entry, namespace), float(share)))
    return tuple(mirror for mirror in made if mirror.percent > 0)


def _redirect(block: Object | None) -> Redirect | None:
    if not block:
        return None
    return Redirect(
        int(block.get("redirectCode") or 301),
        block.get("uri"),
        block.get("authority"),
        block.get("scheme"),
        block.get("port"),
    )


def _direct(block: Object | None) -> DirectResponse | None:
    if not block:
        return None
    body = block.get("body") or {}
    return DirectResponse(int(block["status"]), body.get("string"), body.get("bytes"))


def _route(obj: Object, rule: Object, match: Match | None) -> Route:
    namespace = obj["metadata"]["namespace"]
    rewrite = rule.get("rewrite") or {}
    regex = rewrite.get("uriRegexRewrite")
    return Route(
        match=match,
        name=rule.get("name") or "",
        origin=origin(obj),
        destinations=tuple(_destination(entry, namespace) for entry in rule.get("route") or []),
        redirect=_redirect(rule.get("redirect")),
        direct_response=_direct(rule.get("directResponse")),
        timeout=rule.get("timeout"),
        retry=_retry(rule.get("retries")),
        fault=_fault(rule.get("fault")),
        mirrors=_mirrors(rule, namespace),
        rewrite_uri=rewrite.get("uri"),
        rewrite_regex=(regex["match"], regex["rewrite"]) if regex else None,
        rewrite_authority=rewrite.get("authority"),
        request_headers=_operations(rule.get("headers"), "request"),
        response_headers=_operations(rule.get("headers"), "response"),
    )
