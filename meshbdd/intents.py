"""What a tester wants of the world, free of any mesh's own words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from meshbdd.units import Duration, Percent

EVERY_REQUEST = Percent(100)


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

    def __str__(self) -> str:
        return f"{self.name}.{self.namespace}"


@dataclass(frozen=True, slots=True)
class Scope:
    """Which calls a fault is for; everything said must hold, nothing said means every call.

    Attributes:
        called_by: The caller.
        method: HTTP method.
        path: Request path, whole.
        headers: Header names with their exact values.
    """

    called_by: ServiceRef | None = None
    method: str | None = None
    path: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

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
    """

    service: ServiceRef
    share: Percent = EVERY_REQUEST
    status: int | None = None
    grpc_status: str | None = None
    delay: Duration | None = None
    scope: Scope = Scope()

    def __str__(self) -> str:
        what = f"is slowed by {self.delay}" if self.delay else f"fails with {self.grpc_status or self.status}"
        return f"{self.service} {what} for {self.share} of calls"
