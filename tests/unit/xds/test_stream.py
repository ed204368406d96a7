"""The order in which changes reach an Envoy, with the test in Envoy's place."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from envoy.service.discovery.v3 import discovery_pb2

from meshbdd.lab.compile.envoy.types import ADS
from meshbdd.lab.xds.resources import CLUSTER, ENDPOINTS, ROUTES, Packer, Snapshot
from meshbdd.lab.xds.stream import Stream


def _snapshot(*clusters: str) -> Snapshot:
    """Clusters, and a route table that leads to the last of them."""
    route = {"match": {"prefix": "/"}, "route": {"cluster": clusters[-1]}}
    table = {"name": "outbound", "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]}
    named = {name: {"name": name, "type": "STATIC"} for name in clusters}
    return Packer().snapshot({CLUSTER: named, ROUTES: {"outbound": table}})


class _Envoy:
    """Subscribes to everything, and tells what it is sent; it answers when it is told to."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        stream.receive(discovery_pb2.DeltaDiscoveryRequest(type_url=CLUSTER))

    def subscribe(self) -> None:
        request = discovery_pb2.DeltaDiscoveryRequest(type_url=ROUTES, resource_names_subscribe=["outbound"])
        self._stream.receive(request)

    async def next(self) -> Any:
        return await asyncio.wait_for(self._stream.responses.get(), 5)

    def acknowledge(self, response: Any) -> None:
        self._stream.receive(
            discovery_pb2.DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
        )


def test_a_change_during_a_push_never_brings_routes_before_their_clusters() -> None:
    async def play() -> list[tuple[str, str]]:
        stream = Stream("node", lambda *_: None)
        envoy = _Envoy(stream)
        stream.set(_snapshot("first"))
        pushing = asyncio.ensure_future(stream.run())
        seen: list[tuple[str, str]] = []
        clusters = await envoy.next()
        envoy.subscribe()
        # The world changes while Envoy still warms the clusters of the push before.
        stream.set(_snapshot("first", "second"))
        envoy.acknowledge(clusters)
        while not any(kind == ROUTES and "second" in body for kind, body in seen):
            response = await envoy.next()
            seen += [(response.type_url, str(resource.resource.value)) for resource in response.resources]
            envoy.acknowledge(response)
        pushing.cancel()
        return seen

    seen = asyncio.run(play())
    to_second = next(n for n, (kind, body) in enumerate(seen) if kind == ROUTES and "second" in body)
    assert any(kind == CLUSTER and "second" in body for kind, body in seen[:to_second])


@pytest.mark.parametrize("resource", ["", "another-name/of-its-endpoints"])
def test_the_endpoints_of_a_changed_cluster_are_sent_again_by_whatever_name_it_has_them(resource: str) -> None:
    """Envoy keeps it warming until they come, and asks for them once."""
    source = {"eds_config": ADS, **({"service_name": resource} if resource else {})}
    named = resource or "called"

    def snapshot(timeout: str) -> Snapshot:
        cluster = {"name": "called", "type": "EDS", "eds_cluster_config": source, "connect_timeout": timeout}
        return Packer().snapshot({CLUSTER: {"called": cluster}, ENDPOINTS: {named: {"cluster_name": named}}})

    async def play() -> list[str]:
        stream = Stream("node", lambda *_: None)
        envoy = _Envoy(stream)
        stream.set(snapshot("1s"))
        pushing = asyncio.ensure_future(stream.run())
        clusters = await envoy.next()
        stream.receive(discovery_pb2.DeltaDiscoveryRequest(type_url=ENDPOINTS, resource_names_subscribe=[named]))
        envoy.acknowledge(clusters)
        while not stream.synced.is_set():
            with contextlib.suppress(TimeoutError):
                envoy.acknowledge(await asyncio.wait_for(stream.responses.get(), 0.1))
        stream.set(snapshot("2s"))
        first, second = await envoy.next(), await envoy.next()
        pushing.cancel()
        return [first.type_url, second.type_url, *(found.name for found in second.resources)]

    assert asyncio.run(play()) == [CLUSTER, ENDPOINTS, named]
