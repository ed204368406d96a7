"""EnvoyFilter: order, selection, places and merging, by Istio's rules."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.compile.worlds import CLIENT, ORDER, compile_for, filters

FAULT = "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"
MANAGER = "envoy.filters.network.http_connection_manager"


def fault(status: int = 503) -> dict[str, Any]:
    return {"@type": FAULT, "abort": {"http_status": status, "percentage": {"numerator": 100}}}


def patch(
    operation: str = "INSERT_BEFORE",
    at: str | None = "envoy.filters.http.router",
    listener: dict[str, Any] | None = None,
    chain: dict[str, Any] | None = None,
    value: dict[str, Any] | None = None,
) -> dict[str, Any]:
    where = {"name": MANAGER, **({"subFilter": {"name": at}} if at else {})}
    return {
        "applyTo": "HTTP_FILTER",
        "match": {
            "context": "SIDECAR_INBOUND",
            "listener": {**(listener or {}), "filterChain": {**(chain or {}), "filter": where}},
        },
        "patch": {"operation": operation, "value": value or {"name": "mine", "typed_config": fault()}},
    }


def route_patch(action: dict[str, Any], host: dict[str, Any] | None = None, **table: Any) -> dict[str, Any]:
    """A merge into outbound routes; ``host``: the virtual host of the match, ``table``: its route configuration."""
    where = {**table, **({"vhost": host} if host else {})}
    return {
        "applyTo": "HTTP_ROUTE",
        "match": {"context": "SIDECAR_OUTBOUND", **({"routeConfiguration": where} if where else {})},
        "patch": {"operation": "MERGE", "value": {"route": action}},
    }


def envoy_filter(*patches: dict[str, Any], name: str = "ef", namespace: str = "shop", **spec: Any) -> str:
    body = {"configPatches": list(patches), **spec}
    meta = {"name": name, "namespace": namespace}
    return json.dumps(
        {"apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter", "metadata": meta, "spec": body}
    )


def order(text: str, pod: str = ORDER) -> list[str]:
    return [item["name"].rpartition(".")[2] for item in filters(compile_for(pod, text))]


USUAL = ["grpc_stats", "fault", "cors", "router"]


@pytest.mark.parametrize(
    ("operation", "at", "expected"),
    [
        ("INSERT_BEFORE", "envoy.filters.http.router", ["grpc_stats", "fault", "cors", "mine", "router"]),
        ("INSERT_AFTER", "envoy.filters.http.fault", ["grpc_stats", "fault", "mine", "cors", "router"]),
        ("INSERT_BEFORE", None, ["mine", *USUAL]),
        ("INSERT_AFTER", None, [*USUAL, "mine"]),
        ("INSERT_FIRST", "envoy.filters.http.router", ["mine", *USUAL]),
        ("INSERT_BEFORE", "envoy.filters.http.lua", USUAL),
    ],
)
def test_where_an_insert_stands(operation: str, at: str | None, expected: list[str]) -> None:
    assert order(envoy_filter(patch(operation, at))) == expected


def test_a_patch_that_finds_no_place_is_told() -> None:
    warnings = compile_for(ORDER, envoy_filter(patch(at="envoy.filters.http.lua"))).warnings
    assert any("EnvoyFilter ef in shop: spec.configPatches[0] changes nothing here" in w for w in warnings)


@pytest.mark.parametrize(
    ("listener", "chain", "applied"),
    [
        ({"portNumber": 8080}, {}, True),
        ({"portNumber": 80}, {}, False),  # the container's port counts, not the Service's
        ({}, {"destinationPort": 8080}, True),
        ({"name": "virtualInbound"}, {}, True),
        ({"name": "0.0.0.0_80"}, {}, False),
        ({}, {"transportProtocol": "tls"}, True),
        ({}, {"applicationProtocols": "istio,istio-h2"}, True),
        ({}, {"applicationProtocols": "istio,h9"}, False),
        ({}, {"sni": "example.com"}, False),
        ({}, {"name": "0.0.0.0_8080"}, True),
    ],
)
def test_which_chains_a_patch_is_for(listener: dict[str, Any], chain: dict[str, Any], applied: bool) -> None:
    assert ("mine" in order(envoy_filter(patch(listener=listener, chain=chain)))) is applied


def test_chains_of_one_port_are_patched_once_each() -> None:
    compiled = compile_for(ORDER, envoy_filter(patch()))
    for chain in compiled.filter_chains.values():
        for network in chain["filters"]:
            names = [item["name"] for item in network["typed_config"].get("http_filters", [])]
            assert names.count("mine") <= 1


def test_the_root_namespace_reaches_everyone_and_comes_first_unless_priority_says_otherwise() -> None:
    ours = envoy_filter(patch(value={"name": "ours", "typed_config": fault()}))
    root = envoy_filter(patch(value={"name": "root", "typed_config": fault()}), name="r", namespace="istio-system")
    late = envoy_filter(
        patch(value={"name": "late", "typed_config": fault()}), name="l", namespace="istio-system", priority=5
    )
    early = envoy_filter(patch(value={"name": "early", "typed_config": fault()}), name="e", priority=-1)
    text = f"{ours}\n---\n{late}\n---\n{root}\n---\n{early}"
    assert order(text)[3:-1] == ["early", "root", "ours", "late"]
    # client-1 runs in another namespace and has no Service, so only its catch-all chains carry the root's filters.
    elsewhere = json.dumps(compile_for(CLIENT, text).filter_chains)
    assert '"root"' in elsewhere
    assert '"ours"' not in elsewhere


def test_a_selector_chooses_workloads_and_target_refs_are_for_gateways() -> None:
    assert "mine" in order(envoy_filter(patch(), workloadSelector={"labels": {"version": "stable"}}))
    assert "mine" not in order(envoy_filter(patch(), workloadSelector={"labels": {"version": "canary"}}))
    target = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "waypoint"}
    assert "mine" not in order(envoy_filter(patch(), targetRefs=[target]))


def test_merges_come_after_inserts_and_reach_inserted_filters() -> None:
    value = {"typed_config": {"@type": FAULT, "abort": {"grpcStatus": 14}, "max_active_faults": 3}}
    found = filters(compile_for(ORDER, envoy_filter(patch("MERGE", "mine", value=value), patch())))
    mine = next(item for item in found if item["name"] == "mine")
    # The other kind of abort takes the first one's place; what was not said stays.
    assert mine["typed_config"] == {
        "@type": FAULT,
        "abort": {"grpc_status": 14, "percentage": {"numerator": 100}},
        "max_active_faults": 3,
    }


def test_a_merge_into_another_kind_of_filter_changes_nothing() -> None:
    value = {"typed_config": fault()}
    assert filters(compile_for(ORDER, envoy_filter(patch("MERGE", "envoy.filters.http.cors", value=value)))) == filters(
        compile_for(ORDER, "")
    )


def test_a_duration_is_replaced_not_added() -> None:
    first = {"typed_config": {"@type": FAULT, "delay": {"fixed_delay": "0.750s", "percentage": {"numerator": 9}}}}
    second = {"typed_config": {"@type": FAULT, "delay": {"fixed_delay": "2s"}}}
    at = "envoy.filters.http.fault"
    text = envoy_filter(patch("MERGE", at, value=first), patch("MERGE", at, value=second))
    held = next(f for f in filters(compile_for(ORDER, text)) if f["name"] == at)
    assert held["typed_config"]["delay"] == {"fixed_delay": "2s", "percentage": {"numerator": 9}}


def test_settings_that_nothing_is_armed_for_are_not_delivered() -> None:
    settings = {
        "applyTo": "EXTENSION_CONFIG",
        "patch": {"operation": "ADD", "value": {"name": "slot", "typed_config": fault()}},
    }
    armed = {
        "name": "slot",
        "config_discovery": {"config_source": {"ads": {}}, "type_urls": [FAULT]},
    }
    assert compile_for(ORDER, envoy_filter(settings)).extensions == {}
    compiled = compile_for(ORDER, envoy_filter(settings, patch(value=armed)))
    assert compiled.extensions["slot"]["typed_config"]["abort"]["http_status"] == 503


@pytest.mark.parametrize(
    ("config", "delivered", "words"),
    [
        # Istio passes over an unknown field and delivers the rest ...
        ({**fault(), "nonsense": 1}, True, "nonsense"),
        # ... of which nothing is left here: an abort of no kind.
        ({"@type": FAULT, "abort": {"nonsense": 1}}, False, "not applied"),
    ],
)
def test_an_unknown_field_is_warned_of(config: dict[str, Any], delivered: bool, words: str) -> None:
    compiled = compile_for(ORDER, envoy_filter(patch(value={"name": "mine", "typed_config": config})))
    assert ("mine" in [f["name"] for f in filters(compiled)]) is delivered
    assert any(words in warning and "EnvoyFilter ef in shop" in warning for warning in compiled.warnings)
    assert "nonsense" not in json.dumps(compiled.filter_chains)


def _epoch(match: dict[str, Any], context: str = "SIDECAR_OUTBOUND") -> list[str]:
    value = {"metadata": {"filter_metadata": {"meshbdd": {"epoch": "1"}}}}
    merge = {
        "applyTo": "CLUSTER",
        "match": {"context": context, **({"cluster": match} if match else {})},
        "patch": {"operation": "MERGE", "value": value},
    }
    clusters = compile_for(ORDER, envoy_filter(merge)).clusters
    return sorted(n for n, c in clusters.items() if "meshbdd" in c.get("metadata", {}).get("filter_metadata", {}))


def test_which_clusters_get_metadata() -> None:
    order_service = "order-service.shop.svc.cluster.local"
    everything = set(compile_for(ORDER, "").clusters)
    inbound = {"InboundPassthroughCluster", "inbound|8080||"}
    assert set(_epoch({})) == everything - inbound
    assert set(_epoch({}, "SIDECAR_INBOUND")) == inbound
    assert set(_epoch({}, "ANY")) == everything
    assert _epoch({"service": order_service}) == [f"outbound|80||{order_service}"]
    assert _epoch({"service": order_service, "portNumber": 81}) == []
    assert _epoch({"service": order_service}, "SIDECAR_INBOUND") == ["inbound|8080||"]
    assert _epoch({"portNumber": 8080}, "SIDECAR_INBOUND") == ["inbound|8080||"]
    assert _epoch({"subset": "v1"}) == []
    assert _epoch({"name": "BlackHoleCluster"}) == ["BlackHoleCluster"]


def test_outlier_detection_is_merged_field_by_field() -> None:
    rule = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: breaker, namespace: shop}
spec:
  host: order-service
  trafficPolicy: {outlierDetection: {consecutive5xxErrors: 5, baseEjectionTime: 3s, maxEjectionPercent: 100}}
"""
    service = "order-service.shop.svc.cluster.local"
    value = {"consecutive_5xx": 500, "base_ejection_time": "1h", "enforcing_consecutive_5xx": 0}
    merge = {
        "applyTo": "CLUSTER",
        "match": {"context": "SIDECAR_OUTBOUND", "cluster": {"service": service}},
        "patch": {"operation": "MERGE", "value": {"outlier_detection": value}},
    }
    name = f"outbound|80||{service}"
    before = compile_for(ORDER, rule).clusters[name]["outlier_detection"]
    after = compile_for(ORDER, f"{rule}\n---\n{envoy_filter(merge)}").clusters[name]["outlier_detection"]
    # A number of 0 says nothing in a message, and what says nothing changes nothing.
    assert after == {**before, "consecutive_5xx": 500, "base_ejection_time": "3600s"}


