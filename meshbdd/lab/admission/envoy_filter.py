"""EnvoyFilter: what Istio's webhook checks, what it warns of, and which forms the lab compiles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from meshbdd.lab.admission.fields import ANY, INT32, TARGET, TEXT, UINT32, array, choice, obj, table
from meshbdd.lab.admission.rules import Object, Problem, selector
from meshbdd.lab.compile.envoy.patches import CLUSTER_PARTS
from meshbdd.lab.compile.envoy.types import FAULT
from meshbdd.lab.compile.read.envoy_filter import is_for_waypoints, read_value
from meshbdd.lab.go import regex_problem
from meshbdd.lab.xds.messages import MessageError

_LABEL = {**TEXT, "maxLength": 63}
_FILTER = obj({"name": TEXT, "subFilter": obj({"name": TEXT})})
_CHAIN = obj({
    "name": TEXT, "sni": TEXT, "transportProtocol": TEXT, "applicationProtocols": TEXT, "destinationPort": UINT32,
    "filter": _FILTER, "transportSocket": TEXT,
})  # fmt: skip
_ROUTE = obj({"name": TEXT, "action": choice("ANY", "ROUTE", "REDIRECT", "DIRECT_RESPONSE")})
_MATCH = obj(
    {
        "context": choice("ANY", "SIDECAR_INBOUND", "SIDECAR_OUTBOUND", "GATEWAY", "WAYPOINT"),
        "proxy": obj({"proxyVersion": TEXT, "metadata": table(TEXT)}),
        "listener": obj({
            "name": TEXT, "portName": TEXT, "portNumber": UINT32, "listenerFilter": TEXT, "filterChain": _CHAIN,
        }),
        "routeConfiguration": obj({
            "name": TEXT, "gateway": TEXT, "portName": TEXT, "portNumber": UINT32,
            "vhost": obj({"name": TEXT, "domainName": TEXT, "route": _ROUTE}),
        }),
        "cluster": obj({"name": TEXT, "service": TEXT, "subset": TEXT, "portNumber": UINT32}),
        "waypoint": obj({"filter": _FILTER, "portNumber": UINT32, "route": obj({"name": TEXT})}),
    },
    one_of=("listener", "routeConfiguration", "cluster", "waypoint"),
)  # fmt: skip
_PATCH = obj({
    "filterClass": choice("UNSPECIFIED", "AUTHN", "AUTHZ", "STATS"),
    "operation": choice(
        "INVALID", "MERGE", "ADD", "REMOVE", "INSERT_BEFORE", "INSERT_AFTER", "INSERT_FIRST", "REPLACE",
        "MERGE_AND_REPLACE_LIST",
    ),
    "value": ANY,
})  # fmt: skip
_APPLY_TO = choice(
    "INVALID", "LISTENER", "FILTER_CHAIN", "NETWORK_FILTER", "HTTP_FILTER", "ROUTE_CONFIGURATION", "VIRTUAL_HOST",
    "HTTP_ROUTE", "CLUSTER", "EXTENSION_CONFIG", "BOOTSTRAP", "LISTENER_FILTER",
)  # fmt: skip
SCHEMA = obj({
    "workloadSelector": obj({"labels": table(_LABEL)}), "targetRefs": array(TARGET, maxItems=16), "priority": INT32,
    "configPatches": array(obj({"applyTo": _APPLY_TO, "match": _MATCH, "patch": _PATCH})),
})  # fmt: skip

_LISTENER_KINDS = {"LISTENER", "FILTER_CHAIN", "NETWORK_FILTER", "HTTP_FILTER"}
_ROUTE_KINDS = {"ROUTE_CONFIGURATION", "VIRTUAL_HOST", "HTTP_ROUTE"}
_MATCHES = ("listener", "routeConfiguration", "cluster")
_MANAGERS = {"envoy.filters.network.http_connection_manager", "envoy.http_connection_manager"}
_OLD_NAMES = frozenset({
    "envoy.buffer", "envoy.cors", "envoy.csrf", "envoy.http_dynamo_filter", "envoy.ext_authz", "envoy.fault",
    "envoy.grpc_http1_bridge", "envoy.grpc_json_transcoder", "envoy.grpc_web", "envoy.gzip", "envoy.health_check",
    "envoy.ip_tagging", "envoy.lua", "envoy.rate_limit", "envoy.router", "envoy.squash", "envoy.client_ssl_auth",
    "envoy.http_connection_manager", "envoy.mongo_proxy", "envoy.ratelimit", "envoy.redis_proxy", "envoy.tcp_proxy",
})  # fmt: skip
"""Names that Envoy's filters had until 2020."""
_INSERTS = {"INSERT_BEFORE", "INSERT_AFTER", "INSERT_FIRST"}
_COMPILED = {
    "HTTP_FILTER": {"MERGE", *_INSERTS},
    "EXTENSION_CONFIG": {"ADD", *_INSERTS},
    "CLUSTER": {"MERGE"},
    "HTTP_ROUTE": {"MERGE"},
}


