"""Services, EndpointSlices and pods."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from meshbdd.lab.compile.ir import Endpoint, Port, Protocol, Service, Workload
from meshbdd.lab.compile.names import full_host
from meshbdd.lab.compile.read.topology import Nodes, preferred
from meshbdd.port_protocols import is_tcp

Object = Mapping[str, Any]

_TLS_MODE = "security.istio.io/tlsMode"
_EXPORT_TO = "networking.istio.io/exportTo"
_SERVICE_LABEL = "kubernetes.io/service-name"
_PROTOCOLS: dict[str, Protocol] = {
    "http": "http", "http2": "http2", "grpc": "http2", "grpc-web": "http2", "h2c": "http2",
    "tcp": "tcp", "tls": "tcp", "https": "tcp", "mongo": "tcp", "mysql": "tcp", "redis": "tcp", "udp": "tcp",
}  # fmt: skip
_WELL_KNOWN_TCP = {25, 53, 3306, 27017}
"""Ports that Istio never sniffs: istio/istio pkg/config/kube/conversion.go."""


def protocol_of(port: Object) -> tuple[Protocol, bool]:
    """The protocol of a Service's port and whether it had to be guessed: appProtocol, else the name up to a hyphen."""
    app = str(port.get("appProtocol") or "").rpartition("/")[2].lower()
    if app in _PROTOCOLS:
        return _PROTOCOLS[app], False
    name = str(port.get("name") or "").lower()
    word = "grpc-web" if name.startswith("grpc-web") else name.partition("-")[0]
    if word in _PROTOCOLS:
        return _PROTOCOLS[word], False
    if port["port"] in _WELL_KNOWN_TCP or not is_tcp(port):
        return "tcp", False
    return "http", True


def is_meshed(pod: Object) -> bool:
    """Whether a pod carries a sidecar."""
    return bool((pod["metadata"].get("labels") or {}).get(_TLS_MODE) == "istio")


def workload_of(pod: Object, nodes: Nodes) -> Workload:
    """The pod as the subject of a configuration."""
    meta = pod["metadata"]
    named = {
        port["name"]: port["containerPort"]
        for container in pod["spec"]["containers"]
        for port in container.get("ports") or []
        if port.get("name")
    }
    address = (pod.get("status") or {}).get("podIP", "")
    return Workload(meta["name"], meta["namespace"], nodes.labels(pod), address, named, nodes.locality(pod))


def _workload_word(pod: Object) -> str:
    """Who a pod is, as Istio's endpoint metadata says it: workload;namespace;canonical service;revision;cluster."""
    meta = pod["metadata"]
    labels = meta.get("labels") or {}
    owner = next((ref["name"] for ref in meta.get("ownerReferences") or [] if ref.get("controller")), None)
    workload = owner.rpartition("-")[0] if owner and labels.get("pod-template-hash") else owner or meta["name"]
    canonical = labels.get("service.istio.io/canonical-name") or labels.get("app.kubernetes.io/name")
    revision = labels.get("service.istio.io/canonical-revision") or labels.get("app.kubernetes.io/version")
    names = (canonical or labels.get("app") or workload, revision or labels.get("version") or "latest")
    return f"{workload};{meta['namespace']};{names[0]};{names[1]};Kubernetes"


def _health(conditions: Object) -> bool | None:
    """Whether an endpoint takes requests; ``None``: it is going away, and counts for nobody.

    An endpoint that does not say it is ready nor that it stays is one that goes: Istio's ``endpointHealthStatus``
    (pilot/pkg/serviceregistry/kube/controller/endpointslice.go).
    """
    if conditions.get("ready") is not False:
        return True
    return None if conditions.get("terminating") is not False else False


def _endpoint(address: str, port: int, pod: Object | None, nodes: Nodes, *, healthy: bool) -> Endpoint:
    if pod is None:
        return Endpoint(address, port, {}, "", meshed=False, namespace="", service_account="", healthy=healthy)
    meta = pod["metadata"]
    account = pod["spec"].get("serviceAccountName") or "default"
    where = nodes.locality(pod)
    return Endpoint(
        address,
        port,
        nodes.labels(pod),
        _workload_word(pod),
        is_meshed(pod),
        meta["namespace"],
        account,
        healthy,
        where,
    )


def _is_alias(service: Object) -> bool:
    return bool(service["spec"].get("type") == "ExternalName")


def _is_udp(port: Object) -> bool:
    return port.get("protocol") == "UDP" or str(port.get("name") or "").lower().partition("-")[0] == "udp"


