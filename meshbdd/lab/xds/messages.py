"""Envoy's messages: dicts in protobuf JSON ↔ messages, and how one is merged into another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Importing a generated module registers its messages; only registered ones can stand in an Any.
import envoy.extensions.access_loggers.file.v3.file_pb2
import envoy.extensions.access_loggers.stats.v3.stats_pb2
import envoy.extensions.clusters.dynamic_forward_proxy.v3.cluster_pb2
import envoy.extensions.filters.http.cors.v3.cors_pb2
import envoy.extensions.filters.http.dynamic_forward_proxy.v3.dynamic_forward_proxy_pb2
import envoy.extensions.filters.http.fault.v3.fault_pb2
import envoy.extensions.filters.http.grpc_stats.v3.config_pb2
import envoy.extensions.filters.http.header_mutation.v3.header_mutation_pb2
import envoy.extensions.filters.http.header_to_metadata.v3.header_to_metadata_pb2
import envoy.extensions.filters.http.local_ratelimit.v3.local_rate_limit_pb2
import envoy.extensions.filters.http.lua.v3.lua_pb2
import envoy.extensions.filters.http.rbac.v3.rbac_pb2
import envoy.extensions.filters.http.router.v3.router_pb2
import envoy.extensions.filters.http.upstream_codec.v3.upstream_codec_pb2
import envoy.extensions.filters.listener.http_inspector.v3.http_inspector_pb2
import envoy.extensions.filters.listener.original_dst.v3.original_dst_pb2
import envoy.extensions.filters.listener.tls_inspector.v3.tls_inspector_pb2
import envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2
import envoy.extensions.filters.network.rbac.v3.rbac_pb2
import envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2
import envoy.extensions.path.match.uri_template.v3.uri_template_match_pb2
import envoy.extensions.request_id.uuid.v3.uuid_pb2
import envoy.extensions.retry.host.previous_hosts.v3.previous_hosts_pb2
import envoy.extensions.retry.priority.previous_priorities.v3.previous_priorities_config_pb2
import envoy.extensions.transport_sockets.proxy_protocol.v3.upstream_proxy_protocol_pb2
import envoy.extensions.transport_sockets.raw_buffer.v3.raw_buffer_pb2
import envoy.extensions.transport_sockets.tls.v3.tls_pb2
import envoy.extensions.upstreams.http.v3.http_protocol_options_pb2  # noqa: F401
from google.protobuf import json_format

_WHOLE = {"google.protobuf.Duration", "google.protobuf.Struct"}
"""Messages that stand for one value: a merge replaces them."""


class MessageError(ValueError):
    """A dict that is not of the message's form; the sentence is protobuf's."""


def parse(message: Any, config: Mapping[str, Any]) -> Any:
    """A message of class ``message`` from protobuf JSON (``http_status`` and ``httpStatus`` are both taken).

    Args:
        message: The message's class.
        config: Its fields.

    Raises:
        MessageError: a field of the wrong form, or an unknown one.
    """
    try:
        return json_format.ParseDict(config, message())
    except (json_format.ParseError, TypeError, ValueError, AttributeError) as error:
        # Python's parser lets its own mistakes with odd shapes through (a list where a message should stand).
        raise MessageError(str(error)) from error


def as_dict(message: Any) -> dict[str, Any]:
    """A message as protobuf JSON with the names of the ``.proto`` files; defaults are left out."""
    made: dict[str, Any] = _plain(json_format.MessageToDict(message, preserving_proto_field_name=True))
    return made


def _plain(node: Any) -> Any:
    """The same of dicts and lists alone: protobuf writes an Any as an ``OrderedDict``, which YAML has no form for."""
    if isinstance(node, dict):
        return {name: _plain(value) for name, value in node.items()}
    return [_plain(value) for value in node] if isinstance(node, list) else node


def merge(target: Any, patch: Any) -> None:
    """Merge ``patch`` into ``target`` as Istio does.

    Single values replace, lists grow, messages merge field by field; a duration and an entry of a map are replaced whole.
    https://istio.io/latest/docs/reference/config/networking/envoy-filter/#EnvoyFilter-Patch-Operation
    """
    for field, value in patch.ListFields():
        held = getattr(target, field.name)
        if field.message_type is None:
            if field.is_repeated:
                held.extend(value)
            else:
                setattr(target, field.name, value)
        elif field.message_type.GetOptions().map_entry:
            for key in value:
                if field.message_type.fields_by_name["value"].message_type is None:
                    held[key] = value[key]
                else:
                    held[key].CopyFrom(value[key])
        elif field.is_repeated:
            held.MergeFrom(value)
        elif field.message_type.full_name in _WHOLE:
            held.CopyFrom(value)
        else:
            held.SetInParent()
            merge(held, value)
