"""What a pod's ports, probes and annotations make of its inbound policies.

Expectations: linkerd2 policy-controller/k8s/index/src/inbound/{workload,index}.rs, pkg/inject/inject.go
"""

from __future__ import annotations

from typing import Any

import pytest

from meshbdd.lab.linkerd.compile import Questions
from meshbdd.lab.linkerd.policies import Policies
from tests.unit.compile.linkerd_worlds import SERVER, name_of, objects, told

_WEB = "{name: app, image: shop, ports: [{name: web, containerPort: 8080}]}"


def _pod(containers: str = f"[{_WEB}]", more: str = "", annotations: str = "{}") -> str:
    return f"""
apiVersion: v1
kind: Pod
metadata:
  name: order-1
  labels: {{app: order, linkerd.io/control-plane-ns: linkerd}}
  annotations: {annotations}
spec: {{serviceAccountName: order, containers: {containers}{more}}}
status: {{podIP: 10.0.0.1}}
"""


def _governed(made: dict[str, Any]) -> list[int]:
    """The ports of the pod for which a Server speaks."""
    labels = {place: policy["labels"] for place, policy in made["inbound"].items()}
    return sorted(int(place.partition(":")[2]) for place, found in labels.items() if found["kind"] == "server")


_TWO = "[{name: a, image: x, ports: [{name: web, containerPort: 8080}]}, {name: b, image: x, ports: [{name: web, containerPort: 9000}]}]"


@pytest.mark.parametrize(
    ("port", "containers", "more", "governed"),
    [
        ("8080", f"[{_WEB}]", "", [8080]),
        ("7070", f"[{_WEB}]", "", [7070]),
        ("web", f"[{_WEB}]", "", [8080]),
        ("Web", f"[{_WEB}]", "", []),
        ("web", _TWO, "", [8080, 9000]),
        ("side", f"[{_WEB}]", ", initContainers: [{name: s, image: x, ports: [{name: side, containerPort: 9000}]}]", [9000]),
        ("dns", "[{name: a, image: x, ports: [{name: dns, containerPort: 53, protocol: UDP}]}]", "", []),
        # As text it is a name, which no port has.
        ("'8080'", "[{name: a, image: x, ports: [{containerPort: 8080}]}]", "", []),
        ("'8080'", f"[{_WEB}]", "", []),
    ],
)  # fmt: skip
def test_the_ports_that_a_server_picks(port: str, containers: str, more: str, governed: list[int]) -> None:
    assert _governed(told(SERVER.replace("port: 8080", f"port: {port}"), _pod(containers, more))) == governed


@pytest.mark.parametrize(
    ("expression", "governed"),
    [
        ("{key: app, operator: In, values: [order]}", [8080]),
        ("{key: app, operator: NotIn, values: [order]}", []),
        ("{key: tier, operator: NotIn, values: [order]}", [8080]),
        ("{key: app, operator: Exists}", [8080]),
        ("{key: tier, operator: DoesNotExist}", [8080]),
        # Illegal ones match nothing: linkerd2 policy-controller/k8s/api/src/labels.rs.
        ("{key: app, operator: NotIn}", []),
        ("{key: app, operator: Exists, values: [order]}", []),
        ("{key: tier, operator: DoesNotExist, values: []}", []),
    ],
)
def test_the_expressions_of_a_selector(expression: str, governed: list[int]) -> None:
    server = SERVER.replace("{matchLabels: {app: order}}", f"{{matchExpressions: [{expression}]}}")
    assert _governed(told(server)) == governed


def _probe(port: str, path: str = "/live", name: str = "livenessProbe") -> str:
    return f'{name}: {{httpGet: {{path: "{path}", port: {port}}}}}'