def _host(service: Object) -> str:
    return full_host(service["metadata"]["name"], service["metadata"]["namespace"])


def _aliases(host: str, names: Mapping[str, str]) -> set[str]:
    """The hosts that stand for one, themselves or by way of others; ``names``: what each alias stands for."""
    found: set[str] = set()
    wave = {host}
    while wave := {alias for alias, name in names.items() if name in wave} - found:
        found |= wave
    return found


def unknown_aliases(services: Iterable[Object]) -> dict[str, str]:
    """The ExternalNames that stand for nothing in the mesh: host → the name outside."""
    services = list(services)
    names = {
        _host(service): str(service["spec"].get("externalName") or "") for service in services if _is_alias(service)
    }
    inside = {_host(service) for service in services if not _is_alias(service)}
    known = {alias for host in inside for alias in _aliases(host, names)}
    return {alias: name for alias, name in sorted(names.items()) if alias not in known}


def read_services(
    services: Iterable[Object],
    slices: Iterable[Object],
    pods: Mapping[tuple[str, str], Object],
    nodes: Nodes,
    namespaces: Mapping[str, Object],
) -> list[Service]:
    """All Services with their endpoints, those that are other names too; in Istio's order: by creation, name, namespace."""
    by_service: dict[tuple[str, str], list[Object]] = defaultdict(list)
    for item in slices:
        name = (item["metadata"].get("labels") or {}).get(_SERVICE_LABEL)
        if name:
            by_service[item["metadata"]["namespace"], name].append(item)
    services = list(services)
    names = {
        _host(service): str(service["spec"].get("externalName") or "") for service in services if _is_alias(service)
    }
    made = [
        _service(service, by_service, pods, nodes, namespaces.get(service["metadata"]["namespace"]))
        for service in services
    ]
    made = [
        replace(service, alias_of=names[service.host])
        if service.host in names
        else replace(service, aliases=tuple(sorted(_aliases(service.host, names))))
        for service in made
    ]
    return sorted(made, key=lambda service: (service.created, service.name, service.namespace))


def _service(
    service: Object,
    slices: Mapping[tuple[str, str], list[Object]],
    pods: Mapping[tuple[str, str], Object],
    nodes: Nodes,
    namespace: Object | None,
) -> Service:
    meta, spec = service["metadata"], service["spec"]
    ports, past = [], []
    for port in spec.get("ports") or []:
        if _is_udp(port):
            past.append(port["port"])
            continue
        protocol, detected = protocol_of(port)
        ports.append(Port(port["port"], port.get("name") or "", protocol, detected))
    endpoints: dict[int, tuple[Endpoint, ...]] = {}
    for port in ports:
        found = []
        for item in sorted(slices.get((meta["namespace"], meta["name"]), ()), key=lambda s: str(s["metadata"]["name"])):
            number = next((p["port"] for p in item.get("ports") or [] if (p.get("name") or "") == port.name), None)
            if number is None:
                continue
            for place in item.get("endpoints") or []:
                healthy = _health(place.get("conditions") or {})
                if healthy is None:
                    continue
                target = place.get("targetRef") or {}
                pod = pods.get((target.get("namespace", meta["namespace"]), target.get("name", "")))
                found += [_endpoint(address, number, pod, nodes, healthy=healthy) for address in place["addresses"]]
        endpoints[port.number] = tuple(found)
    everyone = {(e.namespace, e.service_account) for es in endpoints.values() for e in es if e.service_account}
    return Service(
        name=meta["name"],
        namespace=meta["namespace"],
        host=full_host(meta["name"], meta["namespace"]),
        address=spec.get("clusterIP") or "",
        ports=tuple(ports),
        endpoints=endpoints,
        selector=spec.get("selector") or {},
        target_ports={port["port"]: port.get("targetPort", port["port"]) for port in spec.get("ports") or []},
        service_accounts=tuple(f"spiffe://cluster.local/ns/{ns}/sa/{sa}" for ns, sa in sorted(everyone)),
        created=str(meta.get("creationTimestamp") or ""),
        exported_to=_readers(meta),
        headless=spec.get("clusterIP") == "None",
        prefers=preferred(service, namespace),
        past_the_mesh=tuple(past),
    )


def _readers(meta: Object) -> frozenset[str]:
    """The namespaces that see a Service, by its annotation: ``*`` all, ``.`` its own, ``~`` none whatever else stands."""
    said = (meta.get("annotations") or {}).get(_EXPORT_TO)
    names = frozenset(name.strip() for name in said.split(",")) if said else frozenset({"*"})
    return frozenset() if "~" in names and "*" not in names else names
