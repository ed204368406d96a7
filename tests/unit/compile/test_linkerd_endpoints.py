"""What the destination service tells of a Service's endpoints.

Expectations: linkerd2 controller/api/destination/{endpoint_translator,endpoint_profile_translator}.go,
controller/api/destination/watcher/{endpoints_watcher,workload_watcher,opaque_ports_watcher}.go, pkg/util/parsing.go
"""

from __future__ import annotations

from typing import Any

import pytest

from meshbdd.lab.linkerd.envoy.pod import Compiler
from meshbdd.lab.linkerd.policies import Policies
from meshbdd.lab.linkerd.show.destinations import endpoints
from tests.unit.compile.linkerd_worlds import SERVER, objects, told

_PLACE = "order.shop:80 from shop"
_OPAQUE = {"opaque": {}, "opaque_transport": {"inbound_port": 4143}}


def _pod(annotations: str = "{}", control_plane: str = "linkerd", more: str = "") -> str:
    label = f", linkerd.io/control-plane-ns: {control_plane}" if control_plane else ""
    ports = "{name: web, containerPort: 8080}, {name: 8000-9000, containerPort: 7070}"
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: order-1, labels: {{app: order{label}}}, annotations: {annotations}}}
spec: {{serviceAccountName: order, containers: [{{name: app, image: shop, ports: [{ports}]}}{more}]}}
status: {{podIP: 10.0.0.1}}
"""


def _endpoint(made: dict[str, Any]) -> dict[str, Any]:
    (update,) = made["endpoints"][f"Get {_PLACE}"]
    (endpoint,) = update["add"]["addrs"]
    return dict(endpoint)


@pytest.mark.parametrize(
    ("annotation", "opaque"),
    [
        ("8080", True),
        ("9090", False),
        ("8000-9000", False),  # a name of a port before it is a range
        ("8079-8081", True),
        ("foo, 8080", True),
        ("9000-8000,8080", True),
        ("web", True),
        (" web ,9", True),
        ("Web", False),
        ("", False),
    ],
)
@pytest.mark.parametrize("meshed", [True, False])
def test_the_opaque_ports_of_a_pod_by_number_range_and_name(annotation: str, opaque: bool, meshed: bool) -> None:
    pod = _pod(f"{{config.linkerd.io/opaque-ports: '{annotation}'}}", "linkerd" if meshed else "")
    made = told(pod)
    hint = _OPAQUE if opaque else {"h2": {}}
    assert _endpoint(made).get("protocol_hint") == (hint if meshed else None)
    assert made["profile"]["GetProfile 10.0.0.1:8080 from shop"]["opaque_protocol"] == opaque


@pytest.mark.parametrize(
    ("server", "opaque"),
    [
        ("port: 8080, proxyProtocol: opaque", True),
        ("port: web, proxyProtocol: opaque", True),
        ("port: '8080', proxyProtocol: opaque", False),
        ("port: 9090, proxyProtocol: opaque", False),
        ("port: 8080, proxyProtocol: TLS", False),
        ("port: 8080", False),
    ],
)
def test_a_server_makes_a_port_opaque_for_callers_too(server: str, opaque: bool) -> None:
    made = told(_pod(), SERVER.replace("port: 8080", server))
    assert _endpoint(made)["protocol_hint"] == (_OPAQUE if opaque else {"h2": {}})
    assert made["profile"]["GetProfile 10.0.0.1:8080 from shop"]["opaque_protocol"] == opaque


@pytest.mark.parametrize(
    ("control_plane", "skip", "told_of"),
    [
        ("linkerd", "", {"tls_identity", "protocol_hint"}),
        ("linkerd", "9090", {"tls_identity", "protocol_hint"}),
        ("linkerd", "8080", set()),
        ("linkerd", "8000-8090", set()),
        ("linkerd", "foo,8080", set()),
        # Another control plane's proxy takes HTTP/2, and proves nothing.
        ("elsewhere", "", {"protocol_hint"}),
        ("", "", set()),
    ],
)
def test_a_port_past_the_proxy_has_neither_identity_nor_hint(control_plane: str, skip: str, told_of: set[str]) -> None:
    annotations = f"{{config.linkerd.io/skip-inbound-ports: '{skip}'}}" if skip else "{}"
    endpoint = _endpoint(told(_pod(annotations, control_plane)))
    assert {"tls_identity", "protocol_hint"} & set(endpoint) == told_of
    assert endpoint["metric_labels"].get("control_plane_ns", "") == control_plane


@pytest.mark.parametrize(("skip", "asked"), [("8080", False), ("9090", True)])
def test_no_policy_is_asked_at_a_port_past_the_proxy(skip: str, asked: bool) -> None:
    """The pod's own iptables rules lead there: linkerd2 pkg/k8s/labels.go, ``ProxyIgnoreInboundPortsAnnotation``."""
    policies = Policies(objects(SERVER, _pod(f"{{config.linkerd.io/skip-inbound-ports: '{skip}'}}")))
    chains = Compiler(policies).compile("order-1", "shop").listeners["inbound:8080"]["filter_chains"]
    (filters,) = (chain["filters"] for chain in chains if chain["name"] == "unmeshed:8080")
    assert [found["name"].rpartition(".")[2] for found in filters] == (
        ["http_connection_manager"] if asked else ["rbac", "tcp_proxy"]
    )
    if not asked:
        ((policy, rules),) = filters[0]["typed_config"]["rules"]["policies"].items()
        assert "all-unauthenticated" in policy
        assert rules["principals"] == [{"any": True}]


@pytest.mark.parametrize(
    ("annotation", "opaque"), [("http", True), ("80", True), ("79-81", True), ("web", False), ("x,80", True), ("", False)]
)  # fmt: skip
def test_the_opaque_ports_of_a_service_by_number_range_and_name(annotation: str, opaque: bool) -> None:
    service = f"""
apiVersion: v1
kind: Service
metadata: {{name: order, annotations: {{config.linkerd.io/opaque-ports: '{annotation}'}}}}
spec: {{clusterIP: 10.1.0.1, ports: [{{name: http, port: 80, targetPort: 8080}}], selector: {{app: order}}}}
"""
    assert told(service)["profile"][f"GetProfile {_PLACE}"]["opaque_protocol"] == opaque


@pytest.mark.parametrize(
    ("kind", "name", "labels", "told_of"),
    [
        ("ReplicaSet", "order-7f5", {"pod-template-hash": "7f5"}, {"deployment": "order", "pod_template_hash": "7f5"}),
        ("ReplicaSet", "order", {}, {"replicaset": "order"}),
        ("StatefulSet", "order", {}, {"statefulset": "order"}),
        ("Job", "order", {}, {"k8s_job": "order"}),
        (None, "", {}, {}),
    ],
)
def test_what_a_pod_is_of(kind: str | None, name: str, labels: dict[str, str], told_of: dict[str, str]) -> None:
    """linkerd2 pkg/k8s/labels.go, ``GetPodLabels``."""
    pod = {"metadata": {"name": "order-1", "namespace": "shop", "labels": labels}, "spec": {}}
    if kind is not None:
        pod["metadata"]["ownerReferences"] = [{"kind": kind, "name": name, "controller": True}]
    place = Policies([]).destinations.place(pod, "10.0.0.1", 8080)
    (update,) = endpoints("order", "shop", (place,))
    (made,) = update["add"]["addrs"]
    common = {"pod": "order-1", "serviceaccount": "default", "zone": "", "zone_locality": "unknown"}
    assert made["metric_labels"] == common | told_of
