"""Calls of the API that came to nothing."""

from __future__ import annotations

from meshbdd.errors import EnvironmentBroken


class ApiFailure(EnvironmentBroken):
    """The API refused a call.

    Attributes:
        status: The HTTP status.
        reason: Kubernetes' word for it.
    """

    def __init__(self, status: int, reason: str, sentence: str) -> None:
        super().__init__("MB0301", sentence, help="see the API server's words above")
        self.status = status
        self.reason = reason


class Unanswered(EnvironmentBroken):
    """A call whose answer did not come: it may or may not have taken effect."""
