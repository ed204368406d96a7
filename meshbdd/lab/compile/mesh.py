"""The mesh: an index of all objects, made once for a change and shared by the compilation of every sidecar."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from meshbdd.lab.compile.ir import Service, VirtualService, Workload
from meshbdd.lab.compile.read.authorization_policy import AuthorizationPolicies
from meshbdd.lab.compile.read.destination_rule import DestinationRules
from meshbdd.lab.compile.read.envoy_filter import EnvoyFilters
from meshbdd.lab.compile.read.http_route import read_http_routes
from meshbdd.lab.compile.read.peer_authentication import PeerAuthentications
from meshbdd.lab.compile.read.services import read_services, unknown_aliases
from meshbdd.lab.compile.read.sidecar import sidecar_for
from meshbdd.lab.compile.read.topology import Nodes
from meshbdd.lab.compile.read.virtual_service import read_virtual_services
from meshbdd.lab.compile.scope import Scope, make_scope

Object = Mapping[str, Any]


def _age(obj: Object) -> tuple[str, str, str]:
    """Istio's order: oldest first (whole seconds), then by name, then by namespace."""
    meta = obj["metadata"]
    return str(meta.get("creationTimestamp") or ""), meta["name"], meta["namespace"]


_SELECTING = ("VirtualService", "DestinationRule", "EnvoyFilter", "Sidecar")
"""Kinds that bind a caller by its labels."""


def _asked(node: Any) -> Iterator[str]:
    """The label names of every selector in a resource; those of its subsets' endpoints too, which does no harm."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key in {"sourceLabels", "labels", "matchLabels"} and isinstance(value, Mapping):
                yield from value
            elif key == "failoverPriority":
                yield from (str(label).partition("=")[0] for label in value or ())
            else:
                yield from _asked(value)
    elif isinstance(node, list):
        for value in node:
            yield from _asked(value)


class Mesh:
    """All objects, indexed.

    Use ``Mesh.read``.

    Attributes:
        services: In Istio's order; ``aliases``: those of type ExternalName, which are other names.
        asked_labels: Names of the labels by which some resource tells callers apart.
        unknown_aliases: ExternalNames that stand for nothing in the mesh, and for what.
        outbound_sides: What was compiled for a namespace and its values of those labels (see ``outbound``).
    """

    def __init__(self, by_kind: Mapping[str, list[Object]], root: str) -> None:
        def oldest_first(kind: str) -> list[Object]:
            return sorted(by_kind.get(kind, ()), key=_age)

        self.root = root
        self.pods: dict[tuple[str, str], Object] = {
            (pod["metadata"]["namespace"], pod["metadata"]["name"]): pod for pod in by_kind.get("Pod", ())
        }
        self.nodes = Nodes({node["metadata"]["name"]: node for node in by_kind.get("Node", ())})
        namespaces = {item["metadata"]["name"]: item for item in by_kind.get("Namespace", ())}
        services = read_services(
            by_kind.get("Service", ()), by_kind.get("EndpointSlice", ()), self.pods, self.nodes, namespaces
        )
        self.services = [service for service in services if not service.alias_of]
        self.aliases = [service for service in services if service.alias_of]
        self.unknown_aliases = unknown_aliases(by_kind.get("Service", ()))
        self._virtual_services = _in_order(oldest_first("VirtualService"), by_kind.get("HTTPRoute", ()), services)
        self.destination_rules = DestinationRules(oldest_first("DestinationRule"), root)
        self.authentication = PeerAuthentications(oldest_first("PeerAuthentication"), root)
        self.authorization = AuthorizationPolicies(oldest_first("AuthorizationPolicy"), root)
        self.envoy_filters = EnvoyFilters(oldest_first("EnvoyFilter"), root)
        self._sidecars = oldest_first("Sidecar")
        self._scopes: dict[tuple[str, int | None], Scope] = {}
        selecting = [obj for kind in _SELECTING for obj in by_kind.get(kind, ())]
        preferred = (name for service in self.services for name in service.prefers)
        self.asked_labels = frozenset((*preferred, *(name for obj in selecting for name in _asked(obj["spec"]))))
        self.outbound_sides: dict[tuple[str, str, tuple[tuple[str, str], ...]], Any] = {}

    @classmethod
    def read(cls, objects: Iterable[Object], *, root_namespace: str = "istio-system") -> Mesh:
        """Index ``objects``; kinds that the compiler has no use for are passed over.

        An object without a ``spec``, or with ``null`` for one, is one whose spec is empty, as for Istio.
        """
        by_kind: dict[str, list[Object]] = defaultdict(list)
        for obj in objects:
            by_kind[obj["kind"]].append(obj if obj.get("spec") is not None else {**obj, "spec": {}})
        return cls(by_kind, root_namespace)

    def scope(self, workload: Workload) -> Scope:
        """What a workload sees."""
        sidecar = sidecar_for(self._sidecars, workload.namespace, workload.labels, self.root)
        key = (workload.namespace, id(sidecar) if sidecar is not None else None)
        if key not in self._scopes:
            known = [*self.services, *self.aliases]
            self._scopes[key] = make_scope(sidecar, workload.namespace, known, self._virtual_services)
        return self._scopes[key]


def _in_order(
    objects: Iterable[Object], http_routes: Iterable[Object], services: Iterable[Service]
) -> list[VirtualService]:
    """Virtual services and those made of HTTPRoutes, by age."""
    objects = list(objects)
    created = {(obj["metadata"]["namespace"], obj["metadata"]["name"]): _age(obj)[0] for obj in objects}
    made = [(created[item.namespace, item.name], item) for item in read_virtual_services(objects)]
    made += read_http_routes(http_routes, {(service.namespace, service.name) for service in services})
    made.sort(key=lambda pair: (pair[0], pair[1].name, pair[1].namespace))
    return [item for _, item in made]
