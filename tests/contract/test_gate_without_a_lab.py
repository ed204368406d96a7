"""The arrival gate on two Envoys that no lab started: it needs their admin pages through a port-forward, and nothing else."""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
from websockets.exceptions import InvalidState

from meshbdd.cluster import Cluster
from meshbdd.errors import Inconclusive
from meshbdd.lab.api.backend import NoPods
from meshbdd.lab.api.core import Api
from meshbdd.lab.api.credentials import kubeconfig, self_signed
from meshbdd.lab.api.server import ApiServer
from meshbdd.lab.sidecar.binary import find_envoy
from meshbdd.mesh import Gate
from meshbdd.mesh.base import Where
from meshbdd.mesh.looking import ADMIN_PORT
from meshbdd.mesh.markers import FilterSwitched, RouteHeld
from meshbdd.units import Duration
from tests.tools import until

HOST = "payment-service.shop.svc.cluster.local"
MARKER = RouteHeld("meshbdd-r1-1-", (HOST,))
SWITCHED = FilterSwitched("meshbdd.fault.payment-service.1", "r1-7", Where())
_FAULT = "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"
_CALLED = f"outbound|80||{HOST}"
_ROUTER = {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}
_SOURCE = "type.googleapis.com/envoy.extensions.filters.listener.http_inspector.v3.HttpInspector"
_MANAGER = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _closed() -> dict[str, Any]:
    """The cluster of a service behind which nothing listens; the first error ejects its one endpoint for two seconds."""
    endpoint = {"endpoint": {"address": _address(_free_port())}}
    return {
        "name": _CALLED,
        "type": "STATIC",
        "outlier_detection": {
            "consecutive_5xx": 1,
            "interval": "0.2s",
            "base_ejection_time": "2s",
            "max_ejection_percent": 100,
        },
        "load_assignment": {"cluster_name": _CALLED, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


@dataclass
class Proxy:
    """An Envoy that reads its routes from a file."""

    folder: Path
    admin: int = field(default_factory=_free_port)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.folder.mkdir()
        self.hold("default")
        self.switch("")
        armed = {"path_config_source": {"path": str(self.folder / "filters.json")}, "resource_api_version": "V3"}
        fault = {"name": SWITCHED.name, "config_discovery": {"config_source": armed, "type_urls": [_FAULT]}}
        source = {"path_config_source": {"path": str(self.folder / "routes.json")}}
        manager = {
            "@type": _MANAGER,
            "stat_prefix": "x",
            "rds": {"route_config_name": "80", "config_source": {**source, "resource_api_version": "V3"}},
            "http_filters": [fault, {"name": "envoy.filters.http.router", "typed_config": _ROUTER}],
        }
        chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        self.port = _free_port()
        self._listener = {"name": "in", "address": _address(self.port), "filter_chains": [chain]}
        self.listen("first")
        config = {
            "node": {"id": self.folder.name, "cluster": "x"},
            "admin": {"address": _address(self.admin)},
            "static_resources": {"clusters": [_closed()]},
            "dynamic_resources": {"lds_config": {"path_config_source": {"path": str(self.folder / "listeners.json")}}},
        }
        (self.folder / "envoy.json").write_text(json.dumps(config))
        log = self.folder / "log"
        self.process = subprocess.Popen(
            [
                find_envoy(),
                "-c",
                self.folder / "envoy.json",
                "--log-path",
                log,
                "--use-dynamic-base-id",
                "--concurrency",
                "1",
                "--drain-time-s",
                "3",
            ],
        )
        until("the admin interface", self._ready, seconds=20)

    def _ready(self) -> bool:
        try:
            return requests.get(f"http://127.0.0.1:{self.admin}/ready", timeout=1).status_code == 200
        except requests.ConnectionError:
            return False

    def listen(self, word: str, config: Any = None) -> None:
        """Have a listener that differs by a word, or by the settings of a filter."""
        source = {"name": word, "typed_config": config or {"@type": _SOURCE}}
        listener = {
            "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
            **self._listener,
            "listener_filters": [source],
        }
        self._move_into_place("listeners.json", listener)

    def hold(self, *routes: str) -> None:
        """Hold routes of these names; Envoy reads a file again when another is moved into its place."""
        made = [{"name": n, "match": {"prefix": "/"}, "direct_response": {"status": 200}} for n in routes]
        made.insert(0, {"name": "call", "match": {"prefix": "/charge"}, "route": {"cluster": _CALLED}})
        config = {
            "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
            "name": "80",
            "virtual_hosts": [{"name": f"{HOST}:80", "domains": ["*"], "routes": made}],
        }
        self._move_into_place("routes.json", config)

    def switch(self, token: str) -> None:
        """Switch the armed fault filter on, under this token; an empty one switches it off."""
        settings = {
            "abort": {"http_status": 503, "percentage": {"numerator": 100}},
            "filter_metadata": {"meshbdd": token},
        }
        self._move_into_place(
            "filters.json",
            {
                "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
                "name": SWITCHED.name,
                "typed_config": {"@type": _FAULT, **(settings if token else {})},
            },
        )

    def get(self, path: str) -> int:
        """The status with which it answers a request at its listener."""
        return requests.get(f"http://127.0.0.1:{self.port}{path}", timeout=5).status_code

    def _move_into_place(self, name: str, resource: dict[str, Any]) -> None:
        new = self.folder / "new.json"
        new.write_text(json.dumps({"resources": [resource]}))
        new.rename(self.folder / name)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)


class AdminPorts(NoPods):
    """Pods of which nothing can be reached but the proxies' admin ports."""

    def __init__(self, ports: dict[str, int]) -> None:
        self._ports = ports

    async def connect(self, namespace: str, pod: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if port != ADMIN_PORT:
            raise ConnectionRefusedError(f"port {port} of {pod} is closed")
        return await asyncio.open_connection("127.0.0.1", self._ports[pod])


@pytest.fixture
def proxies(tmp_path: Path) -> Iterator[dict[str, Proxy]]:
    made = {name: Proxy(tmp_path / name) for name in ("quick", "late")}
    try:
        for proxy in made.values():
            proxy.start()
        yield made
    finally:
        for proxy in made.values():
            proxy.stop()


@pytest.fixture
def cluster(tmp_path: Path, proxies: dict[str, Proxy]) -> Iterator[Cluster]:
    """An API that knows two pods and forwards their ports."""
    cert, key = self_signed(tmp_path, "127.0.0.1")
    token, api, loop = secrets.token_urlsafe(16), Api(), asyncio.new_event_loop()
    server = ApiServer(api, "127.0.0.1", 0, cert, key, token, AdminPorts({n: p.admin for n, p in proxies.items()}))

    async def begin() -> None:
        api.create("namespaces", {"metadata": {"name": "shop"}})
        for name in proxies:
            meta = {"name": name, "namespace": "shop", "labels": {"security.istio.io/tlsMode": "istio"}}
            pod = {"metadata": meta, "spec": {"containers": [{"name": "app", "image": "app"}]}}
            api.create("pods", pod, "shop")
        await server.start()

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(begin(), loop).result(10)
        config = tmp_path / "kubeconfig"
        config.write_text(kubeconfig("x", server.url, cert, token, "shop"))
        cluster = Cluster.connect(config)
        for name in proxies:
            pod = cluster.get("Pod", name, "shop")
            pod["status"] = {"phase": "Running"}
            cluster.request("PUT", f"/api/v1/namespaces/shop/pods/{name}/status", body=pod)
        yield cluster
        with suppress(InvalidState):  # uvicorn says goodbye on a port-forward that is being closed already
            asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def test_it_opens_when_the_last_proxy_holds_the_marker_and_names_the_one_that_lags(
    cluster: Cluster, proxies: dict[str, Proxy]
) -> None:
    with closing(Gate(cluster, Duration(1))) as hasty, closing(Gate(cluster, Duration(10))) as patient:
        proxies["quick"].hold("meshbdd-r1-1-0", "default")
        with pytest.raises(Inconclusive, match="arrival of the change at late") as caught:
            hasty.wait_present([MARKER], {})
        assert "no route meshbdd-r1-1-*" in caught.value.sentence
        proxies["late"].hold("meshbdd-r1-1-0", "default")
        arrival = patient.wait_present([MARKER], {})
        assert set(arrival.proxies) == set(arrival.since) == {"quick", "late"}
        proxies["quick"].hold("default")
        with pytest.raises(Inconclusive, match="withdrawal of the change at late"):
            hasty.wait_absent([MARKER], {})
        proxies["late"].hold("default")
        patient.wait_absent([MARKER], {})


def test_what_was_counted_is_whole_once_nothing_drains(cluster: Cluster, proxies: dict[str, Proxy]) -> None:
    with closing(Gate(cluster, Duration(5))) as gate:
        gate.wait_drained()
        proxies["late"].listen("second")
        until("the old listener draining", lambda: _drains(proxies["late"]) == 1, seconds=10)
        gate.wait_drained()
        assert _drains(proxies["late"]) == 0


def _drains(proxy: Proxy) -> int:
    page = requests.get(f"http://127.0.0.1:{proxy.admin}/stats", {"filter": "total_listeners_draining"}, timeout=5).text
    return int(page.split()[-1])


def test_a_fault_counts_as_switched_when_the_proxy_holds_its_settings(
    cluster: Cluster, proxies: dict[str, Proxy]
) -> None:
    with closing(Gate(cluster, Duration(1))) as hasty, closing(Gate(cluster, Duration(10))) as patient:
        proxies["quick"].switch(SWITCHED.token)
        with pytest.raises(Inconclusive, match="no switched fault r1-7"):
            hasty.wait_present([SWITCHED], {})
        proxies["late"].switch(SWITCHED.token)
        assert set(patient.wait_present([SWITCHED], {}).proxies) == {"quick", "late"}
        assert [proxy.get("/") for proxy in proxies.values()] == [503, 503], "at once, on whatever connection"
        proxies["quick"].switch("")
        with pytest.raises(Inconclusive, match="withdrawal of the change at late"):
            hasty.wait_absent([SWITCHED], {})
        with pytest.raises(Inconclusive, match="at late"):
            hasty.wait_switched_off()
        proxies["late"].switch("")
        patient.wait_absent([SWITCHED], {})
        assert [proxy.get("/") for proxy in proxies.values()] == [200, 200]


def test_an_ejection_is_seen_at_the_caller_that_keeps_it(cluster: Cluster, proxies: dict[str, Proxy]) -> None:
    with closing(Gate(cluster, Duration(1))) as hasty, closing(Gate(cluster, Duration(10))) as patient:
        assert proxies["late"].get("/charge") == 503
        until("the ejection", lambda: patient.ejected() == {HOST: ("late",)}, seconds=5)
        with pytest.raises(Inconclusive, match=f"late .*still ejects endpoints of {HOST}"):
            hasty.wait_none_ejected(HOST)
        patient.wait_none_ejected(HOST)
        assert patient.ejected() == {}


def test_pages_that_a_proxy_does_not_have_are_empty(cluster: Cluster) -> None:
    """No extension was ever delivered to these, nothing is ejected, nothing is under way."""
    with closing(Gate(cluster, Duration(5))) as gate:
        gate.wait_switched_off()
        gate.wait_quiet()
        assert gate.ejected() == {}


def test_a_listener_that_a_proxy_refuses_is_told_in_its_words(cluster: Cluster, proxies: dict[str, Proxy]) -> None:
    proxies["quick"].hold("meshbdd-r1-1-0", "default")
    proxies["late"].listen("nonsense", {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": "x"})
    with closing(Gate(cluster, Duration(3))) as gate, pytest.raises(Inconclusive) as caught:
        gate.wait_present([MARKER], {})
    assert "no route meshbdd-r1-1-*; it refuses the listener in: " in caught.value.sentence
    assert "Didn't find a registered implementation" in caught.value.sentence, "Envoy's own words"
    assert caught.value.help is not None
    assert "log of the mesh's control plane" in caught.value.help
