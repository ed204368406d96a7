"""VirtualService → routes, for one kind of caller at one port."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
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
    VirtualService,
    Workload,
)
from meshbdd.lab.compile.names import full_host, origin
from meshbdd.lab.compile.read.delegates import with_delegates

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

_MESH = "mesh"


def for_mesh(obj: Object) -> bool:
    """Whether sidecars use this virtual service: bound to ``mesh``, which is the default."""
    return _MESH in (obj["spec"].get("gateways") or [_MESH])


def exported_to(spec: Object, namespace: str) -> frozenset[str]:
    """The namespaces that see an object of ``namespace``; ``*`` for all."""
    return frozenset(namespace if entry == "." else entry for entry in spec.get("exportTo") or ["*"])


def read_virtual_services(objects: Iterable[Object]) -> list[VirtualService]:
    """The virtual services that sidecars use, in the order given; those without hosts are for others to delegate to."""
    objects = list(objects)
    delegates = {
        (obj["metadata"]["namespace"], obj["metadata"]["name"]): obj for obj in objects if not obj["spec"].get("hosts")
    }
    return [_virtual_service(obj, delegates) for obj in objects if obj["spec"].get("hosts") and for_mesh(obj)]


def _virtual_service(obj: Object, delegates: Mapping[tuple[str, str], Object]) -> VirtualService:
    spec, meta = obj["spec"], obj["metadata"]
    namespace = meta["namespace"]

    def delegate(name: str, home: str) -> list[Object] | None:
        found = delegates.get((home, name))
        if found is None or not exported_to(found["spec"], home) & {"*", namespace}:
            return None
        return [complete(rule, home) for rule in found["spec"].get("http") or []]

    return VirtualService(
        name=meta["name"],
        namespace=namespace,
        origin=origin(obj),
        hosts=tuple(full_host(host, namespace).lower() for host in spec["hosts"]),
        exported_to=exported_to(spec, namespace),
        rules=with_delegates([complete(rule, namespace) for rule in spec.get("http") or []], namespace, delegate),
    )


def complete(rule: Object, namespace: str) -> dict[str, Any]:
    """A rule whose destinations have whole names."""

    def named(destination: Object) -> dict[str, Any]:
        return {**destination, "host": full_host(destination.get("host", ""), namespace)}

    made = dict(rule)
    if rule.get("mirror"):
        made["mirror"] = named(rule["mirror"])
    for field in ("route", "mirrors"):
        if rule.get(field):
            made[field] = [{**entry, "destination": named(entry.get("destination") or {})} for entry in rule[field]]
    return made


def read_routes(virtual_service: VirtualService, caller: Workload, port: int) -> list[Route]:
    """The routes that a caller's sidecar gets of a virtual service at one port, in order.

    A route that catches everything ends the list: Istio does not even emit what stands behind it. An empty list means
    that the virtual service is not for this caller.
    """
    made: list[Route] = []
    for rule in virtual_service.rules:
        blocks = rule.get("match") or []
        for match in _matches(blocks, caller, port, by_segments=virtual_service.gateway_api):
            made.append(_route(virtual_service, rule, match))
            if match is not None and match.catches_all:
                return made
        if not blocks:
            return made
    return made


def _matches(blocks: list[Object], caller: Workload, port: int, *, by_segments: bool) -> Iterator[Match | None]:
    if not blocks:
        yield None
    for block in blocks:
        if _is_for(block, caller, port):
            yield _match(block, by_segments=by_segments)


def _is_for(block: Object, caller: Workload, port: int) -> bool:
    if block.get("port") not in {None, 0, port}:
        return False
    if block.get("gateways"):
        # Whoever names gateways says with that who is meant; the caller's labels are not looked at.
        return _MESH in block["gateways"]
    if block.get("sourceNamespace") not in {None, "", caller.namespace}:
        return False
    labels = block.get("sourceLabels") or {}
    return all(caller.labels.get(name) == value for name, value in labels.items())


def _match(block: Object, *, by_segments: bool) -> Match:
    return Match(
        name=block.get("name") or "",
        statistics=block.get("statPrefix") or "",
        uri=block.get("uri"),
        by_segments=by_segments,
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


def _destination(entry: Object) -> Destination:
    target = entry["destination"]
    headers = entry.get("headers")
    return Destination(
        host=target.get("host") or "",
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
        ignore_previous_hosts=block.get("retryIgnorePreviousHosts"),
        remote_localities=bool(block.get("retryRemoteLocalities")),
    )


def _mirrors(rule: Object) -> tuple[MirrorTo, ...]:
    """Where copies go; a share of 0 that was said means none at all."""
    made = []
    if rule.get("mirror"):
        hundredths = rule.get("mirrorPercent")
        share = (rule.get("mirrorPercentage") or {}).get("value", 0.0) if "mirrorPercentage" in rule else None
        target = _destination({"destination": rule["mirror"]})
        made.append(MirrorTo(target, share, hundredths if share is None else None))
    for entry in rule.get("mirrors") or []:
        share = (entry.get("percentage") or {}).get("value", 0.0) if "percentage" in entry else None
        made.append(MirrorTo(_destination(entry), share))
    return tuple(mirror for mirror in made if mirror.percent != 0 and mirror.hundredths != 0)


def _redirect(block: Object | None) -> Redirect | None:
    if block is None:
        return None
    return Redirect(
        code=int(block.get("redirectCode") or 301),
        uri=block.get("uri") or "",
        prefix=block.get("prefixRewrite") or None,
        authority=block.get("authority") or "",
        scheme=block.get("scheme") or "",
        port=block.get("port"),
        request_port=block.get("derivePort") == "FROM_REQUEST_PORT",
    )


def _direct(block: Object | None) -> DirectResponse | None:
    if not block:
        return None
    body = block.get("body") or {}
    return DirectResponse(int(block["status"]), body.get("string"), body.get("bytes"))


def _route(virtual_service: VirtualService, rule: Object, match: Match | None) -> Route:
    rewrite = rule.get("rewrite") or {}
    regex, uri = rewrite.get("uriRegexRewrite"), rewrite.get("uri") or None
    name = rule.get("name") or ""
    return Route(
        match=match,
        name=f"{name}.{match.name}" if match is not None and match.name else name,
        origin=virtual_service.origin,
        destinations=tuple(_destination(entry) for entry in rule.get("route") or []),
        redirect=_redirect(rule.get("redirect")),
        direct_response=_direct(rule.get("directResponse")),
        timeout=rule.get("timeout"),
        retry=_retry(rule.get("retries")),
        fault=_fault(rule.get("fault")),
        mirrors=_mirrors(rule),
        rewrite_uri=None if regex else uri,
        removes_prefix=virtual_service.gateway_api and uri == "/",
        rewrite_regex=(regex["match"], regex["rewrite"]) if regex else None,
        rewrite_authority=rewrite.get("authority"),
        cors=rule.get("corsPolicy"),
        request_headers=_operations(rule.get("headers"), "request"),
        response_headers=_operations(rule.get("headers"), "response"),
        missing_is_500=virtual_service.gateway_api,
    )
