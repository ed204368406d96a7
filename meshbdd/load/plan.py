"""What load is wanted: which request, from where, how many users or which rate, and for how long."""

from __future__ import annotations

from dataclasses import dataclass

from meshbdd.errors import BadInput
from meshbdd.load.message import Message
from meshbdd.load.vantage import Vantage
from meshbdd.units import Duration, Rate

LONGEST_TIMEOUT = Duration(3600)
"""A row of the record holds 71 minutes for one request."""


MOST_USERS = 100_000
"""More than that a machine has no ports for (some 28,000 to one address, as Linux comes)."""


@dataclass(frozen=True, slots=True)
class Pace:
    """An open loop: requests start when the schedule says so, whatever became of those before.

    Attributes:
        rate: Requests per second once the ramp is over.
        ramp: The rate rises from zero, linearly, for so long; ``None``: full rate at once.
        poisson: Independent arrivals at that rate instead of equal distances.
    """

    rate: Rate
    ramp: Duration | None = None
    poisson: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """One load.

    Either ``users`` send one request after the other (a closed loop), or a ``pace`` says when each request starts (an
    open loop). It ends after ``count`` requests or after ``duration``, whichever is first; with neither it ends when it
    is stopped.

    Attributes:
        message: What is sent.
        vantage: Where from; ``None``: straight from this machine.
        users: How many requests are under way at any time.
        pace: When requests start; ``users`` has no meaning then.
        count: How many requests.
        duration: For how long requests are started. Those under way at its end are waited for.
        fresh: Whether each request gets a connection of its own, closed after it.
        timeout: How long one request may take in all.
        connections: Open loop: the most requests under way. What is due beyond that starts late, and its latency counts
            from when it was due.
        http2: HTTP/2 without asking first, as gRPC speaks it; ``None``: only for ``content-type: application/grpc``.
        insecure: Whether a certificate that nobody known has signed will do.
        follow: How many redirects a request may follow; each is a request to the server.
        fields: Dotted paths of JSON fields to keep of every answer.
        headers: Names of headers to keep of every answer.
        keep: Bytes of whole answers to keep: the first ones, as much again of failed ones, and the last hundred anyway.
        seed: For Poisson arrivals and ids; ``None``: a new one each time.
    """

    message: Message
    vantage: Vantage | None = None
    users: int = 1
    pace: Pace | None = None
    count: int | None = None
    duration: Duration | None = None
    fresh: bool = False
    timeout: Duration = Duration(30)
    connections: int = 1000
    http2: bool | None = None
    insecure: bool = False
    follow: int = 0
    fields: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    keep: int = 32 * 1024 * 1024
    seed: int | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be sent.

        Raises:
            BadInput: no user, no request, no time, or a timeout of no length.
        """
        name = self.message.name
        if self.pace is None and self.users < 1:
            raise BadInput("MB0510", f'"{name}" cannot be sent by {self.users} users.', help="let at least one send it")
        if self.pace is None and self.users > MOST_USERS:
            raise BadInput(
                "MB0519",
                f'"{name}" cannot be sent by {self.users} users at a time: one machine has no ports for so many.',
                help=f"let at most {MOST_USERS} send it, or say a rate",
            )
        if self.count is not None and self.count < 1:
            raise BadInput("MB0505", f'"{name}" cannot be sent {self.count} times.', help="send at least one request")
        if self.duration is not None and self.duration.seconds <= 0:
            raise BadInput(
                "MB0511", f'"{name}" cannot be sent for {self.duration}.', help="give it some time, like 10s"
            )
        if not 0 < self.timeout.seconds <= LONGEST_TIMEOUT.seconds:
            raise BadInput(
                "MB0512",
                f'"{name}" cannot be given {self.timeout} for one request.',
                help=f"give it more than 0s and at most {LONGEST_TIMEOUT}",
            )
        if self.connections < 1:
            raise BadInput("MB0513", f"{self.connections} connections carry nothing.", help="allow at least one")

    @property
    def grpc(self) -> bool:
        """Whether the request is a gRPC call."""
        return self.message.grpc
