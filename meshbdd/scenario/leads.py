"""Which of a scenario's requests makes whom call a service, as the logs of those that were sent tell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from meshbdd.claims.calls import circuit_of
from meshbdd.intents import ServiceRef
from meshbdd.load import Message
from meshbdd.telemetry.access_log import Entry


def leading_to(
    service: ServiceRef, entries: Iterable[Entry], requests: Iterable[Message], last: str
) -> Mapping[str, set[str]]:
    """Name of a request that was sent → the circuits that let a service be called for it.

    Args:
        service: The service.
        entries: The logs.
        requests: All that are defined.
        last: The name of the one that was sent last: of several that look alike in a log, it is taken for that one.
    """
    names: dict[tuple[str, str, str], str] = {}
    for message in sorted(requests, key=lambda message: message.name != last):
        url = urlsplit(message.url)
        path = f"{url.path or '/'}{'?' if url.query else ''}{url.query}"
        names.setdefault((message.method, message.host.partition(".")[0], path), message.name)
    first: dict[str, Entry] = {}
    circuits: dict[str, set[str]] = {}
    for entry in sorted(entries, key=lambda entry: entry.started):
        if not entry.outbound or not entry.request_id:
            continue
        first.setdefault(entry.request_id, entry)
        if entry.service == service.host:
            circuits.setdefault(entry.request_id, set()).add(circuit_of(entry.pod, entry.port))
    found: dict[str, set[str]] = {}
    for request_id, called in circuits.items():
        sent = first[request_id]
        name = names.get((sent.method, sent.service.partition(".")[0], sent.path))
        if name is not None:
            found.setdefault(name, set()).update(called)
    return found
