"""What a tester wants of the world, free of any mesh's own words; what can have no effect cannot be wanted."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import quote

from meshbdd.errors import BadInput
from meshbdd.methods import instead_of
from meshbdd.units import Duration, Percent

EVERY_REQUEST = Percent(100)

_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A token of HTTP (RFC 9110, 5.6.2)."""
_HEADER_VALUE = re.compile(r"[\t -~]*")
_PATH = re.compile(r"/[!-~]*")
"""Requests are written in ASCII; everything else stands percent-encoded in a path (RFC 3986, 2.1)."""
_UNQUOTED = "".join(chr(code) for code in range(0x21, 0x7F))
_LONGEST = Duration(3600)
_WHOLE = 1e-6
"""So little a number of milliseconds may be off a whole one by the arithmetic alone."""
_MOST_RETRIES = 100
"""Istio's and Linkerd's proxies wait up to 250 ms before each retry: so many last longer than any caller waits."""
_MOST_ERRORS = 1_000
_MOST_CONCURRENT = 100_000
"""More users than that no machine can be: a limit beyond is never reached."""
_LEAST_FAILURE = 400
"""Below this status a request has succeeded, by the vocabulary's own meaning of the word."""


@dataclass(frozen=True, slots=True)
class ServiceRef:
    """A service as a tester names it: ``payment-service`` or ``payment-service.shop``."""

    name: str
    namespace: str

    @classmethod
    def parse(cls, text: str, namespace: str) -> ServiceRef:
        """Read ``name`` or ``name.namespace``; a name alone lies in ``namespace``."""
        name, _, own = text.partition(".")
        return cls(name, own or namespace)

    @property
    def host(self) -> str:
        """Its full name."""
        return f"{self}.svc.cluster.local"

    def __str__(self) -> str:
        return f"{self.name}.{self.namespace}"


class Side(StrEnum):
    """Where a fault is injected: as a call leaves its caller, or as it reaches the server."""

    CALLER = "caller"
    SERVER = "server"


class TlsMode(StrEnum):
    """What a server takes: mutual TLS alone, plaintext as well, or plaintext alone."""

    STRICT = "strict"
    PERMISSIVE = "permissive"
    DISABLED = "disabled"


_LEAST_SHARE = 0.0001
"""Percent: proxies draw faults from a million (Envoy's ``FractionalPercent``; the weights of the Gateway API go as far)."""


def _can_be_drawn(share: Percent, what: str) -> None:
    """No share that would be rounded to none or to all without a word."""
    if 0 < share.value < _LEAST_SHARE or 100 - _LEAST_SHARE < share.value < 100:
        raise BadInput(
            "MB0127",
            f"{share} of the calls cannot be had for {what}: proxies draw from a million, so it would be "
            f"{'none' if share.value < 1 else 'all'} of them.",
            help=f"write {_LEAST_SHARE}% or more" if share.value < 1 else "write 100%, or 99.9999% and less",
        )


def _lasts(duration: Duration, what: str) -> None:
    if duration.milliseconds < 1:
        raise BadInput("MB0123", f"{what[0].upper()}{what[1:]} is {duration}.", help="write 1ms or more")
    if duration.seconds > _LONGEST.seconds:
        sentence = f"{what[0].upper()}{what[1:]} is {duration}: nobody waits for that."
        raise BadInput("MB0115", sentence, help=f"write {_LONGEST} or less")
    if abs(duration.milliseconds - round(duration.milliseconds)) > _WHOLE:
        raise BadInput(
            "MB0133",
            f"{what[0].upper()}{what[1:]} is {duration}, and proxies are told whole milliseconds.",
            help=f"write {math.ceil(duration.milliseconds)}ms",
        )


def _can_be_reached(count: int, most: int, what: str) -> None:
    """No policy that would never do anything: the proxies would take it, and a scenario with it would prove nothing."""
    if count > most:
        raise BadInput("MB0132", f"{what}: nothing in a test gets there.", help=f"write {most} or less")


