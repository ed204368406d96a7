"""A call from one service to another, as a proxy saw it: what the oracles judge."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from meshbdd.grpc_statuses import RETRIED, as_http
from meshbdd.units import counted

NO_HEALTHY_UPSTREAM = "UH"
CONNECT_FAILURE = "UF"
LEFT, TIMED_OUT = "DC", "UT"
LEFT_OR_TIMED_OUT = frozenset({LEFT, TIMED_OUT})
"""Response flags of a call that was not waited for to its end: the caller went away (DC), or its proxy's timeout struck
(UT). Envoy's access log documentation, %RESPONSE_FLAGS%."""

INJECTED = frozenset({"FI", "DI"})
"""Response flags of an injected abort and an injected delay: Envoy's access log documentation, %RESPONSE_FLAGS%."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call.

    Attributes:
        caller: The pod that called.
        request_id: Of the request that it belongs to; empty where nobody knows.
        started: Unix time of its first byte.
        seconds: Until the last byte of the answer, or until it was given up.
        status: HTTP status; 0 where there was no answer.
        flags: Envoy's response flags.
        reached: Whether it was sent to an endpoint, and not answered by the caller's own proxy.
        endpoint: Address of that endpoint; empty where nobody knows.
        grpc: Its gRPC status, by number; ``None`` where it has none, or the log does not tell.
        untold: Whether it is a gRPC call whose status the log does not tell: nobody knows whether it failed.
        port: The port of the service that was called; empty where nobody knows.
    """

    caller: str
    request_id: str
    started: float
    seconds: float
    status: int
    flags: frozenset[str] = frozenset()
    reached: bool = True
    endpoint: str = ""
    grpc: int | None = None
    untold: bool = False
    port: str = ""

    @property
    def circuit(self) -> str:
        """The circuit that it belongs to: a caller's proxy counts for each port of a service apart."""
        return circuit_of(self.caller, self.port)

    @property
    def ended(self) -> float:
        """Unix time of its end."""
        return self.started + self.seconds

    @property
    def failed(self) -> bool:
        """A server's error, no answer, or a gRPC status on which a caller may try again."""
        return self.code == 0 or self.code >= 500 or self.grpc in RETRIED

    @property
    def code(self) -> int:
        """Its HTTP status; of a gRPC call that which Envoy makes of its own status."""
        return self.status if self.grpc is None or self.status != HTTPStatus.OK else as_http(self.grpc)

    @property
    def not_waited_for(self) -> bool:
        """Whether the caller, or its proxy, did not wait for the answer."""
        return bool(self.flags & LEFT_OR_TIMED_OUT)

    @property
    def faulted(self) -> bool:
        """Whether the proxy that saw it injected a fault into it."""
        return bool(self.flags & INJECTED)

    @property
    def refused(self) -> bool:
        """Whether there was no endpoint that it could be sent to: an open circuit answers so, and a service that is down."""
        return not self.reached and NO_HEALTHY_UPSTREAM in self.flags


def circuit_of(caller: str, port: str) -> str:
    """The name of a caller's circuit to one port of a service, as a sentence has it."""
    return f"{caller} (port {port})" if port else caller


def by_request(calls: Iterable[Call]) -> Mapping[str, list[Call]]:
    """The calls of each request, in the order of their starts; calls without an id are of no request."""
    found: dict[str, list[Call]] = defaultdict(list)
    for call in sorted(calls, key=lambda c: (c.started, c.ended)):
        if call.request_id:
            found[call.request_id].append(call)
    return found


@dataclass(frozen=True, slots=True)
class Strangers:
    """Calls of the caller that belong to no request that it is through with.

    Attributes:
        number: How many.
        unknown: How many of these bear an id that nobody sent: they may belong to any request.
    """

    number: int = 0
    unknown: int = 0


NO_STRANGERS = Strangers()


def of_any_request(unknown: int, caller: str) -> tuple[str, str]:
    """Why calls that may be further ones of a request leave the claim open, and what would help."""
    may = "may be a try" if unknown == 1 else "may be tries"
    why = (
        f"{counted(unknown, 'more call', 'bears', 'bear')} an id that nobody sent, and {may} for any of these requests"
    )
    return why, f"let {caller} pass the header x-request-id on with every call"


def untold_statuses(calls: Iterable[Call]) -> tuple[str, str] | None:
    """Why nobody knows which calls failed, and what would help; ``None`` where the log tells."""
    number = sum(call.untold for call in calls)
    if not number:
        return None
    whose = "its" if number == 1 else "their"
    why = f"{counted(number, 'call', 'speaks', 'speak')} gRPC, and the access log does not tell {whose} gRPC status"
    return why, 'add "grpc_status": "%GRPC_STATUS_NUMBER%" to meshConfig.accessLogFormat'


def no_request(calls: Sequence[Call], strangers: int, caller: str, callee: str) -> tuple[str, str]:
    """Why there is no request to judge, and what would help.

    Args:
        calls: The calls of requests that the caller is through with.
        strangers: How many other calls of it were seen.
        caller: Who called.
        callee: Who was to be called.
    """
    if strangers and not calls:
        why = f"{counted(strangers, 'call', 'was', 'were')} seen, and none has the id of a request that {caller} is through with"
        return why, f"let {caller} pass the header x-request-id on, or the load stop first"
    return "no call was seen", f"send a request that makes {caller} call {callee}"


def told_seconds(seconds: float) -> str:
    """A span as a sentence has it: ``250 ms``, ``3.2 s``."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
