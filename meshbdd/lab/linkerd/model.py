"""Linkerd's policies, free of Kubernetes' and of Envoy's shapes: what its policy controller would tell a proxy.

The words are those of Linkerd's proxy API (linkerd2-proxy-api, ``outbound.proto`` and ``inbound.proto``). Times are
seconds. ``None`` means "not said".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from meshbdd.lab.compile.ir import HeaderOps, Match, Text

Protocol = Literal["detect", "http1", "http2", "grpc", "opaque", "tls"]

MAX_RETRY_BODY = 65536
"""Bytes of a request beyond which it is not retried: linkerd2 policy-controller/grpc/src/outbound.rs."""
RETRY_PAUSES = (Decimal("0.025"), Decimal("0.250"))
FAIL_FAST = Decimal(3)
"""How long a request waits for an endpoint before the backend counts as unavailable."""
QUEUE_CAPACITY = 100


@dataclass(frozen=True, slots=True)
class Resource:
    """Where a piece of policy came from."""

    group: str
    kind: str
    name: str
    namespace: str = ""
    port: int = 0
    section: str = ""

    def __str__(self) -> str:
        """As the proxy's own error messages name it: ``Service.shop.order-service:80``."""
        port = f":{self.port}" if self.port else ""
        return f"{self.kind}.{self.namespace}.{self.name}{port}"


@dataclass(frozen=True, slots=True)
class Default:
    """A piece of policy that is built in."""

    name: str

    def __str__(self) -> str:
        return f"default.{self.name}"


Meta = Resource | Default


# Filters


@dataclass(frozen=True, slots=True)
class FailureInjector:
    """An answer that the proxy gives instead of sending the request.

    Attributes:
        status: The HTTP status.
        message: What the proxy says was wrong.
        code: What a gRPC route is told in its place; ``None``: the same number.
    """

    status: int
    message: str
    code: int | None = None


@dataclass(frozen=True, slots=True)
class Modifier:
    """Header operations on requests or responses."""

    side: Literal["request", "response"]
    ops: HeaderOps


@dataclass(frozen=True, slots=True)
class Redirection:
    """An answer that sends the caller elsewhere; ``path`` is ``{"full": …}`` or ``{"prefix": …}``."""

    status: int = 302
    scheme: str | None = None
    host: str = ""
    port: int = 0
    path: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Forbidden:
    """A connection that is closed."""


@dataclass(frozen=True, slots=True)
class Invalid:
    """A connection that is closed because its backend cannot be used."""

    message: str


Filter = FailureInjector | Modifier | Redirection | Forbidden | Invalid


# Outbound


@dataclass(frozen=True, slots=True)
class Biaser:
    """The alpha load biaser: endpoints that fail look slower to the balancer."""

    penalty: Decimal
    max_retry_after: Decimal


@dataclass(frozen=True, slots=True)
class Balancer:
    """The endpoints of a Service's port."""

    name: str
    namespace: str
    port: int
    biaser: Biaser | None = None


@dataclass(frozen=True, slots=True)
class Forward:
    """One address, as the caller dialled it."""

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Backend:
    """Where requests go; without a target only its filters answer."""

    meta: Meta
    target: Balancer | Forward | None
    weight: int = 1
    filters: tuple[Filter, ...] = ()

    @property
    def failure(self) -> FailureInjector | None:
        """The answer of a backend that cannot be used."""
        return next((f for f in self.filters if isinstance(f, FailureInjector)), None)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """``request`` covers all tries, ``response`` one; ``idle`` is a pause within the streams."""

    request: Decimal | None = None
    response: Decimal | None = None
    idle: Decimal | None = None

    @property
    def said(self) -> bool:
        """Whether any of them is set."""
        return (self.request, self.response, self.idle) != (None, None, None)


