"""What proxies may still hold of a run that was killed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from meshbdd.cluster import RUN, Cluster
from meshbdd.cluster.record import UNDO, Owner, Record
from meshbdd.scenario.left_behind import left_behind


def _route(*, created: bool) -> dict[str, Any]:
    record = Record("dead", Owner("host", 1, "1"), "cluster", "uid", created, ())
    meta = {"name": "canary", "namespace": "shop", "labels": {RUN: "dead"}, "annotations": {UNDO: record.dump()}}
    spec = {"parentRefs": [{"group": "", "kind": "Service", "name": "payment-service"}], "rules": [{}]}
    return {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": meta, "spec": spec}


def _page(*routes: str) -> dict[str, Any]:
    host = {"name": "payment-service.shop.svc.cluster.local:80", "routes": [{"name": name} for name in routes]}
    return {"configs": [{"route_config": {"virtual_hosts": [host]}}]}


@pytest.mark.parametrize("created", [True, False])
def test_the_rules_of_an_http_route_that_a_dead_run_made_are_awaited_to_go(created: bool) -> None:
    cluster = cast("Cluster", SimpleNamespace(list=lambda *_: []))
    markers, _ = left_behind(cluster, [_route(created=created)], ())
    routes = [marker for marker in markers if str(marker) == "route shop.canary.*"]
    assert len(routes) == created, "one that was there before still has its rules"
    for marker in routes:
        assert marker.held([_page("default", "shop.canary.0")])
        assert marker.held([_page("default")]) is False
