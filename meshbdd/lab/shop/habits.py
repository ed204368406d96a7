"""The shop's good habits, and the defects that switch them off one by one (``SHOP_DEFECT=<name>``).

A test suite that is worth its name turns red on each of them, and only in the scenarios that look at that habit.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass

PAYMENT_TRIES = 6
"""At 30 % failures four tries leave a healthy shop red in 0.14 % of runs of 100 requests, six in 1.5e-8."""
PAYMENT_SECONDS = 2.0
PAYMENT_PAUSE = 0.02
INVENTORY_SECONDS = 2.5
NOTIFICATION_SECONDS = 0.3

DEFECTS = {
    "no-payment-retries": "payment is tried once",
    "no-payment-deadline": "a payment that hangs is waited for",
    "no-inventory-timeout": "inventory is waited for as long as it takes",
    "order-before-payment": "the order is created before the payment has succeeded",
    "order-despite-payment": "a failed payment still confirms the order",
    "wrong-payment-status": "a failed payment is answered with 500 instead of 503",
    "wrong-payment-error": "a failed payment is answered without its error code",
    "notification-required": "checkout fails when notification-service does",
    "drops-trace-headers": "traceparent, baggage and request id are not passed on",
    "accepts-any-payment-answer": "any answer of payment counts as paid, whatever its status",
}


@dataclass(frozen=True, slots=True)
class Habits:
    """Which defect is in force; empty for none."""

    defect: str = ""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Habits:
        """Read ``SHOP_DEFECT``; an unknown name ends the process with a sentence."""
        name = environment.get("SHOP_DEFECT", "")
        if name and name not in DEFECTS:
            sys.exit(f"SHOP_DEFECT is '{name}', which is none of: {', '.join(DEFECTS)}")
        return cls(name)

    def has(self, defect: str) -> bool:
        """Whether this defect is in force."""
        return self.defect == defect
