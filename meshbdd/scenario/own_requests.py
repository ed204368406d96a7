"""Requests that claims send for themselves: no other claim counts them."""

from __future__ import annotations

from meshbdd.load import Message, Sample
from meshbdd.scenario.sender import Sender
from meshbdd.units import Duration


class OwnRequests:
    """What the claims of one scenario have sent for themselves.

    Args:
        sender: Sends them.

    Attributes:
        ids: Their ids.
        measured: How many of them were sent to measure something by, so that they may have left something behind.
    """

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self.ids: set[str] = set()
        self.measured = 0

    def measure(
        self, name: str, count: int, users: int = 1, *, straight_to: str = "", within: Duration | None = None
    ) -> list[Sample]:
        """Send requests to measure something by, and begin none after so long.

        Args:
            name: The request.
            count: How many.
            users: By how many users.
            straight_to: ``address:port`` to which the client outside the mesh connects; else they come from the mesh.
            within: When no more are begun.
        """
        message = self._sender.requests.get(name)
        plan = self._sender.plan(
            message, straight_to=straight_to, count=count, users=min(users, count), duration=within
        )
        samples = list(self._sender.send(plan).samples())
        self.ids.update(sample.request_id for sample in samples)
        self.measured += len(samples)
        self._sender.tell(plan, samples)
        return samples

    def ask(self, name: str) -> Sample:
        """Send a request once, for its answer alone."""
        return self.probe(self._sender.requests.get(name))

    def probe(self, message: Message, *, straight_to: str = "") -> Sample:
        """Look at something with one request.

        Args:
            message: The request; one whose ``User-Agent`` is ``PROBE_AGENT`` counts in no log either.
            straight_to: ``address:port`` to which the client outside the mesh connects; else it comes from the mesh.
        """
        plan = self._sender.plan(message, straight_to=straight_to, count=1)
        sample = next(self._sender.send(plan, told=False).samples())
        self.ids.add(sample.request_id)
        return sample
