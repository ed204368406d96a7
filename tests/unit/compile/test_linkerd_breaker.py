"""Linkerd's circuit breakers as Envoy's outlier detection: what of them there is no word for is declared as a deviation."""

from __future__ import annotations

from decimal import Decimal

import pytest

from meshbdd.lab.linkerd.deviations import sentences
from meshbdd.lab.linkerd.envoy.clusters import outlier_detection
from meshbdd.lab.linkerd.envoy.retries import statuses_filter
from meshbdd.lab.linkerd.model import Accrual, Backoff, SuccessRate

BACKOFF = Backoff(Decimal(1), Decimal(60), 0.5)


def unified(threshold: float = 0.8, min_requests: int = 5, max_failures: int = 7) -> Accrual:
    return Accrual(max_failures, BACKOFF, SuccessRate(threshold, Decimal(10), min_requests))


@pytest.mark.parametrize(
    ("threshold", "percent"),
    [(0.8, 21), (0.805, 20), (0.9, 11), (1.0, 1), (0.001, 100), (0.29, 72)],
)
def test_a_success_rate_below_the_threshold_breaks_the_circuit(threshold: float, percent: int) -> None:
    """Linkerd: fewer successes than the threshold; Envoy: at least so many percent failures."""
    made = outlier_detection(unified(threshold))
    assert made is not None
    assert made["failure_percentage_threshold"] == percent
    assert made["enforcing_failure_percentage"] == 100
    assert made["failure_percentage_minimum_hosts"] == 1
    assert "success-rate" in sentences()


@pytest.mark.parametrize(
    ("accrual", "in_a_row", "volume"),
    [
        (Accrual(7, BACKOFF), 7, None),
        (Accrual(0, BACKOFF), None, None),
        (unified(), 5, 5),
        (unified(min_requests=20), 7, 20),
        (unified(min_requests=0), 5, 1),
        (unified(max_failures=0), 5, 5),
        (unified(0.0), 7, None),
        (unified(0.0, max_failures=0), None, None),
    ],
)
def test_which_failures_break_a_circuit(accrual: Accrual, in_a_row: int | None, volume: int | None) -> None:
    """policy-controller/k8s/index/src/outbound/index.rs: either part may be switched off by a 0 of its own."""
    made = outlier_detection(accrual)
    assert (made or {}).get("consecutive_5xx") == in_a_row
    assert (made or {}).get("failure_percentage_request_volume") == volume
    assert bool(statuses_filter(accrual, None)) is (in_a_row is not None)