def _entries(spec: Object) -> Iterator[tuple[str, Object]]:
    """The patches for sidecars; of those for waypoints Istio's webhook looks at nothing, and the lab has none."""
    for index, entry in enumerate(spec.get("configPatches") or []):
        if not is_for_waypoints(entry):
            yield f"spec.configPatches[{index}]", entry


def _compiled_value(entry: Object) -> bool:
    return entry.get("applyTo") in _COMPILED and _type_of(entry["patch"].get("value") or {}) in {FAULT, None}


def problems(spec: Object, _namespace: str) -> Iterator[Problem]:
    """What Istio's webhook refuses."""
    yield from selector((spec.get("workloadSelector") or {}).get("labels") or {}, "spec.workloadSelector.labels")
    if spec.get("workloadSelector") is not None and spec.get("targetRefs") is not None:
        yield "spec.targetRefs", "it does not go with a workloadSelector"
    yield from _waypoints(spec)
    for path, entry in _entries(spec):
        patch = entry.get("patch")
        if entry.get("applyTo") in {None, "INVALID"}:
            yield f"{path}.applyTo", "a patch says what it applies to"
        elif patch is None:
            yield f"{path}.patch", "there is no patch"
        elif patch.get("operation") in {None, "INVALID"}:
            yield f"{path}.patch.operation", "a patch has an operation"
        elif patch["operation"] != "REMOVE" and patch.get("value") is None:
            yield f"{path}.patch.value", "only REMOVE goes without a value"
        else:
            yield from _match(entry, path)
            yield from _value(entry, path)


def _waypoints(spec: Object) -> Iterator[Problem]:
    """Rules of the definition: a patch for waypoints has a match of its own kind, and no other patch has."""
    for index, entry in enumerate(spec.get("configPatches") or []):
        match = entry.get("match")
        if match is None:
            continue
        path, waypoint = f"spec.configPatches[{index}].match", match.get("waypoint")
        if (waypoint is not None) != (match.get("context") == "WAYPOINT"):
            yield f"{path}.waypoint", "a waypoint is matched where the context is WAYPOINT, and only there"
        number = (waypoint or {}).get("portNumber")
        if number is not None and not 1 <= number <= 65535:
            yield f"{path}.waypoint.portNumber", f"{number} is no port"


