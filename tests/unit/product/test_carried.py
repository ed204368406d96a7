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


def _listener(cluster: str) -> Mapping[str, Any]:
    config = {"cluster": cluster, "stat_prefix": "x"}
    return {"filter_chains": [{"filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": config}]}]}


def _table(cluster: str) -> Mapping[str, Any]:
    return {"route_config": {"virtual_hosts": [{"routes": [{"route": {"cluster": cluster}}]}]}}


def _under_way(**active: int) -> str | None:
    names = {
        "opaque": OPAQUE,
        "spoken": SPOKEN,
        "found_out": FOUND_OUT,
        "called": CALLED,
        "outside": "PassthroughCluster",
    }
    clusters = [
        {"name": names[word], "host_statuses": [{"stats": [{"name": "rq_active", "value": number}]}]}
        for word, number in active.items()
    ]
    pages = {
        HOSTS: {"cluster_statuses": clusters},
        ROUTES: {"configs": [_table(FOUND_OUT), _table(CALLED)]},
        "/config_dump?resource=static_route_configs": {"configs": [_table(SPOKEN)]},
        LISTENERS: {
            "configs": [
                {"active_state": {"listener": _listener(OPAQUE)}},
                {"draining_state": {"listener": _listener(FOUND_OUT)}},
            ]
        },
    }
    return under_way(pages.__getitem__)


@pytest.mark.parametrize(
    ("active", "told"),
    [
        ({"opaque": 1}, None),
        ({"outside": 1}, None),
        ({"opaque": 0, "spoken": 0, "called": 0}, None),
        ({"opaque": 1, "spoken": 2}, f"2 requests under way to {SPOKEN}"),
        ({"called": 1}, f"1 requests under way to {CALLED}"),
        ({"found_out": 1}, f"1 requests, or connections that are not HTTP, under way to {FOUND_OUT}"),
    ],
)
def test_only_requests_are_under_way(active: dict[str, int], told: str | None) -> None:
    """A connection that is kept open to an opaque port is none, though Envoy's gauge counts it."""
    assert _under_way(**active) == told
