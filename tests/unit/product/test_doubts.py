"""What a change would make of the world is judged by all of the world: what a route refers to may be of any kind."""

from __future__ import annotations

from typing import Any, cast

import pytest
import yaml

from meshbdd.cluster import Cluster
from meshbdd.errors import BadInput
from meshbdd.rehearsal.stage import StageCluster
from meshbdd.scenario.doubts import refuse_nonsense

WORLD = """
apiVersion: v1
kind: Namespace
metadata: {name: web, labels: {istio-injection: enabled}}
---
apiVersion: v1
kind: Service
metadata: {name: pay, namespace: web}
spec: {selector: {app: pay}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: pay, namespace: web}
spec:
  selector: {matchLabels: {app: pay}}
  template: {metadata: {labels: {app: pay, istio: ingress}}, spec: {containers: [{name: app, ports: [{containerPort: 8080}]}]}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: public, namespace: web}
spec: {selector: {istio: ingress}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [pay.example]}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: bank, namespace: web}
spec: {hosts: [api.bank.example], resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP}]}
"""


def _objects(text: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(text))


def _route(host: str, gateway: str) -> list[dict[str, Any]]:
    return _objects(f"""
        apiVersion: networking.istio.io/v1
        kind: VirtualService
        metadata: {{name: a, namespace: web}}
        spec: {{hosts: [pay.example], gateways: [{gateway}], http: [{{route: [{{destination: {{host: {host}, port: {{number: 80}}}}}}]}}]}}
        """)


def test_a_route_through_istios_gateway_to_a_service_entry_is_sound() -> None:
    cluster = cast("Cluster", StageCluster(_objects(WORLD), "web", lambda _: None))
    assert refuse_nonsense(cluster, _route("api.bank.example", "public")) == ()


@pytest.mark.parametrize(
    ("host", "gateway", "code"), [("api.bank.exampel", "public", "MB0901"), ("api.bank.example", "publik", "MB0904")]
)
def test_one_that_is_not_there_is_refused(host: str, gateway: str, code: str) -> None:
    cluster = cast("Cluster", StageCluster(_objects(WORLD), "web", lambda _: None))
    with pytest.raises(BadInput) as refused:
        refuse_nonsense(cluster, _route(host, gateway))
    assert refused.value.code == code
