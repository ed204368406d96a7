"""Labels of Linkerd's metrics."""

from __future__ import annotations

from meshbdd.lab.linkerd.metrics.families import endpoint


def test_an_endpoint_without_a_proxy_has_no_identity() -> None:
    """Its metadata says nothing of one; the sidecars of its callers have to show their metrics all the same."""
    told = {"pod": "payment-1", "namespace": "shop", "service_account": "payment-service"}
    labels = endpoint("Service.shop.payment-service:80", "127.1.0.9:8080", told)
    assert (labels["tls"], labels["no_tls_reason"]) == ("no_identity", "not_provided_by_service_discovery")
    assert endpoint("Service.shop.a:80", "127.1.0.9:8080", {**told, "identity": "x"})["server_id"] == "x"