@dataclass(frozen=True, slots=True)
class Scope:
    """Which calls a fault is for; everything said must hold, nothing said means every call.

    Attributes:
        called_by: The caller.
        method: HTTP method.
        path: Request path, whole, without the query.
        headers: Header names with their exact values.

    Raises:
        BadInput: a method, path or header that no request can have.
    """

    called_by: ServiceRef | None = None
    method: str | None = None
    path: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.method is not None and (instead := instead_of(self.method)):
            raise BadInput("MB0119", f"'{self.method}' is no HTTP method.", help=instead)
        if self.path is not None and (not _PATH.fullmatch(self.path) or {"?", "#"} & set(self.path)):
            own = quote(re.split("[?#]", self.path)[0].lstrip("/"), safe=_UNQUOTED)
            raise BadInput(
                "MB0120",
                f"'{self.path}' is no path of a request.",
                help=f"write /{own}: from its first slash, without a query, percent-encoded where it is not ASCII",
            )
        for name, value in self.headers.items():
            if not _HEADER.fullmatch(name):
                raise BadInput("MB0121", f"'{name}' is no name of a header.", help="write one like x-user")
            if not _HEADER_VALUE.fullmatch(value):
                raise BadInput(
                    "MB0134",
                    f"No request has the header {name} with the value '{value}': headers are ASCII.",
                    help="write the value as the requests of the test can have it",
                )

    def covers(self, other: Scope) -> bool:
        """Whether it takes every call that another one takes."""
        return (
            self.called_by in (None, other.called_by)
            and self.method in (None, other.method)
            and self.path in (None, other.path)
            and self._lower_headers().items() <= other._lower_headers().items()
        )

    def _lower_headers(self) -> dict[str, str]:
        return {name.lower(): value for name, value in self.headers.items()}

    def __str__(self) -> str:
        """As the end of a sentence about calls; empty where it says nothing. The value of a header may be nobody's to read."""
        told = [
            f"{name} {value}" for name, value in (("method", self.method), ("path", self.path)) if value is not None
        ]
        told += [f"header {name}" for name in self.headers]
        by = f" from {self.called_by}" if self.called_by else ""
        return f"{by} with {' and '.join(told)}" if told else by

    @property
    def narrows(self) -> bool:
        """Whether it lies on the request itself (not only on the caller)."""
        return bool(self.method or self.path or self.headers)


@dataclass(frozen=True, slots=True)
class Fault:
    """Calls to a service fail, or are slow.

    Attributes:
        service: The service whose callers see it.
        share: Of how many calls.
        status: HTTP status that answers instead of the service.
        grpc_status: gRPC status by name, in its place.
        delay: How much longer a call takes.
        scope: Which calls.
        at: Where it is to be injected; ``None``: where the scenario's claims need it.

    Raises:
        BadInput: a status that is no failure, a delay of nothing, or a share that no proxy can draw.
    """

    service: ServiceRef
    share: Percent = EVERY_REQUEST
    status: int | None = None
    grpc_status: str | None = None
    delay: Duration | None = None
    scope: Scope = Scope()
    at: Side | None = None

    def __post_init__(self) -> None:
        if self.status is not None and self.status < _LEAST_FAILURE:
            raise BadInput(
                "MB0122",
                f"{self.service} cannot fail with status {self.status}: below {_LEAST_FAILURE} a request has succeeded.",
                help="write a status from 400 to 599",
            )
        if not self.share.value:
            raise BadInput(
                "MB0129",
                f"The fault of {self.service} is for 0% of the calls: it hits nothing, so the scenario would prove nothing.",
                help="write a share above 0%, or take the step out",
            )
        _can_be_drawn(self.share, f"the fault of {self.service}")
        if self.delay is not None:
            _lasts(self.delay, f"the delay of {self.service}")

    def __str__(self) -> str:
        what = f"is slowed by {self.delay}" if self.delay else f"fails with {self.grpc_status or self.status}"
        return f"{self.service} {what} for {self.share} of calls{self.scope}"


@dataclass(frozen=True, slots=True)
class Down:
    """No endpoint of a service takes connections.

    Attributes:
        service: The service.
    """

    service: ServiceRef

    def __str__(self) -> str:
        return f"{self.service} is down"


@dataclass(frozen=True, slots=True)
class Timeout:
    """A call that takes longer, all its tries together, is answered with 504 by the caller's proxy.

    Attributes:
        service: The service that is called.
        after: How long a call may take.

    Raises:
        BadInput: it takes no time, or more than anybody waits.
    """

    service: ServiceRef
    after: Duration

    def __post_init__(self) -> None:
        _lasts(self.after, f"the timeout of calls to {self.service}")

    def __str__(self) -> str:
        return f"calls to {self.service} time out after {self.after}"


@dataclass(frozen=True, slots=True)
class Retry:
    """A call that failed is tried again by the caller's proxy: on connect failure, reset, 5xx, retriable gRPC statuses.

    Attributes:
        service: The service that is called.
        count: How often at most, so that ``count`` + 1 tries reach the service.

    Raises:
        BadInput: more often than any call is retried.
    """

    service: ServiceRef
    count: int

    def __post_init__(self) -> None:
        _can_be_reached(self.count, _MOST_RETRIES, str(self))

    def __str__(self) -> str:
        return f"calls to {self.service} are retried up to {self.count} times"


