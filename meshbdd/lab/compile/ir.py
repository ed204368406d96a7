"""The intermediate representation: services and routes (``policies`` has the rest), free of Kubernetes' and of Envoy's shapes.

Every value is immutable. ``None`` means "not said", which is never the same as 0 or empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Protocol = Literal["http", "http2", "tcp"]
Mtls = Literal["DISABLE", "PERMISSIVE", "STRICT"]
Text = Mapping[str, Any]
"""A string match as Istio writes it: exact, prefix or regex."""


@dataclass(frozen=True, slots=True)
class Port:
    """A Service's port; ``detected`` where neither name nor appProtocol tells the protocol."""

    number: int
    name: str
    protocol: Protocol
    detected: bool = False


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A pod behind a Service's port; one that is not ``healthy`` is told to callers, who send nothing to it."""

    address: str
    port: int
    labels: Mapping[str, str]
    workload: str
    meshed: bool
    namespace: str
    service_account: str
    healthy: bool = True
    locality: str = ""
    """``region/zone/subzone``; empty where that is not known."""


@dataclass(frozen=True, slots=True)
class Service:
    """A Service with its endpoints by port number, ready or not."""

    name: str
    namespace: str
    host: str
    address: str
    ports: tuple[Port, ...]
    endpoints: Mapping[int, tuple[Endpoint, ...]]
    selector: Mapping[str, str]
    target_ports: Mapping[int, Any]
    service_accounts: tuple[str, ...]
    created: str = ""
    exported_to: frozenset[str] = frozenset({"*"})
    headless: bool = False
    aliases: tuple[str, ...] = ()
    """Hosts of the Services of type ExternalName that stand for this one."""
    alias_of: str = ""
    """The name that this one, of type ExternalName, stands for, as written; it has no endpoints and no clusters."""
    past_the_mesh: tuple[int, ...] = ()
    """Ports that no sidecar takes: UDP."""
    prefers: tuple[str, ...] = ()
    """Labels that callers and endpoints should share, the widest first (``spec.trafficDistribution``)."""

    def visible_to(self, namespace: str) -> bool:
        """Whether workloads of a namespace see this Service."""
        return bool(self.exported_to & {"*", namespace}) or ("." in self.exported_to and namespace == self.namespace)

    def port(self, number: int) -> Port | None:
        """The port of that number."""
        return next((port for port in self.ports if port.number == number), None)


@dataclass(frozen=True, slots=True)
class Workload:
    """The pod that a configuration is for."""

    name: str
    namespace: str
    labels: Mapping[str, str]
    address: str
    ports: Mapping[str, int]
    """Named container ports."""
    locality: str = ""
    """As that of an endpoint."""


# Routes


@dataclass(frozen=True, slots=True)
class Match:
    """When a route is taken; everything said must hold."""

    name: str = ""
    statistics: str = ""
    """A prefix for this route's own statistics."""
    uri: Text | None = None
    by_segments: bool = False
    """Whether a prefix of the path ends where a segment ends, as the Gateway API has it."""
    ignore_uri_case: bool = False
    method: Text | None = None
    authority: Text | None = None
    scheme: Text | None = None
    headers: Mapping[str, Text] = field(default_factory=dict)
    without_headers: Mapping[str, Text] = field(default_factory=dict)
    query: Mapping[str, Text] = field(default_factory=dict)

    @property
    def catches_all(self) -> bool:
        """Whether no route behind this one can be reached."""
        everything = not self.uri or self.uri.get("prefix") == "/" or self.uri.get("regex") == ".*"
        narrow = (self.headers, self.without_headers, self.query)
        # An empty match of the method and its like is said, though it asks for nothing but a value.
        said = (self.method, self.authority, self.scheme)
        return everything and not any(narrow) and all(text is None for text in said)


@dataclass(frozen=True, slots=True)
class Fault:
    """An abort, a delay, or both; a share of ``None`` was not said and means none at all."""

    abort_status: int | None = None
    abort_grpc: int | None = None
    abort_percent: float | None = None
    has_abort: bool = False
    delay: str | None = None
    delay_percent: float | None = None
    delay_hundredths: int | None = None
    has_delay: bool = False


@dataclass(frozen=True, slots=True)
class Retry:
    """A retry policy: ``attempts`` are retries beside the first try."""

    attempts: int
    per_try_timeout: str | None = None
    retry_on: str | None = None
    backoff: str | None = None
    ignore_previous_hosts: bool | None = None
    remote_localities: bool = False


@dataclass(frozen=True, slots=True)
class HeaderOps:
    """Header operations in one direction."""

    set: Mapping[str, str] = field(default_factory=dict)
    add: Mapping[str, str] = field(default_factory=dict)
    remove: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Destination:
    """Where requests go: a host, perhaps a port and a subset, with a weight."""

    host: str
    port: int | None = None
    subset: str = ""
    weight: int = 0
    request_headers: HeaderOps = HeaderOps()
    response_headers: HeaderOps = HeaderOps()


@dataclass(frozen=True, slots=True)
class MirrorTo:
    """Where copies of requests go, and of how many percent."""

    destination: Destination
    percent: float | None
    """``None``: all of them."""
    hundredths: int | None = None
    """A share in whole hundredths, in place of ``percent``."""


@dataclass(frozen=True, slots=True)
class Redirect:
    """An answer that sends the caller elsewhere."""

    code: int = 301
    uri: str = ""
    prefix: str | None = None
    """What takes the place of the matched prefix, instead of ``uri``."""
    authority: str = ""
    scheme: str = ""
    port: int | None = None
    request_port: bool = False
    """Whether the port is the one that was called."""


@dataclass(frozen=True, slots=True)
class DirectResponse:
    """An answer that the sidecar gives itself."""

    status: int
    body: str | None = None
    body_bytes: str | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """One rule of a virtual service for one match."""

    match: Match | None
    name: str = ""
    origin: str | None = None
    destinations: tuple[Destination, ...] = ()
    redirect: Redirect | None = None
    direct_response: DirectResponse | None = None
    timeout: str | None = None
    retry: Retry | None = None
    fault: Fault | None = None
    mirrors: tuple[MirrorTo, ...] = ()
    rewrite_uri: str | None = None
    removes_prefix: bool = False
    """Whether the matched prefix is taken off the path, as the Gateway API has it."""
    rewrite_regex: tuple[str, str] | None = None
    rewrite_authority: str | None = None
    cors: Mapping[str, Any] | None = None
    request_headers: HeaderOps = HeaderOps()
    response_headers: HeaderOps = HeaderOps()
    missing_is_500: bool = False
    """Whether a destination that does not exist is answered with 500, as the Gateway API has it, and not with 503."""


@dataclass(frozen=True, slots=True)
class VirtualService:
    """The rules for some hosts: names completed, delegates put in their place.

    Attributes:
        name: Its name, and ``namespace`` where it is.
        origin: Where its routes came from, for their metadata.
        hosts: Whole names, or patterns.
        exported_to: Namespaces that see it; ``*`` for all.
        rules: ``http`` as written, with whole names.
        gateway_api: Whether it was made of HTTPRoutes, which follow other rules here and there.
    """

    name: str
    namespace: str
    origin: str
    hosts: tuple[str, ...]
    exported_to: frozenset[str]
    rules: tuple[Mapping[str, Any], ...]
    gateway_api: bool = False
