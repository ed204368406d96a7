"""The statuses of gRPC that tell of a failure, and what Envoy makes of them."""

from __future__ import annotations

GRPC_CODES = {
    "CANCELLED": 1, "UNKNOWN": 2, "INVALID_ARGUMENT": 3, "DEADLINE_EXCEEDED": 4, "NOT_FOUND": 5, "ALREADY_EXISTS": 6,
    "PERMISSION_DENIED": 7, "RESOURCE_EXHAUSTED": 8, "FAILED_PRECONDITION": 9, "ABORTED": 10, "OUT_OF_RANGE": 11,
    "UNIMPLEMENTED": 12, "INTERNAL": 13, "UNAVAILABLE": 14, "DATA_LOSS": 15, "UNAUTHENTICATED": 16,
}  # fmt: skip
"""https://grpc.io/docs/guides/status-codes/"""

DEADLINE_EXCEEDED = GRPC_CODES["DEADLINE_EXCEEDED"]

_HTTP_STATUSES = {
    0: 200, 1: 499, 3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 429, 9: 400, 10: 409, 11: 400, 12: 501, 14: 503, 16: 401,
}  # fmt: skip

RETRIED = frozenset(
    GRPC_CODES[name] for name in ("CANCELLED", "DEADLINE_EXCEEDED", "INTERNAL", "RESOURCE_EXHAUSTED", "UNAVAILABLE")
)
"""The statuses on which Envoy's router can be told to try again: its documentation of ``x-envoy-retry-grpc-on``."""


def as_http(code: int) -> int:
    """The HTTP status as which Envoy's outlier detection counts a gRPC status: envoy source/common/grpc/status.cc."""
    return _HTTP_STATUSES.get(code, 500)


_GRPC_STATUSES = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}


def as_grpc(status: int) -> int:
    """The gRPC status by which Envoy answers a gRPC call instead of an HTTP status: envoy source/common/grpc/status.cc."""
    return _GRPC_STATUSES.get(status, GRPC_CODES["UNKNOWN"])
