"""Services of other kinds: headless ones, other names, UDP and TCP ports; what is not as on Istio is said."""

from __future__ import annotations

from typing import Any

import pytest

from meshbdd.lab.compile import Compiled, Mesh, compile_pod
from tests.golden.meaning import world
from tests.unit.compile.test_destination_rules import rule
from tests.unit.compile.worlds import objects, virtual_host


def service(name: str, *ports: dict[str, Any], **spec: Any) -> dict[str, Any]:
    meta = {"name": name, "namespace": "shop"}
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"ports": list(ports), **spec}}


def compiled(*more: dict[str, Any], text: str = "") -> Compiled:
    return compile_pod(Mesh.read([*world(), *more, *objects(text)]), "client-1", "other")


def test_a_headless_service_has_names_for_its_pods() -> None:
    made = compiled(service("db", {"name": "http", "port": 80}, clusterIP="None"))
    host = "db.shop.svc.cluster.local"
    domains = [host, f"{host}.", "db.shop", "db.shop.svc"]
    assert virtual_host(made, "db")["domains"] == [*domains, *(f"*.{domain}" for domain in domains)]
    assert made.clusters[f"outbound|80||{host}"]["type"] == "ORIGINAL_DST"
    assert any("db.shop is headless" in line for line in made.warnings)


def test_another_name_of_a_service_is_a_domain_of_it() -> None:
    names = [
        service("pay", type="ExternalName", externalName="payment-service.shop.svc.cluster.local"),
        service("buy", type="ExternalName", externalName="pay.shop.svc.cluster.local"),
    ]
    made = compiled(*names)
    domains = virtual_host(made, "payment-service")["domains"]
    assert {"pay.shop", "pay.shop.svc.cluster.local", "buy.shop.svc"} <= set(domains)
    assert not [name for name in made.clusters if "pay.shop" in name or "buy.shop" in name]
    assert not [line for line in made.warnings if "another name" in line]


PAYMENT = "payment-service.shop.svc.cluster.local"
PAY = "pay.shop.svc.cluster.local"
HTTP = {"name": "http", "port": 80}
ONE = "http: [{match: [{uri: {prefix: /one}}], route: [{destination: {host: payment-service}}]}]"


def virtual_service(host: str, rules: str = ONE) -> str:
    return (
        "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: a, namespace: shop},"
        f" spec: {{hosts: ['{host}'], {rules}}}}}"
    )


def pay(*ports: dict[str, Any], name: str = "pay", of: str = PAYMENT) -> dict[str, Any]:
    return service(name, *ports, type="ExternalName", externalName=of)


def test_without_ports_a_virtual_service_governs_another_name_as_it_is_written() -> None:
    """As Istio's TestExternalNameServices has it."""
    made = compiled(pay(), text=virtual_service(PAY))
    assert virtual_host(made, PAY)["domains"] == [PAY]
    held = virtual_host(made, "payment-service")
    assert {PAYMENT, "pay.shop", "pay.shop.svc"} <= set(held["domains"])
    assert PAY not in held["domains"]
    assert [route["name"] for route in held["routes"]] == ["default"]


@pytest.mark.parametrize("host", ["pay.names.svc.cluster.local", "*.names.svc.cluster.local"])
def test_with_the_port_it_governs_all_of_its_forms_and_not_what_it_stands_for(host: str) -> None:
    alias = {**pay(HTTP), "metadata": {"name": "pay", "namespace": "names"}}
    made = compiled(alias, text=virtual_service(host))
    whole = "pay.names.svc.cluster.local"
    assert virtual_host(made, whole)["domains"] == [whole, f"{whole}.", "pay.names", "pay.names.svc"]
    held = virtual_host(made, "payment-service")
    assert not [domain for domain in held["domains"] if domain.startswith("pay.")]
    assert [route["name"] for route in held["routes"]] == ["default"]
    assert not [name for name in made.clusters if whole in name]


@pytest.mark.parametrize(
    ("alias", "led_to"),
    [
        (pay(HTTP), PAYMENT),
        (pay(), PAY),  # no port: Istio does not know it there, and there is no such cluster
        (pay({"name": "http", "port": 8888}), PAY),
        (pay(HTTP, of="buy.shop.svc.cluster.local"), "buy.shop.svc.cluster.local"),  # one step, says a TODO of Istio's
    ],
)
def test_a_destination_that_is_another_name_leads_to_what_it_stands_for(alias: dict[str, Any], led_to: str) -> None:
    rules = "http: [{mirror: {host: pay}, route: [{destination: {host: pay}}]}]"
    made = compiled(alias, pay(HTTP, name="buy"), text=virtual_service("order-service", rules))
    (route,) = virtual_host(made, "order-service")["routes"]
    assert route["route"]["cluster"] == f"outbound|80||{led_to}"
    assert [mirror["cluster"] for mirror in route["route"]["request_mirror_policies"]] == [f"outbound|80||{led_to}"]


def test_a_sidecar_imports_other_names_one_by_one() -> None:
    imports = (
        "{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {name: a, namespace: other},"
        f" spec: {{egress: [{{hosts: [shop/{PAYMENT}, shop/{PAY}]}}]}}}}"
    )
    domains = virtual_host(compiled(pay(), pay(name="buy"), text=imports), "payment-service")["domains"]
    assert "pay.shop" in domains
    assert not [domain for domain in domains if domain.startswith("buy")]


def test_a_name_that_stands_for_itself_is_nobodys() -> None:
    made = compiled(pay(of="buy.shop.svc.cluster.local"), pay(name="buy", of=PAY))
    assert not [
        d for host in made.routes["80"]["virtual_hosts"] for d in host["domains"] if d.startswith(("pay.", "buy."))
    ]


def test_another_name_of_something_outside_is_said() -> None:
    made = compiled(service("ext", type="ExternalName", externalName="example.com"))
    assert not [name for name in made.clusters if "ext.shop" in name]
    assert [
        line for line in made.warnings if line.startswith("ext.shop.svc.cluster.local is another name of example.com")
    ]


def test_udp_passes_by() -> None:
    made = compiled(service("dns", {"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53}))
    assert [name for name in made.clusters if "dns.shop" in name] == ["outbound|53||dns.shop.svc.cluster.local"]
    assert any("port 53 of Service dns.shop is UDP" in line for line in made.warnings)
    only = compiled(service("dns", {"name": "udp-a", "port": 53}))
    assert not [name for name in only.clusters if "dns.shop" in name]


def test_tcp_is_said_to_be_out_of_reach() -> None:
    made = compiled(service("db", {"name": "tcp-db", "port": 5432}))
    assert "outbound|5432||db.shop.svc.cluster.local" in made.clusters
    assert any("port 5432 of Service db.shop speaks TCP" in line for line in made.warnings)


def test_a_tunnel_is_said_to_be_for_tcp() -> None:
    text = rule("trafficPolicy: {tunnel: {targetHost: a.b, targetPort: 443}}")
    assert any("tunnel" in line for line in compiled(text=text).warnings)
