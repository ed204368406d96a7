"""Envoy's type names, and the few shapes that recur."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_EXTENSIONS = "type.googleapis.com/envoy.extensions."

MANAGER = _EXTENSIONS + "filters.network.http_connection_manager.v3.HttpConnectionManager"
TCP_PROXY = _EXTENSIONS + "filters.network.tcp_proxy.v3.TcpProxy"
ROUTER = _EXTENSIONS + "filters.http.router.v3.Router"
FAULT = _EXTENSIONS + "filters.http.fault.v3.HTTPFault"
CORS = _EXTENSIONS + "filters.http.cors.v3.Cors"
HTTP_RBAC = _EXTENSIONS + "filters.http.rbac.v3.RBAC"
NETWORK_RBAC = _EXTENSIONS + "filters.network.rbac.v3.RBAC"
URI_TEMPLATE = _EXTENSIONS + "path.match.uri_template.v3.UriTemplateMatchConfig"
CORS_POLICY = _EXTENSIONS + "filters.http.cors.v3.CorsPolicy"
GRPC_STATS = _EXTENSIONS + "filters.http.grpc_stats.v3.FilterConfig"
REQUEST_ID = _EXTENSIONS + "request_id.uuid.v3.UuidRequestIdConfig"
TLS_INSPECTOR = _EXTENSIONS + "filters.listener.tls_inspector.v3.TlsInspector"
HTTP_INSPECTOR = _EXTENSIONS + "filters.listener.http_inspector.v3.HttpInspector"
ORIGINAL_DST = _EXTENSIONS + "filters.listener.original_dst.v3.OriginalDst"
UPSTREAM_TLS = _EXTENSIONS + "transport_sockets.tls.v3.UpstreamTlsContext"
DOWNSTREAM_TLS = _EXTENSIONS + "transport_sockets.tls.v3.DownstreamTlsContext"
PROXY_PROTOCOL = _EXTENSIONS + "transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport"
RAW_BUFFER = _EXTENSIONS + "transport_sockets.raw_buffer.v3.RawBuffer"
PREVIOUS_HOSTS = _EXTENSIONS + "retry.host.previous_hosts.v3.PreviousHostsPredicate"
PREVIOUS_PRIORITIES = _EXTENSIONS + "retry.priority.previous_priorities.v3.PreviousPrioritiesConfig"
HTTP_OPTIONS = _EXTENSIONS + "upstreams.http.v3.HttpProtocolOptions"
HTTP_OPTIONS_KEY = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

ADS = {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"}


def typed(name: str, type_url: str, config: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A named extension with its configuration."""
    return {"name": name, "typed_config": {"@type": type_url, **(config or {})}}


def without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    """The entries that were said."""
    return {name: value for name, value in values.items() if value is not None}
