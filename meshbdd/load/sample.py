"""One request that was sent, and what became of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_GRPC = "grpc-status"


@dataclass(frozen=True, slots=True)
class Sample:
    """What a request met.

    Attributes:
        request_id: Its ``x-request-id``, by which proxies' logs know it.
        started: Unix time of its start.
        seconds: From its start to the last byte of the answer, or to the failure.
        status: HTTP status; ``None`` where no whole answer came.
        error: ``refused``, ``reset`` or ``timeout``; ``None`` where an answer came.
        headers: The answer's headers, names in lower case.
        body: The answer's body, at most 1 MiB of it.
    """

    request_id: str
    started: float
    seconds: float
    status: int | None
    error: str | None = None
    headers: Mapping[str, str] | None = None
    body: bytes = b""

    @property
    def succeeded(self) -> bool:
        """A complete answer, status < 400, and gRPC status 0 where there is one."""
        grpc = (self.headers or {}).get(_GRPC, "0")
        return self.status is not None and self.status < 400 and grpc == "0"

    @property
    def told(self) -> str:
        """The outcome in a word or two."""
        return str(self.status) if self.status is not None else str(self.error)

    def field(self, path: str) -> Any:
        """The value at a dotted path of the JSON body.

        Raises:
            LookupError: the body is no JSON, or has nothing there.
        """
        try:
            node: Any = json.loads(self.body)
        except ValueError:
            raise LookupError(f"the body is no JSON: {self.body[:200].decode(errors='replace')!r}") from None
        for part in path.split("."):
            if isinstance(node, list) and part.isdigit() and int(part) < len(node):
                node = node[int(part)]
            elif isinstance(node, dict) and part in node:
                node = node[part]
            else:
                raise LookupError(f"the body has no field '{path}': {self.body[:200].decode(errors='replace')}")
        return node
