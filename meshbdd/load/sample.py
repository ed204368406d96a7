"""One request that was sent, and what became of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from meshbdd.errors import Inconclusive
from meshbdd.load.answer import read_field
from meshbdd.load.lapses import excused, least_for

_GRPC = "grpc-status"


@dataclass(frozen=True, slots=True)
class Sample:
    """What a request met.

    Attributes:
        request_id: Its ``x-request-id``, by which proxies' logs know it.
        started: Unix time of its start.
        seconds: From its start to the last byte of the answer, or to the failure; where a rate was asked for, from the
            time at which it should have started.
        status: HTTP status; ``None`` where no whole answer came.
        error: ``refused``, ``reset``, ``timeout``, ``cut`` …; ``None`` where an answer came.
        headers: The answer's headers, names in lower case; of a long load perhaps only those asked for.
        body: The answer's body, at most 1 MiB of it; empty where it was not kept.
        scheduled: Unix time at which it should have started; ``None`` where each user sends when the last answer came.
        first_byte: Seconds from its start to the first byte of the answer; ``None`` where none came.
        size: Bytes of the body.
        flags: Envoy's response flags, where the answer carries them in a header.
        fields: Path → JSON text of the fields that were asked for; ``None`` where the body does not have it.
        kept: Whether headers and body were kept; of a long load only some are.
        own: Seconds by which this machine may have made it later and slower at most, because it was late itself.
    """

    request_id: str
    started: float
    seconds: float
    status: int | None
    error: str | None = None
    headers: Mapping[str, str] | None = None
    body: bytes = b""
    scheduled: float | None = None
    first_byte: float | None = None
    size: int = 0
    flags: str = ""
    fields: Mapping[str, str | None] | None = None
    kept: bool = True
    own: float = 0.0

    @property
    def succeeded(self) -> bool:
        """A complete answer, status < 400, and gRPC status 0 where there is one."""
        grpc = (self.headers or {}).get(_GRPC, "0")
        return self.status is not None and self.status < 400 and grpc == "0"

    @property
    def excused(self) -> bool:
        """Whether it failed, and that may be this machine's doing: it tells nothing of the service."""
        if self.succeeded:
            return False
        least = least_for(paced=self.scheduled is not None, answered=self.status is not None)
        return excused(self.own, self.seconds, least)

    @property
    def told(self) -> str:
        """The outcome in a few words; a gRPC failure comes with HTTP status 200."""
        grpc = (self.headers or {}).get(_GRPC, "0")
        status = str(self.status) if grpc == "0" else f"{self.status} with gRPC status {grpc}"
        return status if self.status is not None else str(self.error)

    def field(self, path: str) -> Any:
        """The value at a dotted path of the JSON body.

        Raises:
            LookupError: the body is no JSON, or has nothing there.
            Inconclusive: the body was not kept, so nobody can tell.
        """
        if self.fields is not None and path in self.fields:
            text = self.fields[path]
            if text is None:
                raise LookupError(f"the body has no field '{path}'")
            return json.loads(text)
        if not self.kept:
            raise Inconclusive(
                "MB0514",
                f"The field '{path}' of {self.request_id} cannot be told: too much was sent to keep every answer.",
                help="send fewer requests",
            )
        return read_field(self.body, path)
