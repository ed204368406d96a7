"""Defects of the demo shop's own code."""

from __future__ import annotations

from collections.abc import Mapping

from tests.defects.defect import Defect
from tests.defects.scenarios import (
    AGAIN,
    BOUNDED,
    BROKEN,
    BROKEN_MANIFEST,
    COUNTED,
    FLAKY,
    FLAKY_ENOUGH,
    FLAKY_MANIFEST,
    HANGS,
    LATENCY,
    LATENCY_LINKERD,
    LOGGED,
    MUTUAL,
    ONE_CALLER,
    PATIENCE,
    QUERIED,
    QUERIED_LINKERD,
    SCRAPED,
    SCRAPED_LINKERD,
    SLOW,
    SLOW_MANIFEST,
    STRICT,
    TRACE,
)


def _orders(defect: str) -> Mapping[str, str]:
    """A defect of both versions of order-service."""
    return {"order-service": defect, "order-service-canary": defect}


OF_THE_SHOP = (
    Defect(
        "no retry: of payment", frozenset({FLAKY, FLAKY_MANIFEST, FLAKY_ENOUGH}), shop=_orders("no-payment-retries")
    ),
    Defect(
        "retry storm",
        frozenset({BOUNDED}),
        shop=_orders("endless-payment-retries"),
    ),
    Defect("no timeout: of payment", frozenset({HANGS, PATIENCE}), shop=_orders("no-payment-deadline")),
    Defect("timeout too long: of payment", frozenset({HANGS, PATIENCE}), shop=_orders("long-payment-deadline")),
    Defect("no timeout: of inventory", frozenset({SLOW, SLOW_MANIFEST}), shop=_orders("no-inventory-timeout")),
    Defect("timeout too long: of inventory", frozenset({SLOW, SLOW_MANIFEST}), shop=_orders("long-inventory-timeout")),
    Defect(
        "order created despite failure: before payment",
        frozenset({BROKEN, BROKEN_MANIFEST, HANGS}),
        shop=_orders("order-before-payment"),
    ),
    Defect(
        "order created despite failure: and confirmed",
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
        "header dropped: of traces",
        frozenset({TRACE}),
        shop=_orders("drops-trace-headers"),
    ),
    Defect(
        "a page that waits for another service",
        frozenset({"A slow payment does not slow other pages"}),
        shop=_orders("version-needs-payment"),
    ),
    Defect(
        "zero traffic",
        frozenset(),
        shop=_orders("never-charges"),
        # Nobody is asked to pay: whatever is claimed of calls to payment-service is claimed of none.
        unanswered=frozenset(
            {
                *(
                    AGAIN,
                    BOUNDED,
                    BROKEN,
                    BROKEN_MANIFEST,
                    FLAKY,
                    FLAKY_ENOUGH,
                    FLAKY_MANIFEST,
                    HANGS,
                    ONE_CALLER,
                    PATIENCE,
                ),
                *(COUNTED, LATENCY, LOGGED, MUTUAL, QUERIED, SCRAPED, STRICT, TRACE),
                *(LATENCY_LINKERD, QUERIED_LINKERD, SCRAPED_LINKERD),
            }
        ),
    ),
)
