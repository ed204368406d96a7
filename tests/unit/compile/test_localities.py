"""Nearness: where endpoints are, and how they are weighed and ordered for a caller."""

from __future__ import annotations

from typing import Any

import pytest

from meshbdd.lab.compile import Compiled, Mesh, compile_pod
from tests.golden.meaning import world
from tests.unit.compile.test_destination_rules import rule
from tests.unit.compile.worlds import objects

HOST = "far.shop.svc.cluster.local"
_PLACES = {"a": "r1/z1/s1", "b": "r1/z1/s2", "c": "r1/z2/s1", "d": "r2/z1/s1", "e": "r3/z1/s1"}
"""A pod by each name, on a node of that place; the caller is on the first."""


def _world(text: str, service: dict[str, Any], client: dict[str, str]) -> Mesh:
    made = world()
    for obj in made:
        if obj["kind"] == "Pod" and obj["metadata"]["name"] == "client-1":
            obj["spec"]["nodeName"] = "node-a"
            obj["metadata"]["labels"] |= client
    for name, place in _PLACES.items():
        region, zone, subzone = place.split("/")
        labels = {
            "topology.kubernetes.io/region": region, "topology.kubernetes.io/zone": zone,
            "topology.istio.io/subzone": subzone,
        }  # fmt: skip
        made.append({"kind": "Node", "metadata": {"name": f"node-{name}", "labels": labels}})
        pod = {"name": f"far-{name}", "namespace": "shop", "labels": {"version": "v1" if name in "ae" else "v2"}}
        made.append(
            {"kind": "Pod", "metadata": pod, "spec": {"nodeName": f"node-{name}", "containers": []}, "status": {}}
        )
    ports = [{"name": "http", "port": 80}]
    meta = {"name": "far", "namespace": "shop"}
    made.append({"kind": "Service", "metadata": meta, "spec": {"ports": ports, "clusterIP": "10.1.7.7", **service}})
    targets = [{"addresses": [name], "targetRef": {"name": f"far-{name}", "namespace": "shop"}} for name in _PLACES]
    labels = {"kubernetes.io/service-name": "far"}
    made.append({"kind": "EndpointSlice", "metadata": {**meta, "labels": labels}, "ports": ports, "endpoints": targets})
    return Mesh.read([*made, *objects(text)])


def _compiled(text: str = "", client: dict[str, str] | None = None, **service: Any) -> Compiled:
    return compile_pod(_world(text, service, client or {}), "client-1", "other")


def groups(*args: Any, **options: Any) -> list[tuple[str, str, int, int]]:
    """Place, names of the endpoints, weight and priority of each group, in order."""
    made = _compiled(*args, **options).endpoints[f"outbound|80||{HOST}"]["endpoints"]
    return [
        (
            "/".join(group["locality"].get(part, "") for part in ("region", "zone", "sub_zone")),
            "".join(e["endpoint"]["address"]["socket_address"]["address"] for e in group.get("lb_endpoints", ())),
            group["load_balancing_weight"], group.get("priority", 0),
        )
        for group in made
    ]  # fmt: skip


def near(setting: str, *, ejects: bool = True, kind: str = "localityLbSetting") -> str:
    block = ", outlierDetection: {interval: 1s}" if ejects else ""
    return rule(f"trafficPolicy: {{loadBalancer: {{{kind}: {setting}}}{block}}}", host=HOST)


def priorities(text: str, client: dict[str, str] | None = None, **service: Any) -> dict[str, int]:
    return {name: rank for _, names, _, rank in groups(text, client, **service) for name in names}


def config(text: str, **service: Any) -> dict[str, Any]:
    made = _compiled(text, **service).clusters[f"outbound|80||{HOST}"]["common_lb_config"]
    return {name: value for name, value in made.items() if name != "healthy_panic_threshold"}


FLAT = dict.fromkeys("abcde", 0)


def test_endpoints_stand_by_place() -> None:
    assert groups() == [(place, name, 1, 0) for name, place in _PLACES.items()]


