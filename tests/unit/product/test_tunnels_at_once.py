"""Many proxies are asked at a time: opening a tunnel to one leaves the client of the API as it is for the others."""

from __future__ import annotations

import functools
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, cast

import pytest
from kubernetes.client import ApiClient, ApiException, Configuration
from kubernetes.stream.stream import _websocket_request

from meshbdd.cluster import Cluster, tunnel
from meshbdd.errors import EnvironmentBroken

SECONDS = 10.0


def test_a_tunnel_opens_while_another_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    first_opens, second_begins, first_is_done = threading.Event(), threading.Event(), threading.Event()
    serialize = ApiClient.param_serialize

    def handshake(_configuration: Any, _method: str, url: str, **_options: Any) -> Any:
        if "/first/" in url:
            first_opens.set()
            assert second_begins.wait(SECONDS)
        raise ApiException(status=0, reason="Handshake status 404 Not Found")

    def begins(self: ApiClient, *args: Any, **options: Any) -> Any:
        if options["path_params"]["name"] == "second":
            second_begins.set()
            assert first_is_done.wait(SECONDS)
        return serialize(self, *args, **options)

    def plain(*_args: Any, **_options: Any) -> Any:
        raise AssertionError("asked without a WebSocket")

    monkeypatch.setattr(tunnel, "portforward", functools.partial(_websocket_request, handshake, {}))
    monkeypatch.setattr(ApiClient, "param_serialize", begins)
    monkeypatch.setattr(ApiClient, "call_api", plain)
    cluster = cast("Cluster", SimpleNamespace(client=ApiClient(Configuration(host="http://localhost"))))

    def opened(pod: str) -> EnvironmentBroken:
        with pytest.raises(EnvironmentBroken) as caught:
            tunnel.Tunnel(cluster, pod, "shop", 15000).get("/")
        return caught.value

    with ThreadPoolExecutor() as pool:
        first = pool.submit(opened, "first")
        assert first_opens.wait(SECONDS)
        second = pool.submit(opened, "second")
        assert isinstance(first.result(), tunnel.PodGone)
        first_is_done.set()
        assert isinstance(second.result(), tunnel.PodGone)
