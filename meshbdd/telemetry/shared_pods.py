"""Several Services in front of the same pods: which of them a call that came there was made to. Pure functions.

The log of the pod's proxy names the Service that a call was sent to where it came by mutual TLS, in the server name. The caller's own
log does, by the cluster that the call left by; and the call says itself whom it asked. Of a mirrored copy the caller logs nothing, and
it asks for whom the request asked.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from meshbdd.intents import ServiceRef
from meshbdd.telemetry.access_log import Entry
from meshbdd.telemetry.forwarded import key_of


def hosts_beside(
    service: ServiceRef, services: Iterable[Mapping[str, Any]], pods: Iterable[Mapping[str, Any]]
) -> frozenset[str]:
    """The full names of the other Services that select pods of a service.

    Args:
        service: The service.
        services: Those of its namespace.
        pods: Its pods.
    """
    labels = [(pod["metadata"].get("labels") or {}).items() for pod in pods]
    selectors = {str(found["metadata"]["name"]): (found.get("spec") or {}).get("selector") for found in services}
    return frozenset(
        ServiceRef(name, service.namespace).host
        for name, selector in selectors.items()
        if name != service.name and selector and any(selector.items() <= own for own in labels)
    )


def to_no_other(service: ServiceRef, entries: Iterable[Entry], beside: Collection[str]) -> list[Entry]:
    """Entries without those of calls that came to a service's pods and were clearly made to another Service of these.

    Where a route leads from one of them to another, or nobody knows whom a call was made to, it may be the service's. A mirrored copy
    is of the Service that it was sent to alone; where nobody knows that, it is left out: see ``untold_copies``.

    Args:
        service: The service.
        entries: The logs of both sides.
        beside: The full names of the other Services of its pods.
    """
    found = list(entries)
    if not beside:
        return found
    made: dict[tuple[str, str], set[str]] = defaultdict(set)
    for entry in found:
        if entry.outbound and entry.request_id:
            made[key_of(entry)].add(entry.service)
    return [e for e in found if e.outbound or not _anothers(e, service.host, beside, made.get(key_of(e), set()))]


def whom_made_to(
    came: Iterable[Entry], everything: Iterable[Entry], names: Collection[str]
) -> list[tuple[Entry, frozenset[str]]]:
    """Each call that came to pods, with the Services of these to which it was made: none where that is not known.

    A call that asks for one of them, and left its caller for that one, was made to it; one that a route led from one of them to
    another is a call to both, as in the access logs. Where a route led a call here that was made to none of them, it is taken for one
    to the Service that the route names. A mirrored copy is made to the one that it was sent to.

    Args:
        came: The calls, as the pods' own proxies logged them.
        everything: The logs of both sides.
        names: The full names of all Services of these pods.
    """
    made: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in everything:
        if entry.outbound and entry.request_id:
            made[key_of(entry)].append(entry)
    every = frozenset(names)

    def hosts(entry: Entry) -> frozenset[str]:
        if entry.copied:
            return every & {entry.backend}
        calls = made.get(key_of(entry), [])
        asked = {name for name in every if is_name_of(entry.authority, name)}
        went = every & ({entry.backend} if entry.backend else {call.service for call in calls})
        return frozenset((asked & went) or (asked | went)) or every & {call.backend for call in calls}

    return [(entry, hosts(entry)) for entry in came]


def untold_copies(entries: Iterable[Entry], beside: Collection[str]) -> list[Entry]:
    """Those mirrored copies that came to a service's pods of which nobody knows to which of their Services they were sent.

    Args:
        entries: What came to the pods.
        beside: The full names of the other Services of these.
    """
    return [entry for entry in entries if beside and entry.copied and not entry.backend]


def _anothers(entry: Entry, host: str, beside: Collection[str], called: Collection[str]) -> bool:
    """Whether a call was made to another Service than one.

    Args:
        entry: The call as it came.
        host: Full name of the one.
        beside: Those of the others.
        called: Where the callers' logs say that it went.
    """
    if entry.copied:
        return entry.backend != host
    if entry.backend == host or is_name_of(entry.authority, host):
        return False
    if entry.backend in beside:
        return True
    if host in called:
        return False
    return any(other in called or is_name_of(entry.authority, other) for other in beside)


def asks_for(entry: Entry, host: str) -> bool:
    """Whether a call is by its authority for a Service; a short name is one in the caller's own namespace."""
    short = "." not in entry.authority.partition(":")[0].rstrip(".")
    return (
        bool(entry.authority)
        and is_name_of(entry.authority, host)
        and not (short and host.split(".")[1] != entry.namespace)
    )


def is_name_of(authority: str, host: str) -> bool:
    """Whether an authority is a Service's name, short or full, with or without a port."""
    asked = authority.partition(":")[0].rstrip(".").lower()
    return f"{host}.".startswith(f"{asked}.")
