"""The fault backend: what Linkerd has no words for, done by a stock Envoy beside the service.

A route sends it the calls that are to fail or to be slow, and says in request headers what it shall do with them
(https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/fault_filter#controlling-fault-injection-via-http-headers).
So everything that is switched stands in the route, with the route's undo; the backend itself is the same for every fault
and does nothing that no header asks for. Calls that go on, it sends to a twin of the service, a Service of the same pods
that has no route, or they would come back.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from meshbdd.intents import Fault, ServiceRef
from meshbdd.mesh.base import Object, Stage
from meshbdd.mesh.grpc import GRPC_CODES
from meshbdd.mesh.linkerd.markers import EndpointsHeld
from meshbdd.mesh.linkerd.objects import creation
from meshbdd.mesh.markers import CHANGE_HEADER
from meshbdd.sidecars import FAULT_CONTAINER, FAULT_LABEL

IMAGE = "envoyproxy/envoy:v1.36-latest"
"""The filters and headers used here are the same in every Envoy from 1.30 on."""

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
_READY_PORT = 18079

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


@dataclass(frozen=True, slots=True)
class FaultBackend:
    """What stands beside a service while it has faults.

    Attributes:
        service: The service.
        ports: Its ports that carry HTTP, in the Service's own words.
        targets: Port → the port of its pods. The backend listens at the same ones, so that it can take their place.
        selector: What it selects.
    """

    service: ServiceRef
    ports: tuple[Mapping[str, Any], ...]
    targets: Mapping[int, int]
    selector: Mapping[str, str]

    @property
    def own(self) -> ServiceRef:
        """The Service by which routes reach it."""
        return backend_of(self.service)

    @property
    def twin(self) -> ServiceRef:
        """The Service of the service's own pods to which it sends what goes on."""
        return twin_of(self.service)

    @property
    def labels(self) -> Mapping[str, str]:
        """Those of its pods."""
        return {FAULT_LABEL: self.service.name}

    def stage(self) -> Stage:
        """Everything that it is made of."""
        ready = EndpointsHeld(self.own), EndpointsHeld(self.twin)
        return Stage.of(*(creation(obj) for obj in self._objects()), markers=ready)

    def _objects(self) -> Iterable[Object]:
        name = self.own.name
        yield self._object("v1", "ServiceAccount", name, {"automountServiceAccountToken": False})
        for own, selector in ((self.twin.name, self.selector), (name, self.labels)):
            ports = [_port(port) for port in self.ports]
            yield self._object("v1", "Service", own, {"spec": {"selector": dict(selector), "ports": ports}})
        template = {
            "metadata": {"labels": dict(self.labels), "annotations": {"linkerd.io/inject": "enabled"}},
            "spec": {
                "serviceAccountName": name,
                "terminationGracePeriodSeconds": 1,
                "containers": [self._container()],
            },
        }
        spec = {"replicas": 1, "selector": {"matchLabels": dict(self.labels)}, "template": template}
        yield self._object("apps/v1", "Deployment", name, {"spec": spec})

    def _object(self, version: str, kind: str, name: str, rest: Mapping[str, Any]) -> Object:
        meta = {"name": name, "namespace": self.service.namespace, "labels": dict(self.labels)}
        return {"apiVersion": version, "kind": kind, "metadata": meta, **rest}

    def _container(self) -> Object:
        named = {
            self.targets[int(p["port"])]: p["targetPort"] for p in self.ports if isinstance(p.get("targetPort"), str)
        }
        ports = [{"containerPort": number} for number in (_READY_PORT, *sorted(set(self.targets.values())))]
        return {
            "name": FAULT_CONTAINER,
            "image": IMAGE,
            "args": [
                "--config-yaml", json.dumps(self.configuration(), sort_keys=True),
                "--file-flush-interval-msec", "50", "--log-level", "error",
            ],
            "ports": [{**port, **({"name": named[n]} if (n := port["containerPort"]) in named else {})} for port in ports],
            "readinessProbe": {"httpGet": {"path": "/ready", "port": _READY_PORT}, "periodSeconds": 1},
        }  # fmt: skip

    def configuration(self) -> Object:
        """Envoy's bootstrap."""
        ready = {"match": {"prefix": "/"}, "direct_response": {"status": 200}}
        listeners = [_listener("ready", _READY_PORT, ready, [])]
        clusters = []
        for target, port in {target: port for port, target in self.targets.items()}.items():
            route = {
                "match": {"prefix": "/"},
                "route": {"cluster": f"twin-{port}", "timeout": "0s"},
                "request_headers_to_remove": list(_HEADERS),
            }
            listeners.append(_listener(f"port-{port}", target, route, [_only_for(), _faults()]))
            clusters.append(_twin(self.twin, port))
        return {"static_resources": {"listeners": listeners, "clusters": clusters}}


def backend_of(service: ServiceRef) -> ServiceRef:
    """The Service of a service's fault backend."""
    return ServiceRef(f"meshbdd-fault-{service.name}", service.namespace)


def twin_of(service: ServiceRef) -> ServiceRef:
    """The Service by which a fault backend reaches the service."""
    return ServiceRef(f"meshbdd-twin-{service.name}", service.namespace)


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


def _port(port: Mapping[str, Any]) -> Object:
    return {key: port[key] for key in ("name", "port", "targetPort", "appProtocol", "protocol") if key in port}


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
    "user_agent": "%REQ(USER-AGENT)%", "upstream_host": "%UPSTREAM_HOST%",
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


def _twin(twin: ServiceRef, port: int) -> Object:
    name = f"twin-{port}"
    options = {
        "@type": _HTTP_OPTIONS,
        "use_downstream_protocol_config": {"http_protocol_options": {}, "http2_protocol_options": {}},
    }
    address = {"socket_address": {"address": twin.host, "port_value": port}}
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
