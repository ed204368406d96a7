"""Defects of the demo shop's own code."""

from __future__ import annotations

from collections.abc import Mapping

from tests.defects.defect import Defect
from tests.defects.scenarios import (
    AGAIN,
    BROKEN,
    BROKEN_MANIFEST,
    FLAKY,
    FLAKY_ENOUGH,
    FLAKY_MANIFEST,
    HANGS,
    ONE_CALLER,
    PATIENCE,
    SLOW,
    SLOW_MANIFEST,
)


def _orders(defect: str) -> Mapping[str, str]:
    """A defect of both versions of order-service."""
    return {"order-service": defect, "order-service-canary": defect}


OF_THE_SHOP = (
    Defect("no payment retries", frozenset({FLAKY, FLAKY_MANIFEST, FLAKY_ENOUGH}), shop=_orders("no-payment-retries")),
    Defect(
        "retry storm",
        frozenset({"The shop's own retries are bounded"}),
        shop=_orders("endless-payment-retries"),
    ),
    Defect("payment waited for", frozenset({HANGS, PATIENCE}), shop=_orders("no-payment-deadline")),
    Defect("payment timeout too long", frozenset({HANGS, PATIENCE}), shop=_orders("long-payment-deadline")),
    Defect("no inventory timeout", frozenset({SLOW, SLOW_MANIFEST}), shop=_orders("no-inventory-timeout")),
    Defect("inventory timeout too long", frozenset({SLOW, SLOW_MANIFEST}), shop=_orders("long-inventory-timeout")),
    Defect(
        "order despite a failure",
        frozenset({BROKEN, BROKEN_MANIFEST, HANGS}),
        shop=_orders("order-before-payment"),
    ),
    Defect(
        "payment failure hidden",
        frozenset({BROKEN, BROKEN_MANIFEST, HANGS, AGAIN, ONE_CALLER}),
        shop=_orders("order-despite-payment"),
    ),
    Defect(
        "500 instead of 503",
        frozenset({BROKEN, BROKEN_MANIFEST, HANGS, AGAIN, ONE_CALLER}),
        shop=_orders("wrong-payment-status"),
    ),
    Defect("no error code", frozenset({BROKEN, BROKEN_MANIFEST, HANGS}), shop=_orders("wrong-payment-error")),
    Defect(
        "any payment answer counts",
        frozenset({BROKEN, BROKEN_MANIFEST, AGAIN, ONE_CALLER}),
        shop=_orders("accepts-any-payment-answer"),
    ),
    Defect(
        "notification required",
        frozenset(
            {
                "Checkout works although notification-service is down",
                "A service that is down takes no connection, until it is back",
                "Customers do not notice that notifications fail for a while",
            }
        ),
        shop=_orders("notification-required"),
    ),
    Defect(
        "trace headers dropped",
        frozenset({"A trace can be followed through every service"}),
        shop=_orders("drops-trace-headers"),
    ),
)
