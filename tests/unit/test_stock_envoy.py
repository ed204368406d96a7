"""The image ``envoyproxy/envoy`` on the lab: what of a container's bootstrap loopback needs otherwise."""

from __future__ import annotations

import json
from typing import Any

from meshbdd.lab.stock_envoy import arguments


def _socket(address: str, port: int) -> dict[str, Any]:
    return {"address": {"socket_address": {"address": address, "port_value": port}}}


def _bootstrap() -> dict[str, Any]:
    def cluster(name: str, kind: str, address: str) -> dict[str, Any]:
        load = {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": _socket(address, 80)}]}]}
        return {"name": name, "type": kind, "load_assignment": load}

    routes = [
        {"match": {"prefix": "/a"}, "route": {"cluster": "named"}},
        {"match": {"prefix": "/b"}, "route": {"cluster": "fixed"}},
        {"match": {"prefix": "/"}, "direct_response": {"status": 500}},
    ]
    manager = {"route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]}}
    listener = {**_socket("0.0.0.0", 8080), "filter_chains": [{"filters": [{"typed_config": manager}]}]}
    clusters = [cluster("named", "STRICT_DNS", "twin.shop.svc.cluster.local"), cluster("fixed", "STATIC", "127.0.0.9")]
    return {"static_resources": {"listeners": [listener], "clusters": clusters}}


def test_it_listens_at_home_and_leaves_by_the_pods_way_out_under_the_name_that_it_asked_for() -> None:
    environment = {"HOST": "127.3.128.5", "HTTP_PROXY": "http://127.3.128.5:4140"}
    argv = arguments(["--config-yaml", json.dumps(_bootstrap()), "--log-level", "error"], environment)
    assert argv[2:4] == ["--log-level", "error"]
    static = json.loads(argv[1])["static_resources"]
    [listener] = static["listeners"]
    assert listener["address"]["socket_address"] == {"address": "127.3.128.5", "port_value": 8080}
    named, fixed = static["clusters"]
    endpoint = named["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
    assert (named["type"], endpoint) == ("STATIC", {"address": "127.3.128.5", "port_value": 4140})
    assert fixed == _bootstrap()["static_resources"]["clusters"][1]
    [host] = listener["filter_chains"][0]["filters"][0]["typed_config"]["route_config"]["virtual_hosts"]
    assert [route.get("route", {}).get("host_rewrite_literal") for route in host["routes"]] == [
        "twin.shop.svc.cluster.local:80",
        None,
        None,
    ]


def test_a_command_line_without_a_bootstrap_is_left_alone() -> None:
    argv = arguments(["-c", "envoy.yaml"], {"HOST": "127.3.128.5", "HTTP_PROXY": "http://127.3.128.5:4140"})
    assert argv[:2] == ["-c", "envoy.yaml"]
