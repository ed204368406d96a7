"""What a running sidecar holds is what ``meshbdd lab compile`` prints, but for the named transforms.

For every golden case, on its own world, for both of its pods.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import requests

from meshbdd.lab.certificates import CertificateAuthority
from meshbdd.lab.compile import Mesh, compile_pod
from meshbdd.lab.compile.command import compile_files
from meshbdd.lab.sidecar.transforms import TRANSFORMS
from tests.fidelity.backend import CONTROL_PORT
from tests.fidelity.calls import Send, send
from tests.fidelity.delivery import case_differences, pod_differences, resources
from tests.fidelity.inverse import INVERSES, delivered, inverted
from tests.fidelity.rows import documents
from tests.fidelity.world import World
from tests.golden.meaning import PODS, cases, differences


@pytest.mark.parametrize("case", cases())
def test_a_sidecar_holds_what_the_compiler_prints(world: World, case: str) -> None:
    for pod, found in case_differences(world, case).items():
        assert not found, f"{pod}:\n" + "\n".join(found[:10])


def test_the_command_prints_the_same(world: World, tmp_path: Path) -> None:
    """The object that is delivered is the one that the command prints: one compiler."""
    file, one = tmp_path / "world.yaml", tmp_path / "one.yaml"
    file.write_text("\n---\n".join(json.dumps(item) for item in world.objects()))
    one.write_text(json.dumps(next(item for item in world.objects() if item["kind"] == "Service")))
    name, _, namespace = PODS[0].partition(".")
    compiled = compile_pod(Mesh.read(world.objects()), name, namespace)
    assert compile_files([one], file, PODS[0]) == compiled.to_json()


def test_the_comparison_sees_what_a_sidecar_does_not_have(world: World) -> None:
    """It can fail: a timeout that is compiled and not delivered is found, with its place."""
    late = resources("20-vs-timeout")[0]
    name, _, namespace = PODS[0].partition(".")
    compiled = compile_pod(Mesh.read([*world.objects(), late]), name, namespace)
    found = differences(inverted(world, PODS[0]), delivered(compiled))
    assert any("1.500s" in line for line in found), found


_UNDECLARED = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: order, namespace: shop}
spec: {selector: {matchLabels: {app: order-service}}, portLevelMtls: {%d: {mode: %s}, 15020: {mode: STRICT}, 443: {}}}
"""


@pytest.mark.parametrize(("mode", "taken"), [("PERMISSIVE", True), ("DISABLE", True), ("STRICT", False)])
def test_a_port_that_no_service_declares_has_its_own_mode(world: World, mode: str, taken: bool) -> None:
    """It is reached at the pod's address, in plaintext where the policy lets it."""
    try:
        world.apply(documents(_UNDECLARED % (CONTROL_PORT, mode)))
        assert not pod_differences(world, PODS[0])
        url = f"http://{world.pods[PODS[0]]['status']['podIP']}:{CONTROL_PORT}/0"
        if taken:
            assert requests.get(url, timeout=5).status_code == 200
        else:
            with pytest.raises(requests.ConnectionError):
                requests.get(url, timeout=5)
    finally:
        world.clean()


_WAYS = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: %s, namespace: shop}
spec: {host: %s, trafficPolicy: {%s}}
---
"""


def test_other_ways_to_endpoints(world: World, tmp_path: Path) -> None:
    """TLS by files, the PROXY protocol, localities, and calls that keep to the address: a sidecar holds and follows them."""
    roots = tmp_path / "roots.pem"
    roots.write_bytes(CertificateAuthority().root)
    ways = {
        "payment-service": f"tls: {{mode: SIMPLE, caCertificates: {roots}}}",
        "inventory-service": "proxyProtocol: {version: V2}",
        "notification-service": "loadBalancer: {simple: PASSTHROUGH}",
        "order-service": "loadBalancer: {localityLbSetting: {failoverPriority: [version]}}, outlierDetection: {interval: 1s}",
    }
    try:
        world.apply(documents("".join(_WAYS % (host, host, way) for host, way in ways.items())))
        for pod in PODS:
            assert not pod_differences(world, pod)
        assert [answer.status for answer in send(world, Send("http://notification-service.shop/"))] == [200]
    finally:
        world.clean()


def test_every_transform_has_its_inverse() -> None:
    assert list(INVERSES) == [transform.__name__ for transform in TRANSFORMS]
