"""Which of a scenario's requests makes whom call a service: the logs have the id of the request that did."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from meshbdd.claims.calls import circuit_of
from meshbdd.intents import ServiceRef
from meshbdd.telemetry.access_log import Entry


def leading_to(service: ServiceRef, entries: Iterable[Entry], name_of: Callable[[str], str]) -> Mapping[str, set[str]]:
    """Name of a request that was sent → the circuits that let a service be called for it.

    Of a call with another id, which its caller has not passed on, nobody knows what it was for.

    Args:
        service: The service.
        entries: The logs.
        name_of: Id of a request → its name; empty where nobody knows.
    """
    found: dict[str, set[str]] = {}
    for entry in entries:
        if entry.outbound and entry.service == service.host and (name := name_of(entry.request_id)):
            found.setdefault(name, set()).add(circuit_of(entry.pod, entry.port))
    return found
