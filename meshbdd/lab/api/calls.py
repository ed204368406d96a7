"""The values that travel with a call to the API: who calls and how, and how to delete."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from meshbdd.lab.api.errors import Object

Validation = Literal["Ignore", "Warn", "Strict"]

Admission = Callable[[str, str, Object | None, Object | None], list[str]]
"""Called before a write with the operation (CREATE, UPDATE, DELETE), the resource's key, the new and the old object.

Returns warnings for the caller; raises ``ApiError`` to refuse. It must not change the objects.
"""


@dataclass(slots=True)
class Caller:
    """Who calls, and how the call is meant.

    Args:
        user: Name of the user, for messages and reviews.
        manager: Field manager that will own what is written.
        version: API version that is spoken; the stored one unless told.
        dry_run: Do everything but keep the result.
        validation: What happens with fields that the schema does not know.
        patched: The body came as a patch (unknown fields are then refused in other words).
        problems: Faults that decoding already found, as "duplicate field" sentences.
        warnings: Filled by the call; each becomes a ``Warning`` header.
    """

    user: str = "system:lab"
    manager: str = "lab"
    version: str | None = None
    dry_run: bool = False
    validation: Validation = "Ignore"
    patched: bool = False
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """How to delete; ``uid`` and ``resource_version`` are preconditions."""

    uid: str | None = None
    resource_version: str | None = None
    propagation: str | None = None
    grace_seconds: int | None = None


class Deletion(NamedTuple):
    """The last state of the object, and whether it is gone (or waits for finalizers or its grace period)."""

    object: Object
    gone: bool


def now() -> str:
    """The time in Kubernetes' form: RFC 3339, whole seconds, UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
