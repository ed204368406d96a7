"""PeerAuthentications at the callee: which chains take a port's connections, and which inspectors look at them."""

from __future__ import annotations

from typing import Any

from tests.unit.compile.worlds import ORDER, compile_for


def policies(namespace: str, workload: str, ports: str) -> str:
    """A policy of the namespace and one of order-service's pods."""
    head = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n"
    return (
        f"{head}metadata: {{name: default}}\nspec: {{mtls: {{mode: {namespace}}}}}\n---\n"
        f"{head}metadata: {{name: order}}\n"
        f"spec: {{selector: {{matchLabels: {{app: order-service}}}}, mtls: {{mode: {workload}}}, portLevelMtls: {{{ports}}}}}\n"
    )


def chains(text: str, port: int) -> list[tuple[str, str, tuple[str, ...], bool]]:
    """Name, transport, protocols, and whether TLS ends there, of a port's chains in order."""
    made = [
        chain
        for key, chain in sorted(compile_for(ORDER, text).filter_chains.items())
        if key.startswith("virtualInbound") and chain["filter_chain_match"].get("destination_port") == port
    ]
    return [
        (
            chain["name"], chain["filter_chain_match"]["transport_protocol"],
            tuple(chain["filter_chain_match"].get("application_protocols", ())), "transport_socket" in chain,
        )
        for chain in made
    ]  # fmt: skip


HTTP, TCP = "virtualInbound-catchall-http", "virtualInbound"
ISTIO_HTTP = ("istio-http/1.0", "istio-http/1.1", "istio-h2")


def test_a_port_that_no_service_declares_has_chains_of_its_own() -> None:
    text = policies("PERMISSIVE", "PERMISSIVE", "9090: {mode: STRICT}, 9091: {mode: DISABLE}")
    assert chains(text, 9090) == [(HTTP, "tls", ISTIO_HTTP, True), (TCP, "tls", (), True)]
    assert chains(text, 9091) == [(HTTP, "raw_buffer", ("http/1.1", "h2c"), False), (TCP, "raw_buffer", (), False)]
    assert chains(policies("STRICT", "STRICT", "9090: {mode: PERMISSIVE}"), 9090) == [
        (HTTP, "tls", ISTIO_HTTP, True),
        (HTTP, "raw_buffer", ("http/1.1", "h2c"), False),
        (TCP, "tls", ("istio-peer-exchange", "istio"), True),
        (TCP, "raw_buffer", (), False),
        (TCP, "tls", (), False),
    ]


def test_a_port_without_a_mode_takes_its_workload_s() -> None:
    assert len(chains(policies("PERMISSIVE", "STRICT", "9090: {mode: UNSET}"), 9090)) == 2
    assert len(chains(policies("STRICT", "UNSET", "9090: {}"), 9090)) == 2
    assert len(chains(policies("PERMISSIVE", "UNSET", "9090: {mode: UNSET}"), 9090)) == 5


def test_a_port_that_a_service_declares_has_the_service_s_chains_alone() -> None:
    assert {name for name, *_ in chains(policies("PERMISSIVE", "PERMISSIVE", "8080: {mode: STRICT}"), 8080)} == {
        "0.0.0.0_8080"
    }


def test_they_lead_past_the_services() -> None:
    made = compile_for(ORDER, policies("PERMISSIVE", "PERMISSIVE", "9090: {mode: DISABLE}")).filter_chains
    where = {"destination_port": 9090, "application_protocols": ["http/1.1", "h2c"], "transport_protocol": "raw_buffer"}
    (http,) = [chain for chain in made.values() if chain.get("filter_chain_match") == where]
    table = http["filters"][-1]["typed_config"]["route_config"]
    assert table["virtual_hosts"][0]["routes"][0]["route"]["cluster"] == "InboundPassthroughCluster"


def inspectors(text: str) -> dict[str, Any]:
    """Kind of inspector → where it is off."""
    made = compile_for(ORDER, text).listeners["virtualInbound"]["listener_filters"]
    return {item["name"].rpartition(".")[2]: item.get("filter_disabled") for item in made[1:]}


def at(*ports: int) -> dict[str, Any]:
    ranges = [{"destination_port_range": {"start": port, "end": port + 1}} for port in ports]
    return ranges[0] if len(ranges) == 1 else {"or_match": {"rules": ranges}}


def test_inspectors_look_where_some_chain_asks() -> None:
    assert inspectors(policies("PERMISSIVE", "PERMISSIVE", "9090: {mode: STRICT}, 9091: {mode: DISABLE}")) == {
        "tls_inspector": at(9091, 15006),
        "http_inspector": at(8080, 9090, 15006),
    }
    # Where plain ports are the rule, the inspector of TLS is off everywhere else.
    assert inspectors(policies("DISABLE", "DISABLE", "9090: {mode: STRICT}")) == {
        "tls_inspector": {"not_match": at(9090)},
        "http_inspector": at(8080, 9090, 15006),
    }
    # Under STRICT one plain port alone is looked at for HTTP.
    assert inspectors(policies("STRICT", "STRICT", "9091: {mode: DISABLE}")) == {
        "tls_inspector": at(9091, 15006),
        "http_inspector": at(0, 8080, 15006),
    }
