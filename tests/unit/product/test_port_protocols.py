"""Rules for HTTP are for ports that carry it: by what Istio reads off the port, or by what it detects in the bytes."""

from __future__ import annotations

from typing import Any

import pytest

from meshbdd.errors import BadInput
from meshbdd.intents import ServiceRef
from meshbdd.mesh.catalog import check_http

PAY = ServiceRef("pay", "shop")


@pytest.mark.parametrize(
    "port",
    [
        {"port": 80},
        {"name": "web", "port": 81},
        {"name": "HTTP-api", "port": 80},
        {"name": "tcp", "appProtocol": "HTTP", "port": 82},
        {"name": "tcp", "appProtocol": "kubernetes.io/h2c", "port": 82},
        {"name": "tcp-api", "appProtocol": "example.com/own", "port": 82},
        {"name": "grpc-web-api", "port": 80},
        {"name": "http", "port": 3306},
    ],
)
def test_http_can_go_through_a_port_that_is_not_declared_something_else(port: dict[str, Any]) -> None:
    check_http(PAY, {"spec": {"ports": [{"name": "tcp-db", "port": 5432}, port]}})


@pytest.mark.parametrize(
    "port",
    [
        {"name": "tcp-db", "port": 5432},
        {"name": "TLS", "port": 80},
        {"name": "mongo", "port": 80},
        {"name": "https-web", "port": 80},
        {"name": "http", "appProtocol": "TCP", "port": 80},
        {"name": "http", "appProtocol": "kubernetes.io/wss", "port": 80},
        {"name": "http", "protocol": "UDP", "port": 80},
        {"name": "web", "port": 3306},
        {"appProtocol": "example.com/own", "port": 3306},
    ],
)
def test_a_port_that_is_declared_something_else_carries_no_http(port: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=rf"\(its ports: {port.get('name', 'unnamed')} {port['port']}\)") as caught:
        check_http(PAY, {"spec": {"ports": [port]}})
    assert caught.value.code == "MB0410"
