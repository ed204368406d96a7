"""Hosts that the cluster does not have are refused before anything is sent; whatever may be known to somebody is not."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from meshbdd.cluster import Cluster
from meshbdd.cluster.client import ApiFailure
from meshbdd.errors import BadInput
from meshbdd.load import read_message
from meshbdd.scenario.hosts import check_host


def failure(status: int) -> ApiFailure:
    return ApiFailure(status, "no", "x")


class World:
    """A cluster of two namespaces, with a route for one host more, and a ServiceEntry where the kind is known."""

    services = (("payment-service", "shop"), ("stock", "store"), ("meshbdd-fault-stock", "store"))

    def __init__(self, *, entries: list[str] | None = None, refuses: int | None = None) -> None:
        self._entries = entries
        self._refuses = refuses

    def find(self, kind: str, name: str, namespace: str | None = None) -> dict[str, Any] | None:
        if self._refuses:
            raise failure(self._refuses)
        if kind == "Namespace":
            return {} if name in {"shop", "store"} else None
        ports = [{"port": 80}, {"name": "grpc", "port": 9000}] if name == "payment-service" else None
        return {"spec": {"ports": ports}} if (name, namespace) in self.services else None

    def list(self, kind: str, namespace: str | None = None) -> list[dict[str, Any]]:
        if kind == "VirtualService":
            return [{"spec": {"hosts": ["routed.shop.svc.cluster.local"]}}]
        return [
            {"metadata": {"name": name, "namespace": where}}
            for name, where in self.services
            if namespace in (None, where)
        ]

    def request(self, _method: str, _path: str) -> str:
        if self._entries is None:
            raise failure(404)
        return json.dumps({"items": [{"spec": {"hosts": self._entries}}]})


def check(world: World, host: str, headers: str = "") -> None:
    message = read_message("it", f"GET http://{host}/x\n{headers}")
    check_host(cast("Cluster", world), message, "shop", {"api.example.com", "127.0.0.1"}.__contains__)


@pytest.mark.parametrize(
    "host",
    ["payment-service", "payment-service.shop", "stock.store", "stock.store.svc", "stock.store.svc.cluster.local:80", "routed", "api.example.com", "127.0.0.1:80", "[::1]", "payment-service:9000", "payment-service.shop.svc:80"],
)  # fmt: skip
def test_what_somebody_may_know(host: str) -> None:
    check(World(), host)


@pytest.mark.parametrize(
    ("host", "help_"),
    [
        ("paymnt-service", 'did you mean "payment-service"?'),
        ("stock", 'did you mean "stock.store"?'),
        ("orders", "ask one of: payment-service"),
        ("payment-service.store", 'did you mean "payment-service.shop"?'),
        ("stok.store.svc.cluster.local", 'did you mean "stock"?'),
        ("x.nowhere.svc", "deploy the service, or correct the host"),
        ("nohost.invalid", "deploy the service, or correct the host"),
        ("payment-service.other", 'did you mean "payment-service.shop"?'),
    ],
)
def test_what_nobody_knows(host: str, help_: str) -> None:
    with pytest.raises(BadInput, match=r"there is no Service") as caught:
        check(World(entries=["other", "*"]), host)
    assert caught.value.help == help_


@pytest.mark.parametrize("host", ["payment-service:9", "payment-service.shop:8080", "payment-service.shop.svc:443"])
def test_a_port_that_the_service_does_not_have(host: str) -> None:
    with pytest.raises(BadInput, match=rf"asks port {host.rpartition(':')[2]} of .* has none") as caught:
        check(World(), host)
    assert caught.value.help == "ask one of its ports: 80, 9000"


def test_names_of_this_machine() -> None:
    with pytest.raises(BadInput, match='no Service "nohost" in namespace "invalid", and no such host elsewhere'):
        check_host(cast("Cluster", World()), read_message("it", "GET http://nohost.invalid/x"), "shop")


def test_a_service_entry_or_a_host_header_names_it_too() -> None:
    check(World(entries=["legacy", "*.svc.cluster.local"]), "legacy")
    check(World(entries=["*.shop.svc.cluster.local"]), "legacy")
    check(World(), "anything", "Host: payment-service\n")


def test_rights_that_do_not_reach_so_far_refuse_nothing() -> None:
    check(World(refuses=403), "anything")
    with pytest.raises(ApiFailure):
        check(World(refuses=500), "anything")
