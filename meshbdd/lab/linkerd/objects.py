"""The objects that Linkerd's control plane watches, by kind, with the defaults that the API server would have filled in."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Object = Mapping[str, Any]

GATEWAY, POLICY, CORE = "gateway.networking.k8s.io", "policy.linkerd.io", "core"
ROUTE_KINDS = ("GRPCRoute", "HTTPRoute", "TLSRoute", "TCPRoute")
"""In order of precedence on one port: linkerd2 policy-controller/k8s/status/src/index.rs."""
NEVER = "9999"
TEMPLATE_HASH = "pod-template-hash"
"""The label by which the pods of one ReplicaSet of a Deployment are known."""


def group_of(obj: Object) -> str:
    """The API group; the core group is written out, as Linkerd does."""
    return str(obj["apiVersion"]).rpartition("/")[0] or CORE


def annotations_of(obj: Object | None) -> Mapping[str, str]:
    """The annotations of an object that may not exist."""
    return ((obj or {}).get("metadata") or {}).get("annotations") or {}


def owner_of(pod: Object) -> tuple[str, str] | None:
    """The kind, in small letters, and the name of what a pod is of; ``None`` for a pod of its own.

    linkerd2 controller/k8s/api.go, ``GetOwnerKindAndName``: of a ReplicaSet's pod it is the Deployment. Their names tell
    which that is, as the ReplicaSet's is the Deployment's and the hash.
    """
    meta = pod["metadata"]
    owners = meta.get("ownerReferences") or []
    if len(owners) != 1:
        return None
    kind, name = owners[0]["kind"], owners[0]["name"]
    if kind == "ReplicaSet" and TEMPLATE_HASH in (meta.get("labels") or {}):
        return "deployment", name.rpartition("-")[0]
    return kind.lower(), name


def label_of(kind: str) -> str:
    """The label for an owner of a kind: Prometheus has a ``job`` of its own (linkerd2 pkg/k8s/k8s.go, ``KindToL5DLabel``)."""
    return "k8s_job" if kind == "job" else kind


def cluster_addresses(service: Object) -> tuple[str, ...]:
    """The virtual addresses of a Service, the second family's too.

    The API server keeps ``clusterIP`` and the first of ``clusterIPs`` the same; worlds of plain YAML may have only one.
    """
    spec = service["spec"]
    said = [*(spec.get("clusterIPs") or ()), spec.get("clusterIP")]
    return tuple(dict.fromkeys(address for address in said if address not in {None, "", "None"}))


def age(obj: Object) -> tuple[str, str, str]:
    """Linkerd's order: by creation, those without a time last, then by name."""
    meta = obj["metadata"]
    return str(meta.get("creationTimestamp") or NEVER), meta["name"], meta.get("namespace") or ""


@dataclass(frozen=True, slots=True)
class Parent:
    """What a route is attached to."""

    group: str
    kind: str
    namespace: str
    name: str
    port: int | None
    section: str | None = None

    @classmethod
    def of(cls, ref: Object, route_namespace: str) -> Parent:
        """Read a parentRef."""
        return cls(
            ref.get("group") or CORE,
            ref["kind"],
            ref.get("namespace") or route_namespace,
            ref["name"],
            ref.get("port"),
            ref.get("sectionName"),
        )


def parents(route: Object) -> list[Parent]:
    """The parentRefs of a route that Linkerd has a say in."""
    found = [Parent.of(ref, route["metadata"]["namespace"]) for ref in route["spec"].get("parentRefs") or []]
    known = {(CORE, "Service"), (POLICY, "Server"), (POLICY, "EgressNetwork")}
    return [parent for parent in found if (parent.group, parent.kind) in known]


def with_defaults(obj: Object) -> Object:
    """What the shipped resource definitions fill in; the API has done so for objects that come from it."""
    kind = obj["kind"]
    if kind not in {*ROUTE_KINDS, "Server"}:
        return obj
    made: dict[str, Any] = copy.deepcopy(dict(obj))
    spec = made.setdefault("spec", {})
    if kind == "Server":
        spec.setdefault("accessPolicy", "deny")
        spec.setdefault("proxyProtocol", "unknown")
        return made
    for ref in spec.get("parentRefs") or []:
        # Linkerd's definition of its own HTTPRoute: linkerd2 charts/linkerd-crds/templates/policy/httproute.yaml.
        ref.setdefault("group", POLICY if group_of(obj) == POLICY else GATEWAY)
        ref.setdefault("kind", "Gateway")
    if kind == "HTTPRoute":
        spec.setdefault("rules", [{}])
        for rule in spec["rules"]:
            rule.setdefault("matches", [{}])
            for match in rule["matches"]:
                path = match.setdefault("path", {})
                path.setdefault("type", "PathPrefix")
                path.setdefault("value", "/")
    return made


class Objects:
    """All objects, indexed once for a change."""

    def __init__(self, objects: Iterable[Object]) -> None:
        by_kind: dict[str, list[Object]] = defaultdict(list)
        for obj in objects:
            by_kind[obj["kind"]].append(with_defaults(obj))
        for kind in (*ROUTE_KINDS, "Server", "HTTPLocalRateLimitPolicy", "EgressNetwork"):
            by_kind[kind].sort(key=age)
        self._by_kind = by_kind
        self.services = self._by_name("Service")
        self.pods = self._by_name("Pod")
        self.egress_networks = self._by_name("EgressNetwork")
        self._attached: dict[tuple[str, str, str], list[tuple[Object, Parent]]] = defaultdict(list)
        for route in self.routes():
            for parent in parents(route):
                self._attached[parent.kind, parent.namespace, parent.name].append((route, parent))
        self._slices: dict[tuple[str, str], list[Object]] = defaultdict(list)
        self._endpoint_ports: dict[tuple[str, str], set[int]] = defaultdict(set)
        for item in self.of("EndpointSlice"):
            service = (item["metadata"].get("labels") or {}).get("kubernetes.io/service-name", "")
            self._slices[item["metadata"]["namespace"], service].append(item)
            for entry in item.get("endpoints") or []:
                pod = (item["metadata"]["namespace"], (entry.get("targetRef") or {}).get("name", ""))
                self._endpoint_ports[pod] |= {port["port"] for port in item.get("ports") or []}

    def _by_name(self, kind: str) -> dict[tuple[str, str], Object]:
        return {(obj["metadata"]["namespace"], obj["metadata"]["name"]): obj for obj in self.of(kind)}

    def of(self, kind: str) -> list[Object]:
        """The objects of a kind, the oldest first where age matters."""
        return self._by_kind.get(kind, [])

    def routes(self) -> Iterator[Object]:
        """Every route, kind after kind in their order of precedence."""
        for kind in ROUTE_KINDS:
            yield from self.of(kind)

    def attached(self, kind: str, namespace: str, name: str) -> list[tuple[Object, Parent]]:
        """The routes of a parent with the parentRef that names it, in the order of ``routes``."""
        return self._attached.get((kind, namespace, name), [])

    def slices(self, namespace: str, service: str) -> list[Object]:
        """The EndpointSlices of a Service."""
        return self._slices.get((namespace, service), [])

    def endpoint_ports(self, namespace: str, pod: str) -> set[int]:
        """The ports at which Services reach a pod, whether it declares them or not."""
        return self._endpoint_ports.get((namespace, pod), set())

    def find(self, kind: str, namespace: str, name: str, group: str | None = None) -> Object | None:
        """One object."""
        for obj in self.of(kind):
            meta = obj["metadata"]
            if (meta["namespace"], meta["name"]) == (namespace, name) and group in {None, group_of(obj)}:
                return obj
        return None