def _match(entry: Object, path: str) -> Iterator[Problem]:
    match, kind = entry.get("match") or {}, entry["applyTo"]
    version = (match.get("proxy") or {}).get("proxyVersion") or ""
    why = regex_problem(version)
    if why is not None:
        yield f"{path}.match.proxy.proxyVersion", f'"{version}" is no regular expression: {why}'
    said = next((name for name in _MATCHES if match.get(name) is not None), None)
    wanted = (
        "listener" if kind in _LISTENER_KINDS
        else "routeConfiguration" if kind in _ROUTE_KINDS
        else "cluster" if kind == "CLUSTER" else said
    )  # fmt: skip
    if said is not None and said != wanted:
        yield f"{path}.match.{said}", f"{kind} is matched by {wanted}"
        return
    network = ((match.get("listener") or {}).get("filterChain") or {}).get("filter")
    if network is None or kind not in _LISTENER_KINDS:
        return
    where = f"{path}.match.listener.filterChain.filter"
    if not network.get("name"):
        yield f"{where}.name", "a filter match has a name"
    elif network.get("subFilter") is not None:
        if kind != "HTTP_FILTER":
            yield f"{where}.subFilter", "only HTTP_FILTER takes a sub-filter"
        elif network["name"] not in _MANAGERS:
            yield f"{where}.name", "a sub-filter belongs to envoy.filters.network.http_connection_manager"
        elif not network["subFilter"].get("name"):
            yield f"{where}.subFilter.name", "a sub-filter match has a name"


def _value(entry: Object, path: str) -> Iterator[Problem]:
    if entry["patch"].get("value") is None or not _compiled_value(entry):
        return
    try:
        read_value(entry)
    except MessageError as error:
        yield f"{path}.patch.value", f"it is not of Envoy's form: {str(error).rstrip('.')}"


def warnings(spec: Object) -> Iterator[str]:
    """What Istio warns of."""
    yield "EnvoyFilter shows Envoy's inside, which may change at any time; prefer other resources"
    if spec.get("workloadSelector") is not None and not (spec["workloadSelector"].get("labels") or {}):
        yield "spec.workloadSelector has no labels, so it selects the whole namespace"
    for index, entry in enumerate(spec.get("configPatches") or []):
        if is_for_waypoints(entry):
            yield f"spec.configPatches[{index}]: it is for waypoints, so it changes no sidecar"
    for path, entry in _entries(spec):
        network = (((entry.get("match") or {}).get("listener") or {}).get("filterChain") or {}).get("filter") or {}
        for name in (network.get("name"), (network.get("subFilter") or {}).get("name")):
            if name in _OLD_NAMES:
                yield f'{path}.match: "{name}" is the old name of a filter'
        if entry.get("applyTo") in _COMPILED and entry["patch"].get("value") is not None:
            lost = read_value(entry)[1]
            if lost:
                yield f"{path}.patch.value: {lost}"


def unsupported(spec: Object) -> Iterator[Problem]:
    """Everything but the four forms that the lab compiles."""
    if spec.get("targetRefs"):
        yield "spec.targetRefs", "the lab does not have waypoints and gateways"
    for path, entry in _entries(spec):
        kind, operation = entry["applyTo"], entry["patch"]["operation"]
        match = entry.get("match") or {}
        if kind not in _COMPILED:
            yield f"{path}.applyTo", f"the lab does not have patches of {kind} (only {', '.join(sorted(_COMPILED))})"
        elif operation not in _COMPILED[kind]:
            yield f"{path}.patch.operation", f"the lab does not have {operation} of {kind}"
        else:
            if match.get("proxy"):
                yield f"{path}.match.proxy", "the lab does not have proxies of several versions"
            if entry["patch"].get("filterClass") not in {None, "UNSPECIFIED"}:
                yield f"{path}.patch.filterClass", "the lab does not have filter classes"
            yield from _FORMS[kind](entry, match, path)


def _type_of(value: Mapping[str, Any]) -> str | None:
    config = value.get("typed_config", value.get("typedConfig"))
    said = config.get("@type") if isinstance(config, Mapping) else None
    return None if said is None else str(said)


