"""Which endpoints a sidecar is told of, and what of them."""

from __future__ import annotations

from typing import Any

import pytest

from meshbdd.lab.compile import Mesh, compile_pod
from tests.golden.meaning import world
from tests.unit.compile.test_destination_rules import rule
from tests.unit.compile.worlds import objects

HOST = "order-service.shop.svc.cluster.local"


def told(conditions: dict[str, Any], text: str = "", subset: str = "") -> list[tuple[str, str]]:
    """Address and health of order-service's endpoints, where those of its first pod are as given."""
    made = world()
    slices = [o for o in made if o["kind"] == "EndpointSlice" and o["metadata"]["name"] == "order-service-1"]
    slices[0]["endpoints"][0]["conditions"] = conditions
    assignment = compile_pod(Mesh.read([*made, *objects(text)]), "client-1", "other").endpoints[
        f"outbound|80|{subset}|{HOST}"
    ]
    return [
        (entry["endpoint"]["address"]["socket_address"]["address"], entry["health_status"])
        for place in assignment.get("endpoints", [])
        for entry in place["lb_endpoints"]
    ]


OTHER = ("10.0.0.2", "HEALTHY")


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({"ready": True}, [("10.0.0.1", "HEALTHY"), OTHER]),
        ({}, [("10.0.0.1", "HEALTHY"), OTHER]),
        ({"ready": False, "serving": False, "terminating": False}, [("10.0.0.1", "UNHEALTHY"), OTHER]),
        ({"ready": False, "serving": True, "terminating": True}, [OTHER]),
        ({"ready": False}, [OTHER]),
        # publishNotReadyAddresses: the endpoints controller says that it is ready
        ({"ready": True, "serving": False, "terminating": True}, [("10.0.0.1", "HEALTHY"), OTHER]),
    ],
)
def test_endpoints_that_are_not_ready(conditions: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert told(conditions) == expected


def test_where_envoy_may_panic_only_ready_endpoints_are_told() -> None:
    unready = {"ready": False, "terminating": False}
    both = [("10.0.0.1", "UNHEALTHY"), OTHER]
    ejects = "trafficPolicy: {outlierDetection: {interval: 1s%s}}"
    assert told(unready, rule(ejects % "", host=HOST)) == both
    assert told(unready, rule(ejects % ", minHealthPercent: 0", host=HOST)) == both
    assert told(unready, rule(ejects % ", minHealthPercent: 1", host=HOST)) == [OTHER]
    subsets = "subsets: [{name: all, labels: {app: order-service}, " + ejects % ", minHealthPercent: 50" + "}]"
    assert told(unready, rule(subsets, host=HOST)) == both
    assert told(unready, rule(subsets, host=HOST), "all") == [OTHER]