def test_outlier_detection_alone_turns_failover_on() -> None:
    """Same subzone, same zone, same region, elsewhere: https://istio.io/latest/docs/tasks/traffic-management/locality-load-balancing/failover/."""
    ejects = rule("trafficPolicy: {outlierDetection: {interval: 1s}}", host=HOST)
    assert priorities(ejects) == {"a": 0, "b": 1, "c": 2, "d": 3, "e": 3}
    assert config(ejects) == {}, "weights of localities are heeded only where a setting asks for it"
    assert priorities(near("{enabled: false}")) == FLAT
    assert priorities(near("{}", ejects=False)) == FLAT


def test_failover_to_a_region_puts_it_before_the_others() -> None:
    to_r3 = near("{failover: [{from: r1, to: r3}]}")
    assert priorities(to_r3) == {"a": 0, "b": 1, "c": 2, "e": 3, "d": 4}
    assert config(to_r3) == {"locality_weighted_lb_config": {}}
    assert priorities(near("{failover: [{from: r2, to: r3}]}")) == {"a": 0, "b": 1, "c": 2, "d": 3, "e": 3}


def test_distribute_shares_out_and_leaves_the_rest_without() -> None:
    shares = near("{distribute: [{from: r1/z1/*, to: {'r1/*': 70, r2: 30}}]}", ejects=False)
    assert groups(shares) == [
        ("r1/z1/s1", "a", 24, 0), ("r1/z1/s2", "b", 24, 0), ("r1/z2/s1", "c", 24, 0), ("r2/z1/s1", "d", 30, 0),
        ("r3/z1/s1", "", 1, 0),
    ]  # fmt: skip
    assert config(shares) == {"locality_weighted_lb_config": {}}
    other = near("{distribute: [{from: r2, to: {r2: 100}}]}")
    assert groups(other) == [(place, name, 1, 0) for name, place in _PLACES.items()], "about callers elsewhere"


def test_failover_by_labels_splits_a_place_by_what_is_shared() -> None:
    by_label = near("{failoverPriority: [version, topology.kubernetes.io/region]}")
    mine = {"version": "v1"}
    # both shared, the first alone, not the first
    assert priorities(by_label, mine) == {"a": 0, "e": 1, "b": 2, "c": 2, "d": 2}
    assert priorities(near("{failoverPriority: ['version=v2']}"), mine) == {"b": 0, "c": 0, "d": 0, "a": 1, "e": 1}


def test_zones_are_balanced_within_the_region() -> None:
    zones = near("{minClusterSize: 3, failover: [{from: r1, to: r3}]}", kind="zoneAwareLbSetting", ejects=False)
    assert priorities(zones) == {"a": 0, "b": 0, "c": 0, "e": 1, "d": 2}
    assert config(zones) == {"zone_aware_lb_config": {"min_cluster_size": "3"}}
    off = near("{enabled: false}", kind="zoneAwareLbSetting")
    assert priorities(off) == FLAT
    assert config(off) == {"zone_aware_lb_config": {"routing_enabled": {}}}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("PreferClose", {"a": 0, "b": 0, "c": 1, "d": 2, "e": 2}),
        ("PreferSameZone", {"a": 0, "b": 0, "c": 1, "d": 2, "e": 2}),
        ("PreferSameNode", {"a": 0, "b": 1, "c": 2, "d": 3, "e": 3}),
    ],
)
def test_a_service_s_traffic_distribution(said: str, expected: dict[str, int]) -> None:
    """Its endpoints fail over by their readiness alone; unready ones are told even where Envoy might panic."""
    assert priorities("", trafficDistribution=said) == expected
    least = rule("trafficPolicy: {outlierDetection: {minHealthPercent: 50}}", host=HOST)
    cluster = _compiled(least, trafficDistribution=said).clusters[f"outbound|80||{HOST}"]
    assert cluster["common_lb_config"]["healthy_panic_threshold"] == {}


def test_where_a_pod_is_its_own_label_says_first() -> None:
    text = rule("trafficPolicy: {outlierDetection: {interval: 1s}}", host=HOST)
    assert priorities(text, {"istio-locality": "r2.z1"}) == {"d": 0, "a": 1, "b": 1, "c": 1, "e": 1}


def test_a_subset_may_be_a_zone() -> None:
    text = rule("subsets: [{name: z, labels: {topology.kubernetes.io/zone: z2}}]", host=HOST)
    (group,) = _compiled(text).endpoints[f"outbound|80|z|{HOST}"]["endpoints"]
    assert [e["endpoint"]["address"]["socket_address"]["address"] for e in group["lb_endpoints"]] == ["c"]