@dataclass(frozen=True, slots=True)
class Retries:
    """Retries beside the first try, on HTTP statuses (ranges, both ends included) or gRPC statuses (by name)."""

    limit: int = 1
    statuses: tuple[tuple[int, int], ...] = ()
    grpc: tuple[str, ...] = ()
    timeout: Decimal | None = None


@dataclass(frozen=True, slots=True)
class RpcMatch:
    """When a gRPC rule is taken; empty means any."""

    service: str = ""
    method: str = ""
    headers: Mapping[str, Text] = field(default_factory=dict)
    any_rpc: bool = True
    """Whether neither service nor method was asked for at all."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a route. ``split``: backends share by weight; else the first available one takes all."""

    matches: tuple[Match | RpcMatch, ...]
    backends: tuple[Backend, ...]
    split: bool = False
    filters: tuple[Filter, ...] = ()
    timeouts: Timeouts | None = Timeouts()
    retries: Retries | None = None
    request_headers_allowed: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """A route: for HTTP and gRPC ``hosts`` are host names, for TLS server names."""

    meta: Meta
    rules: tuple[Rule, ...]
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Backoff:
    """Penalties of a broken endpoint: from ``least`` to ``most``, each longer by up to ``jitter``."""

    least: Decimal
    most: Decimal
    jitter: float
    honor_retry_after: bool = False


@dataclass(frozen=True, slots=True)
class SuccessRate:
    """The unified mode: also trips when fewer than ``threshold`` of at least ``min_requests`` succeed in the window."""

    threshold: float
    window: Decimal
    min_requests: int


@dataclass(frozen=True, slots=True)
class Accrual:
    """Failure accrual: an endpoint is broken after ``max_failures`` in a row."""

    max_failures: int
    backoff: Backoff
    success_rate: SuccessRate | None = None

    @property
    def judged_rate(self) -> SuccessRate | None:
        """The success rate that counts: a threshold of 0 switches it off."""
        return self.success_rate if self.success_rate is not None and self.success_rate.threshold else None

    @property
    def breaks(self) -> bool:
        """Whether any failures break a circuit."""
        return self.max_failures > 0 or self.judged_rate is not None


@dataclass(frozen=True, slots=True)
class OutboundPolicy:
    """What a proxy does with connections to one address: routes by kind, in order of precedence."""

    meta: Meta
    protocol: Protocol
    http: tuple[Route, ...] = ()
    opaque: tuple[Route, ...] = ()
    tls: tuple[Route, ...] = ()
    accrual: Accrual | None = None


# Inbound


@dataclass(frozen=True, slots=True)
class Network:
    """Addresses, and those among them that are meant not."""

    cidr: str
    excepted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Identities:
    """Whose certificates are taken: whole names, and suffixes (``()`` is any identity). ``unverified``: any TLS."""

    names: tuple[str, ...] = ()
    suffixes: tuple[tuple[str, ...], ...] = ()
    unverified: bool = False


@dataclass(frozen=True, slots=True)
class Authorization:
    """Who may call: from these networks, and with one of these identities where there are any."""

    meta: Meta
    networks: tuple[Network, ...]
    identities: Identities | None = None


@dataclass(frozen=True, slots=True)
class ServerRule:
    """One rule of a route on a Server."""

    matches: tuple[Match | RpcMatch, ...]
    filters: tuple[Filter, ...] = ()


@dataclass(frozen=True, slots=True)
class ServerRoute:
    """A route on a Server with the authorizations of its own."""

    meta: Meta
    rules: tuple[ServerRule, ...]
    authorizations: tuple[Authorization, ...] = ()
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Requests per second: in total, for each identity, and for single identities instead of that."""

    name: str
    total: int | None = None
    identity: int | None = None
    overrides: tuple[tuple[int, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class InboundServer:
    """What a proxy does with connections to one port of its pod."""

    meta: Meta
    protocol: Protocol
    authorizations: tuple[Authorization, ...]
    routes: tuple[ServerRoute, ...] = ()
    rate_limit: RateLimit | None = None
