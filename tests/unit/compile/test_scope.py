"""What a workload sees: Sidecars, exportTo of Services, hosts that nobody knows."""

from __future__ import annotations

import pytest

from meshbdd.lab.sidecar.hidden import past_the_mesh
from tests.unit.compile.worlds import CLIENT, ORDER, compile_for

SHOP = {"order-service", "order-stable", "order-canary", "payment-service", "inventory-service", "notification-service"}


def sidecar(spec: str, name: str = "s", namespace: str = "shop") -> str:
    """A Sidecar."""
    return (
        "apiVersion: networking.istio.io/v1\nkind: Sidecar\n"
        f"metadata: {{name: {name}, namespace: {namespace}}}\nspec: {{{spec}}}\n---\n"
    )


def hosts(text: str, caller: str = ORDER) -> set[str]:
    """The Services of ``shop`` that a caller has clusters for."""
    names = [name.split("|") for name in compile_for(caller, text).clusters if name.startswith("outbound|")]
    return {parts[3].split(".")[0] for parts in names if ".shop." in parts[3]}


def routed(text: str, caller: str = ORDER) -> set[str]:
    """The Services of ``shop`` that a caller can name; without any there is no table."""
    table = compile_for(caller, text).routes.get("80", {"virtual_hosts": []})
    names = [host["name"] for host in table["virtual_hosts"]]
    return {name.split(".")[0] for name in names if ".shop." in name}


@pytest.mark.parametrize(
    ("egress", "expected"),
    [
        ("'*/*'", SHOP),
        ("'./*'", SHOP),
        ("'other/*'", set()),
        ("'~/*'", set()),
        ("'./payment-service.shop.svc.cluster.local'", {"payment-service"}),
        ("'*/payment-service.shop.svc.cluster.local', 'shop/inventory-service.shop.svc.cluster.local'",
            {"payment-service", "inventory-service"}),
        ("'*/*.shop.svc.cluster.local'", SHOP),
        ("'*/payment-service'", set()),
        ("'./*', '~./payment-service.shop.svc.cluster.local'", SHOP - {"payment-service"}),
        ("'*/*', '~shop/*'", set()),
    ],
)  # fmt: skip
def test_what_a_sidecar_imports(egress: str, expected: set[str]) -> None:
    assert hosts(sidecar(f"egress: [{{hosts: [{egress}]}}]")) == expected
    assert routed(sidecar(f"egress: [{{hosts: [{egress}]}}]")) == expected


def test_one_that_selects_goes_before_the_namespaces_and_that_before_the_root_namespaces() -> None:
    def only(service: str, extra: str = "") -> str:
        return f"{extra} egress: [{{hosts: ['*/{service}.shop.svc.cluster.local']}}]"

    root = sidecar(only("inventory-service"), "root", "istio-system")
    whole = sidecar(only("payment-service"), "whole")
    mine = sidecar(only("notification-service", "workloadSelector: {labels: {app: order-service}},"), "mine")
    assert hosts(root) == hosts(root, CLIENT) == {"inventory-service"}
    assert hosts(root + whole) == {"payment-service"}
    assert hosts(root + whole, CLIENT) == {"inventory-service"}
    assert hosts(root + whole + mine) == {"notification-service"}
    assert hosts(root + whole + mine, "payment-1.shop") == {"payment-service"}


def test_what_a_virtual_service_leads_to_is_reachable_but_not_callable_by_name() -> None:
    text = sidecar("egress: [{hosts: ['*/payment-service.shop.svc.cluster.local']}]") + (
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v}\n"
        "spec: {hosts: [payment-service], http: [{route: [{destination: {host: inventory-service}}]}]}\n"
    )
    assert hosts(text) == {"payment-service", "inventory-service"}
    assert routed(text) == {"payment-service"}


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("egress: [{hosts: ['*/*']}]", "allow_any"),
        ("outboundTrafficPolicy: {mode: ALLOW_ANY}", "allow_any"),
        ("outboundTrafficPolicy: {mode: REGISTRY_ONLY}", "block_all"),
        ("outboundTrafficPolicy: {}", "block_all"),
    ],
)
def test_hosts_that_nobody_knows(spec: str, name: str) -> None:
    last = compile_for(ORDER, sidecar(spec)).routes["80"]["virtual_hosts"][-1]
    assert (last["name"], last["domains"]) == (name, ["*"])
    answer = last["routes"][0]
    assert answer.get("direct_response") == ({"status": 502} if name == "block_all" else None)


@pytest.mark.parametrize(
    ("export", "own", "others"),
    [
        ("'*'", True, True),
        ("'.'", True, False),
        ("other", False, True),
        ("'., other'", True, True),
        ("'~'", False, False),
    ],
)
def test_who_sees_a_service_that_says_so(export: str, own: bool, others: bool) -> None:
    text = (
        "apiVersion: v1\nkind: Service\n"
        f"metadata: {{name: private, namespace: shop, annotations: {{networking.istio.io/exportTo: {export}}}}}\n"
        "spec: {clusterIP: 10.1.8.8, selector: {app: order-service}, ports: [{name: http, port: 80}]}\n"
    )
    assert ("private" in hosts(text)) == own
    assert ("private" in hosts(text, CLIENT)) == others


def test_an_egress_proxy_takes_what_nobody_knows() -> None:
    text = """
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default}
spec:
  egress: [{hosts: ["*/*"]}]
  outboundTrafficPolicy:
    mode: ALLOW_ANY
    egressProxy: {host: egress.other.svc.cluster.local, subset: s, port: {number: 81}}
"""
    made = compile_for(ORDER, text)
    proxy = "outbound|81|s|egress.other.svc.cluster.local"
    assert made.routes["80"]["virtual_hosts"][-1]["routes"][0]["route"]["cluster"] == proxy
    rest = [chain for key, chain in made.filter_chains.items() if key.endswith("virtualOutbound-catchall-tcp")]
    assert rest[0]["filters"][0]["typed_config"]["cluster"] == proxy


def test_a_hidden_service_is_known_by_its_names_and_endpoints_where_unknown_hosts_are_allowed() -> None:
    narrow = "egress: [{hosts: ['./payment-service.shop.svc.cluster.local']}]"
    hidden = compile_for(ORDER, sidecar(narrow)).hidden
    told = hidden["inventory-service.shop.svc.cluster.local:80"]
    assert {"inventory-service", "inventory-service.shop"} <= set(told["domains"])
    assert told["endpoints"]["endpoints"]
    assert not [name for name in hidden if name.startswith("payment-service.shop.")]
    assert compile_for(ORDER, sidecar(f"{narrow}, outboundTrafficPolicy: {{mode: REGISTRY_ONLY}}")).hidden == {}
    assert compile_for(ORDER, "").hidden == {}


def test_what_a_route_table_has_already_is_no_hidden_services() -> None:
    told = {"domains": ["a", "a.b"], "endpoints": {"cluster_name": "x", "endpoints": []}}
    hosts = [{"name": "mine", "domains": ["A", "a:80"], "routes": []}, {"name": "allow_any", "domains": ["*"]}]
    made, clusters = past_the_mesh(
        {"a.b.svc:80": told}, hosts, {"name": "PassthroughCluster", "connect_timeout": "10s"}
    )
    assert [host["domains"] for host in made] == [["A", "a:80"], ["a.b", "a.b:80"], ["*"]]
    assert [cluster["load_assignment"]["cluster_name"] for cluster in clusters.values()] == list(clusters)
    assert past_the_mesh({"a.b.svc:80": told}, [], {}) == ([], {})
