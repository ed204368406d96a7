"""The intermediate representation, second part: policies of destinations, who may call, patches of Envoy's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

# Policies of a destination


@dataclass(frozen=True, slots=True)
class TrafficPolicy:
    """What a DestinationRule says about calls to one host, port and subset; the blocks as written, or ``None``."""

    connection_pool: Mapping[str, Any] | None = None
    outlier_detection: Mapping[str, Any] | None = None
    load_balancer: Mapping[str, Any] | None = None
    tls: Mapping[str, Any] | None = None
    retry_budget: Mapping[str, Any] | None = None
    proxy_protocol: Mapping[str, Any] | None = None

    @property
    def tls_mode(self) -> str | None:
        """The mode of TLS; ``None`` where nothing is said of TLS, DISABLE where nothing is said of its mode."""
        return None if self.tls is None else self.tls.get("mode") or "DISABLE"

    @property
    def passthrough(self) -> bool:
        """Whether calls go to the address that the caller connected to."""
        return (self.load_balancer or {}).get("simple") == "PASSTHROUGH"


@dataclass(frozen=True, slots=True)
class Subset:
    """A named part of a Service's endpoints."""

    name: str
    labels: Mapping[str, str]
    policy: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Rule:
    """The DestinationRule (or several merged ones) that governs a host; ``selects``: it is for single workloads."""

    host: str
    namespace: str
    origin: str
    policy: Mapping[str, Any] | None
    subsets: tuple[Subset, ...]
    selects: bool = False


# Who may call


@dataclass(frozen=True, slots=True)
class Condition:
    """One attribute: any of ``values`` must hold, and none of ``not_values``; those that are empty say nothing."""

    key: str
    values: tuple[str, ...] = ()
    not_values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AccessRule:
    """What is done and who does it: one list of conditions of each must hold as a whole."""

    operations: tuple[tuple[Condition, ...], ...]
    sources: tuple[tuple[Condition, ...], ...]


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """An authorization policy; a rule of ``None`` is one that cannot be read, which is passed over.

    ``dry_run``: its outcome is only counted.
    """

    name: str
    namespace: str
    action: Literal["ALLOW", "DENY", "AUDIT"]
    rules: tuple[AccessRule | None, ...]
    dry_run: bool = False


# Patches of Envoy's configuration


@dataclass(frozen=True, slots=True)
class ChainPlace:
    """Where a patch of an inbound HTTP filter applies; what is ``None`` was not said."""

    listener: str | None = None
    port: int | None = None
    chain: Mapping[str, Any] = field(default_factory=dict)
    network_filter: str | None = None
    http_filter: str | None = None


@dataclass(frozen=True, slots=True)
class ClusterPlace:
    """Which clusters a patch applies to; a name beats everything else."""

    context: Literal["ANY", "SIDECAR_INBOUND", "SIDECAR_OUTBOUND"] = "ANY"
    name: str | None = None
    service: str | None = None
    subset: str | None = None
    port: int | None = None


@dataclass(frozen=True, slots=True)
class RoutePlace:
    """Which outbound routes a patch applies to; what is ``None`` was not said.

    Attributes:
        table: The name of the route configuration.
        port: Its port.
        host: The name of the virtual host, ``<host>:<port>``.
        domain: One of the virtual host's domains.
        route: The route's own name.
        action: ``ROUTE``, ``REDIRECT`` or ``DIRECT_RESPONSE``.
    """

    table: str | None = None
    port: int | None = None
    host: str | None = None
    domain: str | None = None
    route: str | None = None
    action: str | None = None


Place = ChainPlace | ClusterPlace | RoutePlace


@dataclass(frozen=True, slots=True)
class Patch:
    """One patch: of an HTTP filter, of a cluster, of a route, or an extension's settings (then without a place).

    Attributes:
        owner: The object that holds it, ``EnvoyFilter name in namespace``.
        path: Where in the object it stands.
        operation: ``MERGE``, ``ADD``, or one of the three inserts.
        value: What to put there, in protobuf field names.
        place: Where.
    """

    owner: str
    path: str
    operation: str
    value: Mapping[str, Any]
    place: Place | None