def _fault_filter(entry: Object, match: Object, path: str) -> Iterator[Problem]:
    if match.get("context") != "SIDECAR_INBOUND":
        yield f"{path}.match.context", "the lab patches HTTP filters in SIDECAR_INBOUND only"
    sub = (((match.get("listener") or {}).get("filterChain") or {}).get("filter") or {}).get("subFilter") or {}
    where = f"{path}.match.listener.filterChain.filter.subFilter"
    if str(sub.get("name", "")).startswith("istio."):
        yield f"{where}.name", f"the lab does not have Istio's own filter {sub['name']}"
    given = entry["patch"]["value"]
    if _type_of(given) not in {FAULT, None}:
        yield f"{path}.patch.value.typed_config", f"the lab patches fault filters only ({FAULT})"
        return
    value = read_value(entry)[0] or {}
    for name in value.keys() - {"name", "typed_config", "config_discovery"}:
        yield f"{path}.patch.value.{name}", "the lab patches name, typed_config and config_discovery only"
    if entry["patch"]["operation"] == "MERGE":
        if not sub:
            yield where, "the lab merges into a filter that is named"
        if _type_of(given) is None:
            yield f"{path}.patch.value", f"the lab merges the typed_config of a fault filter only ({FAULT})"
    elif _type_of(given) is None and "config_discovery" not in value:
        yield f"{path}.patch.value", "the lab inserts a typed_config or a config_discovery"
    yield from _armed(value.get("config_discovery"), f"{path}.patch.value.config_discovery")


def _armed(discovery: Object | None, path: str) -> Iterator[Problem]:
    if discovery is None:
        return
    if "ads" not in (discovery.get("config_source") or {}):
        yield f"{path}.config_source", "the lab delivers settings by ads only"
    if discovery.get("type_urls") != [FAULT]:
        yield f"{path}.type_urls", f"the lab arms fault filters only ({FAULT})"
    if (discovery.get("default_config") or {}).get("@type", FAULT) != FAULT:
        yield f"{path}.default_config", f"the lab arms fault filters only ({FAULT})"


def _settings(entry: Object, _match: Object, path: str) -> Iterator[Problem]:
    value = entry["patch"]["value"]
    if not value.get("name"):
        yield f"{path}.patch.value.name", "settings that are delivered apart have a name"
    if _type_of(value) != FAULT:
        yield f"{path}.patch.value.typed_config", f"the lab delivers the settings of fault filters only ({FAULT})"


def _cluster(entry: Object, match: Object, path: str) -> Iterator[Problem]:
    if match.get("context") == "GATEWAY":
        yield f"{path}.match.context", "the lab does not have gateways"
    value = read_value(entry)[0] or {}
    for name in sorted(value.keys() - set(CLUSTER_PARTS)):
        yield f"{path}.patch.value.{name}", f"the lab merges {' and '.join(CLUSTER_PARTS)} of clusters only"
    for name in (value.get("metadata") or {}).keys() - {"filter_metadata"}:
        yield f"{path}.patch.value.metadata.{name}", "the lab merges filter_metadata only"


def _route(entry: Object, match: Object, path: str) -> Iterator[Problem]:
    if match.get("context") != "SIDECAR_OUTBOUND":
        yield f"{path}.match.context", "the lab patches routes in SIDECAR_OUTBOUND only"
    table = match.get("routeConfiguration") or {}
    for name in ("gateway", "portName"):
        if table.get(name):
            yield f"{path}.match.routeConfiguration.{name}", "the lab does not have gateways"
    value = read_value(entry)[0] or {}
    for name in sorted(value.keys() - {"route"}):
        yield f"{path}.patch.value.{name}", "the lab merges into the action of a route only"
    for name in sorted((value.get("route") or {}).keys() - _ROUTE_PARTS):
        yield f"{path}.patch.value.route.{name}", f"the lab merges {' and '.join(sorted(_ROUTE_PARTS))} of routes only"


_ROUTE_PARTS = {"timeout", "retry_policy"}
_FORMS = {"HTTP_FILTER": _fault_filter, "EXTENSION_CONFIG": _settings, "CLUSTER": _cluster, "HTTP_ROUTE": _route}
