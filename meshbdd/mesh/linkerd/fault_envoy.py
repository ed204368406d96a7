"""The Envoy of a fault backend: its bootstrap, and the request headers by which a route tells it what to do.

https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/fault_filter#controlling-fault-injection-via-http-headers
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from meshbdd.grpc_statuses import GRPC_CODES
from meshbdd.intents import Fault
from meshbdd.mesh.base import Object
from meshbdd.sidecars import CHANGE_HEADER

CHANGE, CALLER = CHANGE_HEADER, "x-meshbdd-caller"
"""Request headers that a route sets: the tags of the changes that it is made of, and the callers that a fault is for."""

ABORT, ABORT_GRPC, DELAY = (
    "x-envoy-fault-abort-request", "x-envoy-fault-abort-grpc-request", "x-envoy-fault-delay-request",
)  # fmt: skip
PERCENTAGE = "-percentage"
_HEADERS = (
    CHANGE, CALLER, ABORT, ABORT_GRPC, DELAY, f"{ABORT}{PERCENTAGE}", f"{DELAY}{PERCENTAGE}",
)  # fmt: skip
MILLION = 1_000_000
READY_PORT = 18079
"""Where it says that it is there."""

_EXTENSION = "type.googleapis.com/envoy.extensions"
_HTTP_OPTIONS = f"{_EXTENSION}.upstreams.http.v3.HttpProtocolOptions"
_ONLY_FOR = """
local function meant(wanted, caller)
  for name in wanted:gmatch("[^,]+") do
    local prefix = name .. ".serviceaccount."
    if caller:sub(1, #prefix) == prefix then return true end
  end
  return false
end
function envoy_on_request(handle)
  local headers = handle:headers()
  local wanted = headers:get("%(caller)s")
  if wanted and not meant(wanted, headers:get("l5d-client-id") or "") then
    for _, name in ipairs({%(headers)s}) do headers:remove(name) end
  end
  local change = headers:get("%(change)s")
  if change then handle:streamInfo():dynamicMetadata():set("meshbdd", "change", change) end
end
"""
"""Linkerd's routes know no callers, but its proxies name them (``l5d-client-id``, the identity that they have verified).
What is left of the headers is kept for the log, since calls that go on bear none of them."""


def fault_headers(fault: Fault, callers: Iterable[str], share: int | None = None) -> dict[str, str]:
    """What a route tells the backend.

    Args:
        fault: What it is to do.
        callers: ``account.namespace`` of the only callers that it is for; empty: everybody.
        share: How many of a million calls, where the backend is to draw; ``None``: each that comes.
    """
    if fault.delay is not None:
        kind, told = DELAY, {DELAY: str(round(fault.delay.seconds * 1000))}
    elif fault.grpc_status is not None:
        kind, told = ABORT, {ABORT_GRPC: str(GRPC_CODES[fault.grpc_status])}
    else:
        kind, told = ABORT, {ABORT: str(fault.status)}
    if share is not None:
        told[f"{kind}{PERCENTAGE}"] = str(share)
    only = ",".join(callers)
    return {**told, CALLER: only} if only else told


def bootstrap(ready_port: int, ways: Mapping[int, tuple[str, int]]) -> Object:
    """Envoy's bootstrap.

    Args:
        ready_port: Where it says that it is there.
        ways: Port at which it listens → host and port to which it sends what goes on.
    """
    ready = {"match": {"prefix": "/"}, "direct_response": {"status": 200}}
    listeners = [_listener("ready", ready_port, ready, [])]
    clusters = []
    for listens, (host, port) in ways.items():
        route = {
            "match": {"prefix": "/"},
            "route": {"cluster": f"twin-{port}", "timeout": "0s"},
            "request_headers_to_remove": list(_HEADERS),
        }
        listeners.append(_listener(f"port-{port}", listens, route, [_only_for(), _faults()]))
        clusters.append(_twin(host, port))
    return {"static_resources": {"listeners": listeners, "clusters": clusters}}


def _typed(name: str, kind: str, config: Mapping[str, Any]) -> Object:
    return {"name": name, "typed_config": {"@type": f"{_EXTENSION}.{kind}", **config}}


def _only_for() -> Object:
    names = ", ".join(f'"{name}"' for name in _HEADERS)
    code = _ONLY_FOR % {"caller": CALLER, "change": CHANGE, "headers": names}
    source = {"default_source_code": {"inline_string": code}}
    return _typed("envoy.filters.http.lua", "filters.http.lua.v3.Lua", source)


def _faults() -> Object:
    every = {"numerator": MILLION, "denominator": "MILLION"}
    config = {
        "delay": {"header_delay": {}, "percentage": every},
        "abort": {"header_abort": {}, "percentage": every},
    }
    return _typed("envoy.filters.http.fault", "filters.http.fault.v3.HTTPFault", config)


_LOGGED = {
    "start_time": "%START_TIME%", "path": "%REQ(:PATH)%", "response_code": "%RESPONSE_CODE%",
    "response_flags": "%RESPONSE_FLAGS%", "duration": "%DURATION%", "request_id": "%REQ(X-REQUEST-ID)%",
    "user_agent": "%REQ(USER-AGENT)%", "protocol": "%PROTOCOL%", "upstream_host": "%UPSTREAM_HOST%",
    "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%", "route_name": "%DYNAMIC_METADATA(meshbdd:change)%",
}  # fmt: skip
"""The keys of the sidecars' own logs; the route is named by the changes that sent the call here."""


def _listener(name: str, port: int, route: Mapping[str, Any], filters: list[Object]) -> Object:
    log = _typed(
        "envoy.access_loggers.stdout",
        "access_loggers.stream.v3.StdoutAccessLog",
        {"log_format": {"json_format": _LOGGED}},
    )
    manager = {
        "stat_prefix": name,
        "codec_type": "AUTO",
        "access_log": [log] if filters else [],
        "generate_request_id": False,
        "preserve_external_request_id": True,
        "server_header_transformation": "PASS_THROUGH",
        "stream_idle_timeout": "0s",
        "route_config": {"virtual_hosts": [{"name": name, "domains": ["*"], "routes": [route]}]},
        "http_filters": [*filters, _typed("envoy.filters.http.router", "filters.http.router.v3.Router", {})],
    }
    chain = _typed(
        "envoy.filters.network.http_connection_manager",
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        manager,
    )
    address = {"socket_address": {"address": "0.0.0.0", "port_value": port}}  # noqa: S104 - inside its own pod
    return {"name": name, "address": address, "filter_chains": [{"filters": [chain]}]}


def _twin(host: str, port: int) -> Object:
    name = f"twin-{port}"
    options = {
        "@type": _HTTP_OPTIONS,
        "use_downstream_protocol_config": {"http_protocol_options": {}, "http2_protocol_options": {}},
    }
    address = {"socket_address": {"address": host, "port_value": port}}
    return {
        "name": name,
        "type": "STRICT_DNS",
        "connect_timeout": "5s",
        "typed_extension_protocol_options": {_HTTP_OPTIONS.rpartition("/")[2]: options},
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }
