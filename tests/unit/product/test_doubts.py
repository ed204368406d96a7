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
    assert refuse_nonsense(cluster, _route("api.bank.example", "public"), "istio") == ()


@pytest.mark.parametrize(
    ("host", "gateway", "code"), [("api.bank.exampel", "public", "MB0901"), ("api.bank.example", "publik", "MB0904")]
)
def test_one_that_is_not_there_is_refused(host: str, gateway: str, code: str) -> None:
    cluster = cast("Cluster", StageCluster(_objects(WORLD), "web", lambda _: None))
    with pytest.raises(BadInput) as refused:
        refuse_nonsense(cluster, _route(host, gateway), "istio")
    assert refused.value.code == code


_SERVICES = """
apiVersion: v1
kind: Pod
metadata: {name: ledger, namespace: legacy, labels: {app: ledger}}
spec: {containers: [{name: app, ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: backup, namespace: shop, labels: {app: backup}}
spec: {containers: [{name: app, ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: ledger, namespace: legacy}
spec: {selector: {app: ledger}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: backup, namespace: shop}
spec: {selector: {app: backup}, ports: [{name: http, port: 80, targetPort: 8080}]}
"""


@pytest.mark.parametrize(
    ("backend", "mesh", "missing"),
    [
        ("{name: ledger, port: 80}", "linkerd", None),
        ("{name: ledger, port: 80}", "istio", '"ledger" in namespace "shop"'),
        ("{name: backup, port: 80}", "linkerd", '"backup" in namespace "legacy"'),
        ("{name: backup, port: 80}", "istio", None),
        ("{name: backup, namespace: shop, port: 80}", "linkerd", None),
    ],
)
def test_a_backend_without_a_namespace_is_where_the_mesh_takes_it_to_be(
    backend: str, mesh: str, missing: str | None
) -> None:
    route = _objects(f"""
        apiVersion: gateway.networking.k8s.io/v1
        kind: HTTPRoute
        metadata: {{name: consumer, namespace: shop}}
        spec:
          parentRefs: [{{group: "", kind: Service, name: ledger, namespace: legacy, port: 80}}]
          rules: [{{backendRefs: [{backend}]}}]
        """)
    cluster = cast("Cluster", StageCluster(_objects(_SERVICES), "shop", lambda _: None))
    if missing is None:
        assert refuse_nonsense(cluster, route, mesh) == ()
        return
    with pytest.raises(BadInput, match=f"a backend of rule 1 is Service {missing}, which does not exist"):
        refuse_nonsense(cluster, route, mesh)
