"""Labels of Linkerd's metrics."""

from __future__ import annotations

import pytest

from meshbdd.lab.linkerd.metrics.families import endpoint
from meshbdd.lab.linkerd.metrics.scraped import scrape_labels


def test_an_endpoint_without_a_proxy_has_no_identity() -> None:
    """Its metadata says nothing of one; the sidecars of its callers have to show their metrics all the same."""
    told = {"pod": "payment-1", "namespace": "shop", "service_account": "payment-service"}
    labels = endpoint("Service.shop.payment-service:80", "127.1.0.9:8080", told)
    assert (labels["tls"], labels["no_tls_reason"]) == ("no_identity", "not_provided_by_service_discovery")
    assert endpoint("Service.shop.a:80", "127.1.0.9:8080", {**told, "identity": "x"})["server_id"] == "x"


@pytest.mark.parametrize(
    ("owner", "label"),
    [
        ("deployment|payment", "dst_deployment"),
        ("statefulset|payment", "dst_statefulset"),
        ("job|payment", "dst_k8s_job"),
    ],
)
def test_an_endpoint_is_known_by_what_its_pod_is_of(owner: str, label: str) -> None:
    told = {"pod": "payment-1", "namespace": "shop", "service_account": "a", "owner": owner, "template_hash": "7f5"}
    labels = endpoint("Service.shop.payment-service:80", "127.1.0.9:8080", told)
    assert (labels[label], labels["dst_pod_template_hash"]) == ("payment", "7f5")
    bare = endpoint("Service.shop.a:80", "127.1.0.9:8080", {**told, "owner": "-", "template_hash": "-"})
    assert not {name for name in bare if "deployment" in name or "hash" in name or name == "dst_"}


def test_prometheus_says_of_a_proxy_what_linkerd_viz_lets_it_say() -> None:
    labels = {
        "app": "pay", "app.kubernetes.io/name": "pay", "linkerd.io/control-plane-ns": "linkerd", "linkerd.io/proxy-deployment": "pay",
        "linkerd.io/workload-ns": "shop", "pod-template-hash": "7f5", "9lives": "no",
    }  # fmt: skip
    pod = {"metadata": {"name": "pay-7f5-x", "namespace": "shop", "labels": labels}}
    assert scrape_labels(pod) == {
        "namespace": "shop", "pod": "pay-7f5-x", "app": "pay", "app_kubernetes_io_name": "pay", "control_plane_ns": "linkerd",
        "deployment": "pay", "workload_ns": "shop", "pod_template_hash": "7f5",
    }  # fmt: skip
    job = {"metadata": {"name": "j", "namespace": "shop", "labels": {"linkerd.io/proxy-job": "nightly"}}}
    assert scrape_labels(job)["k8s_job"] == "nightly"
