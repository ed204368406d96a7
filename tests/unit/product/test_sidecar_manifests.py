"""A Sidecar is awaited where it counts, by the hosts that it leaves, also where it changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from meshbdd.errors import BadInput
from meshbdd.mesh import Istio
from meshbdd.mesh.base import Marker
from meshbdd.mesh.markers import ConfigChanged, HostsKnown
from tests.unit.product.staged import Staged

Object = dict[str, Any]
ORDER, PAYMENT = "order.shop.svc.cluster.local", "payment.shop.svc.cluster.local"


def _meta(name: str, namespace: str = "shop") -> Object:
    return {"name": name, "namespace": namespace}


def _service(name: str, namespace: str = "shop", **spec: Any) -> Object:
    return {
        "kind": "Service",
        "metadata": _meta(name, namespace),
        "spec": {"selector": {"app": name}, "ports": [{"port": 80}], **spec},
    }


def _pod(app: str, namespace: str = "shop") -> Object:
    labels = {"app": app, "security.istio.io/tlsMode": "istio"}
    return {"kind": "Pod", "metadata": {**_meta(f"{app}-1", namespace), "labels": labels}, "spec": {}}


def _sidecar(name: str, *hosts: str, namespace: str = "shop", app: str = "", **spec: Any) -> Object:
    chosen = {"workloadSelector": {"labels": {"app": app}}} if app else {}
    api = {"apiVersion": "networking.istio.io/v1", "kind": "Sidecar"}
    return {**api, "metadata": _meta(name, namespace), "spec": {**chosen, "egress": [{"hosts": list(hosts)}], **spec}}


SHOP = (
    *({"kind": "Namespace", "metadata": {"name": name}} for name in ("shop", "istio-system")),
    _service("order"), _service("payment"), _service("elsewhere", type="ExternalName"),
    _pod("order"), _pod("client"),
)  # fmt: skip
ROUTE = {"kind": "VirtualService", "metadata": _meta("own", "money"), "spec": {"hosts": [ORDER]}}


def _markers(*documents: Object, there: tuple[Object, ...] = ()) -> tuple[Marker, ...]:
    return Staged(Istio, [*SHOP, *there])(list(documents)).markers


def _takes(marker: Marker) -> set[str]:
    return {pod["metadata"]["name"] for pod in SHOP if pod["kind"] == "Pod" and marker.where.takes(pod["metadata"])}


@pytest.mark.parametrize(
    ("hosts", "known"),
    [
        (["./*"], {ORDER, PAYMENT}),
        (["*/*"], {ORDER, PAYMENT}),
        ([f"shop/{ORDER}"], {ORDER}),
        (["*/*.shop.svc.cluster.local"], {ORDER, PAYMENT}),
        (["money/*"], set()),
        (["~/*"], set()),
    ],
)
def test_the_proxies_are_to_know_the_hosts_that_it_shows(hosts: list[str], known: set[str]) -> None:
    [marker] = _markers(_sidecar("own", *hosts))
    assert isinstance(marker, HostsKnown)
    assert (marker.hosts, marker.hidden) == (known, {ORDER, PAYMENT} - known)
    assert _takes(marker) == {"order-1", "client-1"}


@pytest.mark.parametrize(
    ("own", "there"),
    [
        (_sidecar("own", "./*", outboundTrafficPolicy={"mode": "REGISTRY_ONLY"}), ()),
        (
            _sidecar("own", "./*"),
            (_sidecar("other", "./*", app="client", outboundTrafficPolicy={"mode": "ALLOW_ANY"}),),
        ),
        (_sidecar("own", "./*"), (ROUTE,)),  # it hides a route for a host that it shows
        (_sidecar("own", "*/*", "~money/*"), ()),
        ({**_sidecar("own"), "spec": {}}, ()),
        (
            _sidecar("own", "./*"),
            ({"kind": "ServiceEntry", "metadata": _meta("api"), "spec": {"hosts": ["api.example"]}},),
        ),
    ],
)
def test_where_more_than_hosts_may_change_only_a_change_tells(own: Object, there: tuple[Object, ...]) -> None:
    [marker] = _markers(own, there=there)
    assert isinstance(marker, ConfigChanged)


def test_it_is_not_awaited_where_another_one_counts() -> None:
    for_client, of_mesh = _sidecar("client", "./*", app="client"), _sidecar("default", "*/*", namespace="istio-system")
    [marker] = _markers(_sidecar("own", "./*"), there=(for_client, of_mesh))
    assert _takes(marker) == {"order-1"}
    assert [_takes(marker) for marker in _markers(_sidecar("own", "./*"), for_client)] == [{"order-1"}, {"client-1"}]
    [marker] = _markers(of_mesh, there=(for_client,))
    assert _takes(marker) == {"order-1"}
    with pytest.raises(BadInput, match="Sidecar default would change nothing: each pod that it is for has another one"):
        _markers(of_mesh, there=(_sidecar("own", "./*"),))


def _dumps(clusters: list[str], routes: list[str]) -> list[Object]:
    held = [{"cluster": {"name": name}} for name in clusters]
    return [{"configs": held}, {"configs": [{"route_config": {"virtual_hosts": [{"name": name} for name in routes]}}]}]


@pytest.mark.parametrize(
    ("clusters", "routes", "held"),
    [
        ([f"outbound|80||{ORDER}", "inbound|8080||"], [f"{ORDER}:80", "allow_any"], True),
        ([f"outbound|80||{ORDER}", "outbound|80||elsewhere.shop.svc.cluster.local"], [], True),
        ([f"outbound|80||{ORDER}", f"outbound|80|v1|{PAYMENT}"], [f"{ORDER}:80"], False),
        ([f"outbound|80||{ORDER}"], [f"{ORDER}:80", f"{PAYMENT}:80"], False),
        ([], [], False),
    ],
)
def test_what_a_proxy_knows_is_in_its_clusters_and_routes(clusters: list[str], routes: list[str], held: bool) -> None:
    marker = HostsKnown("Sidecar own", frozenset({ORDER}), frozenset({PAYMENT}))
    assert marker.held(_dumps(clusters, routes)) is held