ROUTES = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: orders, namespace: shop}
spec:
  hosts: [order-service]
  http:
  - {name: closed, match: [{uri: {exact: /closed}}], directResponse: {status: 404}}
  - {name: open, route: [{destination: {host: order-service}}], timeout: 2s, retries: {attempts: 3, retryOn: 5xx}}
"""
ORDERS = "order-service.shop.svc.cluster.local"


def _patched(patch: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Name of each route of port 80 that a patch of the timeout has changed → the route."""
    before, after = (
        {
            f"{host['name']} {route.get('name')}": route
            for host in compile_for(ORDER, text).routes["80"]["virtual_hosts"]
            for route in host["routes"]
        }
        for text in (ROUTES, f"{ROUTES}\n---\n{envoy_filter(patch)}")
    )
    assert before.keys() == after.keys()
    return {name: route for name, route in after.items() if route != before[name]}


@pytest.mark.parametrize(
    ("host", "table", "changed"),
    [
        ({"name": f"{ORDERS}:80", "route": {"action": "ROUTE"}}, {}, True),
        ({"domainName": "order-service.shop", "route": {"name": "open"}}, {"name": "80"}, True),
        ({"domainName": "order-service.other", "route": {"action": "ROUTE"}}, {}, False),
        ({"name": f"{ORDERS}:80", "route": {"name": "closed", "action": "ROUTE"}}, {}, False),
        ({"name": f"{ORDERS}:80", "route": {"action": "REDIRECT"}}, {}, False),
        ({"name": f"{ORDERS}:80", "route": {"action": "ROUTE"}}, {"portNumber": 81}, False),
        ({"name": f"{ORDERS}:80", "route": {"action": "ROUTE"}}, {"portNumber": 80}, True),
    ],
)
def test_which_routes_are_patched(host: dict[str, Any], table: dict[str, Any], *, changed: bool) -> None:
    found = _patched(route_patch({"timeout": "0s", "retry_policy": {"retry_on": "connect-failure"}}, host, **table))
    assert list(found) == ([f"{ORDERS}:80 open"] if changed else [])
    for route in found.values():
        assert route["route"]["timeout"] == "0s"
        assert route["route"]["retry_policy"]["retry_on"] == "connect-failure"
        assert route["route"]["retry_policy"]["num_retries"] == 3
        assert route["route"]["cluster"] == f"outbound|80||{ORDERS}"


def test_an_action_that_is_merged_into_an_answer_takes_its_place() -> None:
    found = _patched(route_patch({"timeout": "1s"}, {"name": f"{ORDERS}:80"}))
    closed = found[f"{ORDERS}:80 closed"]
    assert "direct_response" not in closed
    assert closed["route"] == {"timeout": "1s"}


def test_a_filter_without_a_name_is_left_to_envoy_to_refuse() -> None:
    made = compile_for(ORDER, envoy_filter(patch(value={"name": "", "typed_config": fault()})))
    assert [item.get("name") for item in filters(made)][-2:] == [None, "envoy.filters.http.router"]
