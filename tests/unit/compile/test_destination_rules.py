"""DestinationRules, by Istio's rules: which one governs a caller's calls, and what of it counts at a port and subset."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.compile.worlds import CLIENT, ORDER, cluster, compile_for, routes

PAYMENT = "payment-service.shop.svc.cluster.local"


def rule(spec: str, name: str = "a", namespace: str = "shop", host: str = PAYMENT) -> str:
    """A DestinationRule."""
    return (
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n"
        f"metadata: {{name: {name}, namespace: {namespace}}}\nspec: {{host: '{host}', {spec}}}\n---\n"
    )


def limit(number: int) -> str:
    """A policy that can be told from others by its limit of connections."""
    return f"trafficPolicy: {{connectionPool: {{tcp: {{maxConnections: {number}}}}}}}"


def connections(text: str, caller: str = ORDER, subset: str = "") -> int | None:
    thresholds = cluster(compile_for(caller, text), "payment-service", subset)["circuit_breakers"]["thresholds"]
    number = thresholds[0].get("max_connections")
    return None if number == 4294967295 else number


@pytest.mark.parametrize(
    ("rules", "caller", "expected"),
    [
        # the caller's namespace, the service's, the root namespace
        ([(1, "other", ""), (2, "shop", ""), (3, "istio-system", "")], CLIENT, 1),
        ([(2, "shop", ""), (3, "istio-system", "")], CLIENT, 2),
        ([(3, "istio-system", "")], CLIENT, 3),
        # what another namespace says is for its own callers
        ([(1, "other", "")], ORDER, None),
        # not exported to the caller
        ([(2, "shop", "exportTo: ['.'],")], CLIENT, None),
        ([(2, "shop", "exportTo: ['.'],")], ORDER, 2),
        ([(2, "shop", "exportTo: [elsewhere],"), (3, "istio-system", "")], CLIENT, 3),
        ([(2, "shop", "exportTo: [other],")], CLIENT, 2),
        ([(3, "istio-system", "exportTo: ['.'],")], CLIENT, None),
    ],
)
def test_whose_rule_counts(rules: list[tuple[int, str, str]], caller: str, expected: int | None) -> None:
    text = "".join(rule(f"{export} {limit(n)}", f"r{n}", namespace) for n, namespace, export in rules)
    assert connections(text, caller) == expected


def test_the_most_specific_host_counts() -> None:
    wide, wider = rule(limit(1), host="*.shop.svc.cluster.local"), rule(limit(2), "b", host="*.cluster.local")
    assert connections(wider + wide) == 1
    assert connections(wider + wide + rule(limit(3), "c")) == 3


def test_rules_for_one_host_are_merged_the_older_ones_policy_and_the_subsets_of_both() -> None:
    older = rule(f"{limit(1)}, subsets: [{{name: s, {limit(2)}}}]")
    newer = rule(f"{limit(3)}, subsets: [{{name: s, {limit(4)}}}, {{name: t, {limit(5)}}}]", "b")
    assert [connections(older + newer, subset=subset) for subset in ("", "s", "t")] == [1, 2, 5]


def test_rules_with_other_readers_are_not_merged() -> None:
    text = rule(f"exportTo: [other], {limit(1)}") + rule(f"exportTo: ['.'], {limit(2)}", "b")
    assert connections(text, CLIENT) == 1
    assert connections(text, ORDER) == 2


@pytest.mark.parametrize(
    ("labels", "caller", "expected"),
    [("app: order-service", ORDER, 1), ("app: none", ORDER, 2), ("app: client", CLIENT, 2)],
)
def test_a_rule_for_single_workloads_goes_first_for_them_in_their_namespace(
    labels: str, caller: str, expected: int
) -> None:
    chosen = rule(f"workloadSelector: {{matchLabels: {{{labels}}}}}, {limit(1)}")
    assert connections(chosen + rule(limit(2), "b"), caller) == expected


def test_settings_of_a_port_stand_alone() -> None:
    text = rule(
        "trafficPolicy: {connectionPool: {tcp: {maxConnections: 1}}, outlierDetection: {consecutive5xxErrors: 3},"
        " portLevelSettings: [{port: {number: 80}, loadBalancer: {simple: RANDOM}}]}"
    )
    made = cluster(compile_for(ORDER, text), "payment-service")
    assert made["lb_policy"] == "RANDOM"
    assert "outlier_detection" not in made
    assert connections(text) is None


def test_a_subset_replaces_block_by_block_and_its_ports_settings_everything() -> None:
    base = "trafficPolicy: {connectionPool: {tcp: {maxConnections: 1}}, outlierDetection: {consecutive5xxErrors: 3}}"
    text = rule(
        f"{base}, subsets: [{{name: s, {limit(2)}}}, {{name: t, trafficPolicy: {{portLevelSettings:"
        " [{port: {number: 80}, loadBalancer: {simple: RANDOM}}]}}]"
    )
    made = compile_for(ORDER, text)
    assert connections(text, subset="s") == 2
    assert cluster(made, "payment-service", "s")["outlier_detection"]["consecutive_5xx"] == 3
    assert connections(text, subset="t") is None
    assert "outlier_detection" not in cluster(made, "payment-service", "t")
    assert cluster(made, "payment-service", "t")["lb_policy"] == "RANDOM"


def test_a_subset_holds_the_endpoints_with_its_labels() -> None:
    text = rule(
        "subsets: [{name: stable, labels: {version: stable}}, {name: all}, {name: none, labels: {version: no}}]",
        host="order-service",
    )
    made = compile_for(CLIENT, text)

    def count(subset: str) -> int:
        places = made.endpoints[f"outbound|80|{subset}|order-service.shop.svc.cluster.local"].get("endpoints", [])
        return sum(len(place["lb_endpoints"]) for place in places)

    assert [count(s) for s in ("", "stable", "all", "none")] == [2, 1, 2, 0]


@pytest.mark.parametrize(
    ("simple", "policy"),
    [("ROUND_ROBIN", None), ("RANDOM", "RANDOM"), ("LEAST_REQUEST", "LEAST_REQUEST"), ("LEAST_CONN", "LEAST_REQUEST")],
)
def test_balancers(simple: str, policy: str | None) -> None:
    text = rule(f"trafficPolicy: {{loadBalancer: {{simple: {simple}}}}}")
    made = cluster(compile_for(ORDER, text), "payment-service")
    assert made.get("lb_policy", "ROUND_ROBIN") == (policy or "ROUND_ROBIN")


@pytest.mark.parametrize(
    ("hashing", "expected"),
    [
        ("httpHeaderName: x", {"header": {"header_name": "x"}}),
        ("httpQueryParameterName: q", {"query_parameter": {"name": "q"}}),
        ("useSourceIp: true", {"connection_properties": {"source_ip": True}}),
        ("httpCookie: {name: c, ttl: 0s}", {"cookie": {"name": "c", "ttl": "0s"}}),
    ],
)
def test_a_consistent_hash_is_in_the_route_and_its_ring_in_the_cluster(hashing: str, expected: Any) -> None:
    made = compile_for(ORDER, rule(f"trafficPolicy: {{loadBalancer: {{consistentHash: {{{hashing}}}}}}}"))
    assert cluster(made, "payment-service")["lb_policy"] == "RING_HASH"
    action = routes(made, "payment-service")[0]["route"]
    assert action["hash_policy"] == [expected]
    # A bare Service keeps the predicate; a virtual service with one destination does without it.
    assert "retry_host_predicate" in action["retry_policy"]


def test_a_hashed_destination_is_tried_again_where_it_was() -> None:
    text = rule("trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x}}}") + (
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v}\n"
        "spec: {hosts: [payment-service], http: [{route: [{destination: {host: payment-service}}]}]}\n"
    )
    action = routes(compile_for(ORDER, text), "payment-service")[0]["route"]
    assert action["hash_policy"] == [{"header": {"header_name": "x"}}]
    assert "retry_host_predicate" not in action["retry_policy"]


def test_the_servers_side_takes_its_limits_from_its_own_namespace() -> None:
    def most(text: str) -> int:
        made = compile_for("payment-1.shop", text).clusters["inbound|8080||"]
        return int(made["circuit_breakers"]["thresholds"][0]["max_connections"])

    unlimited = 2**32 - 1
    assert most(rule(limit(7))) == 7
    assert most(rule(limit(7), namespace="other")) == unlimited
    selected = rule(f"workloadSelector: {{matchLabels: {{app: payment-service}}}}, {limit(7)}")
    assert most(selected) == unlimited
