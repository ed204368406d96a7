"""Calls of the API that came to nothing."""

from __future__ import annotations

from typing import Any

from meshbdd.errors import EnvironmentBroken


class ApiFailure(EnvironmentBroken):
    """The API refused a call.

    Attributes:
        status: The HTTP status.
        reason: Kubernetes' word for it.
        told: What was answered, where it was JSON: of a service behind the API's proxy its own words.
    """

    def __init__(self, status: int, reason: str, sentence: str, told: Any = None) -> None:
        super().__init__("MB0301", sentence, help="see the API server's words above")
        self.status = status
        self.reason = reason
        self.told = told


class Unanswered(EnvironmentBroken):
    """A call whose answer did not come: it may or may not have taken effect."""
