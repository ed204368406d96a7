"""The real kubectl against a lab whose pods run."""

from __future__ import annotations

import shutil

import pytest

from tests.tools import LabUnderTest, until

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="there is no kubectl on this machine")


def test_pods_with_sidecars_are_two_of_two(shop_lab: LabUnderTest) -> None:
    lines = shop_lab.kubectl("get", "pods", "-o", "wide").stdout.splitlines()
    ready = {line.split()[0].rsplit("-", 2)[0]: line.split()[1] for line in lines[1:]}
    assert ready["payment-service"] == "2/2"
    assert ready["client-plain"] == "1/1"


def test_logs_wait_and_describe(shop_lab: LabUnderTest) -> None:
    shop_lab.post("http://order-service/checkout")
    assert '"response_code":200' in shop_lab.kubectl("logs", "deploy/client", "-c", "istio-proxy").stdout
    assert (
        "condition met"
        in shop_lab.kubectl("wait", "--for=condition=Available", "deploy/order-service", "--timeout=5s").stdout
    )
    told = shop_lab.kubectl("describe", "pod", "-l", "app=payment-service").stdout
    assert "istio-proxy" in told
    assert "READY" not in told


def test_a_rolling_update_brings_a_new_pod(lab: LabUnderTest) -> None:
    before = lab.pod("notification-service")["metadata"]["name"]
    lab.kubectl("set", "env", "deploy/notification-service", "EXTRA=1")
    try:
        told = lab.kubectl("rollout", "status", "deploy/notification-service", "--timeout=20s").stdout
        assert "successfully rolled out" in told
        until(
            "the old pod being gone",
            lambda: before not in {pod["metadata"]["name"] for pod in lab.pods("notification-service")},
        )
    finally:
        lab.kubectl("set", "env", "deploy/notification-service", "EXTRA-")


def test_an_undo_goes_back_to_what_ran_before_however_often(lab: LabUnderTest) -> None:
    def extra() -> str:
        return lab.kubectl(
            "get", "deploy/inventory-service", "-o", 'jsonpath={..env[?(@.name=="EXTRA")].value}'
        ).stdout.strip()

    before = extra()
    for number in range(12):  # more than a Deployment remembers
        lab.kubectl("set", "env", "deploy/inventory-service", f"EXTRA={number}")
        lab.kubectl("rollout", "status", "deploy/inventory-service", "--timeout=20s")
        lab.kubectl("rollout", "undo", "deploy/inventory-service")
        lab.kubectl("rollout", "status", "deploy/inventory-service", "--timeout=20s")
        assert extra() == before
    assert lab.kubectl("rollout", "history", "deploy/inventory-service").stdout.count("<none>") == 11
    until(
        "only what is remembered being there",
        lambda: lab.kubectl("get", "replicasets", "-o", "name").stdout.count("inventory-service") == 11,
    )


def test_what_istio_refuses_is_refused_with_object_field_and_value(shop_lab: LabUnderTest) -> None:
    text = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: wrong}
spec:
  hosts: [payment-service]
  http:
  - fault: {abort: {httpStatus: 500, percentage: {value: 150}}}
    route: [{destination: {host: payment-service}}]
"""
    told = shop_lab.kubectl("apply", "-f", "-", check=False, stdin=text)
    assert told.returncode != 0
    for words in ("VirtualService wrong in shop", "spec.http[0].fault.abort.percentage.value", "150"):
        assert words in told.stderr


def test_a_missing_subset_is_accepted(lab: LabUnderTest) -> None:
    lab.apply(
        """
apiVersion: networking.istio.io/v1beta1
kind: VirtualService
metadata: {name: odd}
spec:
  hosts: [nobody]
  http: [{route: [{destination: {host: nobody, subset: v9}}]}]
""".replace("v1beta1", "v1")
    )
    assert "odd" in lab.kubectl("get", "vs").stdout
