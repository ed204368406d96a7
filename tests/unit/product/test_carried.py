"""What is under way in a proxy: requests alone, by its pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from meshbdd.mesh.carried import under_way
from meshbdd.mesh.hosts_page import HOSTS
from meshbdd.mesh.markers import LISTENERS, ROUTES

OPAQUE, SPOKEN, FOUND_OUT = "inbound|8080||", "inbound|9090||", "outbound|7000||cache.shop.svc.cluster.local"
CALLED = "Service.shop.payment-service:80/Service.shop.payment-service:80"
LEGACY, CANARY = (f"outbound|80|{subset}|legacy.shop.svc.cluster.local" for subset in ("", "canary"))
REDIS, REPLICA = (f"outbound|6379|{subset}|redis.shop.svc.cluster.local" for subset in ("", "replica"))
GONE = "outbound|80||gone.shop.svc.cluster.local"


def _bytes_to(cluster: str) -> Mapping[str, Any]:
    return {"name": "envoy.filters.network.tcp_proxy", "typed_config": {"cluster": cluster, "stat_prefix": "x"}}


def _requests_by(table: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"name": "envoy.filters.network.http_connection_manager", "typed_config": {"stat_prefix": "x", **table}}


def _listener(*filters: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"listener": {"filter_chains": [{"filters": list(filters)}]}}


def _table(cluster: str) -> Mapping[str, Any]:
    return {"route_config": {"name": "a table", "virtual_hosts": [{"routes": [{"route": {"cluster": cluster}}]}]}}


def _under_way(active: Mapping[str, int]) -> str | None:
    clusters = [
        {"name": name, "host_statuses": [{"stats": [{"name": "rq_active", "value": number}]}]}
        for name, number in active.items()
    ]
    pages = {
        HOSTS: {"cluster_statuses": clusters},
        ROUTES: {"configs": [_table(FOUND_OUT), _table(CALLED), _table(LEGACY)]},
        "/config_dump?resource=static_route_configs": {"configs": [_table(SPOKEN)]},
        LISTENERS: {
            "configs": [
                {"active_state": _listener(_bytes_to(OPAQUE), _requests_by(_table(SPOKEN)), _bytes_to(REDIS))},
                {"draining_state": _listener(_bytes_to(FOUND_OUT))},
            ]
        },
    }
    return under_way(pages.__getitem__)


@pytest.mark.parametrize(
    ("active", "told"),
    [
        ({OPAQUE: 1}, None),
        ({"PassthroughCluster": 1, "InboundPassthroughCluster": 1, "xds-grpc": 1}, None),
        ({OPAQUE: 0, SPOKEN: 0, CALLED: 0, GONE: 0}, None),
        ({OPAQUE: 1, SPOKEN: 2}, f"2 requests under way to {SPOKEN}"),
        ({CALLED: 1}, f"1 requests under way to {CALLED}"),
        ({FOUND_OUT: 1}, f"1 requests, or connections that are not HTTP, under way to {FOUND_OUT}"),
    ],
)
def test_only_requests_are_under_way(active: dict[str, int], told: str | None) -> None:
    """A connection that is kept open to an opaque port is none, though Envoy's gauge counts it."""
    assert _under_way(active) == told


@pytest.mark.parametrize(
    ("active", "told"),
    [
        ({CANARY: 3}, f"3 requests under way to {CANARY}"),
        ({GONE: 1}, f"1 requests under way to {GONE}"),
        ({REPLICA: 1}, None),
    ],
)
def test_requests_are_under_way_still_when_no_route_leads_there_any_more(
    active: dict[str, int], told: str | None
) -> None:
    """A split was undone while slow calls were under way: a subset of an HTTP port carries requests, one of Redis bytes."""
    assert _under_way(active) == told
