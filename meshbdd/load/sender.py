"""Sending a literal number of requests from a vantage point: inside the mesh, or outside of it."""

from __future__ import annotations

from meshbdd.load.load import Load
from meshbdd.load.message import Message
from meshbdd.load.plan import Plan
from meshbdd.load.sample import Sample
from meshbdd.load.vantage import Vantage
from meshbdd.units import Duration


def send(message: Message, vantage: Vantage, within: Duration, count: int = 1, users: int = 1) -> list[Sample]:
    """Send ``count`` requests by ``users`` at a time, each on a connection of its own that is kept open.

    Args:
        message: What to send.
        vantage: Where from.
        within: How long one request may take in all.
        count: How many.
        users: How many at a time; each sends its next request when its last one has been answered.

    Returns:
        One sample for each request, in the order of their starts.
    """
    with Load.start(Plan(message, vantage, users=users, count=count, timeout=within)) as load:
        return list(load.wait().samples())
