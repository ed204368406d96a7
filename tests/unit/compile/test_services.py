"""Services of other kinds: headless ones, other names, UDP and TCP ports; what is not as on Istio is said."""

from __future__ import annotations

from typing import Any

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
