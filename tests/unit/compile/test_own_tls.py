"""Calls with TLS of a DestinationRule's own words, the PROXY protocol, and calls that keep to the address."""

from __future__ import annotations

from typing import Any

import pytest

from meshbdd.lab.compile import Mesh, compile_pod
from tests.golden.meaning import world
from tests.unit.compile.test_destination_rules import PAYMENT, rule
from tests.unit.compile.worlds import ORDER, cluster, compile_for, objects

OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def calls(policy: str, more: str = "", text: str = "") -> dict[str, Any]:
    """The cluster for calls to payment-service."""
    return cluster(compile_for(ORDER, rule(f"{more}trafficPolicy: {{{policy}}}") + text), "payment-service")


def context(policy: str, more: str = "") -> dict[str, Any]:
    found: dict[str, Any] = calls(policy, more)["transport_socket"]["typed_config"]
    return found


def test_simple_takes_the_system_s_roots_and_the_host_s_name() -> None:
    made = calls("tls: {mode: SIMPLE}")
    common = made["transport_socket"]["typed_config"]["common_tls_context"]
    secret = common["combined_validation_context"]["validation_context_sds_secret_config"]
    assert secret["name"] == "file-root:system"
    assert "initial_fetch_timeout" not in secret["sds_config"]
    assert common["combined_validation_context"]["default_validation_context"] == {}
    assert "tls_certificate_sds_secret_configs" not in common
    assert "alpn_protocols" not in common
    options = made["typed_extension_protocol_options"][OPTIONS]
    assert options["upstream_http_protocol_options"] == {"auto_sni": True, "auto_san_validation": True}
    assert options["explicit_http_config"] == {"http_protocol_options": {}}
    assert "transport_socket_matches" not in made


def test_mutual_takes_files() -> None:
    made = context(
        "tls: {mode: MUTUAL, clientCertificate: /c, privateKey: /k, caCertificates: /ca, caCrl: /crl, sni: s,"
        " subjectAltNames: [a]}"
    )
    common = made["common_tls_context"]
    assert made["sni"] == "s"
    assert common["tls_certificate_sds_secret_configs"][0]["name"] == "file-cert:/c~/k"
    checked = common["combined_validation_context"]
    assert checked["validation_context_sds_secret_config"]["name"] == "file-root:/ca"
    assert checked["default_validation_context"] == {
        "match_subject_alt_names": [{"exact": "a"}],
        "crl": {"filename": "/crl"},
    }


def test_names_are_checked_unless_somebody_says_which() -> None:
    def options(tls: str) -> Any:
        return calls(f"tls: {{mode: SIMPLE, {tls}}}").get("typed_extension_protocol_options", {}).get(OPTIONS)

    assert options("subjectAltNames: [a]")["upstream_http_protocol_options"] == {"auto_sni": True}
    assert options("sni: s") is None
    assert options("insecureSkipVerify: true")["upstream_http_protocol_options"] == {"auto_sni": True}
    unchecked = context("tls: {mode: SIMPLE, insecureSkipVerify: true}")["common_tls_context"]
    assert unchecked["validation_context"] == {}


def test_http2_is_offered_where_it_is_spoken() -> None:
    http2 = context("tls: {mode: SIMPLE}, connectionPool: {http: {h2UpgradePolicy: UPGRADE}}")
    assert http2["common_tls_context"]["alpn_protocols"] == ["h2"]


def test_a_secret_s_name_counts_in_rules_for_single_workloads_alone() -> None:
    """In any other rule Istio drops the whole block: calls are in plaintext."""
    assert "transport_socket" not in calls("tls: {mode: SIMPLE, credentialName: c}")
    assert "transport_socket_matches" not in calls("tls: {mode: SIMPLE, credentialName: c}")
    selects = "workloadSelector: {matchLabels: {app: order-service}}, "
    common = context("tls: {mode: MUTUAL, credentialName: c}", selects)["common_tls_context"]
    (own,) = common["tls_certificate_sds_secret_configs"]
    root = common["combined_validation_context"]["validation_context_sds_secret_config"]
    assert [own["name"], root["name"]] == ["kubernetes://c", "kubernetes://c-cacert"]
    assert own["sds_config"] == {"ads": {}, "resource_api_version": "V3"}


def told(text: str) -> list[bool]:
    """Of payment-service's endpoints, whether each is told as one that takes mutual TLS."""
    places = compile_for(ORDER, text).endpoints[f"outbound|80||{PAYMENT}"]["endpoints"][0]["lb_endpoints"]
    return ["envoy.transport_socket_match" in place["metadata"]["filter_metadata"] for place in places]