@dataclass(frozen=True, slots=True)
class CircuitBreaker:
    """Each caller's proxy ejects an endpoint after errors in a row, and asks it again after a while.

    Attributes:
        service: The service that is called.
        errors: Answers of 5xx, resets and failed connections in a row that open it.
        open_for: How long the first opening lasts; the n-th lasts n times as long.

    Raises:
        BadInput: it takes no time, too much, or more errors than anybody sees in a row.
    """

    service: ServiceRef
    errors: int
    open_for: Duration

    def __post_init__(self) -> None:
        _lasts(self.open_for, f"the time that the breaker of {self.service} stays open")
        _can_be_reached(self.errors, _MOST_ERRORS, str(self))

    def __str__(self) -> str:
        return f"{self.service} has a circuit breaker that opens after {self.errors} consecutive errors for {self.open_for}"


@dataclass(frozen=True, slots=True)
class Limit:
    """Requests beyond so many at a time are answered with 503 by a proxy, and do not wait.

    Attributes:
        service: The service that is called.
        concurrent: How many requests at a time each caller's proxy sends, and each pod of the service takes.

    Raises:
        BadInput: more than can be sent at a time.
    """

    service: ServiceRef
    concurrent: int

    def __post_init__(self) -> None:
        _can_be_reached(self.concurrent, _MOST_CONCURRENT, str(self))

    def __str__(self) -> str:
        return f"{self.service} accepts at most {self.concurrent} concurrent requests"


@dataclass(frozen=True, slots=True)
class Split:
    """Each request to a service goes to one of its subsets, drawn by these shares.

    Attributes:
        service: The service that is called.
        shares: Subset → its share; they sum to 100 %.
    """

    service: ServiceRef
    shares: tuple[tuple[str, Percent], ...]

    def __str__(self) -> str:
        parts = " and ".join(f"{share} to {subset}" for subset, share in self.shares)
        return f"traffic to {self.service} is split {parts}"


@dataclass(frozen=True, slots=True)
class Mirror:
    """A copy of every request to a service goes to one of its subsets as well; its answer is thrown away.

    Attributes:
        service: The service that is called.
        subset: Who gets the copies.
    """

    service: ServiceRef
    subset: str

    def __str__(self) -> str:
        return f"traffic to {self.service} is mirrored to {self.subset}"


@dataclass(frozen=True, slots=True)
class MutualTls:
    """What servers demand of a connection.

    Attributes:
        mode: Mutual TLS alone, plaintext as well, or plaintext alone.
        namespace: For every server of this namespace.
        service: For this service alone; ``None``: for the whole namespace.
    """

    mode: TlsMode
    namespace: str
    service: ServiceRef | None = None

    def __str__(self) -> str:
        return f"mutual TLS is {self.mode} for {self.service or f'namespace {self.namespace}'}"


@dataclass(frozen=True, slots=True)
class Access:
    """One service may call another, and nobody else may.

    Attributes:
        caller: Who may, known by its service account.
        service: The service that is called.
    """

    caller: ServiceRef
    service: ServiceRef

    def __str__(self) -> str:
        return f"only {self.caller} may call {self.service}"


Intent = Fault | Down | Timeout | Retry | CircuitBreaker | Limit | Split | Mirror | MutualTls | Access
"""Everything that a step can want of a mesh."""

Policy = Timeout | Retry | CircuitBreaker | Limit | Mirror
"""What a proxy does to calls that a fault at the caller would answer before the proxy comes to it."""


class Topic(StrEnum):
    """What a step of a scenario is about, as far as it bears on where a fault has to be injected."""

    FAULT = "fault"
    RETRIES = "retries"
    TIMEOUT = "timeout"
    BREAKER = "circuit breaker"
    LIMIT = "limit of concurrent requests"
    MIRROR = "mirrored traffic"
    ACCESS = "access policy"
    REPORTS = "proxy's own reports"


@dataclass(frozen=True, slots=True)
class Mention:
    """A step of the scenario, before or after this one, that is about a service.

    Attributes:
        topic: What it says of the service.
        service: The service.
        step: The step's own words.
        at: Where the step wants its fault injected; ``None``: it does not say.
    """

    topic: Topic
    service: ServiceRef
    step: str
    at: Side | None = None
