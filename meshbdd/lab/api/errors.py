"""Errors of the Kubernetes API, in the wording of a real server.

Recorded from Kubernetes v1.32.13; the spelling of the kind in a message (``virtualservices.networking.istio.io`` or
 ``VirtualService.networking.istio.io``) follows what that server says for the same mistake.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Cause:
    """One reason in a ``Status``: what is wrong with which field."""

    reason: str
    message: str
    field: str

    def rendered(self) -> Object:
        """The cause as it stands in ``details.causes``."""
        return {"reason": self.reason, "message": self.message, "field": self.field}


class ApiError(Exception):
    """A refusal by the API, rendered as a Kubernetes ``Status``.

    Args:
        code: The HTTP status.
        reason: Kubernetes' machine-readable reason; empty where a real server gives none.
        message: The sentence for a person.
        details: Name, group, kind and causes, where known.
        retry_after: Seconds for the ``Retry-After`` header; ``None`` for no header.
        metadata: Metadata of the ``Status`` (a fresh continue token of a 410).
    """

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: Object | None = None,
        *,
        retry_after: int | None = None,
        metadata: Object | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details
        self.retry_after = retry_after
        self.metadata = metadata or {}

    def status(self) -> Object:
        """The ``Status`` object that a client receives."""
        answer: Object = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": self.metadata,
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            answer["reason"] = self.reason
        if self.details is not None:
            answer["details"] = self.details
        answer["code"] = self.code
        return answer


def qualified(name: str, group: str) -> str:
    """A plural or kind with its group, as messages show it."""
    return f"{name}.{group}" if group else name


def _details(name: str, group: str, kind: str, causes: Sequence[Cause] = ()) -> Object:
    details: Object = {}
    if name:
        details["name"] = name
    if group:
        details["group"] = group
    details["kind"] = kind
    if causes:
        details["causes"] = [cause.rendered() for cause in causes]
    return details


def not_found(plural: str, group: str, name: str) -> ApiError:
    """404: no such object."""
    return ApiError(404, "NotFound", f'{qualified(plural, group)} "{name}" not found', _details(name, group, plural))


def already_exists(plural: str, group: str, name: str, *, going: bool = False) -> ApiError:
    """409: an object of that name exists, perhaps one that is being deleted."""
    message = f'{qualified(plural, group)} "{name}" already exists'
    if going:
        message = f"object is being deleted: {message}"
    return ApiError(409, "AlreadyExists", message, _details(name, group, plural))


def conflict(kind: str, group: str, name: str, why: str) -> ApiError:
    """409: the object is not the one that the caller knows."""
    message = f'Operation cannot be fulfilled on {qualified(kind, group)} "{name}": {why}'
    return ApiError(409, "Conflict", message, _details(name, group, kind))


STALE = "the object has been modified; please apply your changes to the latest version and try again"


def invalid(kind: str, group: str, name: str, causes: Sequence[Cause]) -> ApiError:
    """422: the object breaks a rule; each cause names a field."""
    sentences = list(dict.fromkeys(f"{cause.field}: {cause.message}" for cause in causes))
    told = sentences[0] if len(sentences) == 1 else "[" + ", ".join(sentences) + "]"
    message = f'{qualified(kind, group)} "{name}" is invalid: {told}'
    return ApiError(422, "Invalid", message, _details(name, group, kind, causes))


def bad_request(message: str) -> ApiError:
    """400: the request itself makes no sense."""
    return ApiError(400, "BadRequest", message)


def forbidden(plural: str, group: str, name: str, why: str, causes: Sequence[Cause] = ()) -> ApiError:
    """403: not allowed; ``why`` follows "is forbidden: "."""
    named = f' "{name}"' if name else ""
    message = f"{qualified(plural, group)}{named} is forbidden: {why}"
    return ApiError(403, "Forbidden", message, _details(name, group, plural, causes))


def internal(message: str) -> ApiError:
    """500 without a reason, as a real server answers some mistakes of a client."""
    return ApiError(500, "", message)


def unknown_resource() -> ApiError:
    """404 for a path that no built-in group serves."""
    return ApiError(404, "NotFound", "the server could not find the requested resource", {})


def expired(message: str, continue_token: str | None = None) -> ApiError:
    """410: the history that the caller asks for is gone."""
    return ApiError(
        410, "Expired", message, metadata={"continue": continue_token} if continue_token is not None else None
    )


def too_large_version(asked: int, current: int) -> ApiError:
    """504: a resourceVersion that the server has not reached."""
    details = {
        "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
        "retryAfterSeconds": 1,
    }
    message = f"Timeout: Too large resource version: {asked}, current: {current}"
    return ApiError(504, "Timeout", message, details, retry_after=1)


def unsupported_media_type(accepted: Sequence[str]) -> ApiError:
    """415, naming the media types that are understood."""
    message = "the body of the request was in an unknown format - accepted media types include: " + ", ".join(accepted)
    return ApiError(415, "UnsupportedMediaType", message)


def not_acceptable(*, streaming: bool = False) -> ApiError:
    """406, naming the media types that can be given."""
    given = "application/json, application/yaml, application/vnd.kubernetes.protobuf"
    if streaming:
        given = "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"
    return ApiError(406, "NotAcceptable", f"only the following media types are accepted: {given}")


def method_not_allowed(verb: str, plural: str, group: str) -> ApiError:
    """405 for a verb that the resource does not have."""
    message = f'{verb} is not supported on resources of kind "{qualified(plural, group)}"'
    return ApiError(405, "MethodNotAllowed", message, {**({"group": group} if group else {}), "kind": plural})
