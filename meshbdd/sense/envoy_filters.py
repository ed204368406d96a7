"""EnvoyFilters: patches that Istio leaves out without a word, and values that Envoy refuses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from meshbdd.sense import catalog
from meshbdd.sense.finding import Finding
from meshbdd.sense.inventory import Inventory
from meshbdd.sense.reading import Object, at, mapping, mappings, text, told, whole
from meshbdd.sense.selectors import selected_pods

_RELATIVE = {"INSERT_BEFORE", "INSERT_AFTER", "REPLACE", "REMOVE"}
_ROUTES = {"ROUTE_CONFIGURATION", "HTTP_ROUTE"}
_FAULT = "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"
_PERCENT: Mapping[str, Any] = {"numerator": {}, "denominator": {}}
_FAULT_FIELDS: Mapping[str, Any] = {
    "abort": {"http_status": {}, "grpc_status": {}, "header_abort": {}, "percentage": _PERCENT},
    "delay": {"fixed_delay": {}, "header_delay": {}, "percentage": _PERCENT},
    "response_rate_limit": {"fixed_limit": {"limit_kbps": {}}, "header_limit": {}, "percentage": _PERCENT},
    **dict.fromkeys((
        "upstream_cluster", "headers", "downstream_nodes", "max_active_faults", "filter_metadata",
        "delay_percent_runtime", "abort_percent_runtime", "delay_duration_runtime", "abort_http_status_runtime",
        "abort_grpc_status_runtime", "max_active_faults_runtime", "response_rate_limit_percent_runtime",
        "disable_downstream_cluster_stats",
    )),
}  # fmt: skip
"""Fields of Envoy's fault filter: envoy/extensions/filters/http/fault/v3/fault.proto. No fields below: not looked into."""

_INBOUND_FILTERS = {
    "envoy.filters.http.rbac", "envoy.filters.http.jwt_authn", "envoy.filters.http.ext_authz", "envoy.filters.http.fault",
    "envoy.filters.http.cors", "envoy.filters.http.grpc_stats", "envoy.filters.http.grpc_web", "envoy.filters.http.router",
    "istio.metadata_exchange", "istio.stats", "istio.alpn", "istio_authn", "envoy.filters.http.peer_metadata",
    "envoy.filters.http.stateful_session", "envoy.filters.http.wasm", "envoy.filters.http.lua",
    "envoy.filters.http.local_ratelimit", "envoy.filters.http.ratelimit", "envoy.filters.http.compressor",
}  # fmt: skip
"""HTTP filters that Istio puts into a sidecar, or that people add as a rule; others may come from another EnvoyFilter."""

_OF_PLUGINS = "extensions.istio.io/wasmplugin/"
"""What begins the names of WasmPlugins' filters: istio pilot/pkg/model/extensions.go."""


def check(world: Inventory) -> Iterator[Finding]:
    """All patches of all EnvoyFilters."""
    added = {
        text(p, "patch", "value", "name") for f in world.of("EnvoyFilter") for p in mappings(f, "spec", "configPatches")
    }
    for obj in world.of("EnvoyFilter"):
        patches = mappings(obj, "spec", "configPatches")
        if not whole(obj, "spec", "priority") and (relative := [p for p in patches if _is_relative(p)]):
            yield catalog.RELATIVE.on(
                obj,
                f"{text(relative[0], 'patch', 'operation')} is relative to other filters and no priority is set; if another "
                "EnvoyFilter comes first, the patch may be left out.",
            )
        for number, patch in enumerate(patches, 1):
            yield from _operation(obj, number, patch)
            yield from _place(world, obj, number, patch, added)
            yield from _value(obj, number, mapping(patch, "patch", "value", "typed_config"))


def _is_relative(patch: Any) -> bool:
    operation, target = text(patch, "patch", "operation"), text(patch, "applyTo")
    if operation == "REPLACE" and target not in {"NETWORK_FILTER", "HTTP_FILTER"}:
        return False
    return operation in _RELATIVE and not (operation == "REMOVE" and target in _ROUTES)


def _operation(obj: Object, number: int, patch: Any) -> Iterator[Finding]:
    operation, target = text(patch, "patch", "operation"), text(patch, "applyTo")
    ignored = (operation in {"ADD", "REMOVE"} and target in _ROUTES) or (
        operation == "REPLACE" and target not in {"NETWORK_FILTER", "HTTP_FILTER"}
    )
    if ignored:
        yield catalog.IGNORED_OPERATION.on(obj, f"patch {number}: Istio ignores {operation} for {target}.")
    if operation == "ADD" and target == "HTTP_FILTER":
        yield catalog.BEHIND_ROUTER.on(
            obj,
            f"patch {number}: ADD puts the filter behind the router, which must be last; Envoy refuses the listener.",
        )


def _place(world: Inventory, obj: Object, number: int, patch: Any, added: set[str]) -> Iterator[Finding]:
    match = mapping(patch, "match")
    beside = text(match, "listener", "filterChain", "filter", "subFilter", "name")
    if text(patch, "applyTo") == "HTTP_FILTER" and beside and not _may_be_there(beside, added):
        yield catalog.NO_SUCH_FILTER.on(
            obj, f'patch {number}: no sidecar has an HTTP filter "{beside}", so the patch is left out without a word.'
        )
    port = whole(match, "listener", "portNumber")
    listening = world.listens_on(selected_pods(world, obj))
    if port is not None and text(match, "context") == "SIDECAR_INBOUND" and listening and port not in listening:
        yield catalog.NOT_A_LISTENER_PORT.on(
            obj,
            f"patch {number} is for inbound port {port}; its pods listen on {told(sorted(map(str, listening)))} "
            "(it takes the container's port, not the Service's), so the patch is left out without a word.",
        )


def _may_be_there(name: str, added: set[str]) -> bool:
    return name in _INBOUND_FILTERS | added or name.startswith(_OF_PLUGINS)


def _value(obj: Object, number: int, config: Mapping[str, Any]) -> Iterator[Finding]:
    if not config:
        return
    kind = text(config, "@type")
    if not kind.startswith("type.googleapis.com/"):
        yield catalog.BAD_VALUE.on(obj, f'patch {number}: typed_config has no "@type", so Istio leaves the patch out.')
    if kind != _FAULT:
        return
    for path in _unknown({k: v for k, v in config.items() if k != "@type"}, _FAULT_FIELDS, ""):
        yield catalog.BAD_VALUE.on(
            obj, f"patch {number}: Envoy's fault filter has no field {path}; Istio leaves the patch out."
        )
    for word in ("abort", "delay"):
        block = mapping(config, word)
        if block and not at(block, "percentage", "numerator"):
            yield catalog.NO_SHARE.on(
                obj, f"patch {number}: the {word} has no percentage, and Envoy takes that for 0: it hits no request.",
                "add percentage: {numerator: 100}",
            )  # fmt: skip


def _unknown(value: Mapping[str, Any], known: Mapping[str, Any], path: str) -> Iterator[str]:
    for name, inner in value.items():
        snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in str(name))  # protobuf JSON takes both spellings
        if snake not in known:
            yield f"{path}{name}"
        elif isinstance(inner, Mapping) and known[snake]:
            yield from _unknown(inner, known[snake], f"{path}{name}.")
