"""What sidecars share is compiled, transformed and serialized once; what tells them apart still does."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from meshbdd.lab.compile import Compiled, Mesh, compile_pod
from meshbdd.lab.sidecar.bootstrap import SidecarIdentity
from meshbdd.lab.sidecar.sharing import Once
from meshbdd.lab.sidecar.transforms import Delivery, deliver
from meshbdd.lab.xds.resources import CLUSTER, ROUTES, Packer
from tests.golden.meaning import world

FROM_ORDERS = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "VirtualService",
    "metadata": {"name": "payment", "namespace": "shop"},
    "spec": {
        "hosts": ["payment-service"],
        "http": [
            {
                "match": [{"sourceLabels": {"app": "order-service"}}],
                "timeout": "1s",
                "route": [{"destination": {"host": "payment-service"}}],
            },
            {"route": [{"destination": {"host": "payment-service"}}]},
        ],
    },
}
PODS = ("order-stable-1", "order-canary-1", "inventory-1")


def _compiled(*more: dict[str, Any]) -> list[Compiled]:
    mesh = Mesh.read([*world(), *more])
    return [compile_pod(mesh, name, "shop") for name in PODS]


def _delivered(compiled: Compiled, once: Once, name: str = "a") -> Delivery:
    identity = SidecarIdentity(name, "shop", "127.20.1.1", "default", name, name, "latest")
    return deliver(
        identity, Path("/tmp/log"), once=once, listeners=compiled.listeners, filter_chains=compiled.filter_chains,
        routes=compiled.routes, clusters=compiled.clusters, endpoints=compiled.endpoints, extensions=compiled.extensions,
        behind=compiled.behind,
        hidden=compiled.hidden,
    )  # fmt: skip


def test_callers_that_nothing_tells_apart_share_their_outbound_side() -> None:
    first, second, third = _compiled()
    assert first.routes is second.routes is third.routes
    assert first.endpoints is third.endpoints


def test_a_label_that_a_match_asks_for_tells_callers_apart() -> None:
    first, second, third = _compiled(FROM_ORDERS)
    assert first.routes is second.routes, "both are order-service; their versions are asked for by nobody"
    assert first.routes is not third.routes
    hosts = [{host["name"]: host for host in item.routes["80"]["virtual_hosts"]} for item in (first, third)]
    routes = [host["payment-service.shop.svc.cluster.local:80"]["routes"][0] for host in hosts]
    assert [found["route"]["timeout"] for found in routes] == ["1s", "0s"]


def test_what_is_shared_is_not_changed_by_delivering_it() -> None:
    first, second, _ = _compiled(FROM_ORDERS)
    before = copy.deepcopy(second)
    once = Once()
    one, two = _delivered(first, once, "a"), _delivered(second, once, "b")
    assert second == before
    shared = [{n: c for n, c in item.resources()[CLUSTER].items() if n.startswith("outbound|")} for item in (one, two)]
    assert shared[0] == shared[1]
    assert one.resources()[ROUTES] != two.resources()[ROUTES], "each tells its own name to its peers"


def test_sharing_changes_nothing_of_what_is_sent() -> None:
    once, packer = Once(), Packer()
    for compiled in _compiled(FROM_ORDERS):
        shared = packer.snapshot(_delivered(compiled, once).resources())
        alone = Packer().snapshot(_delivered(compiled, Once()).resources())
        assert {t: dict(named) for t, named in shared.resources.items()} == {
            t: dict(named) for t, named in alone.resources.items()
        }


def test_an_equal_table_has_an_equal_version_in_the_next_push() -> None:
    packer = Packer()
    versions = []
    for _ in range(2):
        packer.begin_push()
        delivery = _delivered(_compiled(FROM_ORDERS)[0], Once())
        versions.append(packer.snapshot(delivery.resources()).of(ROUTES)["outbound"].version)
    assert versions[0] == versions[1]
