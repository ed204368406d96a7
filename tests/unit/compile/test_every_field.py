"""No field is passed over in silence: each one changes what is compiled, is refused by its path, or stands below.

The samples say every field of every kind. Each field is taken out in turn: the configuration of some sidecar must change.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from envoy.config.listener.v3 import listener_components_pb2

from meshbdd.lab.admission import LACKING, admit
from meshbdd.lab.admission.definitions import spec_schema
from meshbdd.lab.compile import Mesh, compile_pod
from meshbdd.lab.xds import resources
from meshbdd.lab.xds.messages import parse
from meshbdd.lab.xds.resources import Packer
from tests.golden.meaning import world
from tests.unit.compile.worlds import objects

CLIENT, ORDER, PAYMENT = ("client-1", "other"), ("order-stable-1", "shop"), ("payment-1", "shop")
PODS = {
    "VirtualService": (CLIENT, PAYMENT),
    "DestinationRule": (CLIENT, ORDER),
    "PeerAuthentication": (ORDER,),
    "EnvoyFilter": (PAYMENT, ORDER),
    "AuthorizationPolicy": (ORDER, PAYMENT),
    "Sidecar": (ORDER, PAYMENT, ("inventory-1", "shop")),
    "HTTPRoute": (CLIENT, ORDER),
}
"""Kind → the pods whose sidecars show it."""

NO_EFFECT = {
    # VirtualService
    "VirtualService spec.http[].fault.delay.exponentialDelay": "Istio refuses it",
    "VirtualService spec.http[].fault.abort.http2Error": "Istio refuses it",
    # DestinationRule
    "connectionPool.http.h2UpgradePolicy": "two of its three values are the default",
    "outlierDetection.consecutiveErrors": "Istio says that it does nothing",
    "trafficPolicy.tunnel.protocol": "for TCP and TLS routes, which the lab refuses",
    "trafficPolicy.tunnel.targetHost": "as its protocol",
    "trafficPolicy.tunnel.targetPort": "as its protocol",
    # EnvoyFilter
    "EnvoyFilter spec.targetRefs": "refused",
    "EnvoyFilter spec.configPatches[].match.proxy": "refused",
    "EnvoyFilter spec.configPatches[].match.routeConfiguration": "refused",
    "EnvoyFilter spec.configPatches[].match.waypoint": "for waypoints, which no sidecar is",
    "EnvoyFilter spec.configPatches[].match.listener.portName": "Istio never reads it",
    "EnvoyFilter spec.configPatches[].match.listener.filterChain.transportSocket": "Istio never reads it",
    "EnvoyFilter spec.configPatches[].match.listener.listenerFilter": "for listener filters, which are refused",
    "EnvoyFilter spec.configPatches[].patch.filterClass": "refused",
    # AuthorizationPolicy
    "AuthorizationPolicy spec.targetRef": "for waypoints and gateways: a policy with one touches no sidecar",
    "AuthorizationPolicy spec.provider": "for CUSTOM, which is refused; else Istio refuses it",
    # Sidecar
    "Sidecar spec.inboundConnectionPool.http.h2UpgradePolicy": "for calls that go out",
    "Sidecar spec.egress[].captureMode": "IPTABLES is what is done anyway, NONE is refused",
    # HTTPRoute
    "HTTPRoute spec.hostnames": "for gateways; a Service's route ignores it",
    "HTTPRoute spec.parentRefs[].sectionName": "Istio reads it at gateways only",
    "HTTPRoute spec.rules[].filters[].extensionRef": "Istio does not apply a route that has one",
    "HTTPRoute spec.rules[].sessionPersistence": "Istio does not read it",
    "HTTPRoute spec.rules[].backendRefs[].filters[].cors": "as extensionRef",
    "HTTPRoute spec.rules[].backendRefs[].filters[].extensionRef": "as that of a rule",
    "HTTPRoute spec.rules[].backendRefs[].filters[].requestRedirect": "as extensionRef",
    "HTTPRoute spec.rules[].backendRefs[].filters[].urlRewrite": "as extensionRef",
    "HTTPRoute spec.rules[].backendRefs[].filters[].requestMirror": "as extensionRef",
    "filters[].requestRedirect.path.type": "needed, and said by the field beside it too",
    "path.replaceFullPath": "one of two, by type",
    "path.replacePrefixMatch": "one of two, by type",
}
"""Kind and path, or the end of one → why taking it out changes nothing."""

POOL = """{
  tcp: {maxConnections: 1, connectTimeout: 2s, idleTimeout: 3s, maxConnectionDuration: 4s,
    tcpKeepalive: {probes: 5, time: 6s, interval: 7s}},
  http: {http1MaxPendingRequests: 8, http2MaxRequests: 9, maxRequestsPerConnection: 10, maxRetries: 11,
    maxConcurrentStreams: 13, h2UpgradePolicy: UPGRADE, http2KeepAlive: {interval: 14s, timeout: 15s}}}"""
SAMPLES = (Path(__file__).parent / "every_field.yaml").read_text().replace("$POOL", POOL)
POLICIES: list[dict[str, Any]] = [
    {
        "connectionPool": yaml.safe_load(POOL),
        "outlierDetection": {
            "consecutive5xxErrors": 1, "consecutiveGatewayErrors": 2, "consecutiveLocalOriginFailures": 3,
            "splitExternalLocalOriginErrors": True, "interval": "4s", "baseEjectionTime": "5s", "maxEjectionPercent": 6,
            "minHealthPercent": 7, "outlierDetectionHttpErrorCodes": [429, 500],
        },
        "loadBalancer": {"consistentHash": {
            "httpCookie": {"name": "c", "path": "/", "ttl": "1s", "attributes": [{"name": "a", "value": "b"}]},
            "ringHash": {"minimumRingSize": 7},
        }},
        "tls": {"mode": "ISTIO_MUTUAL", "sni": "s", "subjectAltNames": ["spiffe://a"]},
    },
    {
        "connectionPool": {"http": {"idleTimeout": "12s", "useClientProtocol": True}},
        "loadBalancer": {"simple": "ROUND_ROBIN", "warmup": {"duration": "9s", "minimumPercent": 3, "aggression": 2}},
    },
    {"loadBalancer": {"simple": "LEAST_REQUEST", "warmupDurationSecs": "8s"}},
    {"loadBalancer": {"consistentHash": {"httpHeaderName": "h", "maglev": {"tableSize": 101}}}},
    {"loadBalancer": {"consistentHash": {"httpQueryParameterName": "q", "minimumRingSize": 2}}},
    {"loadBalancer": {"consistentHash": {"useSourceIp": True, "ringHash": {"minimumRingSize": 7}}}},
    {"tls": {
        "mode": "MUTUAL", "clientCertificate": "/c.pem", "privateKey": "/k.pem", "caCertificates": "/ca.pem",
        "caCrl": "/crl.pem", "sni": "s", "subjectAltNames": ["a"],
    }},
    {"tls": {"mode": "SIMPLE", "insecureSkipVerify": True}},
    {"tls": {"mode": "SIMPLE", "credentialName": "secret"}},
    {"loadBalancer": {"localityLbSetting": {"distribute": [{"from": "*", "to": {"r1": 90, "r2": 10}}], "enabled": True}}},
    {"loadBalancer": {"localityLbSetting": {"failover": [{"from": "r1", "to": "r2"}]}},
     "outlierDetection": {"interval": "1s"}},
    {"loadBalancer": {"localityLbSetting": {"failoverPriority": ["version"]}}, "outlierDetection": {"interval": "1s"}},
    {"loadBalancer": {"localityLbSetting": {"enabled": False}}, "outlierDetection": {"interval": "1s"}},
    {"loadBalancer": {"zoneAwareLbSetting": {"failover": [{"from": "r1", "to": "r2"}], "minClusterSize": 3}}},
    {"loadBalancer": {"zoneAwareLbSetting": {"failoverPriority": ["version"]}}},
    {"loadBalancer": {"zoneAwareLbSetting": {"enabled": False}}},
    {"loadBalancer": {"simple": "PASSTHROUGH"}},
]  # fmt: skip
BUDGET = {
    "retryBudget": {"percent": 30, "budgetInterval": "2s", "minRetryConcurrency": 4},
    "proxyProtocol": {"version": "V2"},
}
HOSTS = (
    "order-service", "order-stable", "order-canary", "payment-service", "inventory-service", "notification-service",
    *(f"made-{n}" for n in range(len(POLICIES) - 6)),
)  # fmt: skip


def _service(name: str, *ports: int) -> list[dict[str, Any]]:
    """A Service, and its endpoints: one in each of three regions."""
    meta = {"name": name, "namespace": "shop"}
    service = {"ports": [{"name": f"http-{port}", "port": port} for port in ports]}
    places = [
        {"addresses": [f"10.9.9.{n}"], "targetRef": {"kind": "Pod", "name": f"near-{n}", "namespace": "shop"}}
        for n in (1, 2, 3)
    ]
    slice_ = {"ports": service["ports"], "endpoints": places}
    labels = {"kubernetes.io/service-name": name}
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": service},
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**meta, "labels": labels},
            **slice_,
        },
    ]


def _near(number: int) -> dict[str, Any]:
    labels = {"app": "near", "istio-locality": f"r{number}.z", "version": "stable" if number == 3 else "other"}
    meta = {"name": f"near-{number}", "namespace": "shop", "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": []}, "status": {}}


def _in_a_region(obj: dict[str, Any]) -> dict[str, Any]:
    """The client stands in the first region; inventory-service has endpoints in all of them, too."""
    name = (obj["kind"], obj["metadata"]["name"])
    if name == ("Pod", CLIENT[0]):
        obj["metadata"]["labels"] |= {"istio-locality": "r1.z", "version": "stable"}
    elif (
        obj["kind"] == "EndpointSlice"
        and obj["metadata"]["labels"]["kubernetes.io/service-name"] == "inventory-service"
    ):
        obj["endpoints"] += _service("inventory-service", 80)[1]["endpoints"]
    return obj


MANY = [
    *_service("many", *(9000 + n for n in range(len(POLICIES)))), *_service("one", 9000), *(_near(n) for n in (1, 2, 3)),
    *(obj for host in HOSTS if host.startswith("made-") for obj in _service(host, 80)),
]  # fmt: skip

GRPC = {
    "apiVersion": "v1", "kind": "Service", "metadata": {"name": "order-grpc", "namespace": "shop"},
    "spec": {"clusterIP": "10.1.9.8", "selector": {"app": "order-service"}, "ports": [{"name": "grpc", "port": 9090}]},
}  # fmt: skip


def _rule(name: str, **spec: Any) -> dict[str, Any]:
    meta = {"name": name, "namespace": "shop", "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": meta, "spec": spec}


def _to_subsets(host: str, **port: Any) -> dict[str, Any]:
    """A virtual service with a route to every subset of a host."""
    targets = [{"host": host, "subset": f"s{n}", **port} for n in range(len(POLICIES))]
    return {
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": host, "namespace": "shop", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"hosts": [host], "http": [
            {"match": [{"uri": {"exact": f"/{n}"}}], "route": [{"destination": target}]} for n, target in enumerate(targets)
        ]},
    }  # fmt: skip


TO_SUBSETS = [_to_subsets("inventory-service"), _to_subsets("one", port={"number": 9000})]
"""Hashes stand in routes."""


def _ports(policies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"port": {"number": 9000 + n}, **policy} for n, policy in enumerate(policies)]


def destination_rules() -> list[dict[str, Any]]:
    """Every block of a traffic policy in each of its four places."""
    made = [_rule(host, host=host, trafficPolicy={**p, **BUDGET}) for host, p in zip(HOSTS, POLICIES, strict=True)]
    made[3]["spec"] |= {"exportTo": ["."]}
    made[4]["spec"] |= {"subsets": [
        {"name": f"s{n}", "labels": {"app": "near"}, "trafficPolicy": {**policy, **BUDGET}}
        for n, policy in enumerate(POLICIES)
    ]}  # fmt: skip
    selected = _rule("selected", host="order-service", subsets=[{"name": "selected"}])
    selected["spec"] |= {"workloadSelector": {"matchLabels": {"app": "none"}}}
    by_port = [
        {"name": f"s{n}", "trafficPolicy": {"portLevelSettings": [{"port": {"number": 9000}, **policy}]}}
        for n, policy in enumerate(POLICIES)
    ]
    many = _rule("many", host="many", trafficPolicy={"portLevelSettings": _ports(POLICIES)})
    return [*made, selected, many, _rule("one", host="one", subsets=by_port)]


OBJECTS = [*objects(SAMPLES), *destination_rules()]
KINDS = sorted({item["kind"] for item in OBJECTS})


WORLD = [*(_in_a_region(obj) for obj in world()), *MANY, GRPC]


def _mesh(kind: str, objects_: list[dict[str, Any]]) -> Mesh:
    more = TO_SUBSETS if kind == "DestinationRule" else []
    return Mesh.read([*WORLD, *more, *(item for item in objects_ if item["kind"] == kind)])


def _compiled(kind: str, objects_: list[dict[str, Any]]) -> str:
    mesh = _mesh(kind, objects_)
    return json.dumps([compile_pod(mesh, *pod).to_json() for pod in PODS[kind]], sort_keys=True)


def _leaves(schema: dict[str, Any], path: str) -> Iterator[str]:
    """The paths of all fields that a schema ends in."""
    if schema.get("properties"):
        for name, inner in schema["properties"].items():
            yield from _leaves(inner, f"{path}.{name}")
    elif "items" in schema and (
        schema["items"].get("properties") or schema["items"].get("x-kubernetes-preserve-unknown-fields")
    ):
        yield from _leaves(schema["items"], f"{path}[]")
    elif isinstance(schema.get("additionalProperties"), dict) and schema["additionalProperties"].get("properties"):
        yield from _leaves(schema["additionalProperties"], f"{path}.*")
    else:
        yield path


def _said(
    schema: dict[str, Any], value: Any, path: str, keys: tuple[Any, ...]
) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """The fields that a sample says: path, and the keys that lead to it."""
    if schema.get("properties") and isinstance(value, dict):
        for name, inner in value.items():
            yield from _said(schema["properties"][name], inner, f"{path}.{name}", (*keys, name))
    elif "items" in schema and schema["items"].get("properties"):
        for index, inner in enumerate(value):
            yield from _said(schema["items"], inner, f"{path}[]", (*keys, index))
    elif isinstance(schema.get("additionalProperties"), dict) and schema["additionalProperties"].get("properties"):
        for name, inner in value.items():
            yield from _said(schema["additionalProperties"], inner, f"{path}.*", (*keys, name))
    else:
        yield path, keys


def _schema(kind: str) -> dict[str, Any]:
    found = spec_schema(kind)
    assert found is not None
    return dict(found)


SAID = [
    (number, path, keys)
    for number, item in enumerate(OBJECTS)
    for path, keys in _said(_schema(item["kind"]), item["spec"], "spec", ("spec",))
]


def _excused(kind: str, path: str) -> bool:
    return any(f"{kind} {path}".startswith(entry) if " " in entry else path.endswith(entry) for entry in NO_EFFECT)


def _refused(kind: str, path: str) -> bool:
    return any(path.startswith(pattern.partition("=")[0]) for pattern in LACKING.get(kind, {}) if "=" not in pattern)


def _without(number: int, keys: tuple[Any, ...]) -> dict[str, Any]:
    """A sample without a field."""
    changed = copy.deepcopy(OBJECTS[number])
    node: Any = changed
    for key in keys[:-1]:
        node = node[key]
    del node[keys[-1]]
    return dict(changed)


def _around(kind: str, number: int, item: dict[str, Any]) -> list[dict[str, Any]]:
    """A sample among the others of its kind; DestinationRules stand alone, each is about a host of its own."""
    return [item] if kind == "DestinationRule" else [*OBJECTS[:number], item, *OBJECTS[number + 1 :]]


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_samples_become_is_envoys(kind: str) -> None:
    mesh, packer = _mesh(kind, OBJECTS), Packer()
    for pod in PODS[kind]:
        made = compile_pod(mesh, *pod)
        for type_url, named in (
            (resources.CLUSTER, made.clusters), (resources.ENDPOINTS, made.endpoints), (resources.ROUTES, made.routes),
            (resources.EXTENSION, made.extensions),
        ):  # fmt: skip
            for name, config in named.items():
                packer.pack(type_url, name, config)
        for config in made.filter_chains.values():
            parse(listener_components_pb2.FilterChain, config)


def test_the_samples_are_accepted() -> None:
    for item in OBJECTS:
        assert admit(item).refused is None


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_is_in_a_sample_refused_or_excused(kind: str) -> None:
    said = {path for number, path, _ in SAID if OBJECTS[number]["kind"] == kind}
    missing = [
        path
        for path in _leaves(_schema(kind), "spec")
        if path not in said and not _excused(kind, path) and not _refused(kind, path)
    ]
    assert not missing


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_has_its_effect(kind: str) -> None:
    """A field that some sample says changes something when it goes, in at least one sample that says it."""
    whole = {n: _compiled(kind, _around(kind, n, item)) for n, item in enumerate(OBJECTS) if item["kind"] == kind}
    with_effect: set[str] = set()
    for number, path, keys in SAID:
        if OBJECTS[number]["kind"] != kind or path in with_effect or _excused(kind, path):
            continue
        changed = _without(number, keys)
        # What is not accepted without the field is not compiled without it; anything else has to compile.
        if admit(changed).refused is not None or _compiled(kind, _around(kind, number, changed)) != whole[number]:
            with_effect.add(path)
    said = {path for number, path, _ in SAID if OBJECTS[number]["kind"] == kind and not _excused(kind, path)}
    assert sorted(said - with_effect) == []
