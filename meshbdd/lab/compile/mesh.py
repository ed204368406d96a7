"""The mesh: an index of all objects, made once for a change and shared by the compilation of every sidecar."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from meshbdd.lab.compile.ir import Rule, Service
from meshbdd.lab.compile.names import covers, full_host, specificity
from meshbdd.lab.compile.read.authorization_policy import AuthorizationPolicies
from meshbdd.lab.compile.read.destination_rule import exported_to, rule_for
from meshbdd.lab.compile.read.envoy_filter import EnvoyFilters
from meshbdd.lab.compile.read.peer_authentication import PeerAuthentications
from meshbdd.lab.compile.read.services import read_services
from meshbdd.lab.compile.read.virtual_service import for_mesh

Object = Mapping[str, Any]


def _age(obj: Object) -> tuple[str, str, str]:
    """Istio's order: oldest first (whole seconds), then by name, then by namespace."""
    meta = obj["metadata"]
    return str(meta.get("creationTimestamp") or ""), meta["name"], meta["namespace"]


class Mesh:
    """All objects, indexed.

    Use ``Mesh.read``.
    """

    def __init__(self, by_kind: Mapping[str, list[Object]], root: str) -> None:
        self.root = root
        self.pods: dict[tuple[str, str], Object] = {
            (pod["metadata"]["namespace"], pod["metadata"]["name"]): pod for pod in by_kind.get("Pod", ())
        }
        self.services = read_services(by_kind.get("Service", ()), by_kind.get("EndpointSlice", ()), self.pods)
        self._virtual_services = [vs for vs in sorted(by_kind.get("VirtualService", ()), key=_age) if for_mesh(vs)]
        self._rules = sorted(by_kind.get("DestinationRule", ()), key=_age)
        self.authentication = PeerAuthentications(sorted(by_kind.get("PeerAuthentication", ()), key=_age), root)
        self.authorization = AuthorizationPolicies(sorted(by_kind.get("AuthorizationPolicy", ()), key=_age), root)
        self.envoy_filters = EnvoyFilters(sorted(by_kind.get("EnvoyFilter", ()), key=_age), root)
        self._rule_cache: dict[tuple[str, str], Rule | None] = {}
        self._governing_cache: dict[str, dict[str, Object]] = {}

    @classmethod
    def read(cls, objects: Iterable[Object], *, root_namespace: str = "istio-system") -> Mesh:
        """Index ``objects``; kinds that the compiler has no use for are passed over."""
        by_kind: dict[str, list[Object]] = defaultdict(list)
        for obj in objects:
            by_kind[obj["kind"]].append(obj)
        return cls(by_kind, root_namespace)

    def rule(self, service: Service, caller: str) -> Rule | None:
        """The DestinationRule for calls from namespace ``caller``."""
        key = (service.host, caller)
        if key not in self._rule_cache:
            self._rule_cache[key] = rule_for(service.host, service.namespace, caller, self._rules, self.root)
        return self._rule_cache[key]

    def virtual_services(self, caller: str) -> list[Object]:
        """The virtual services that sidecars of a namespace see: private ones first, then public, oldest first."""

        def rank(vs: Object) -> int:
            seen = vs["spec"].get("exportTo") or ["*"]
            if vs["metadata"]["namespace"] == caller and "." in seen:
                return 0
            return 1 if caller in seen else 2

        seen = [vs for vs in self._virtual_services if exported_to(vs, caller)]
        return sorted(seen, key=rank)

    def governing(self, caller: str) -> dict[str, Object]:
        """Host → the virtual service that governs it for callers of a namespace: the first one, and none beside it.

        A host is a Service's, or one that a virtual service alone names.
        """
        if caller in self._governing_cache:
            return self._governing_cache[caller]
        seen = self.virtual_services(caller)
        claims = [
            (full_host(host, vs["metadata"]["namespace"]), vs) for vs in seen for host in vs["spec"].get("hosts") or []
        ]
        exact: dict[str, Object] = {}
        for host, vs in claims:
            exact.setdefault(host, vs)
        patterns = sorted({host for host in exact if host.startswith("*")}, key=specificity)
        found: dict[str, Object] = {}
        for service in self.services:
            pattern = (
                service.host if service.host in exact else next((p for p in patterns if covers(p, service.host)), None)
            )
            if pattern is not None:
                found[service.host] = exact[pattern]
        for host, vs in exact.items():
            if host not in found and not host.startswith("*"):
                found[host] = vs
        self._governing_cache[caller] = found
        return found
