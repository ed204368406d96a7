"""The shop's good habits, and the defects that switch them off one by one (``SHOP_DEFECT=<name>``).

A test suite that is worth its name turns red on each of them, and only in the scenarios that look at that habit.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

PAYMENT_TRIES = 6
"""At 30 % failures four tries leave a healthy shop red in 0.14 % of runs of 100 requests, six in 1.5e-8."""
PAYMENT_SECONDS = 1.5
PAYMENT_PAUSE = 0.02
INVENTORY_SECONDS = 1.5
NOTIFICATION_SECONDS = 0.3
TOO_LATE_SECONDS = 4.0
"""Seconds of the two defects that give up, but too late: a second more than a customer is to wait."""
_FOR_EVER = 3600.0

DEFECTS = {
    "no-payment-retries": "payment is tried once",
    "no-payment-deadline": "a payment that hangs is waited for",
    "long-payment-deadline": "a payment that hangs is waited for twice as long as customers wait",
    "endless-payment-retries": "payment is tried again for as long as there is time, not six times",
    "no-inventory-timeout": "inventory is waited for as long as it takes",
    "long-inventory-timeout": "inventory is given up, but too late",
    "order-before-payment": "the order is created before the payment has succeeded",
    "order-despite-payment": "a failed payment still confirms the order",
    "wrong-payment-status": "a failed payment is answered with 500 instead of 503",
    "wrong-payment-error": "a failed payment is answered without its error code",
    "notification-required": "checkout fails when notification-service does",
    "drops-trace-headers": "traceparent and baggage are not passed on, the request id alone is",
    "accepts-any-payment-answer": "any answer of payment counts as paid, whatever its status",
    "never-charges": "an order is confirmed although nobody was asked to pay",
    "version-needs-payment": "the page of the version asks payment-service whether it is well, and waits for the answer",
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

    def payment_seconds(self) -> float:
        """How long a payment is waited for, all tries together, in seconds."""
        return self._patience("payment-deadline", PAYMENT_SECONDS)

    def inventory_seconds(self) -> float:
        """How long inventory is waited for, in seconds."""
        return self._patience("inventory-timeout", INVENTORY_SECONDS)

    def payment_tries(self) -> Iterable[int]:
        """The numbers of the tries, from 0; only the deadline ends them where none do."""
        if self.has("endless-payment-retries"):
            return itertools.count()
        return range(1 if self.has("no-payment-retries") else PAYMENT_TRIES)

    def _patience(self, habit: str, seconds: float) -> float:
        if self.has(f"no-{habit}"):
            return _FOR_EVER
        return TOO_LATE_SECONDS if self.has(f"long-{habit}") else seconds

    def has(self, defect: str) -> bool:
        """Whether this defect is in force."""
        return self.defect == defect
