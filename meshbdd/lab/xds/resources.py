"""From dicts in protobuf field names to versioned xDS resources."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from envoy.config.core.v3 import extension_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from google.protobuf import any_pb2

from meshbdd.lab.xds.messages import MessageError, parse
from meshbdd.lab.xds.newer import parse_cluster

CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
ENDPOINTS = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
ROUTES = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
EXTENSION = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105 - a type's name

_MESSAGES: dict[str, Any] = {
    ENDPOINTS: endpoint_pb2.ClusterLoadAssignment,
    LISTENER: listener_pb2.Listener,
    ROUTES: route_pb2.RouteConfiguration,
    EXTENSION: extension_pb2.TypedExtensionConfig,
    SECRET: secret_pb2.Secret,
}


class NotEnvoyConfig(ValueError):
    """A dict that is no message of its type: a mistake of the lab's compiler, never of the tester."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One xDS resource: its serialized form and a version that is a digest of it."""

    name: str
    version: str
    body: any_pb2.Any = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All resources meant for one sidecar, by type URL and name."""

    resources: Mapping[str, Mapping[str, Resource]]

    def of(self, type_url: str) -> Mapping[str, Resource]:
        """The resources of one type by name."""
        return self.resources.get(type_url, {})


class Packer:
    """Serializes dicts, once for all sidecars that get the same one."""

    def __init__(self, size: int = 50_000) -> None:
        self._size = size
        self._known: OrderedDict[tuple[str, str], Resource] = OrderedDict()

    def pack(self, type_url: str, name: str, config: Mapping[str, Any]) -> Resource:
        """Serialize one resource.

        Raises:
            NotEnvoyConfig: ``config`` is no message of that type.
        """
        key = (type_url, json.dumps(config, sort_keys=True, separators=(",", ":")))
        found = self._known.get(key)
        if found is not None:
            self._known.move_to_end(key)
            return found
        try:
            message = parse_cluster(config) if type_url == CLUSTER else parse(_MESSAGES[type_url], config)
        except MessageError as error:
            raise NotEnvoyConfig(f"{type_url.rpartition('.')[2]} {name}: {error}") from error
        body = any_pb2.Any()
        body.Pack(message, deterministic=True)
        made = Resource(name, hashlib.blake2b(body.value, digest_size=8).hexdigest(), body)
        self._known[key] = made
        if len(self._known) > self._size:
            self._known.popitem(last=False)
        return made

    def snapshot(self, config: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Snapshot:
        """Serialize everything for one sidecar: type URL → name → dict."""
        return Snapshot(
            {
                type_url: {name: self.pack(type_url, name, body) for name, body in named.items()}
                for type_url, named in config.items()
            }
        )
