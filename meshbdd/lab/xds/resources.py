"""From dicts in protobuf field names to versioned xDS resources."""

from __future__ import annotations

import functools
import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import extension_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
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

_VIRTUAL_HOST = "type.googleapis.com/envoy.config.route.v3.VirtualHost"

_MESSAGES: dict[str, Any] = {
    ENDPOINTS: endpoint_pb2.ClusterLoadAssignment,
    LISTENER: listener_pb2.Listener,
    ROUTES: route_pb2.RouteConfiguration,
    EXTENSION: extension_pb2.TypedExtensionConfig,
    SECRET: secret_pb2.Secret,
    _VIRTUAL_HOST: route_components_pb2.VirtualHost,
}


class NotEnvoyConfig(ValueError):
    """A dict that is no message of its type: a mistake of the lab's compiler, never of the tester."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One xDS resource.

    Attributes:
        name: Its name.
        version: A digest of its serialized form.
        body: Its serialized form.
        endpoints: Of a cluster, by what name Envoy asks for its endpoints.
    """

    name: str
    version: str
    body: any_pb2.Any = field(repr=False, compare=False)
    endpoints: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All resources meant for one sidecar, by type URL and name."""

    resources: Mapping[str, Mapping[str, Resource]]

    def of(self, type_url: str) -> Mapping[str, Resource]:
        """The resources of one type by name."""
        return self.resources.get(type_url, {})

    def __or__(self, other: Snapshot) -> Snapshot:
        """Both; of a type that both have, the other's."""
        return Snapshot({**self.resources, **other.resources})


class Packer:
    """Serializes dicts, once for all sidecars that get the same one.

    Within a push the same dict is known by its identity; from one push to the next an equal one by its content.
    """

    def __init__(self, size: int = 50_000) -> None:
        self._size = size
        self._known: OrderedDict[tuple[str, str], Resource] = OrderedDict()
        self._same: dict[int, tuple[Mapping[str, Any], Any]] = {}

    def begin_push(self) -> None:
        """Forget the dicts of the last push."""
        self._same.clear()

    def pack(self, type_url: str, name: str, config: Mapping[str, Any]) -> Resource:
        """Serialize one resource; ``config`` must not change until the next push.

        Raises:
            NotEnvoyConfig: ``config`` is no message of that type.
        """
        make = self._route_table if type_url == ROUTES else self._by_content
        found: Resource = self._once(config, lambda: make(type_url, name, config))
        return found

    def _once(self, config: Mapping[str, Any], make: Callable[[], Any]) -> Any:
        if id(config) not in self._same:
            # Keeping the dict keeps its id from being given to another one.
            self._same[id(config)] = (config, make())
        return self._same[id(config)][1]

    def _by_content(self, type_url: str, name: str, config: Mapping[str, Any]) -> Resource:
        key = (type_url, json.dumps(config, sort_keys=True, separators=(",", ":")))
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key]
        made = self._known[key] = _resource(name, _message(type_url, name, config))
        if len(self._known) > self._size:
            self._known.popitem(last=False)
        return made

    def _route_table(self, _type_url: str, name: str, config: Mapping[str, Any]) -> Resource:
        """A table is each sidecar's own, its virtual hosts are shared: they are parsed one by one."""
        rest = {key: value for key, value in config.items() if key != "virtual_hosts"}
        table = _message(ROUTES, name, rest)
        for host in config.get("virtual_hosts", []):
            make = functools.partial(_message, _VIRTUAL_HOST, host["name"], host)
            table.virtual_hosts.append(self._once(host, make))
        return _resource(name, table)

    def snapshot(self, config: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Snapshot:
        """Serialize everything for one sidecar: type URL → name → dict."""
        return Snapshot(
            {
                type_url: {name: self.pack(type_url, name, body) for name, body in named.items()}
                for type_url, named in config.items()
            }
        )


def _message(type_url: str, name: str, config: Mapping[str, Any]) -> Any:
    try:
        return parse_cluster(config) if type_url == CLUSTER else parse(_MESSAGES[type_url], config)
    except MessageError as error:
        raise NotEnvoyConfig(f"{type_url.rpartition('.')[2]} {name}: {error}") from error


def _resource(name: str, message: Any) -> Resource:
    body = any_pb2.Any()
    body.Pack(message, deterministic=True)
    served = (message.eds_cluster_config.service_name or name) if isinstance(message, cluster_pb2.Cluster) else ""
    return Resource(name, hashlib.blake2b(body.value, digest_size=8).hexdigest(), body, served)