DISABLED = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default}
spec: {mtls: {mode: DISABLE}}
"""


@pytest.mark.parametrize(
    ("tls", "expected"),
    [
        ("tls: {mode: ISTIO_MUTUAL}", True),
        ("tls: {mode: SIMPLE}", False),
        ("tls: {mode: DISABLE}", False),
        ("tls: {}", False),  # no mode is DISABLE
        ("connectionPool: {tcp: {maxConnections: 1}}", True),
        (
            "tls: {mode: ISTIO_MUTUAL}, portLevelSettings: [{port: {number: 80}, connectionPool: {tcp: {maxConnections: 1}}}]",
            True,
        ),
        ("portLevelSettings: [{port: {number: 80}, tls: {mode: SIMPLE}}]", False),
    ],
)
def test_what_endpoints_are_told_with(tls: str, expected: bool) -> None:
    assert told(rule(f"trafficPolicy: {{{tls}}}")) == [expected]


def test_the_rule_s_word_beats_the_callee_s() -> None:
    assert told(DISABLED) == [False]
    assert told(rule("trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}") + DISABLED) == [True]


def test_tls_without_a_mode_is_none() -> None:
    made = calls("tls: {sni: a}")
    assert not {"transport_socket", "transport_socket_matches"} & made.keys()


def test_the_proxy_protocol_wraps_what_there_is() -> None:
    name, raw = "envoy.transport_sockets.upstream_proxy_protocol", "envoy.transport_sockets.raw_buffer"
    automatic = calls("proxyProtocol: {version: V2}")
    inner = [match["transport_socket"] for match in automatic["transport_socket_matches"]]
    assert [socket["name"] for socket in inner] == [name, name]
    assert inner[0]["typed_config"]["config"] == {"version": "V2"}
    assert inner[0]["typed_config"]["transport_socket"]["name"] == "envoy.transport_sockets.tls"
    plain = calls("proxyProtocol: {}, tls: {mode: DISABLE}")["transport_socket"]
    assert (plain["name"], plain["typed_config"]["config"]) == (name, {})
    assert plain["typed_config"]["transport_socket"]["name"] == raw
    mutual = calls("proxyProtocol: {}, tls: {mode: ISTIO_MUTUAL}")["transport_socket"]
    assert mutual["typed_config"]["transport_socket"]["name"] == "envoy.transport_sockets.tls"
    # a port's settings stand alone
    alone = calls("proxyProtocol: {}, portLevelSettings: [{port: {number: 80}, tls: {mode: DISABLE}}]")
    assert "transport_socket" not in alone


@pytest.mark.parametrize("kind", ["policy", "headless"])
def test_calls_may_keep_to_the_address(kind: str) -> None:
    """The policy PASSTHROUGH, and headless Services: no endpoints are told, and TLS is for all of them or none."""
    made = world()
    text = rule("trafficPolicy: {loadBalancer: {simple: PASSTHROUGH}}") if kind == "policy" else ""
    for obj in made:
        if obj["kind"] == "Service" and obj["metadata"]["name"] == "payment-service" and kind == "headless":
            obj["spec"]["clusterIP"] = "None"
    compiled = compile_pod(Mesh.read([*made, *objects(text)]), "order-stable-1", "shop")
    held = cluster(compiled, "payment-service")
    assert (held["type"], held["lb_policy"]) == ("ORIGINAL_DST", "CLUSTER_PROVIDED")
    assert "eds_cluster_config" not in held
    assert held["transport_socket"]["name"] == "envoy.transport_sockets.tls"
    assert held["name"] not in compiled.endpoints
    assert held["name"] in compiled.behind
    assert held["name"] not in compiled.to_json()["endpoints"]
    for obj in made:
        if obj["kind"] == "Pod" and obj["metadata"]["name"] == "payment-1":
            del obj["metadata"]["labels"]["security.istio.io/tlsMode"]
    bare = cluster(compile_pod(Mesh.read([*made, *objects(text)]), "order-stable-1", "shop"), "payment-service")
    assert not {"transport_socket", "transport_socket_matches"} & bare.keys()


def test_a_subset_keeps_to_the_address_where_its_host_does() -> None:
    text = rule(
        "trafficPolicy: {loadBalancer: {simple: PASSTHROUGH}}, subsets: [{name: v, trafficPolicy: {loadBalancer: {simple: RANDOM}}}]"
    )
    assert cluster(compile_for(ORDER, text), "payment-service", "v")["type"] == "ORIGINAL_DST"