@pytest.mark.parametrize(
    ("containers", "more", "paths"),
    [
        (f"[{{name: a, image: x, {_probe('8080')}}}]", "", ["/live"]),
        (f"[{{name: a, image: x, {_probe('8080', '/a?b=c', 'startupProbe')}}}]", "", ["/a"]),
        (f"[{{name: a, image: x, {_probe('9090')}}}]", "", []),
        (f"[{{name: a, image: x, ports: [{{name: web, containerPort: 8080}}], {_probe('web')}}}]", "", ["/live"]),
        (f"[{{name: a, image: x, ports: [{{name: web, containerPort: 8080}}], {_probe('WEB')}}}]", "", ["/live"]),
        # A port's name is one of the same container.
        (f"[{{name: a, image: x, {_probe('web')}}}, {_WEB}]", "", []),
        (f"[{_WEB}]", f", initContainers: [{{name: s, image: x, restartPolicy: Always, {_probe('8080')}}}]", ["/live"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("server", ["", SERVER])
def test_the_paths_by_which_a_port_is_probed(containers: str, more: str, paths: list[str], server: str) -> None:
    asked = Questions(Policies(objects(server, _pod(containers, more))))
    routes = asked.inbound("order-1.shop:8080")["protocol"]["detect"]["http_routes"]
    assert [name_of(route) for route in routes] == (["default", "probe"] if paths else ["default"])
    assert [match["path"]["exact"] for route in routes[1:] for match in route["rules"][0]["matches"]] == paths


@pytest.mark.parametrize(
    ("containers", "annotations", "protocol"),
    [
        # The injector writes those of the default list into the annotation that the pod declares.
        ("[{name: a, image: x, ports: [{containerPort: 3306}]}]", "{}", "opaque"),
        ("[{name: a, image: x, ports: [{containerPort: 3306}]}]", "{config.linkerd.io/opaque-ports: ''}", "detect"),
        ("[{name: a, image: x}]", "{}", "detect"),
        ("[{name: a, image: x}]", "{config.linkerd.io/opaque-ports: '3306'}", "opaque"),
    ],
)
def test_the_default_list_of_opaque_ports_counts_for_the_ports_that_a_pod_declares(containers: str, annotations: str, protocol: str) -> None:  # fmt: skip
    policies = Policies(objects(_pod(containers, annotations=annotations)))
    (pod,) = policies.objects.pods.values()
    assert policies.inbound.at_port(pod, 3306).protocol == protocol


@pytest.mark.parametrize(
    ("policy", "name", "log"),
    [
        ("all-authenticated", "all-authenticated", []),
        ("bogus", "all-unauthenticated", ['WARN Invalid default policy annotation value error=invalid mode: "bogus"']),
        ("''", "all-unauthenticated", ['WARN Invalid default policy annotation value error=invalid mode: ""']),
    ],
)
@pytest.mark.parametrize("server", ["", SERVER])
def test_a_default_policy_that_is_none_counts_as_not_said(policy: str, name: str, log: list[str], server: str) -> None:
    made = told(server, _pod(annotations=f"{{config.linkerd.io/default-inbound-policy: {policy}}}"))
    assert made["inbound"]["order-1.shop:9090"]["labels"]["name"] == name
    assert made["log"] == log


@pytest.mark.parametrize(
    ("containers", "asked"),
    [
        ("[{name: a, image: x}]", False),
        ("[{name: a, image: x, ports: [{containerPort: 8080}]}]", True),
        (f"[{{name: a, image: x, {_probe('8080')}}}]", True),
        (f"[{{name: a, image: x, {_probe('8080', name='startupProbe')}}}]", False),
        # The kubelet's connection is the first one.
        ("[{name: a, image: x, readinessProbe: {tcpSocket: {port: 8080}}}]", True),
        ("[{name: a, image: x, readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 100}}]", False),
        ("[{name: a, image: x, livenessProbe: {tcpSocket: {port: 8080}}}]", False),
    ],
)
@pytest.mark.parametrize("server", ["", SERVER])
def test_a_proxy_knows_the_ports_from_the_start_that_its_pod_declares_or_is_probed_at(containers: str, asked: bool, server: str) -> None:  # fmt: skip
    """linkerd2 pkg/inject/inject.go, ``getPodInboundPorts``; whether a Server says something else by then is all the same."""
    policies = Policies(objects(server, _pod(containers)))
    (pod,) = policies.objects.pods.values()
    assert (policies.inbound.before_fetched(pod, 8080) is None) == asked


def test_the_first_request_to_an_opaque_port_that_is_not_declared_passes() -> None:
    pod = _pod("[{name: a, image: x}]", annotations="{config.linkerd.io/opaque-ports: '8080'}")
    policies = Policies(objects(SERVER, pod))
    (pod,) = policies.objects.pods.values()
    first = policies.inbound.before_fetched(pod, 8080)
    assert first is not None
    assert (first.protocol, [str(route.meta) for route in first.routes]) == ("detect", ["default.default"])
